"""Processes that outlive the command that started them: start, recognise, end.

A process is remembered as its pid and the moment at which the kernel says it began. A pid that was given
to another program since has another beginning, so that program is never touched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_POLL_S = 0.05
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Children of this very process have to be reaped by it; others are the init process's affair.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Process:
    """A process seen running: its pid and the kernel's word for when it began."""

    pid: int
    began: str

    @property
    def running(self) -> bool:
        """Whether that same process still runs; one that has ended and was not reaped does not."""
        return began(self.pid) == self.began


def spawn(command: Sequence[str], *, cwd: Path, log: Path, env: Mapping[str, str] | None = None) -> Process:
    """Start `command` in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.

    Its output is appended to `log`. Raises OSError where the program cannot be run.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    # None when it has ended already: then the empty word matches no process.
    return Process(child.pid, began(child.pid) or "")


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Put off what would end this program, for the moment between a start and its being written down.

    A signal that came meanwhile is raised again at the end. Only the main thread has signals to put off.
    """
    came: list[int] = []
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING_SIGNALS:
            if signal.getsignal(number) is not None:
                before[number] = signal.signal(number, lambda sent, frame: came.append(sent))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for sent in came:
            signal.raise_signal(sent)


def end(process: Process, *, grace_s: float) -> bool:
    """End a process and wait until it is gone: politely, then, after `grace_s`, by force.

    Returns False when it did not run (or the pid belongs to another program by now).
    """
    if not process.running:
        return False
    if grace_s > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        if _gone(process, within_s=grace_s):
            return True
    # The session's whole group: Redis may have a child that rewrites its log.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    _gone(process, within_s=10)
    return True


def began(pid: int) -> str | None:
    """A word that no other process with this pid shares; None when none runs."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        return _began_by_proc(stat)
    return _began_by_ps(pid)


def _began_by_proc(stat: Path) -> str | None:
    try:
        # The program's name stands in brackets and may itself hold spaces and brackets.
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A program of many threads is shown as a zombie while the last of them, and its ports, are still there.
    if fields[0] == "X" or (fields[0] == "Z" and _threads(stat.parent) <= 1):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{boot.read_text().strip() if boot.exists() else ''}/{fields[19]}"


def _threads(process: Path) -> int:
    try:
        return len(list((process / "task").iterdir()))
    except OSError:
        return 0


def _began_by_ps(pid: int) -> str | None:
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout.split(maxsplit=1)
    if len(shown) != 2 or shown[0].startswith("Z"):
        return None
    return shown[1].strip()


def _gone(process: Process, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while process.running:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
