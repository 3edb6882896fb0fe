"""Processes, ports and locks that `profilestream.local` stands on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from profilestream.local import ports, processes
from profilestream.local.locks import locked
from profilestream.local.processes import Process

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def sleeper(tmp_path: Path, log: Path) -> Iterator[Process]:
    process = processes.spawn(SLEEP, cwd=tmp_path, log=log)
    yield process
    processes.end(process, grace_s=0)


def until_written(log: Path) -> None:
    deadline = time.monotonic() + 10
    while not (log.exists() and log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_spawned_process_runs_in_a_session_of_its_own(sleeper: Process) -> None:
    assert sleeper.running
    assert os.getsid(sleeper.pid) == sleeper.pid != os.getsid(0)


def test_an_ended_process_does_not_run(sleeper: Process) -> None:
    assert processes.end(sleeper, grace_s=5)
    assert not sleeper.running
    assert not processes.end(sleeper, grace_s=5)


def test_a_process_that_ignores_the_request_is_ended_by_force(tmp_path: Path, log: Path) -> None:
    process = processes.spawn(STUBBORN, cwd=tmp_path, log=log)
    until_written(log)
    assert processes.end(process, grace_s=0.2)
    assert not process.running


def test_a_pid_that_another_program_has_now_is_left_alone(sleeper: Process) -> None:
    stale = Process(sleeper.pid, "some other beginning")
    assert not stale.running
    assert not processes.end(stale, grace_s=0)
    assert sleeper.running


def test_a_process_that_was_killed_and_not_reaped_does_not_run(tmp_path: Path) -> None:
    child = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    process = Process(child.pid, processes.began(child.pid) or "")
    assert process.running
    os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while process.running:  # it stays a zombie until `wait` below
        assert time.monotonic() < deadline
    child.wait()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="compares with /proc")
def test_where_there_is_no_proc_ps_tells_the_same(sleeper: Process) -> None:
    if not any(Path(folder, "ps").exists() for folder in os.get_exec_path()):
        pytest.skip("no ps on this machine")
    assert processes._began_by_ps(sleeper.pid)
    processes.end(sleeper, grace_s=0)
    assert processes._began_by_ps(sleeper.pid) is None


def test_output_is_appended_to_the_log(tmp_path: Path, log: Path) -> None:
    log.write_text("before\n")
    process = processes.spawn([sys.executable, "-c", "print('after')"], cwd=tmp_path, log=log)
    deadline = time.monotonic() + 10
    while process.running and time.monotonic() < deadline:
        time.sleep(0.02)
    assert log.read_text() == "before\nafter\n"


def test_a_wished_port_is_taken_while_it_is_free() -> None:
    port = ports.choose([None])[0]
    assert ports.choose([port, None])[0] == port


def test_a_wished_port_that_is_taken_is_replaced() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert not ports.free(taken)
        assert ports.choose([taken])[0] != taken


def test_ports_chosen_together_differ_and_lie_below_those_of_outgoing_connections() -> None:
    chosen = ports.choose([None] * 20)
    assert len(set(chosen)) == 20
    assert max(chosen) < 32_768
    assert len(set(ports.choose([chosen[0], chosen[0]]))) == 2


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with locked(tmp_path / "lock", waiting.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(tmp_path / "lock"):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_lock_whose_file_was_removed_by_its_holder_still_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waiting, entered, leave = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        with locked(path, waiting.set):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=second)
    with locked(path):
        thread.start()
        assert waiting.wait(10)
        path.unlink()
    assert entered.wait(10)
    third = threading.Event()
    threading.Thread(target=lambda: _enter(path, third), daemon=True).start()
    assert not third.wait(0.2)
    leave.set()
    thread.join(10)
    assert third.wait(10)


def _enter(path: Path, entered: threading.Event) -> None:
    with locked(path):
        entered.set()


def test_an_interrupt_between_a_start_and_its_being_written_down_waits_for_it(tmp_path: Path, log: Path) -> None:
    process = None
    with pytest.raises(KeyboardInterrupt), processes.signals_held():
        signal.raise_signal(signal.SIGINT)
        process = processes.spawn(SLEEP, cwd=tmp_path, log=log)
    assert process is not None
    assert processes.end(process, grace_s=5)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
