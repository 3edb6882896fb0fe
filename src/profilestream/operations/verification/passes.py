"""One pass over a shard's log for all chosen customers of it.

Redis is read first, page by page, each page with the shard's head of the same instant: so of each customer it is known
up to which positions the profile was folded. Then the log is read once, up to the greatest of these positions, and of
each customer exactly those records count that lie below its own. Workers go on meanwhile; nothing is held up.

A customer of whom the log has an event below the positions that the head had before the profiles were listed must have
been listed: whoever was not, and still is not there, is missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from profilestream.operations.keeping import read_kept
from profilestream.operations.retention import Kept
from profilestream.operations.verification.checking import Checked, Finding, check
from profilestream.operations.verification.choosing import Choice, Range
from profilestream.operations.verification.holding import Held
from profilestream.operations.verification.recomputing import Arrival, Limits, Recomputed, recompute
from profilestream.operations.verification.tally import Tallies
from profilestream.oracle.definitions import Definitions
from profilestream.oracle.doubts import ANY_TIME, Gaps
from profilestream.oracle.records import Records
from profilestream.oracle.shards import shard_of
from profilestream.oracle.values import parse_time
from profilestream.settings import Settings
from profilestream.store.commits import Head
from profilestream.store.connection import AsyncClient
from profilestream.store.keys import Keys, ShardKeys
from profilestream.store.metadata import Generation
from profilestream.store.snapshots import StoredProfile, profiles_of, read_snapshot, snapshots
from profilestream.stream.archive import Archive
from profilestream.stream.shard_log import ShardLog, Span
from profilestream.stream.slices import Record
from profilestream.stream.strays import parse_stray_headers

CHECKED_AT_ONCE: Final = 20
"""Customers that are compared before others of the program have their turn: Ctrl-C, the progress."""
SEGMENTS_LOOKED_UP_MAX: Final = 2_000
"""The sorted sets of members of so many segments are looked at; of others the profile and the state alone."""


@dataclass(slots=True)
class Progress:
    """How far a verification has come: `passed` of `total` records of this pass over a shard."""

    shard: int = 0
    passed: int = 0
    total: int = 0
    records: int = 0
    stage: str = "looking"


class Pace:
    """Holds reading to so many records a second, None: to none."""

    def __init__(self, rate_max: int | None) -> None:
        self._rate_max = rate_max
        self._free_s = time.monotonic()

    async def passes(self, records: int) -> None:
        """Waits until so many more may have been read."""
        if self._rate_max is None:
            return
        self._free_s = max(self._free_s, time.monotonic() - 1) + records / self._rate_max
        if (wait_s := self._free_s - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)


class _Stored(NamedTuple):
    """A profile with the positions and the clock (ms) of its shard at the instant at which it was read."""

    profile: StoredProfile
    positions: Mapping[str, int]
    clock: int | None


class Passes:
    """All passes over the shards of one generation; what they find is in `tallies`, and how the log is in `kept`."""

    def __init__(
        self,
        client: AsyncClient,
        settings: Settings,
        generation: Generation,
        choice: Choice,
        pace: Pace,
        progress: Progress,
        archive: Archive | None = None,
    ) -> None:
        self.tallies = Tallies()
        self.kept: dict[int, list[Kept]] = {}
        self._client = client
        self._settings = settings
        self._generation = generation
        self._choice = choice
        self._pace = pace
        self._progress = progress
        self._archive = archive
        self._definitions = Definitions(generation.definitions)
        self._records = Records(self._definitions)
        self._topics = (*self._records.type_of_topic, settings.rekeyed_topic)
        self._segments = [s.name for s in self._definitions.segments][:SEGMENTS_LOOKED_UP_MAX]
        self._limits = Limits(
            settings.remembered_ids_max,
            settings.remembered_ids_ms_max,
            settings.map_keys_max,
            settings.future_ms_max,
        )

    async def run(self, shard: int) -> None:
        """Verifies the chosen customers of a shard, in as many passes as it takes."""
        self._progress.shard = shard
        parts = [self._choice.range]
        while parts:
            parts += await self._part(shard, parts.pop())

    async def _part(self, shard: int, part: Range) -> list[Range]:
        """One pass; gives the parts that have to wait for another."""
        keys = Keys(self._settings.namespace, self._generation.name).shard(shard)
        held = Held(self._choice, part)
        self._progress.stage = "profiles"
        before = (await read_snapshot(self._client, keys, [], [])).head
        async for customer_id in self._listed(keys, shard):
            if held.wants(customer_id):
                held.meet(customer_id)
        stored: dict[str, _Stored] = {}
        seen: dict[str, Mapping[str, int]] = {}
        latest = before
        async for page in snapshots(self._client, keys, sorted(held.arrivals), self._segments):
            latest = _later(latest, page.head)
            for profile in page.profiles:
                seen[profile.customer_id] = page.head.positions
                if profile.is_there:
                    stored[profile.customer_id] = _Stored(profile, page.head.positions, page.head.clock)
        async with self._log(shard, latest) as log:
            await self._read(log, shard, held)
        gaps = self._gaps(self.kept[shard])
        self._progress.stage = "comparing"
        for number, customer_id in enumerate(sorted(held.arrivals)):
            if number % CHECKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            own = stored.get(customer_id)
            if own is not None:
                recomputed = self._recompute(customer_id, held.arrivals[customer_id], own.positions)
                self.tallies.add(check(recomputed, own.profile, own.clock, gaps, self._limits.keys_max))
            else:
                positions = seen.get(customer_id, before.positions)
                await self._of_missing(keys, self._recompute(customer_id, held.arrivals[customer_id], positions))
        self.tallies.left_out["too_many_events"] += len(held.too_large)
        return held.put_off

    async def _listed(self, keys: ShardKeys, shard: int) -> AsyncIterator[str]:
        """The customers that may have a profile: everybody who has one, or those named."""
        if self._choice.ids is None:
            async for customer_id in profiles_of(self._client, keys):
                yield customer_id
            return
        for customer_id in self._choice.ids:
            if shard_of(customer_id, self._generation.shards) == shard:
                yield customer_id

    @asynccontextmanager
    async def _log(self, shard: int, head: Head) -> AsyncIterator[ShardLog]:
        """The shard's log up to the head's positions, from where the generation began to read it."""
        kept = await read_kept(self._settings, self._generation, shard, head, self._topics, self._archive)
        if self._is_carried:
            # What was carried over was folded by others before, from wherever these began.
            kept = [replace(part, first_read=0) for part in kept]
        spans = {part.topic: Span(max(part.begins, part.first_read), part.position) for part in kept if part.readable}
        async with ShardLog(str(self._settings.kafka), shard, spans, self._archive) as log:
            self.kept[shard] = [part.beginning(log.first_timestamps.get(part.topic)) for part in kept]
            yield log

    async def _read(self, log: ShardLog, shard: int, held: Held) -> None:
        progress, before = self._progress, self._progress.records
        progress.stage, progress.passed, progress.total = "log", 0, log.total
        origins: dict[str, int] = {}
        async for run in log.runs():
            self._take(run, shard, held, origins)
            progress.passed = log.passed
            progress.records = before + log.passed
            await self._pace.passes(len(run))
        progress.records = before + log.passed

    def _take(self, run: Iterable[Record], shard: int, held: Held, origins: dict[str, int]) -> None:
        """Keeps the records of customers that this pass serves; forwarded twice a record counts once."""
        customer_of, rekeyed = self._records.customer, self._settings.rekeyed_topic
        type_of, shards = self._records.type_of_topic, self._generation.shards
        for record in run:
            topic, arrived_at = record.topic, record.timestamp
            if topic == rekeyed:
                origin = parse_stray_headers(record.headers)
                if origin is None or type_of.get(origin.topic) != origin.type:
                    continue
                if origin.offset <= origins.get(origin.name, -1):
                    continue
                origins[origin.name] = origin.offset
                topic, arrived_at = origin.topic, origin.timestamp_ms
            customer_id = customer_of(topic, record.value)
            if customer_id is None or not held.wants(customer_id) or shard_of(customer_id, shards) != shard:
                continue
            held.add(customer_id, Arrival(record.topic, record.offset, topic, arrived_at, record.value))

    def _recompute(self, customer_id: str, arrivals: list[Arrival], positions: Mapping[str, int]) -> Recomputed:
        below = (a for a in arrivals if a.offset < positions.get(a.log, 0))
        return recompute(self._records, customer_id, below, self._limits, time.time_ns() // 1_000_000)

    async def _of_missing(self, keys: ShardKeys, own: Recomputed) -> None:
        """A customer of whom the log has events and Redis no profile, unless there is one by now."""
        if not own.events:
            if self._choice.ids is not None:
                self.tallies.left_out["unknown"] += 1
            return
        (profile,) = (await read_snapshot(self._client, keys, [own.customer_id], [])).profiles
        if profile.is_there:
            self.tallies.left_out["moved"] += 1
            return
        note = f"the log has {own.events} of its events"
        self.tallies.add(Checked([Finding("profile", "", "missing", own.customer_id, None, None, note)]))

    def _gaps(self, kept: Iterable[Kept]) -> Gaps:
        """What the log no longer has of that which was folded."""
        types: dict[str, int] = {}
        type_of = self._records.type_of_topic
        for part in kept:
            if not part.gone:
                continue
            latest = ANY_TIME if part.begins_ms is None else part.begins_ms + self._settings.future_ms_max
            fed = type_of.values() if part.topic == self._settings.rekeyed_topic else [type_of[part.topic]]
            for name in fed:
                types[name] = max(latest, types.get(name, latest))
        if not self._is_carried:
            return Gaps(types)
        since = {trait: parse_time(text) for trait, text in self._generation.complete_since.items()}
        made = parse_time(self._generation.created_at)
        return Gaps(dict.fromkeys(type_of.values(), ANY_TIME), since, more_in_log=True, others_since=made)

    @property
    def _is_carried(self) -> bool:
        return self._generation.method == "carry"


def _later(one: Head, other: Head) -> Head:
    """The head that has the greater positions, topic by topic."""
    positions = {
        t: max(one.positions.get(t, 0), other.positions.get(t, 0)) for t in {**one.positions, **other.positions}
    }
    return Head(positions=positions, starts={**one.starts, **other.starts}, clock=other.clock)
