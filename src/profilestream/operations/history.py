"""`history`: what happened to one customer, folded on demand from the customer's shard of the log.

Nothing of it is stored. The shard's part of the log is read again, up to where the worker has folded it; only the
customer's own events are folded, those of others move the shard's clock. What was announced is the truth for
crossings (`told.py`), the fold for traits. `history_opening.py` makes a history, `history_entries.py` is what
it tells.

While an entry is in hand, `history.profile`, `values` and `members` are as it left them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final

from profilestream.core.chronicle import Chronicle, Step
from profilestream.core.definitions import Definitions
from profilestream.core.engine import Engine
from profilestream.core.profile import Profile
from profilestream.operations.history_entries import Difference, Entry, Happened
from profilestream.operations.retention import Kept, whole_since
from profilestream.operations.told import Crossed, Told
from profilestream.settings import Settings
from profilestream.store.keys import shard_of
from profilestream.store.metadata import Generation
from profilestream.store.standing import Standing
from profilestream.stream.shard_log import ShardLog
from profilestream.stream.slices import Record
from profilestream.stream.sources import Sources, place
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.glances import Glance, glance_of
from profilestream.wire.states import decode_state

CLOCK_START_MS: Final = -(1 << 62)
CANDIDATES_MAX: Final = 4_096
"""Records of others that may have moved the clock are looked at in full so many at a time: only the latest counts."""


class History:
    """One customer's history; made by `open_history`. Read `entries` once.

    `clock` is the shard's clock now (ms), `kept` what the log still has of each topic, `whole_since` for each trait
    that it does not tell in full the clock from which on it does, `topics_gone` the topics that are not there at all.
    While entries are read `passed` of `total` offsets are fetched; `events`, `duplicates` and `otherwise` (crossings
    that were told otherwise than the fold finds them) are the customer's so far.
    """

    def __init__(
        self,
        customer_id: str,
        generation: Generation,
        engine: Engine,
        settings: Settings,
        standing: Standing,
        told: Told,
        log: ShardLog,
        kept: list[Kept],
    ) -> None:
        assert standing.state is not None
        self.customer_id = customer_id
        self.generation = generation
        self.shard = shard_of(customer_id, generation.shards)
        self.kept = kept
        self.whole_since = whole_since(engine, kept, settings.rekeyed_topic, settings.future_ms_max)
        self.events = self.duplicates = self.otherwise = 0
        self.members: dict[str, tuple[int, int]] = {}
        """The last crossing of each segment (odd: a member) and when it was (ms)."""
        self._stored = decode_state(standing.state, customer_id, engine)
        head = standing.head.clock
        self.clock = self._stored.as_of if head is None else max(head, self._stored.as_of)
        self.level = standing.level
        self.in_repair = standing.head.repair
        self._engine = engine
        self._chronicle = Chronicle(engine, customer_id)
        self._told = told
        self._log = log
        self._sources = Sources(engine, settings)
        self._glances: Mapping[str, Glance] = {
            s.topic: glance for s in engine.definitions.sources if (glance := glance_of(s)) is not None
        }
        self._origins: dict[str, int] = {}
        self._candidates: list[tuple[int, Record]] = []
        self._reached = CLOCK_START_MS

    @property
    def definitions(self) -> Definitions:
        """The live generation's definitions."""
        return self._engine.definitions

    @property
    def engine(self) -> Engine:
        """The live generation's engine."""
        return self._engine

    @property
    def profile(self) -> Profile:
        """The state after the last entry; its crossing numbers are the fold's own, those of `members` were told."""
        return self._chronicle.profile

    @property
    def values(self) -> Mapping[str, Any]:
        """The traits after the last entry, as readers see them; absent ones are left out."""
        return self._chronicle.values

    @property
    def passed(self) -> int:
        """How many offsets have been fetched."""
        return self._log.passed

    @property
    def total(self) -> int:
        """How many offsets there are to fetch."""
        return self._log.total

    async def entries(self, until: int | None = None) -> AsyncIterator[Entry]:
        """Every event of the customer and every instant at which time alone was due, in order of the shard's clock.

        An entry may have changed no trait and no segment. With `until` (ms) all that had happened when the shard's
        clock stood there, at most where it stands now. Raises ServerUnavailable, LogMismatch as `ShardLog` does.
        """
        end = self.clock if until is None else min(until, self.clock)
        async for run in self._log.runs():
            for entry in self._fold(run, until):
                yield entry
            if self._reached > end:
                break
        else:
            if until is None:
                self._told.release(self._told.places)
        for entry in self._pass_time(end):
            yield entry

    def differences(self) -> list[Difference]:
        """What Redis holds otherwise, once all entries have been read; the segments' last crossings come last."""
        engine, stored = self._engine, self._stored
        engine.advance(stored, self.clock, [])
        there = engine.values(stored)
        found = [
            Difference(t.name, self.values.get(t.name), there.get(t.name))
            for t in self.definitions.traits
            if self.values.get(t.name) != there.get(t.name)
        ]
        for segment in self.definitions.segments:
            folded, kept = self.members.get(segment.name, (0, 0))[0], stored.members.get(segment.name, [0])[0]
            if folded != kept:
                found.append(Difference(segment.name, folded, kept))
        return found

    def _fold(self, records: Iterable[Record], until: int | None) -> Iterator[Entry]:
        """The entries of a run of records; ends early, with the clock beyond `until`, where it passes that."""
        mine, chronicle, told = self.customer_id, self._chronicle, self._told
        candidates, read, now_ms = self._candidates, self._sources.read, time.time_ns() // 1_000_000
        reached, glance = self._reached, None
        last = self.clock if until is None else until
        topic = None
        for record in records:
            if record.topic is not topic:
                topic, glance = record.topic, self._glances.get(record.topic)
            if glance is not None:
                seen = glance(record.value)
                if seen is not None and seen[0] != mine and seen[1] <= last:
                    if seen[1] > reached:
                        candidates.append((seen[1], record))
                        if len(candidates) >= CANDIDATES_MAX:
                            reached = self._settle_clock(now_ms)
                    continue
            event, handler, origin = read(record, now_ms)
            if event.__class__ is Rejection or (origin is not None and not self._is_new(origin)):
                continue
            at = event.occurred_at
            if event.customer_id != mine:
                if at > reached and shard_of(event.customer_id, self.generation.shards) == self.shard:
                    self._reached = reached = at
                    if until is not None and at > until:
                        return
                continue
            arrival = record.timestamp if origin is None else origin.timestamp_ms
            if chronicle.is_duplicate(event, handler, arrival):
                self.duplicates += 1
                continue
            reached = self._settle_clock(now_ms)
            where = place(record, origin)[:3]
            self._reached = reached = told.clock(where, max(reached, at))
            if until is not None and reached > until:
                return
            yield from self._pass_time(reached)
            step = chronicle.fold(event, handler, reached, arrival, event)
            assert step is not None
            self.events += 1
            happened = Happened(handler.name, event.event_id, at, *where, arrival)
            yield self._entry(step, happened, told.at_place(where))

    def _settle_clock(self, now_ms: int) -> int:
        """Moves the clock to the latest event of others that is one, and is of this shard; gives the clock."""
        candidates = self._candidates
        candidates.sort(key=lambda c: -c[0])
        for at, record in candidates:
            if at <= self._reached:
                break
            event, _, _ = self._sources.read(record, now_ms)
            if not isinstance(event, Rejection) and shard_of(event.customer_id, self.generation.shards) == self.shard:
                self._reached = at
                break
        candidates.clear()
        return self._reached

    def _pass_time(self, clock: int) -> Iterator[Entry]:
        """What time alone, or a repair, brought up to and at the clock."""
        for step in self._chronicle.pass_time(clock):
            yield from self._told_until(step.at - 1)
            yield self._entry(step, None, self._told.until(step.at))
        yield from self._told_until(clock)

    def _told_until(self, clock: int) -> Iterator[Entry]:
        for crossed in self._told.until(clock):
            yield self._entry(Step(crossed.at, None), None, [crossed])

    def _entry(self, step: Step, event: Happened | None, told: list[Crossed]) -> Entry:
        crossings = told + self._told.fill_in(step.crossings, "time" if event is None else "event")
        self.otherwise += sum(self._told.differs(c) for c in step.crossings)
        for crossed in crossings:
            self.members[crossed.segment] = crossed.crossing, crossed.at
        return Entry(step.at, event, tuple(step.traits), tuple(crossings))

    def _is_new(self, origin: Any) -> bool:
        """Whether a forwarded record was not met before: its origin's greatest offset then moves on."""
        if origin.offset <= self._origins.get(origin.name, -1):
            return False
        self._origins[origin.name] = origin.offset
        return True
