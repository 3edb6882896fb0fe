"""`profilestream history`: what happened to one customer, and the profile as it was."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from profilestream.cli import cards, history_cards, people
from profilestream.cli.connection import ArchiveOption, JsonOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.core.errors import NotFound, UsageError
from profilestream.operations import histories
from profilestream.operations.archives import open_archive
from profilestream.operations.history import History
from profilestream.operations.history_entries import Entry
from profilestream.operations.history_opening import open_history
from profilestream.operations.history_selection import Selection, parse_selection
from profilestream.operations.moments import parse_moment
from profilestream.settings import Settings
from profilestream.wire.values import encode_value

COUNT_MAX = 1_000_000
PROGRESS_INTERVAL_S = 0.2

SinceOption = Annotated[str | None, typer.Option("--since", metavar="WHEN", help="Only what happened from then on.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Only what happened before then.")]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(history)


def history(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id.")],
    at: Annotated[
        str | None, typer.Option("--at", metavar="WHEN", help="The profile as it was then: a time, or 2h or 7d ago.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Only what happened from then on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="WHEN", help="Only what happened before then.")
    ] = None,
    trait: Annotated[
        list[str] | None, typer.Option("--trait", metavar="T", help="Only changes of this trait; several times.")
    ] = None,
    segment: Annotated[
        list[str] | None, typer.Option("--segment", metavar="S", help="Only this segment's; several times.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", min=1, max=COUNT_MAX, help="The newest N.")
    ] = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Show what happened to a customer: events, changed traits, crossings; or with --at the profile as it was."""
    if at is not None and (since, until, trait, segment, count) != (None,) * 5:
        raise UsageError("--at shows a whole profile; leave out --since, --until, --trait, --segment and --count")
    chosen = settings(kafka, redis, namespace)
    with _Screen() as screen:
        if at is not None:
            asyncio.run(_show_profile(chosen, customer, at, archive, as_json, screen))
        else:
            asked = _Asked(since, until, trait or [], segment or [], count)
            asyncio.run(_show_entries(chosen, customer, asked, archive, as_json, screen))


class _Asked:
    """The options that select, still as texts: the zone of times is known once the definitions are."""

    def __init__(
        self, since: str | None, until: str | None, traits: list[str], segments: list[str], count: int | None
    ) -> None:
        self.count = count
        self._rest = since, until, traits, segments

    def selection(self, found: History) -> Selection:
        return parse_selection(found.generation, found.definitions, found.clock, *self._rest)


async def _show_profile(
    chosen: Settings, customer: str, at: str, archive: Path | None, as_json: bool, screen: _Screen
) -> None:
    async with open_history(chosen, customer, screen.stage, await open_archive(chosen, archive)) as found:
        zone = ZoneInfo(found.definitions.timezone)
        moment = parse_moment("--at", at, found.clock, zone)
        async with screen.following(found):
            async for _ in found.entries(until=moment):
                pass
    for line in history_cards.log_lines(found):
        print(line, file=sys.stderr)
    if moment > found.clock:
        clock = people.moment(found.clock, zone)
        print(f"--at lies after the shard's clock; the profile is that of now, {clock}", file=sys.stderr)
    if not found.events:
        raise NotFound(f"customer `{customer}` had no event by then, as far as the log tells")
    profile = histories.profile_of(found, min(moment, found.clock))
    if as_json:
        print(encode_value(histories.profile_object(profile)).decode())
    else:
        cards.show_profile(screen.out, profile, found.definitions)


async def _show_entries(
    chosen: Settings, customer: str, asked: _Asked, archive: Path | None, as_json: bool, screen: _Screen
) -> None:
    began = time.monotonic()
    async with open_history(chosen, customer, screen.stage, await open_archive(chosen, archive)) as found:
        selection = asked.selection(found)
        show = _print_json if as_json else history_cards.Teller(screen.out, found).show
        kept: deque[Entry] = deque(maxlen=asked.count)
        if not as_json:
            history_cards.show_beginning(screen.out, found)
        fitting = 0
        try:
            async with screen.following(found):
                async for entry in found.entries(None if selection.until is None else selection.until - 1):
                    one = selection.of(entry)
                    if one is None:
                        continue
                    fitting += 1
                    if asked.count is None:
                        show(one)
                    else:
                        kept.append(one)
        except asyncio.CancelledError:
            for one in kept:
                show(one)
            sys.stdout.flush()
            print(history_cards.interrupted(found), file=sys.stderr)
            raise
    for one in kept:
        show(one)
    differences = found.differences() if selection.until is None or selection.until > found.clock else None
    if as_json:
        print(encode_value(histories.summary_object(found, differences)).decode())
    else:
        shown = fitting if asked.count is None else len(kept)
        history_cards.show_end(screen.out, found, fitting, shown, differences, time.monotonic() - began)


def _print_json(entry: Entry) -> None:
    sys.stdout.write(encode_value(histories.entry_object(entry)).decode() + "\n")


class _Screen:
    """Where lines go, and how far the reading is, where a person looks on. `out` is the console for lines."""

    def __init__(self) -> None:
        self.out = people.console()
        self._bar: Progress | None = None
        self._task: Any = None
        if sys.stderr.isatty():
            console = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,.0f} records{task.fields[rate]}"),
            )
            self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
            if sys.stdout.isatty():
                self.out = console  # lines above the bar, which both are on one screen

    def __enter__(self) -> _Screen:
        if self._bar is not None:
            self._task = self._bar.add_task("looking", total=None, rate="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, name: str) -> None:
        """What is going on now."""
        if self._bar is not None:
            self._bar.update(self._task, description=name)

    def following(self, found: History) -> _Following:
        """While entered, the bar follows the reading."""
        return _Following(found, self._tell if self._bar is not None else None)

    def _tell(self, passed: int, total: int, rate: float) -> None:
        assert self._bar is not None
        self._bar.update(self._task, completed=passed, total=total, rate=f", {rate:,.0f}/s" if rate else "")


class _Following:
    """Tells a screen how far a history is read, a few times a second."""

    def __init__(self, found: History, tell: Callable[[int, int, float], None] | None) -> None:
        self._found = found
        self._tell = tell
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        if self._tell is not None:
            self._task = asyncio.create_task(self._run(self._tell))

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, tell: Callable[[int, int, float], None]) -> None:
        began, start = time.monotonic(), self._found.passed
        while True:
            passed, elapsed_s = self._found.passed, time.monotonic() - began
            tell(passed, self._found.total, (passed - start) / elapsed_s if elapsed_s > 1 else 0)
            await asyncio.sleep(PROGRESS_INTERVAL_S)
