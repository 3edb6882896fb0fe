"""The life of a local server, with a small program in a real server's place."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from profilestream.core.errors import ServerUnavailable
from profilestream.local import ports, processes
from profilestream.local.processes import Process
from profilestream.local.server import Report, Server

LISTENS = """
import socket, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", {client}))
listener.listen()
print("listening", flush=True)
time.sleep(60)
"""


class Program(Server):
    name = "program"
    port_names = ("client",)
    start_timeout_s = 10.0
    stop_timeout_s = 5.0
    source = LISTENS

    def _prepare(self, ports: Mapping[str, int], report: Report) -> list[str]:
        return [sys.executable, "-c", self.source.format_map(ports)]

    def _answers(self, port: int) -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True


class EndsAtOnce(Program):
    source = "import sys; print('no room on the disk'); sys.exit(3)"


class NeverAnswers(Program):
    start_timeout_s = 0.5
    source = "import time; print('thinking', flush=True); time.sleep(60)"


class Interrupted(Program):
    def _answers(self, port: int) -> bool:
        raise KeyboardInterrupt


class IsNotThere(Program):
    def _prepare(self, ports: Mapping[str, int], report: Report) -> list[str]:
        return ["/nonexistent/program"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    server = Program(tmp_path)
    yield server
    server.kill()


def remembered(directory: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((directory / "program" / "server.json").read_text())
    return found


def test_a_second_start_finds_the_first(program: Program, tmp_path: Path) -> None:
    address = program.start()
    pid = program.pid
    assert Program(tmp_path).start() == address
    assert Program(tmp_path).pid == pid


def test_the_port_stays_the_same_over_a_stop_and_a_crash(program: Program) -> None:
    address = program.start()
    assert program.stop()
    assert program.start() == address
    assert program.kill()
    assert program.start() == address


def test_a_port_that_somebody_took_meanwhile_is_replaced(program: Program) -> None:
    address = program.start()
    program.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        other.listen()
        assert program.start() != address


def test_stopping_what_does_not_run_says_so(program: Program) -> None:
    assert not program.stop()
    program.start()
    assert program.stop()
    assert not program.stop()
    assert program.address is None


def test_a_remembered_pid_that_is_another_programs_now_is_not_touched(program: Program, tmp_path: Path) -> None:
    program.start()
    program.stop()
    record = remembered(tmp_path) | {"pid": os.getpid(), "began": "another time"}
    (tmp_path / "program" / "server.json").write_text(json.dumps(record))
    assert program.address is None
    assert not program.stop()
    program.start()
    assert program.pid != os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"port": 1}'])
def test_a_spoilt_record_is_as_none(program: Program, tmp_path: Path, content: str) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "server.json").write_text(content)
    assert program.address is None
    assert program.start()


def test_one_that_ends_while_starting_shows_its_log_and_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable, match="ended while it was starting") as raised:
        EndsAtOnce(tmp_path).start()
    assert "no room on the disk" in str(raised.value)
    assert str(tmp_path / "program" / "program.log") in str(raised.value)


def test_one_that_never_answers_is_given_up_and_ended(tmp_path: Path) -> None:
    server = NeverAnswers(tmp_path)
    with pytest.raises(ServerUnavailable, match=r"does not answer on 127\.0\.0\.1:\d+ after 0\.5 s"):
        server.start()
    assert server.pid is None
    assert remembered(tmp_path)["pid"] is None


def test_an_interrupted_start_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spawned: list[Process] = []
    spawn = processes.spawn

    def noted(command: Sequence[str], *, cwd: Path, log: Path) -> Process:
        spawned.append(spawn(command, cwd=cwd, log=log))
        return spawned[-1]

    monkeypatch.setattr(processes, "spawn", noted)
    with pytest.raises(KeyboardInterrupt):
        Interrupted(tmp_path).start()
    assert [process.running for process in spawned] == [False]


def test_a_program_that_cannot_be_run_is_an_error_for_a_person(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable, match="program cannot be started"):
        IsNotThere(tmp_path).start()


def test_two_folders_have_servers_side_by_side(tmp_path: Path) -> None:
    one, other = Program(tmp_path / "one"), Program(tmp_path / "other")
    try:
        assert one.start() != other.start()
        one.stop()
        assert other.address is not None
    finally:
        one.kill()
        other.kill()


def test_a_long_log_is_put_aside_at_the_next_start(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profilestream.local.server._LOG_BYTES_MAX", 20)
    program.folder.mkdir()
    program.log.write_text("x" * 21)
    program.start()
    assert program.log.with_name("program.log.1").stat().st_size == 21
    assert "x" not in program.log.read_text()


def test_no_port_of_a_server_that_was_stopped_is_still_taken(program: Program) -> None:
    port = int(program.start().rpartition(":")[2])
    assert not ports.free(port)
    program.kill()
    assert ports.free(port)
