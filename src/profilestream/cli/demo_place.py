"""Where the demo runs: on servers of its own, or on given ones, which it leaves as they were."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from profilestream import local
from profilestream.cli.connection import BOTH, settings
from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.operations.demo import traces
from profilestream.settings import Settings

Report = Callable[[str], None]

EVENTS: Final = "purchases.jsonl"
DEFINITIONS: Final = "demo.toml"
_FILES: Final = (EVENTS, DEFINITIONS, "worker.log", "emitter.log")
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Place:
    """Servers and a folder for the demo's files. `made_topics` is filled by whoever makes topics."""

    settings: Settings
    folder: Path
    own_servers: bool
    made_topics: list[str] = field(default_factory=list)


@contextmanager
def chosen(
    directory: Path | None, kafka: str | None, redis: str | None, keep: bool, definitions: str, report: Report
) -> Iterator[Place]:
    """A place to run in; afterwards all is as it was before, unless `keep` and nothing was interrupted.

    Given addresses (flags, environment) are used, or the servers of the folder where they run; else servers are
    started. Raises UsageError for what cannot be meant, and ProfilestreamError where someone's event topics are.
    """
    folder_of_servers = (directory or Path()) / local.DEFAULT_DIRECTORY
    found = settings(kafka, redis, None, folder_of_servers, needs=())
    if found.kafka or found.redis:
        found = settings(kafka, redis, None, folder_of_servers, needs=BOTH)
        taken = asyncio.run(traces.event_topics_there(str(found.kafka), definitions))
        running = local.status(folder_of_servers)
        if taken and (running is None or running.kafka != found.kafka or directory is not None):
            raise traces.taken_topics(str(found.kafka), taken)
        if taken:
            report("the servers that run here have event topics already; starting others, in a folder of their own")
            found = found.model_copy(update={"kafka": None, "redis": None})
    with _cleanup(keep, report) as unless_kept:
        folder = _folder(directory, unless_kept)
        if found.kafka:
            place = Place(traces.own_names(found, f"demo-{secrets.token_hex(4)}"), folder, own_servers=False)
            unless_kept.callback(_remove_traces, place, report)
            yield place
        else:
            servers = _servers(folder / local.DEFAULT_DIRECTORY, unless_kept, report)
            there = found.model_copy(update={"kafka": servers.kafka, "redis": servers.redis})
            taken = asyncio.run(traces.event_topics_there(servers.kafka, definitions))
            if taken:
                raise traces.taken_topics(servers.kafka, taken)
            yield Place(there, folder, own_servers=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does: cleaned up."""
    before = [signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT)) for number in _ENDING[1:]]
    # A program that a script starts in the background would ignore Ctrl-C.
    before.insert(0, signal.signal(signal.SIGINT, signal.default_int_handler))
    try:
        yield
    finally:
        for number, handler in zip(_ENDING, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _cleanup(keep: bool, report: Report) -> Iterator[ExitStack]:
    """What to undo at the end unless it is kept. Another Ctrl-C meanwhile does not stop it."""
    unless_kept = ExitStack()
    kept = keep
    try:
        yield unless_kept
    except KeyboardInterrupt:
        kept = False
        report("interrupted; cleaning up")
        raise
    finally:
        before = [signal.signal(number, signal.SIG_IGN) for number in _ENDING]
        try:
            if not kept:
                unless_kept.close()
        finally:
            for number, handler in zip(_ENDING, before, strict=True):
                signal.signal(number, handler)


def _folder(directory: Path | None, unless_kept: ExitStack) -> Path:
    """The folder for the demo's files: a temporary one, or the one that was named, where nothing is overwritten."""
    if directory is None:
        folder = Path(tempfile.mkdtemp(prefix="profilestream-demo-"))
        unless_kept.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder
    for name in _FILES:
        if (directory / name).exists():
            raise UsageError(f"{directory / name} is there already; give another --dir")
    new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {directory} cannot be used: {error.strerror}") from None

    def remove() -> None:
        for name in _FILES:
            (directory / name).unlink(missing_ok=True)
        if new:
            with suppress(OSError):
                directory.rmdir()

    unless_kept.callback(remove)
    return directory.absolute()


def _servers(directory: Path, unless_kept: ExitStack, report: Report) -> local.Servers:
    """Starts servers; those whose data was there before are only stopped, others leave nothing."""
    wipe = not directory.exists()

    def remove() -> None:
        if wipe:  # nothing there is worth a decent end
            local.Kafka(directory).kill()
            local.RedisServer(directory).kill()
        local.down(directory, wipe)

    unless_kept.callback(remove)
    return local.up(directory, report)


def _remove_traces(place: Place, report: Report) -> None:
    try:
        asyncio.run(traces.remove(place.settings, place.made_topics))
    except ProfilestreamError as error:
        topics = ", ".join(place.made_topics) or "none"
        report(f"{error}; of the demo there are left: topics {topics}; keys {place.settings.namespace}:*")


def program() -> str:
    """How a person calls `profilestream` from any folder: by name where that is this one, else by its path."""
    beside = Path(sys.executable).parent / "profilestream"
    by_name = shutil.which("profilestream")
    if by_name is not None and Path(by_name).resolve() == beside.resolve():
        return "profilestream"
    return str(beside) if beside.exists() else f"{sys.executable} -m profilestream.cli.app"
