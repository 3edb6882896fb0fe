"""The command that makes a changed definitions file the live one: `apply`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from profilestream.cli import people
from profilestream.cli.connection import ArchiveOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.cli.definitions import FileOption, definitions_path
from profilestream.cli.planning import looking
from profilestream.cli.replaying import AnnounceOption, YesOption, announced
from profilestream.cli.running import ClockOption, run_service
from profilestream.core.errors import UsageError

if TYPE_CHECKING:
    from profilestream.store.metadata import Generation


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(apply)


def apply(
    what: Annotated[
        Path | None,
        typer.Argument(metavar="FILE|PLAN", help="Definitions, or a saved plan [PROFILESTREAM_DEFINITIONS]."),
    ] = None,
    flag: FileOption = None,
    announce: AnnounceOption = "net",
    from_now: Annotated[
        bool, typer.Option("--from-now", help="Read nothing of the log: what only it has begins empty.")
    ] = False,
    allow_history_loss: Annotated[
        bool, typer.Option("--allow-history-loss", help="Also where the live profiles know more of the past.")
    ] = False,
    max_rate: Annotated[
        float | None,
        typer.Option("--max-rate", metavar="N", min=1, help="Records a second, of all processes together."),
    ] = None,
    archive: ArchiveOption = None,
    yes: YesOption = False,
    clock: ClockOption = "wall",
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Make changed definitions the live ones: takes over what is unchanged, folds the rest, asks, and switches."""
    from profilestream.cli.plan_cards import show_plan
    from profilestream.operations import apply as operation
    from profilestream.operations import plan as planning
    from profilestream.operations import plan_files
    from profilestream.operations.archives import open_archive
    from profilestream.wire.definitions import read_definitions

    if clock not in ("wall", "event"):
        raise typer.BadParameter("write `wall` or `event`", param_hint="--clock")
    if from_now and archive is not None:
        raise UsageError("--from-now reads nothing of the past, and --archive is read for that; give one of them")
    kind: Any = clock
    choice = operation.Choice(announced(announce), from_now, allow_history_loss, max_rate, kind)
    path = definitions_path(what, flag)
    saved = plan_files.read_plan(path) if plan_files.is_plan(path) else None
    definitions = saved.definitions if saved is not None else read_definitions(path)
    found = settings(kafka, redis, namespace)

    def check(live: Generation) -> None:
        if saved is not None:
            plan_files.check_current(saved, found.namespace, live)

    async def work() -> None:
        archived = await open_archive(found, archive)
        with looking() as (report, progress):
            made = await planning.make_plan(
                found, definitions, progress=progress, report=report, archive=archived, check=check
            )
        show_plan(people.console(), made, path, None)
        if not made.changes.any:
            return
        _say(f"\nto be done: {operation.effort(made.changes, choice)}")
        operation.check_history(made, choice)
        if not yes and not _can_be_asked():
            raise UsageError(
                "nobody can be asked here whether readers are to switch; add --yes, or run it in a terminal"
            )

        told = "what differs is announced" if choice.announce == "net" else "nobody is told of what differs"
        await run_service(
            lambda: operation.Apply(found, made, choice, lambda: yes or _goes_on(told), _say, archived), True
        )

    asyncio.run(work())


def _can_be_asked() -> bool:
    """Whether anybody can answer on stdin. Better known before a log is folded than after."""
    if sys.stdin is None or sys.stdin.closed:
        return False
    try:
        return not os.path.samestat(os.fstat(sys.stdin.fileno()), os.stat(os.devnull))
    except (OSError, ValueError):
        return True  # not a file, as in a notebook: it is asked, and tells


def _goes_on(told: str) -> bool:
    """The answer; where nobody can be asked, it is no."""
    try:
        return typer.confirm(f"Level with the live one. Readers switch, and {told}. Go on?")
    except typer.Abort:
        return False


def _say(line: str) -> None:
    print(line, flush=True)
