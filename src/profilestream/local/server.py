"""What a local Kafka and a local Redis have in common: a folder, ports, a process and a log."""

from __future__ import annotations

import abc
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from profilestream.core.errors import ServerUnavailable
from profilestream.local import ports, processes
from profilestream.local.processes import Process

Report = Callable[[str], None]

_LOG_BYTES_MAX = 10 * 1024 * 1024
_LOG_LINES_SHOWN = 15
_POLL_S = 0.1


def silent(line: str) -> None:
    """A report that goes nowhere."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a server between commands: its ports by name, and its process, if any."""

    ports: Mapping[str, int]
    pid: int | None = None
    began: str | None = None

    @property
    def process(self) -> Process | None:
        """The process, if it runs and is the one that was started."""
        if self.pid is None or not self.began:
            return None
        process = Process(self.pid, self.began)
        return process if process.running else None


class Server(abc.ABC):
    """One server that lives in `directory / name` and outlives the process that starts it.

    The same ports are taken again at every start while they are free, so that addresses stay good. Not safe
    for two callers at once: `profilestream.local.up` and `down` hold a lock.
    """

    name: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]  # the first is the one clients connect to
    start_timeout_s: ClassVar[float]
    stop_timeout_s: ClassVar[float]

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.folder = self.directory / self.name
        self.log = self.folder / f"{self.name}.log"

    @abc.abstractmethod
    def _prepare(self, ports: Mapping[str, int], report: Report) -> list[str]:
        """Write the configuration and return the command, to be run in `folder`."""

    @abc.abstractmethod
    def _answers(self, port: int) -> bool:
        """Whether the server serves requests; False while it is coming up."""

    @property
    def address(self) -> str | None:
        """The address for clients, while the server runs."""
        record = self._recall()
        return self._address(record) if record is not None and record.process is not None else None

    @property
    def pid(self) -> int | None:
        """The process id, while the server runs."""
        record = self._recall()
        process = record.process if record is not None else None
        return process.pid if process is not None else None

    def start(self, report: Report = silent) -> str:
        """Start the server, unless it runs, and return its address when it serves.

        Raises ServerUnavailable, with the end of its log, when it does not come up; then, and when
        interrupted, nothing that was started here is left running.
        """
        record = self._recall()
        if record is not None and (process := record.process) is not None:
            self._wait(process, record)
            return self._address(record)
        self.folder.mkdir(parents=True, exist_ok=True)
        wished = [record.ports.get(name) if record is not None else None for name in self.port_names]
        chosen = dict(zip(self.port_names, ports.choose(wished), strict=True))
        command = self._prepare(chosen, report)
        report(f"Starting {self.name} on 127.0.0.1:{chosen[self.port_names[0]]}")
        return self._launch(command, chosen)

    def stop(self) -> bool:
        """End the server as it wishes to be ended, by force if it takes too long; False if it did not run."""
        return self._end(grace_s=self.stop_timeout_s)

    def kill(self) -> bool:
        """End the server at once, as a crash would; False if it did not run."""
        return self._end(grace_s=0)

    def _launch(self, command: list[str], chosen: Mapping[str, int]) -> str:
        self._shorten_log()
        process = None
        try:
            try:
                with processes.signals_held():
                    process = processes.spawn(command, cwd=self.folder, log=self.log)
                    record = Record(chosen, process.pid, process.began)
                    self._remember(record)
            except OSError as error:
                raise ServerUnavailable(f"{self.name} cannot be started: {error}") from None
            self._wait(process, record)
        except BaseException:
            if process is not None:
                processes.end(process, grace_s=0)
                self._remember(Record(chosen))
            raise
        return self._address(record)

    def _wait(self, process: Process, record: Record) -> None:
        """Wait until the server serves; give up when its process ends or `start_timeout_s` have passed."""
        port = record.ports[self.port_names[0]]
        deadline = time.monotonic() + self.start_timeout_s
        while True:
            if not process.running:
                raise ServerUnavailable(f"{self.name} ended while it was starting. {self._log_end()}")
            with contextlib.suppress(OSError):
                if self._answers(port):
                    return
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"{self.name} does not answer on 127.0.0.1:{port} after {self.start_timeout_s:g} s. "
                    f"{self._log_end()}"
                )
            time.sleep(_POLL_S)

    def _end(self, *, grace_s: float) -> bool:
        record = self._recall()
        if record is None or (process := record.process) is None:
            return False
        ended = processes.end(process, grace_s=grace_s)
        self._remember(Record(record.ports))
        return ended

    def _address(self, record: Record) -> str:
        return f"127.0.0.1:{record.ports[self.port_names[0]]}"

    def _log_end(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        except FileNotFoundError:
            lines = []
        return "\n".join([f"The end of {self.log}:", *(f"  {line[:300]}" for line in lines or ["(empty)"])])

    def _shorten_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES_MAX:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))

    def _recall(self) -> Record | None:
        try:
            return Record(**json.loads((self.folder / "server.json").read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return None  # not ours, or from another version: as if it had never run

    def _remember(self, record: Record) -> None:
        part = self.folder / "server.json.part"
        part.write_text(json.dumps(asdict(record)))
        part.replace(self.folder / "server.json")
