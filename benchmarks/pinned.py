"""A process on one core, and what it has used of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, set[int]]:
    """The core for what is measured, and the cores for everything else (the same one where there is only one)."""
    mine = sorted(os.sched_getaffinity(0))
    return mine[-1], set(mine[:-1]) or {mine[-1]}


def start(
    module: str, words: list[str], core: int | set[int], environment: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Starts `python -m module words...` on one core, or on some; what it says goes to `log`."""
    cores = core if isinstance(core, set) else {core}
    pin = f"import os, runpy, sys; os.sched_setaffinity(0, {cores}); sys.argv = sys.argv[1:]; "
    run = f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", pin + run, module, *words],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def move(pid: int, cores: set[int]) -> None:
    """Lets a running process, all its threads, use these cores and no other."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def cpu_s(pid: int) -> float:
    """User and system seconds of a process so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
