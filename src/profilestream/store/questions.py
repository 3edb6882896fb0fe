"""What readers ask of Redis, without asking it: each question yields commands and is sent their replies.

So the sync and the async reader share every thought. A question keeps to one generation from its first
command to its last. Never does any I/O.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson

from ..core.errors import NotFound, UsageError
from ..wire.times import format_time
from ..wire.values import decode_value
from .keys import Keys, live_key, shard_of
from .metadata import Generation, parse_generation, parse_live, segment_tables, text_of

LIVE_CACHED_S: Final = 1.0
CUSTOMERS_A_BATCH_MAX: Final = 500
MEMBERS_A_PAGE_MAX: Final = 10_000
_MEMBERS_A_SHARD_MIN: Final = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Command:
    """One call of a redis-py client: method, positional and keyword arguments."""

    method: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]


Steps = Generator[list[Command], list[Any], T]


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
    """Members in order of entering; `cursor` goes on behind them, None when there are no more."""

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
        (reply,) = yield [_command("get", self._live_key)]
        name = parse_live(self._namespace, reply)
        if known is None or known.name != name:
            known = yield from self._named(name)
        self._generation, self._live_until_s = known, asked_at_s + LIVE_CACHED_S
        return known

    def _named(self, name: str) -> Steps[Generation]:
        keys = Keys(self._namespace, name)
        (reply,) = yield [_command("hgetall", keys.meta)]
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
            replies = yield [_command("hgetall", self._profile_key(generation, c)) for c in some]
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
        (values,) = yield [_command("hmget", self._profile_key(generation, customer_id), wanted)]
        return {n: decode_value(v) for n, v in zip(wanted, values, strict=True) if v is not None}

    def segments(self, customer_id: str) -> Steps[dict[str, dict[str, Any]]]:
        """The segments of a customer; {} for one without a profile."""
        generation = yield from self.generation()
        (value,) = yield [_command("hget", self._profile_key(generation, customer_id), "_segments")]
        return {} if value is None else dict(orjson.loads(value))

    def is_member(self, customer_id: str, segment: str) -> Steps[bool]:
        """Whether the customer is in the segment; raises NotFound for an unknown segment."""
        generation = yield from self.generation()
        yield from self._require_segment(generation, segment)
        shard = shard_of(customer_id, generation.shards)
        key = Keys(self._namespace, generation.name).shard(shard).segment(segment)
        (score,) = yield [_command("zscore", key, customer_id)]
        return score is not None

    def _profile_key(self, generation: Generation, customer_id: str) -> str:
        shard = shard_of(customer_id, generation.shards)
        return Keys(self._namespace, generation.name).shard(shard).profile(customer_id)

    # -- segments

    def count(self, segment: str) -> Steps[int]:
        """How many members a segment has; raises NotFound for an unknown one."""
        generation = yield from self.generation()
        yield from self._require_segment(generation, segment)
        replies = yield [_command("zcard", key) for key in self._segment_keys(generation, segment)]
        return sum(replies)

    def members_page(self, segment: str, count_max: int, cursor: str | None) -> Steps[MembersPage]:
        """Up to `count_max` members over all shards, by (time of entering, id).

        A cursor names the last member read and its generation, and goes on there even when another is live
        by now. A page may be shorter than asked though more follow. Raises NotFound (unknown segment, a
        generation that is gone) and UsageError (a cursor that is none, a page beyond 10,000).
        """
        if not 1 <= count_max <= MEMBERS_A_PAGE_MAX:
            raise UsageError(f"a page has 1 to {MEMBERS_A_PAGE_MAX} members, not {count_max}")
        after = None if cursor is None else _read_cursor(cursor)
        generation = yield from (self.generation() if after is None else self._at(after[0]))
        yield from self._require_segment(generation, segment)
        keys = self._segment_keys(generation, segment)
        starts = [0] * len(keys)
        if after is not None:
            starts = yield from _positions_behind(keys, after[1], after[2])
        # Twice an even share: enough that most pages are full, and far less than a page of each shard.
        share = min(count_max, max(_MEMBERS_A_SHARD_MIN, -(-2 * count_max // len(keys))))
        replies = yield [_ranked(key, at, share) for key, at in zip(keys, starts, strict=True)]
        shards = [[(int(score), _bytes(member)) for member, score in reply] for reply in replies]
        found = sorted(entry for entries in shards for entry in entries)
        # A shard that gave its full share may have more behind it: only what lies before that is settled.
        settled = min((entries[-1] for entries in shards if len(entries) == share), default=None)
        page = [entry for entry in found if settled is None or entry <= settled][:count_max]
        members = [Member(member.decode(), format_time(score)) for score, member in page]
        if settled is None and len(page) == len(found):
            return MembersPage(members, None)
        return MembersPage(members, f"{generation.name}/{page[-1][0]}/{members[-1].customer_id}")

    def _at(self, name: str) -> Steps[Generation]:
        known = self._generation
        return known if known is not None and known.name == name else (yield from self._named(name))

    def _segment_keys(self, generation: Generation, segment: str) -> list[str]:
        keys = Keys(self._namespace, generation.name)
        return [keys.shard(number).segment(segment) for number in range(generation.shards)]


def _positions_behind(keys: Sequence[str], score: int, member: bytes) -> Steps[list[int]]:
    """For each sorted set, the rank of the first entry behind (score, member); by halving among equals.

    Many members may share one instant (a definition changed), so they are not read one by one.
    """
    counts = yield [_command("zcount", key, "-inf", bound) for key in keys for bound in (f"({score}", score)]
    low, high = counts[::2], counts[1::2]
    while True:
        open_ = [i for i in range(len(keys)) if low[i] < high[i]]
        if not open_:
            return low
        replies = yield [_ranked(keys[i], (low[i] + high[i]) // 2, 1) for i in open_]
        for i, reply in zip(open_, replies, strict=True):
            middle = (low[i] + high[i]) // 2
            if reply and (int(reply[0][1]), _bytes(reply[0][0])) <= (score, member):
                low[i] = middle + 1
            else:
                high[i] = middle


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


def _read_cursor(cursor: str) -> tuple[str, int, bytes]:
    generation, _, rest = cursor.partition("/")
    score, slash, member = rest.partition("/")
    try:
        if slash:
            return generation, int(score), member.encode()
    except ValueError:
        pass
    raise UsageError("this is no cursor of members(); start without one")


def _ranked(key: str, start: int, count: int) -> Command:
    return Command("zrange", (key, start, start + count - 1), {"withscores": True})


def _command(method: str, *args: Any) -> Command:
    return Command(method, args, {})


def _bytes(member: bytes | str) -> bytes:
    return member.encode() if isinstance(member, str) else member
