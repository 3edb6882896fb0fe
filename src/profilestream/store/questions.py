"""What readers ask of Redis, without asking it: each question yields commands and is sent their replies.

So the sync and the async reader share every thought. A question keeps to one generation from its first
command to its last. Never does any I/O.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ..core.errors import NotFound, UsageError
from ..wire.times import format_time
from ..wire.values import decode_value
from .keys import Keys, live_key, shard_of
from .metadata import Generation, parse_generation, parse_live, segment_tables, text_of
from .paging import Cursor, Order, page
from .steps import Steps, command

LIVE_CACHED_S: Final = 1.0
CUSTOMERS_A_BATCH_MAX: Final = 500
MEMBERS_A_PAGE_MAX: Final = 10_000
IN_ORDER: Final = Order()


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of one customer at one instant.

    `revision` counts the events folded. Times are RFC 3339 UTC text: `as_of` the clock of the last write,
    `event_time` the newest event, `valid_until` the instant before which no value changes without an
    event (None: never). `traits` has no entry for an absent trait; `segments` is name -> {"since",
    "crossing"} of the segments that the customer is in or was in, as the profile has them. `missed` is trait ->
    how many values did not fit into its `by=` or `top`; a trait that took all has no entry.
    """

    customer_id: str
    generation: str
    shard: int
    revision: int
    as_of: str | None
    event_time: str | None
    valid_until: str | None
    traits: dict[str, Any]
    segments: dict[str, dict[str, Any]]
    missed: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a segment and since when (RFC 3339 UTC)."""

    customer_id: str
    since: str


@dataclass(frozen=True, slots=True)
class MembersPage:
    """Members in order of entering, or the newest first; `cursor` goes on behind them, None when there are no more."""

    members: list[Member]
    cursor: str | None


class Questions:
    """All questions about one namespace; remembers the live generation for a second."""

    def __init__(self, namespace: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Raises UsageError for a namespace that is not one; `clock_s` gives seconds of any origin."""
        self._namespace = namespace
        self._live_key = live_key(namespace)
        self._clock_s = clock_s
        self._live_until_s = float("-inf")
        self._generation: Generation | None = None
        self._segments_of: tuple[str, frozenset[str]] = ("", frozenset())

    # -- generations

    def generation(self) -> Steps[Generation]:
        """The live generation; raises NotFound before `profilestream init`."""
        known = self._generation
        if known is not None and self._clock_s() < self._live_until_s:
            return known
        asked_at_s = self._clock_s()
        (reply,) = yield [command("get", self._live_key)]
        name = parse_live(self._namespace, reply)
        if known is None or known.name != name:
            known = yield from self._named(name)
        self._generation, self._live_until_s = known, asked_at_s + LIVE_CACHED_S
        return known

    def _named(self, name: str) -> Steps[Generation]:
        keys = Keys(self._namespace, name)
        (reply,) = yield [command("hgetall", keys.meta)]
        return parse_generation(keys, reply)

    def _require_segment(self, generation: Generation, segment: str) -> Steps[None]:
        """Raises NotFound for a segment that the definitions do not have; looks again before it does."""
        if segment in self._segments(generation):
            return
        fresh = yield from self._named(generation.name)
        if self._generation is not None and self._generation.name == fresh.name:
            self._generation = fresh
        names = self._segments(fresh)
        if segment not in names:
            known = ", ".join(sorted(names)[:20]) or "none"
            raise NotFound(f"no segment `{segment}` in generation `{fresh.name}`; it has: {known}")

    def _segments(self, generation: Generation) -> frozenset[str]:
        text, names = self._segments_of
        if text != generation.definitions:
            names = frozenset(segment_tables(generation))
            self._segments_of = (generation.definitions, names)
        return names

    # -- customers

    def profiles(self, customer_ids: Sequence[str]) -> Steps[list[Profile | None]]:
        """The profiles of customers in their order, None for one that has none."""
        generation = yield from self.generation()
        profiles: list[Profile | None] = []
        for start in range(0, len(customer_ids), CUSTOMERS_A_BATCH_MAX):
            some = customer_ids[start : start + CUSTOMERS_A_BATCH_MAX]
            replies = yield [command("hgetall", self._profile_key(generation, c)) for c in some]
            profiles += [_profile(generation, c, reply) for c, reply in zip(some, replies, strict=True)]
        return profiles

    def traits(self, customer_id: str, names: Iterable[str]) -> Steps[dict[str, Any]]:
        """The named traits that are present; {} for a customer without a profile."""
        wanted = list(names)
        for name in wanted:
            if name.startswith("_"):
                raise UsageError(f"`{name}` is no trait; get() has the fields that begin with _")
        generation = yield from self.generation()
        if not wanted:
            return {}
        (values,) = yield [command("hmget", self._profile_key(generation, customer_id), wanted)]
        return {n: decode_value(v) for n, v in zip(wanted, values, strict=True) if v is not None}

    def segments(self, customer_id: str) -> Steps[dict[str, dict[str, Any]]]:
        """The segments of a customer; {} for one without a profile."""
        generation = yield from self.generation()
        (value,) = yield [command("hget", self._profile_key(generation, customer_id), "_segments")]
        return {} if value is None else dict(orjson.loads(value))

    def is_member(self, customer_id: str, segment: str) -> Steps[bool]:
        """Whether the customer is in the segment; raises NotFound for an unknown segment."""
        generation = yield from self.generation()
        yield from self._require_segment(generation, segment)
        shard = shard_of(customer_id, generation.shards)
        key = Keys(self._namespace, generation.name).shard(shard).segment(segment)
        (score,) = yield [command("zscore", key, customer_id)]
        return score is not None

    def _profile_key(self, generation: Generation, customer_id: str) -> str:
        shard = shard_of(customer_id, generation.shards)
        return Keys(self._namespace, generation.name).shard(shard).profile(customer_id)

    # -- segments

    def count(self, segment: str, order: Order = IN_ORDER) -> Steps[int]:
        """How many members a segment has, of those that `order` takes; raises NotFound for an unknown one."""
        generation = yield from self.generation()
        yield from self._require_segment(generation, segment)
        keys = self._segment_keys(generation, segment)
        if order.since is None and order.until is None:
            replies = yield [command("zcard", key) for key in keys]
        else:
            replies = yield [command("zcount", key, *order.bounds) for key in keys]
        return sum(replies)

    def members_page(
        self, segment: str, count_max: int, cursor: str | None, order: Order = IN_ORDER
    ) -> Steps[MembersPage]:
        """Up to `count_max` members over all shards, by (time of entering, id).

        A cursor names the last member read and its generation, and goes on there even when another is live
        by now. A page may be shorter than asked though more follow. Raises NotFound (unknown segment, a
        generation that is gone) and UsageError (a cursor that is none, a page beyond 10,000).
        """
        if not 1 <= count_max <= MEMBERS_A_PAGE_MAX:
            raise UsageError(f"a page has 1 to {MEMBERS_A_PAGE_MAX} members, not {count_max}")
        after = None if cursor is None else Cursor.parse(cursor)
        if after is not None and after.newest_first != order.newest_first:
            raise UsageError("this cursor is of a page in the other order; go on in the order in which it began")
        generation = yield from (self.generation() if after is None else self._at(after.generation))
        yield from self._require_segment(generation, segment)
        keys = self._segment_keys(generation, segment)
        found, more = yield from page(keys, count_max, order, None if after is None else after.last)
        members = [Member(member.decode(), format_time(at)) for at, member in found]
        return MembersPage(members, str(Cursor(generation.name, order.newest_first, found[-1])) if more else None)

    def _at(self, name: str) -> Steps[Generation]:
        known = self._generation
        return known if known is not None and known.name == name else (yield from self._named(name))

    def _segment_keys(self, generation: Generation, segment: str) -> list[str]:
        keys = Keys(self._namespace, generation.name)
        return [keys.shard(number).segment(segment) for number in range(generation.shards)]


def _profile(generation: Generation, customer_id: str, reply: Mapping[Any, Any]) -> Profile | None:
    if not reply:
        return None
    fields = {text_of(name): value for name, value in reply.items()}

    def bare(name: str) -> str | None:
        value = fields.get(name)
        return None if value is None else text_of(value)

    return Profile(
        customer_id=customer_id,
        generation=generation.name,
        shard=shard_of(customer_id, generation.shards),
        revision=int(fields.get("_revision", 0)),
        as_of=bare("_as_of"),
        event_time=bare("_event_time"),
        valid_until=bare("_valid_until"),
        traits={name: decode_value(value) for name, value in fields.items() if not name.startswith("_")},
        segments=orjson.loads(fields.get("_segments", b"{}")),
        missed=orjson.loads(fields.get("_missed", b"{}")),
    )
