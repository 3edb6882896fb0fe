"""`export-log`: history that Kafka may not keep, in files."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from profilestream.cli.connection import KafkaOption, NamespaceOption, settings
from profilestream.core.counting import counted
from profilestream.core.errors import UsageError

if TYPE_CHECKING:
    from profilestream.stream.archive_files import Format


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("export-log")(export_log)


def export_log(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The archive; one that is there is gone on with.")],
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="A topic; again for more. Default: all that are folded.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="At first, records from this time on: RFC 3339, by when they arrived.")
    ] = None,
    format: Annotated[
        str, typer.Option("--format", metavar="jsonl|parquet", help="Parquet needs the extra `parquet`.")
    ] = "jsonl",
    plain: Annotated[bool, typer.Option("--plain", help="Write .jsonl in place of .jsonl.gz.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was copied, as JSON.")] = False,
    kafka: KafkaOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Copy topics into files, from where the archive ends to where the log ends now.

    It may be broken off, and run again at any time: what is copied stays, and nothing is copied twice.
    """
    from profilestream.operations import export_log as exporting
    from profilestream.wire.times import parse_time

    if format not in ("jsonl", "parquet"):
        raise typer.BadParameter("write `jsonl` or `parquet`", param_hint="--format")
    if plain and format != "jsonl":
        raise UsageError("--plain is about JSON lines; leave it out")
    kind: Format = "parquet" if format == "parquet" else "jsonl" if plain else "jsonl.gz"
    chosen = settings(kafka, None, namespace, needs=("kafka",))
    try:
        since_ms = None if since is None else parse_time(since)
    except ValueError:
        raise UsageError(f'`{since}` is no time; write one such as "2026-01-31T00:00:00Z"') from None
    topics = tuple(topic or ()) or asyncio.run(exporting.live_topics(chosen))
    with _progress_bar() as progress:
        try:
            done = asyncio.run(exporting.export_log(chosen, directory, topics, since_ms, kind, progress))
        except OSError as error:
            raise UsageError(f"cannot write to {directory}: {error.strerror or error}") from None
    if as_json:
        partitions = [
            {"topic": name, "partition": partition, "begin": begin, "end": end}
            for (name, partition), (begin, end) in done.spans.items()
        ]
        print(json.dumps({"directory": str(directory), "records": done.records, "partitions": partitions}))
        return
    print(f"{counted(done.records, 'record')} of {counted(len(topics), 'topic')} to {directory}")


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Shows progress where a person looks on, and nothing else where not."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.completed:,} of {task.total:,} offsets"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=0)
        yield lambda done, total: bar.update(task, completed=done, total=total)
