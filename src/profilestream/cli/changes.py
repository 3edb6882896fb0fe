"""`profilestream changes`: what the segments' borders saw."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated, Any, get_args

import orjson
import typer
from rich.console import Console
from rich.text import Text

from profilestream.cli.connection import JsonOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.operations import changes as operations
from profilestream.operations.explain import check_customer
from profilestream.settings import Settings
from profilestream.stream.changes import ChangeFilter, ReceivedChange
from profilestream.wire.changes import Cause

SHOWN_COUNT = 1_000

CauseName = StrEnum("CauseName", {name.upper(): name for name in get_args(Cause)})  # type: ignore[misc]

_STYLES = {"entered": "green", "exited": "red"}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("changes")(changes)


def changes(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
    segment: Annotated[
        list[str] | None, typer.Option("--segment", metavar="S", help="Only this segment; may be given several times.")
    ] = None,
    customer: Annotated[
        list[str] | None,
        typer.Option("--customer", metavar="C", help="Only this customer, several times; reads only their partitions."),
    ] = None,
    cause: Annotated[
        list[CauseName] | None, typer.Option("--cause", help="Only this cause; may be given several times.")
    ] = None,
    entered: Annotated[bool, typer.Option("--entered", help="Only who entered.")] = False,
    exited: Annotated[bool, typer.Option("--exited", help="Only who left.")] = False,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            metavar="N",
            min=1,
            max=operations.KEPT_CHANGES_MAX,
            help=f"The newest N (for people {SHOWN_COUNT:,}, with --json all); with --follow the first N.",
        ),
    ] = None,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Show segment changes: one line a change, or with --json one CloudEvents object a line."""
    chosen = settings(kafka, redis, namespace, needs=("kafka",))
    for one in customer or ():
        check_customer(one)
    only = ChangeFilter(
        segment or None,
        customer or None,
        [str(one) for one in cause] if cause else None,
        None if entered == exited else "entered" if entered else "exited",
    )
    show = _print_json if as_json else _LinePrinter().show
    try:
        if segment:
            asyncio.run(operations.check_segments(chosen, segment))
        if follow or (as_json and count is None):
            asyncio.run(_stream(chosen, only, show, follow=follow, count=count))
        else:
            asyncio.run(_newest(chosen, only, show, count or SHOWN_COUNT))
    except KeyboardInterrupt:
        if not follow:
            raise


async def _stream(chosen: Settings, only: ChangeFilter, show: Any, *, follow: bool, count: int | None) -> None:
    left = count
    received: Any = operations.read_changes(chosen, follow, only=only, report=_tell)
    async with aclosing(received):
        async for change in received:
            show(change)
            if follow:
                sys.stdout.flush()
            if left is not None and (left := left - 1) == 0:
                break
    sys.stdout.flush()


async def _newest(chosen: Settings, only: ChangeFilter, show: Any, count: int) -> None:
    for change in await operations.newest_changes(chosen, count, only=only, report=_tell):
        show(change)
    sys.stdout.flush()


def _print_json(change: ReceivedChange) -> None:
    sys.stdout.write(change.value.decode() + "\n")


class _LinePrinter:
    """One line a change, coloured on a terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def show(self, change: ReceivedChange) -> None:
        """Print one change: time, customer, direction, segment, crossing, cause, values."""
        values = " ".join(f"{name}={_compact(value)}" for name, value in change.values.items())
        self._console.print(
            Text.assemble(
                (change.time, "dim"),
                "  ",
                (change.customer_id, "bold"),
                "  ",
                (f"{change.change:<7}", _STYLES[change.change]),
                " ",
                (change.segment, "cyan"),
                (f" #{change.crossing}", "dim"),
                f"  {change.cause}",
                (f"  {values}" if values else "", "dim"),
            )
        )


def _compact(value: object) -> str:
    return orjson.dumps(value).decode()


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
