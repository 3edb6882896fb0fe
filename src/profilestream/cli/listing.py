"""`profilestream segments` and `members`: which segments there are, how they move, and who is in them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from profilestream.cli import people
from profilestream.cli.connection import JsonOption, KafkaOption, NamespaceOption, RedisOption, redis_address
from profilestream.core.counting import counted
from profilestream.core.errors import UsageError
from profilestream.operations import segments as listing
from profilestream.operations.moments import parse_moment
from profilestream.store.connection import connect_sync
from profilestream.store.reader import PAGE_MEMBERS, Member, ProfileReader
from profilestream.wire.explanations import time_text
from profilestream.wire.values import encode_value

MEMBERS_SHOWN = 50
CLOCK_BEHIND_MS = 300_000
"""By how much the shards' clocks may be behind this machine's before that is said."""

_COLUMNS = ("members", "entered 1h", "left 1h", "entered 1d", "left 1d")


def segments(
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """List the segments: how many members each has, and how many entered and left in the last hour and day."""
    found = listing.list_segments(*redis_address(kafka, redis, namespace))
    if as_json:
        as_of = time_text(found.clock)
        rows = [
            {"name": s.name, "description": s.description, **asdict(s.traffic), "as_of": as_of} for s in found.segments
        ]
        print(encode_value(rows).decode())
    elif not found.segments:
        print(f"generation {found.generation.name} has no segments")
    else:
        _show_segments(found)


def _show_segments(found: listing.Listing) -> None:
    rows = people.table("segment", *_COLUMNS, "description", right=_COLUMNS)
    for one in found.segments:
        counts = (f"{count:,}" for count in asdict(one.traffic).values())
        rows.add_row(one.name, *counts, people.one_line(one.description) if one.description else "")
    people.show(people.console(), rows)
    behind_ms = 0 if found.clock is None else time.time_ns() // 1_000_000 - found.clock
    if found.clock is not None and behind_ms > CLOCK_BEHIND_MS:
        print(
            f"1h and 1d end at {people.moment(found.clock, ZoneInfo('UTC'))}, the newest clock of all shards, "
            f"{people.duration(behind_ms)} behind this machine's",
            file=sys.stderr,
        )


def members(
    segment: Annotated[str, typer.Argument(metavar="SEGMENT", help="The segment's name.")],
    count: Annotated[
        int | None,
        typer.Option("--count", metavar="N", min=0, help=f"At most N (for people {MEMBERS_SHOWN}, with --json all)."),
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="All of them, also for people.")] = False,
    after: Annotated[
        str | None, typer.Option("--after", metavar="CURSOR", help="Go on where a page ended; it said how.")
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="Who entered last comes first.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="Only who entered from then on: a time, or 2h or 7d ago."),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Only who entered before then.")] = None,
    total: Annotated[bool, typer.Option("--total", help="Print only how many they are.")] = False,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """List the members of a segment in the order in which they entered, page by page."""
    if everyone and count is not None:
        raise UsageError("--all and --count N cannot both be meant; give one of them")
    address, name = redis_address(kafka, redis, namespace)
    with closing(connect_sync(address)) as client:
        reader = ProfileReader(client, name)
        listing.check_segment(reader, segment)
        clock = listing.newest_clock(client, name, reader.generation()) if since or until else None
        now_ms = time.time_ns() // 1_000_000 if clock is None else clock
        since_ms = None if since is None else parse_moment("--since", since, now_ms)
        until_ms = None if until is None else parse_moment("--until", until, now_ms)
        if total:
            print(reader.count(segment, since=since_ms, until=until_ms))
            return
        shown_max = None if everyone or (count is None and as_json) else MEMBERS_SHOWN if count is None else count
        pages = _Pages(reader, segment, shown_max, after, newest, since_ms, until_ms)
        (_print_json if as_json else _print_lines)(pages)
        there = reader.count(segment, since=since_ms, until=until_ms)
    which = "" if since is None and until is None else " who entered then"
    if pages.cursor is not None:
        rest = f"--after {pages.cursor} goes on"
        print(f"{pages.shown:,} of {counted(there, 'member')}{which}; {rest}", file=sys.stderr)
    elif not there and not as_json:
        print(f"{segment} has no members{which}", file=sys.stderr)


class _Pages:
    """Members, read page by page as they are printed; afterwards how many, and where to go on (None: at the end)."""

    def __init__(
        self,
        reader: ProfileReader,
        segment: str,
        count_max: int | None,
        cursor: str | None,
        newest_first: bool,
        since: int | None,
        until: int | None,
    ) -> None:
        self.shown = 0
        self.cursor = cursor
        self._reader = reader
        self._segment = segment
        self._left = count_max
        self._newest_first = newest_first
        self._since = since
        self._until = until

    def __iter__(self) -> Iterator[Member]:
        while self._left is None or self._left > 0:
            page = self._reader.members_page(
                self._segment,
                PAGE_MEMBERS if self._left is None else min(PAGE_MEMBERS, self._left),
                self.cursor,
                newest_first=self._newest_first,
                since=self._since,
                until=self._until,
            )
            self.cursor = page.cursor
            self.shown += len(page.members)
            self._left = None if self._left is None else self._left - len(page.members)
            yield from page.members
            if page.cursor is None:
                return


def _print_json(pages: _Pages) -> None:
    # Piece by piece: a segment may have more members than should be held at once.
    sys.stdout.write("[")
    for n, member in enumerate(pages):
        one = encode_value({"customer_id": member.customer_id, "since": member.since}).decode()
        sys.stdout.write(f",\n{one}" if n else one)
    sys.stdout.write("]\n")


def _print_lines(pages: _Pages) -> None:
    for member in pages:
        print(f"{member.since}  {member.customer_id}")
