"""The way of the data, for one shard, on one page.

    records of the shard, merged      take      the inbox, cut by offset
      -> events | dead letters        decode    wire
      -> mine | strays                route     a customer of another shard goes to topic `rekeyed`
      -> profiles                     load      cached, or one round trip to Redis
      -> profiles', crossings         fold      core, pure
      -> one Lua call                 commit    store

Nothing turns back. Whatever goes wrong (a conflict, a lost reply, a fold that raises) ends `run` by an exception; the
worker then drops the updater with all that it holds, reads the head and begins anew with another one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from secrets import token_hex

from profilestream.core.engine import Crossing, Engine
from profilestream.core.profile import Profile
from profilestream.settings import Settings
from profilestream.store.commits import Commit, CommitReply, Head
from profilestream.store.keys import shard_of
from profilestream.store.profile_writes import ProfileWriter
from profilestream.store.shard_store import ShardStore
from profilestream.stream.counters import Counters
from profilestream.stream.heralds import Herald, membership
from profilestream.stream.outward import Outward
from profilestream.stream.slices import Inbox
from profilestream.stream.sources import Accepted, Sources
from profilestream.wire.states import profile_of

CLOCK_START_MS = -(1 << 62)


class Conflict(Exception):
    """The head is another writer's, or an older one: this updater's view of the shard is void."""


@dataclass(slots=True)
class Batch:
    """A run of records up to one position a topic, with what came of it."""

    accepted: list[Accepted] = field(default_factory=list)
    customers: set[str] = field(default_factory=set)
    outward: bool = False
    records: int = 0
    bytes: int = 0
    origins: dict[str, int] = field(default_factory=dict)


class Updater:
    """Folds one shard's records into its profiles, from the head on that it is given."""

    def __init__(
        self,
        shard: int,
        head: Head,
        inbox: Inbox,
        store: ShardStore,
        engine: Engine,
        sources: Sources,
        outward: Outward,
        settings: Settings,
        generation: str,
        shards: int,
        counters: Counters,
        follow_wall_clock: Callable[[], bool],
        made_room: Callable[[], None],
    ) -> None:
        self.shard = shard
        self.inbox = inbox
        self.positions = dict(head.positions)
        self.clock = CLOCK_START_MS if head.clock is None else head.clock
        self.idle = asyncio.Event()
        self.wake = asyncio.Event()
        self.outbox_changes = 0
        self.commits_done = 0
        self._store = store
        self._engine = engine
        self._sources = sources
        self._outward = outward
        self._settings = settings
        self._shards = shards
        self._counters = counters
        self._follow_wall_clock = follow_wall_clock
        self._made_room = made_room
        self._commit = head.commit
        self._sequence = head.sequence
        self._origins = dict(head.origins)
        self._writer = ProfileWriter(engine)
        self._herald = Herald(generation, engine.definitions.fingerprint, settings.source)
        self._cache: OrderedDict[str, Profile] = OrderedDict()
        self._cached_max = max(settings.commit_customers_max * 2, settings.cached_profiles_max // shards)
        self._in_flight: deque[tuple[asyncio.Future[CommitReply], Commit, int]] = deque()
        self._due: list[str] = []
        self._head_checked_s = time.monotonic()
        self._ticked_s = 0.0

    async def run(self) -> None:
        """Works until cancelled; everything that ends it otherwise is an exception."""
        while True:
            await self._settle(self._settings.commits_in_flight_max - 1)
            if self._due:
                await self._pass_time()
            elif self.inbox and not self._outbox_is_full():
                await self._update()
            elif self._in_flight:
                await self._settle(0)
            else:
                await self._rest()

    # The way of the data

    async def _update(self) -> None:
        batch = self._take()
        self._made_room()
        if batch.outward:
            # Acknowledged before the positions pass it: a crash in between forwards again, and is found out.
            await self._outward.flush()
        profiles = await self._load(batch.customers)
        crossings, folded, events = self._fold(batch.accepted, profiles)
        self._origins.update(batch.origins)
        self._send(folded, crossings, batch.origins, events)

    def _take(self) -> Batch:
        """Takes, decodes and routes records up to the limits of one commit."""
        batch = Batch()
        customers, limits = batch.customers, self._settings
        take, accept, shard, shards = self.inbox.take, self._sources.accept, self.shard, self._shards
        while len(customers) < limits.commit_customers_max and batch.bytes < limits.commit_bytes_max:
            record = take()
            if record is None:
                break
            batch.records += 1
            batch.bytes += len(record.value or b"")
            found = accept(record)
            if not isinstance(found, Accepted):
                self._outward.dead_letter(record, found)
                self._counters.count_dead_letter(found.reason)
                batch.outward = True
                continue
            if found.origin is not None and not self._is_new(found, batch):
                continue
            customer_id = found.event.customer_id
            if shard_of(customer_id, shards) != shard:
                self._outward.stray(record, found, shards)
                self._counters.count_stray()
                batch.outward = True
                continue
            customers.add(customer_id)
            batch.accepted.append(found)
        return batch

    async def _load(self, customers: Iterable[str]) -> dict[str, Profile]:
        """The profiles of customers: cached, or stored, or new."""
        cache, found = self._cache, {}
        missing = []
        for customer_id in customers:
            profile = cache.get(customer_id)
            if profile is None:
                missing.append(customer_id)
            else:
                cache.move_to_end(customer_id)
                found[customer_id] = profile
        if missing:
            for customer_id, state in zip(missing, await self._store.load(missing), strict=True):
                profile = profile_of(customer_id, state, self._engine)
                found[customer_id] = cache[customer_id] = profile
            while len(cache) > self._cached_max:
                # Safe while commits are in flight: a later load comes behind them on the same connection.
                cache.popitem(last=False)
        return found

    def _fold(
        self, accepted: list[Accepted], profiles: dict[str, Profile]
    ) -> tuple[list[tuple[str, Crossing]], dict[str, Profile], int]:
        """Folds events in their order; the shard's clock moves before each. Duplicates are not counted."""
        fold, clock, duplicates = self._engine.fold, self.clock, 0
        crossings: list[tuple[str, Crossing]] = []
        folded: dict[str, Profile] = {}
        mine: list[Crossing] = []
        for found in accepted:
            event = found.event
            customer_id = event.customer_id
            profile = profiles[customer_id]
            at = event.occurred_at if event.occurred_at > clock else clock
            if fold(profile, event, found.handler, at, found.timestamp_ms, mine, found):
                clock = at
                folded[customer_id] = profile
            else:
                duplicates += 1
            if mine:
                crossings += [(customer_id, crossing) for crossing in mine]
                mine.clear()
        self.clock = clock
        if duplicates:
            self._counters.count_duplicates(duplicates)
        return crossings, folded, len(accepted) - duplicates

    async def _pass_time(self) -> None:
        """A commit of its own for customers for whom something fell due at or before the clock."""
        customers, self._due = self._due, []
        profiles = await self._load(customers)
        crossings: list[tuple[str, Crossing]] = []
        for customer_id, profile in profiles.items():
            mine: list[Crossing] = []
            self._engine.advance(profile, self.clock, mine)
            crossings += [(customer_id, crossing) for crossing in mine]
        self._send(profiles, crossings, {}, 0)

    def _send(
        self,
        profiles: dict[str, Profile],
        crossings: list[tuple[str, Crossing]],
        origins: Mapping[str, int],
        events: int,
    ) -> None:
        """One commit: everything that the batch changed, and the positions that it reached."""
        crossed = {customer_id for customer_id, _ in crossings}
        positions, write = self.inbox.positions, self._writer.write
        commit = Commit(
            expected=self._commit,
            commit=token_hex(8),
            sequence=self._sequence + 1,
            clock=None if self.clock == CLOCK_START_MS else self.clock,
            positions=dict(positions),
            origins=origins,
            profiles=[write(p, c in crossed) for c, p in profiles.items()],
            memberships=[membership(customer_id, c) for customer_id, c in crossings],
            changes=[self._herald.change(customer_id, c) for customer_id, c in crossings],
            due_before=self.clock if self.clock != CLOCK_START_MS else None,
        )
        self._commit, self._sequence = commit.commit, commit.sequence
        self._in_flight.append((self._store.send_commit(commit), commit, events))

    async def _settle(self, in_flight_max: int) -> None:
        """Waits until no more commits than that are in flight, and takes in what they answer."""
        while self._in_flight and (len(self._in_flight) > in_flight_max or self._in_flight[0][0].done()):
            future, commit, events = self._in_flight[0]
            reply = await future
            self._in_flight.popleft()
            if reply.status != "done":
                raise Conflict
            self.positions = dict(commit.positions)
            self.commits_done += 1
            self._counters.add(events, len(commit.profiles), len(commit.changes))
            self.outbox_changes = reply.outbox_changes
            self._due = reply.due
            self._head_checked_s = time.monotonic()

    # Between batches

    async def _rest(self) -> None:
        """Nothing waits: time may pass, the head is looked at, then sleep until something comes."""
        now_s = time.monotonic()
        if now_s - self._head_checked_s >= self._settings.head_check_interval_ms / 1000:
            head = await self._store.read_head()
            if head.commit != self._commit:
                raise Conflict
            self._head_checked_s = now_s
        if self._follow_wall_clock() and now_s - self._ticked_s >= self._settings.tick_interval_ms / 1000:
            self._ticked_s = now_s
            wall = time.time_ns() // 1_000_000
            self._due = [c for c, _ in await self._store.due(wall, self._settings.timers_page_max)]
            self.clock = max(self.clock, wall)
            if self._due:
                return
        if self.inbox and not self._outbox_is_full():
            return
        self.idle.set()
        self.wake.clear()
        try:
            async with asyncio.timeout(self._settings.tick_interval_ms / 1000):
                await self.wake.wait()
        except TimeoutError:
            pass
        finally:
            self.idle.clear()

    async def anything_due(self) -> bool:
        """Whether a timer is due at the clock; between batches only."""
        return bool(self._due) or bool(await self._store.due(self.clock, 1))

    def _outbox_is_full(self) -> bool:
        return self.outbox_changes >= self._settings.outbox_changes_max

    def _is_new(self, found: Accepted, batch: Batch) -> bool:
        """Whether a forwarded record was not folded before; its origin's greatest offset then moves on."""
        origin = found.origin
        assert origin is not None
        name = f"{origin.type}:{origin.topic}:{origin.partition}"
        if origin.offset <= batch.origins.get(name, self._origins.get(name, -1)):
            self._counters.count_duplicates(1)
            return False
        batch.origins[name] = origin.offset
        return True
