"""Pages of a segment's members over all shards: each shard has a sorted set, by time of entering and then by id.

A page never skips and never repeats anybody who was a member all the while, whatever comes and goes between two pages
or between two commands of one. Members are asked for by time, from that of the last one read on. Only where more than a
page share that instant (many who entered when definitions changed) is the place found by halving their ranks; ranks
move, so such a reply counts only where it joins on to the last one read.

Never does any I/O.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from ..core.errors import UsageError
from .steps import Command, Steps, command

_SHARE_MIN: Final = 16
_EQUALS_SPARED: Final = 16
"""Read beyond a share, so that the few who entered at the very instant of the last one read cost no more commands."""


class Entry(NamedTuple):
    """A member as its shard has it; in order of entering."""

    entered_at: int
    member: bytes


@dataclass(frozen=True, slots=True)
class Order:
    """Which members, in which order: those who entered at `since` (ms) or later and before `until`."""

    newest_first: bool = False
    since: int | None = None
    until: int | None = None

    def behind(self, entry: Entry, last: Entry) -> bool:
        """Whether an entry comes after the last one read."""
        return entry < last if self.newest_first else entry > last

    def has(self, entry: Entry) -> bool:
        return (self.since is None or entry.entered_at >= self.since) and (
            self.until is None or entry.entered_at < self.until
        )

    @property
    def bounds(self) -> tuple[int | str, int | str]:
        """As the commands by score take them."""
        return (
            "-inf" if self.since is None else self.since,
            "+inf" if self.until is None else f"({self.until}",
        )


@dataclass(frozen=True, slots=True)
class Cursor:
    """Behind which member of which generation to go on; its text is opaque, and safe in a shell and in a URL."""

    generation: str
    newest_first: bool
    last: Entry

    def __str__(self) -> str:
        way = "n" if self.newest_first else "o"
        head = f"{self.generation}/{way}/{self.last.entered_at}/".encode()
        return base64.urlsafe_b64encode(head + self.last.member).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UsageError for what is no cursor."""
        try:
            plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            generation, way, score, member = plain.split(b"/", 3)
            member.decode()
            if way in (b"n", b"o"):
                return cls(generation.decode(), way == b"n", Entry(int(score), member))
        except (ValueError, binascii.Error):
            pass
        raise UsageError("this is no cursor of a page of members; start without one")


def page(keys: Sequence[str], count_max: int, order: Order, last: Entry | None) -> Steps[tuple[list[Entry], bool]]:
    """Up to `count_max` members behind `last`, and whether there may be more; `keys` are the shards' sorted sets.

    It has at least one where more follow.
    """
    # Twice an even share: enough that most pages are full, and far less than a page of each shard.
    share = min(count_max, max(_SHARE_MIN, -(-2 * count_max // len(keys))))
    asked = share + (0 if last is None else _EQUALS_SPARED)
    replies = yield [_by_time(key, order, last, asked) for key in keys]
    shards: list[list[Entry]] = []
    more: list[bool] = []
    stuck: list[int] = []
    for number, reply in enumerate(replies):
        found = _entries(reply)
        shards.append([entry for entry in found if last is None or order.behind(entry, last)])
        more.append(len(found) == asked)
        if more[-1] and not shards[-1]:
            stuck.append(number)
    if stuck and last is not None:
        found_behind = yield from _behind_equals([keys[number] for number in stuck], share, order, last)
        for number, (entries, has_more) in zip(stuck, found_behind, strict=True):
            shards[number] = [entry for entry in entries if order.has(entry)]
            more[number] = has_more and len(shards[number]) == len(entries)
    everything = sorted((entry for entries in shards for entry in entries), reverse=order.newest_first)
    # What lies beyond the last one of a shard that has more behind it is not settled yet.
    ends = [entries[-1] for entries, has_more in zip(shards, more, strict=True) if has_more]
    settled = (max(ends) if order.newest_first else min(ends)) if ends else None
    settled_ones = [entry for entry in everything if settled is None or not order.behind(entry, settled)][:count_max]
    return settled_ones, settled is not None or len(settled_ones) < len(everything)


def _by_time(key: str, order: Order, last: Entry | None, count: int) -> Command:
    low, high = order.bounds
    options = {"start": 0, "num": count, "withscores": True}
    if order.newest_first:
        return Command("zrevrangebyscore", (key, high if last is None else last.entered_at, low), options)
    return Command("zrangebyscore", (key, low if last is None else last.entered_at, high), options)


def _behind_equals(keys: Sequence[str], count: int, order: Order, last: Entry) -> Steps[list[tuple[list[Entry], bool]]]:
    """From each sorted set the next entries behind `last`, where very many entered at that instant, and whether it has
    more."""
    found: dict[str, tuple[list[Entry], bool]] = {}
    while open_ := [key for key in keys if key not in found]:
        places = yield from _places_behind(open_, order, last)
        spans = [
            (max(0, place - count), place) if order.newest_first else (max(0, place - 1), place + count - 1)
            for place in places
        ]
        replies = yield [command("zrange", key, *span, withscores=True) for key, span in zip(open_, spans, strict=True)]
        for key, (start, stop), place, reply in zip(open_, spans, places, replies, strict=True):
            entries = _entries(reply)
            full = len(entries) == stop - start + 1
            if order.newest_first:
                entries.reverse()
                joins, more = not full or not order.behind(entries[0], last), start > 0
            else:
                joins, more = place == 0 or (bool(entries) and not order.behind(entries[0], last)), full
            behind = [entry for entry in entries if order.behind(entry, last)]
            if joins and (behind or not more):
                found[key] = behind, more
    return [found[key] for key in keys]


def _places_behind(keys: Sequence[str], order: Order, last: Entry) -> Steps[list[int]]:
    """For each sorted set how many entries are up to `last` (with newest first: before it); by halving its equals."""
    bounds = (f"({last.entered_at}", last.entered_at)
    counts = yield [command("zcount", key, "-inf", bound) for key in keys for bound in bounds]
    low, high = counts[::2], counts[1::2]
    while open_ := [i for i in range(len(keys)) if low[i] < high[i]]:
        middles = [(low[i] + high[i]) // 2 for i in open_]
        replies = yield [command("zrange", keys[i], m, m, withscores=True) for i, m in zip(open_, middles, strict=True)]
        for i, middle, reply in zip(open_, middles, replies, strict=True):
            entries = _entries(reply)
            if entries and (entries[0] < last if order.newest_first else entries[0] <= last):
                low[i] = middle + 1
            else:
                high[i] = middle
    return list(low)


def _entries(reply: Sequence[tuple[Any, float]]) -> list[Entry]:
    return [Entry(int(score), m.encode() if isinstance(m, str) else m) for m, score in reply]
