"""The command that tells what a changed definitions file would do: `plan`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from profilestream.cli import people
from profilestream.cli.connection import ArchiveOption, JsonOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.cli.definitions import FileArgument, FileOption, definitions_path

if TYPE_CHECKING:
    from profilestream.operations.plan import Plan

CHANGES: int = 3
"""The exit status of a plan with changes, where it was asked for."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(plan)


def plan(
    definitions: FileArgument = None,
    flag: FileOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Save the plan, for apply.", dir_okay=False)
    ] = None,
    detailed: Annotated[
        bool, typer.Option("--detailed-exit-code", help=f"Exit with {CHANGES} where anything changes.")
    ] = False,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Tell what a definitions file would change, who would enter and leave, and what it would take. Changes nothing."""
    # Here, so that commands without servers start without what reads Redis.
    from profilestream.cli.plan_cards import show_plan
    from profilestream.operations import plan as planning
    from profilestream.operations import plan_files
    from profilestream.operations.archives import open_archive
    from profilestream.wire.definitions import read_definitions

    path = definitions_path(definitions, flag)
    found = read_definitions(path)
    where = settings(kafka, redis, namespace)
    with _Crossings(wanted=as_json) as crossings, looking() as (report, progress):

        async def look() -> Plan:
            archived = await open_archive(where, archive)
            return await planning.make_plan(where, found, crossings.add, progress, report, archived)

        made = asyncio.run(look())
        if out is not None:
            plan_files.save(made, out)
        if as_json:
            crossings.print_with(made)
    if not as_json:
        show_plan(people.console(), made, path, out)
    if detailed and made.changes.any:
        raise typer.Exit(CHANGES)


class _Crossings:
    """Everybody who would cross, in a file without a name until the rest of the JSON is known: they may be millions."""

    def __init__(self, wanted: bool) -> None:
        self._file: IO[bytes] | None = TemporaryFile() if wanted else None  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> _Crossings:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, customer_id: str, segment: str, enters: bool) -> None:
        """Takes note of one, where they are wanted."""
        from profilestream.wire.values import encode_value

        if self._file is not None:
            change = "entered" if enters else "exited"
            self._file.write(b",\n" if self._file.tell() else b"")
            self._file.write(encode_value({"customer_id": customer_id, "segment": segment, "change": change}))

    def print_with(self, plan: Plan) -> None:
        """Prints the plan as one JSON object that ends with them."""
        from profilestream.operations.plan_files import plan_object
        from profilestream.wire.values import encode_value

        assert self._file is not None
        self._file.seek(0)
        text = encode_value(plan_object(plan)).decode()
        print(f'{text.removesuffix("}")},"crossings":[', end="")
        for line in self._file:
            print(line.decode(), end="")
        print("]}")


@contextmanager
def looking() -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """Shows what is being looked at where a person looks on, and nothing else where not."""
    if not sys.stderr.isatty():
        yield (lambda line: None), (lambda done, total: None)
        return
    with Console(stderr=True).status("reading the live generation") as status:
        yield (
            lambda line: status.update(line),
            lambda done, total: status.update(f"looked at {done:,} of {total:,} profiles"),
        )
