"""Both servers of a folder: up, down, status."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from profilestream.core.errors import ServerUnavailable, UsageError
from profilestream.local.kafka import Kafka
from profilestream.local.locks import locked
from profilestream.local.redis_server import RedisServer
from profilestream.local.server import Report, Server, silent

DEFAULT_DIRECTORY = Path(".profilestream")


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses of servers that run: `kafka` as `127.0.0.1:port`, `redis` as `redis://127.0.0.1:port`."""

    kafka: str
    redis: str


def up(directory: Path = DEFAULT_DIRECTORY, report: Report = silent) -> Servers:
    """Start what does not run of the folder's Kafka and Redis, and return when both serve.

    `report` is told, in one line each, what is being done. What a failed or interrupted call has started it
    ends again; what ran before goes on. Raises ServerUnavailable, with the end of the log where there is one,
    and UsageError when the folder cannot be written.
    """
    both: tuple[Server, ...] = (Kafka(directory), RedisServer(directory))
    with _held(directory, report):
        started: list[Server] = []
        try:
            for server in both:
                if server.pid is None:
                    started.append(server)
                server.start(report)
        except BaseException as error:
            for server in started:
                server.kill()
            if isinstance(error, OSError):  # a full disk, a folder that may not be written
                raise ServerUnavailable(f"the local servers cannot be started: {error}") from None
            raise
    found = status(directory)
    assert found is not None
    return found


def down(directory: Path = DEFAULT_DIRECTORY, wipe: bool = False) -> bool:
    """End the folder's servers and, with `wipe`, remove their data; False when none ran.

    Only what `up` made is removed; a folder that is empty then goes as well.
    """
    if not directory.is_dir():
        return False
    with _held(directory):
        # A list: both are ended, not only the first that ran.
        ended = [server.stop() for server in (Kafka(directory), RedisServer(directory))]
        if wipe:
            for server in (Kafka(directory), RedisServer(directory)):
                shutil.rmtree(server.folder, ignore_errors=True)
            for name in (".gitignore", "lock"):
                (directory / name).unlink(missing_ok=True)
            with suppress(OSError):
                directory.rmdir()
    return any(ended)


def status(directory: Path = DEFAULT_DIRECTORY) -> Servers | None:
    """The addresses, when both servers of the folder run; else None."""
    kafka, redis = Kafka(directory).address, RedisServer(directory).address
    return Servers(kafka, redis) if kafka is not None and redis is not None else None


@contextmanager
def _held(directory: Path, report: Report = silent) -> Iterator[None]:
    """The folder, made if it is not there, for one command at a time."""
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True)
            (directory / ".gitignore").write_text("*\n")
    except OSError as error:
        raise UsageError(f"the folder {directory} cannot be used: {error.strerror}") from None
    waiting = lambda: report(f"Another command works on {directory}; waiting for it")  # noqa: E731
    with locked(directory / "lock", waiting):
        yield
