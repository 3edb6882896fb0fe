"""Commands about data on its way: `produce`, then `changes` and `dead-letters`, which have modules of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from profilestream.cli import changes, dead_letters
from profilestream.cli.connection import KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.core.counting import counted
from profilestream.core.errors import UsageError
from profilestream.operations import produce as producing


def register(app: typer.Typer) -> None:
    """Adds the commands in the order in which help shows them."""
    app.command("produce")(produce)
    changes.register(app)
    dead_letters.register(app)


def produce(
    topic: Annotated[str, typer.Argument(help="An event topic, e.g. purchases.")],
    file: Annotated[str, typer.Argument(help="JSON events, one a line; - reads standard input.")],
    no_validate: Annotated[
        bool, typer.Option("--no-validate", help="Send every line as it is, to any topic that exists.")
    ] = False,
    rate: Annotated[float | None, typer.Option(help="At most this many events a second.", min=0.001)] = None,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Send a file of events to a topic, checked and keyed by customer."""
    chosen = settings(kafka, redis, namespace, needs=("kafka",))
    known = asyncio.run(producing.live_definitions(chosen))
    check = producing.LineCheck(topic, known, chosen.future_ms_max, validate=not no_validate)
    done = producing.Produced(topic)
    with _opened(file) as (source, name, size), _progress_bar(size) as progress:
        try:
            asyncio.run(producing.produce(str(chosen.kafka), topic, source, name, check, rate, progress, _tell, done))
        except KeyboardInterrupt:
            _tell(f"stopped: {counted(done.events, 'event')} sent to {topic}")
            raise
    print(f"{counted(done.events, 'event')} to {topic} in {done.seconds:.1f} s")


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, str, int | None]]:
    """The file, its name for messages and its size in bytes where that is known."""
    if file == "-":
        yield sys.stdin.buffer, "standard input", None
        return
    try:
        source = Path(file).open("rb")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    with source:
        yield source, file, Path(file).stat().st_size or None


@contextmanager
def _progress_bar(size: int | None) -> Iterator[Callable[[producing.Progress], None]]:
    """Shows progress where a person looks on, and nothing else where not."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[events]:,} events"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=size, events=0)

        def show(progress: producing.Progress) -> None:
            bar.update(task, description=progress.stage, completed=progress.bytes, events=progress.events)

        yield show
