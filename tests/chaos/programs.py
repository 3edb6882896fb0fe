"""The workers and emitters of a chaos run, as processes: started, killed, frozen, ended, and watched over."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Role = Literal["worker", "emitter"]
WORDS: Mapping[Role, tuple[str, ...]] = {"worker": ("worker", "--clock", "event"), "emitter": ("emitter",)}
TERM_S_MAX = 60
RUN_S_MAX = 120.0


@dataclass(eq=False)
class Program:
    """A worker or an emitter."""

    role: Role
    process: subprocess.Popen[bytes]
    log: Path
    frozen: bool = False


@dataclass
class Fleet:
    """All programs. `ended_alone` counts those that ended without being asked to, which are started again;
    `endings_s` has how long each took to end at SIGTERM."""

    environment: Mapping[str, str]
    folder: Path
    programs: list[Program] = field(default_factory=list)
    ended_alone: Counter[str] = field(default_factory=Counter)
    endings_s: list[tuple[Role, float]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    """Exit statuses after SIGTERM."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._numbers = itertools.count(1)

    def start(self, role: Role) -> Program:
        program = Program(role, *self._spawn(role, WORDS[role]))
        self.programs.append(program)
        return program

    def of(self, role: Role) -> list[Program]:
        return [p for p in self.programs if p.role == role]

    def kill(self, program: Program) -> None:
        """As `kill -9` does."""
        self.programs.remove(program)
        program.process.kill()
        program.process.wait()

    async def terminate(self, program: Program) -> None:
        """Sends SIGTERM, waits for the end, and notes how long that took."""
        self.programs.remove(program)
        began = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        try:
            status = await asyncio.to_thread(program.process.wait, TERM_S_MAX)
        except subprocess.TimeoutExpired:
            program.process.kill()
            status = program.process.wait()
        self.endings_s.append((program.role, time.monotonic() - began))
        self.statuses[status] += 1

    def freeze(self, program: Program) -> None:
        program.process.send_signal(signal.SIGSTOP)
        program.frozen = True

    def thaw(self, program: Program) -> None:
        if program.frozen and program.process.poll() is None:
            program.process.send_signal(signal.SIGCONT)
        program.frozen = False

    def replace_ended(self) -> None:
        """What a supervisor of services does: starts again what has ended by itself."""
        for program in list(self.programs):
            status = program.process.poll()
            if status is not None:
                self.ended_alone[f"{program.role}, status {status}: {_last_line(program.log)}"] += 1
                self.programs.remove(program)
                self.start(program.role)

    async def run(self, *words: str, timeout_s: float = RUN_S_MAX) -> str:
        """Runs a command to its end and gives what it said; raises AssertionError unless it ends well."""
        process, log = self._spawn(words[0], words)
        try:
            status = await asyncio.to_thread(process.wait, timeout_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            process.kill()
            process.wait()
        said = log.read_text("utf-8", "replace")
        assert status == 0, f"`{' '.join(words)}` ended with {status}:\n{said[-3_000:]}"
        return said

    def kill_all(self) -> None:
        for program in list(self.programs):
            self.kill(program)

    def logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    def ends_of_logs(self) -> str:
        """The last lines of the newest logs, for a failure's text."""
        newest = sorted(self.logs(), key=lambda log: log.stat().st_mtime)[-6:]
        return "\n".join(f"--- {log.name}\n{log.read_text('utf-8', 'replace')[-1_500:]}" for log in newest)

    def _spawn(self, name: str, words: tuple[str, ...]) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.folder / f"{name}-{next(self._numbers):03}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "profilestream.cli.app", *words],
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return process, log


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip(" │╭╰─╮╯")]
    return lines[-1][:160] if lines else "(nothing said)"
