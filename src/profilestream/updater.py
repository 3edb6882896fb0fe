"""The way of the data, for one shard, on one page.

    records of the shard, merged      take      the inbox, cut by offset
      -> events | dead letters        decode    wire
      -> mine | strays                route     intake: a customer of another shard goes to topic `rekeyed`
      -> profiles                     load      cached, or one round trip to Redis
      -> profiles', crossings         fold      core, pure
      -> one Lua call                 commit    committing, store

Nothing turns back. Whatever goes wrong (a conflict, a lost reply, a fold that raises) ends `run` by an exception; the
worker then drops the updater with all that it holds, reads the head and begins anew with another one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from profilestream.aligning import Alignment
from profilestream.carrying import Carry
from profilestream.committing import CLOCK_START_MS, Commits, Conflict
from profilestream.core.counting import counted
from profilestream.core.engine import Crossing
from profilestream.core.profile import Profile
from profilestream.due import Due
from profilestream.intake import Batch, Intake
from profilestream.repair import Repair, differing
from profilestream.roles import Role
from profilestream.store.commits import Head
from profilestream.store.profile_cache import ProfileCache
from profilestream.store.profile_writes import ProfileWriter
from profilestream.store.shard_store import ShardStore
from profilestream.stream.slices import Inbox
from profilestream.tools import Tools

INSTANTS_MAX = 1_000
"""So many instants that show, of all its customers together, pass in one commit: a tenth of a second of work, about."""

WELL_AFTER_S = 1.0
"""A shard without anything to commit is well when it has been at work for so long: what was refused before comes again
at the beginning."""


@dataclass(slots=True)
class Part:
    """What folding a batch, or the next records of one, has changed; `positions` None: those of the whole batch."""

    positions: dict[str, int] | None
    origins: dict[str, int] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    crossings: list[tuple[str, Crossing]] = field(default_factory=list)
    events: int = 0


class Updater:
    """Folds one shard's records into its profiles, from the head on that it is given."""

    def __init__(
        self,
        shard: int,
        head: Head,
        inbox: Inbox,
        store: ShardStore,
        tools: Tools,
        wall_clock: Callable[[], int | None],
        made_room: Callable[[], None],
        starts: Mapping[str, int] | None,
        repair: Repair | None,
        role: Role,
        leader: Callable[[], Awaitable[dict[str, int]]] | None = None,
        carry: Carry | None = None,
        alignment: Alignment | None = None,
    ) -> None:
        """`wall_clock` says to where the clock may go with no event, `made_room` is told when records were taken out of
        the inbox; `starts` are for the head, where they differ from what it says. Of a silent shard `leader` says how
        far each topic may be folded, `carry` takes profiles of the live one over, `alignment` announced numbers."""
        settings, engine, shards = tools.settings, tools.engine, tools.generation.shards
        self.shard = shard
        self.inbox = inbox
        self.clock = CLOCK_START_MS if head.clock is None else head.clock
        self.idle = asyncio.Event()
        self.wake = asyncio.Event()
        self.follows_wall = False
        self._store = store
        self._tools = tools
        self._engine = engine
        self._settings = settings
        self._counters = tools.counters
        self._wall_clock = wall_clock
        self._made_room = made_room
        self._repair = repair
        self._leader = leader
        self._carry = carry
        self._alignment = alignment
        self._began_s = time.monotonic()
        cached_max = max(settings.commit_customers_max * 2, settings.cached_profiles_max // shards)
        self._cache = ProfileCache(store, engine, cached_max)
        self._intake = Intake(shard, inbox, self._cache, tools, role, head.origins)
        self._due = Due(tools.turns, self.wake)
        self._writer = ProfileWriter(engine)
        self._commits = Commits(shard, head, inbox, store, tools, self._writer, self._due, starts, carry)
        self._ticked_s = self._followed_s = 0.0
        self._time_had_its_turn = False
        self._told_full = False
        self._stopping = False

    @property
    def positions(self) -> dict[str, int]:
        """The next offset of each topic that is safely past."""
        return self._commits.positions

    @property
    def committed(self) -> bool:
        """Whether a commit of this updater's was written."""
        return self._commits.done

    async def run(self) -> None:
        """Works until `stop`, or until cancelled; everything that ends it otherwise is an exception."""
        try:
            while not self._stopping:
                await self._commits.settle(self._settings.commits_in_flight_max - 1)
                self._follow_wall_clock()
                full = self._outbox_is_full()
                if full:
                    self._due.end_turn()  # other shards may let time pass meanwhile
                if not full and self._due.is_our_turn() and not (self.inbox and self._time_had_its_turn):
                    self._time_had_its_turn = True
                    await self._pass_time()
                elif self.inbox and not full:
                    self._time_had_its_turn = False
                    await self._update()
                elif self._commits:
                    await self._commits.settle()
                elif self._repair is not None and self.inbox.is_level():
                    await self._reconcile(self._repair)
                elif self._carry is not None and self._carry.is_level(self.inbox):
                    await self._take_over(self._carry)
                elif self._alignment is not None and await self._alignment.is_due(self.inbox):
                    await self._align(self._alignment)
                else:
                    await self._rest()
            await self._commits.settle()
        finally:
            self._due.end_turn()

    def stop(self) -> None:
        """Asks `run` to return once what is in flight is answered; nothing new is begun."""
        self._stopping = True
        self.wake.set()

    # The way of the data

    async def _update(self) -> None:
        batch = self._intake.take()
        self._made_room()
        await self._tools.keep_pace(batch.records)
        if batch.outward:
            # Acknowledged before the positions pass it: a crash in between forwards again, and is found out.
            await self._intake.flush()
        batch.profiles |= await self._cache.load(batch.missing)
        for part in self._fold(batch):
            self._intake.origins.update(part.origins)
            self._commits.send(
                self.clock,
                part.profiles,
                part.crossings,
                origins=part.origins,
                events=part.events,
                positions=part.positions,
            )
            if part.positions is not None and not await self._has_room():
                return

    def _fold(self, batch: Batch) -> Iterator[Part]:
        """Folds events in their order; the shard's clock moves before each. Duplicates are not counted.

        A batch is one part, unless its crossings are more than a commit may have: then it is cut behind the record
        that reached so many, and what follows is folded when that part was sent.
        """
        fold, clock, profiles, duplicates = self._engine.fold, self.clock, batch.profiles, 0
        changes_max, positions = self._settings.commit_changes_max, batch.began
        part, mine = Part(positions), list[Crossing]()
        for found in batch.accepted:
            event, handler, record, origin = found
            customer_id = event.customer_id
            at = event.occurred_at if event.occurred_at > clock else clock
            if handler is None:
                clock = at
                continue
            profile = profiles[customer_id]
            arrival = record.timestamp if origin is None else origin.timestamp_ms
            if fold(profile, event, handler, at, arrival, mine, found):
                clock = at
                part.profiles[customer_id] = profile
                part.events += 1
            else:
                duplicates += 1
            positions[record.topic] = record.offset + 1
            if origin is not None:
                part.origins[origin.name] = origin.offset
            if mine:
                part.crossings += [(customer_id, crossing) for crossing in mine]
                mine.clear()
                if len(part.crossings) >= changes_max:
                    self.clock = clock
                    yield part
                    clock, part = self.clock, Part(positions)
        self.clock = clock
        if duplicates:
            self._counters.count_duplicates(duplicates)
        part.positions, part.origins = None, batch.origins
        yield part

    async def _has_room(self) -> bool:
        """Between the parts of a cut batch: waits for commits in flight and for room in the outbox; False when asked
        to stop, and what was not folded is then read again by whoever is next."""
        await self._commits.settle(self._settings.commits_in_flight_max - 1)
        while self._outbox_is_full() and not self._stopping:
            self._due.end_turn()
            await self._commits.settle()
            if self._outbox_is_full():
                await self._rest(at_hand=True)
        return not self._stopping

    async def _pass_time(self) -> None:
        """A commit of its own for customers for whom something fell due at or before the clock.

        The worker's turn, if it took one, goes on until the commit is answered.
        """
        customers_max, changes_max = self._tools.commit_customers_max, self._settings.commit_changes_max
        profiles = await self._cache.look_up(self._due.take()[:customers_max])
        moved: dict[str, Profile] = {}
        crossings: list[tuple[str, Crossing]] = []
        instants = 0
        for customer_id, profile in profiles.items():
            mine: list[Crossing] = []
            passed = self._writer.pass_time(profile, self.clock, mine, INSTANTS_MAX - instants)
            if not passed:
                continue  # named by a reply that is older than what was folded since
            moved[customer_id] = profile
            crossings += [(customer_id, crossing) for crossing in mine]
            instants += passed
            if len(crossings) >= changes_max or instants >= INSTANTS_MAX:
                break  # the others are still due, and the reply names them again
        if not moved and not self._commits:
            # Redis names timers that the states do not have; what the states say is written again.
            moved = {c: p for c, p in profiles.items() if p.revision}
            for profile in moved.values():
                profile.written = None
        if moved:
            answer = self._commits.send(self.clock, moved, crossings)
            self._due.passes(moved, self._commits.sequence, answer)
        self._due.end_turn()

    async def _reconcile(self, repair: Repair) -> None:
        """The end of a repair: numbers go on from what was announced, and whatever differs is announced."""
        self.clock = max(self.clock, repair.target.clock or self.clock)
        while due := await self._store.due(self.clock, self._settings.timers_page_max):
            self._due.name(customer_id for customer_id, _ in due)
            await self._pass_time()
            if not self._commits:
                break  # Redis names timers of which no profile knows
            await self._commits.settle()
        numbers, mark = await repair.numbers()
        differences = 0
        async for profiles, crossings in differing(numbers, self._cache, self._engine, self.clock, self._settings):
            differences += len(crossings)
            self._commits.send(self.clock, profiles, crossings, stage="announce", cause=repair.cause, told=repair.told)
            await self._commits.settle()
        self._commits.send(self.clock, {}, [], stage="end", mark=mark)
        await self._commits.settle()
        self._repair = None
        self.inbox.lift()
        done = "repaired" if repair.cause == "repair" else "reconciled"
        said = "announced" if repair.told else "noted, not announced"
        self._tools.report(f"shard {self.shard}: {done}; {counted(differences, 'difference')} {said}")

    async def _take_over(self, carry: Carry) -> None:
        """Profiles of the live generation are taken over; this shard stands exactly where they are of."""
        part = await carry.part(self._cache, self.clock)
        await self._tools.keep_pace(len(part.profiles))
        self.clock = max(self.clock, part.clock or self.clock)
        self._commits.send(self.clock, part.profiles, part.crossings, carried=part, noted=part.untold)
        await self._commits.settle()
        carry.passed(part)
        if carry.is_done:
            self._tools.report(f"shard {self.shard}: all profiles are carried")
            raise Conflict  # whoever is next begins from the head, without a carry
        await self.may_go_on()

    async def _align(self, alignment: Alignment) -> None:
        """Numbers that subscribers know are taken over ahead of a promotion."""
        async for agreed in alignment.step(self._cache, self._engine, self.clock):
            if self._stopping:
                return
            await self._tools.keep_pace(agreed.looked_at)
            self._commits.send(self.clock, agreed.profiles, [], noted=agreed.noted)
            await self._commits.settle()
        self._commits.send(self.clock, {}, [], mark=alignment.mark)
        await self._commits.settle()
        await self.may_go_on()

    # Between batches

    async def _rest(self, at_hand: bool = False) -> None:
        """Nothing can be done now: look whether time has passed, then sleep until something comes.

        With records `at_hand`, which wait for room in the outbox, the shard is not idle.
        """
        now_s = time.monotonic()
        if now_s - self._ticked_s >= self._settings.tick_interval_ms / 1000:
            self._ticked_s = now_s
            await self._tick(now_s)
        if self._due and not self._outbox_is_full() and self._due.is_our_turn():
            return
        if self.inbox and not self._outbox_is_full():
            return
        if self._repair is None and self._carry is None and not at_hand:
            self.idle.set()
        self.wake.clear()
        if self._stopping:
            return
        try:
            async with asyncio.timeout(self._settings.tick_interval_ms / 1000):
                await self.wake.wait()
        except TimeoutError:
            pass
        finally:
            self.idle.clear()

    async def _tick(self, now_s: float) -> None:
        """Looks at the head, at the clock, at the timers, and at a full outbox."""
        if now_s - self._commits.answered_s >= self._settings.head_check_interval_ms / 1000:
            await self._commits.look()
        if self._outbox_is_full():
            if not self._told_full:
                self._told_full = True
                self._tools.report(
                    f"shard {self.shard}: {self._commits.outbox_changes:,} changes wait for the emitter; "
                    "folding pauses until it has announced some"
                )
            await self._commits.look_at_outbox()
            return
        if self._told_full:
            self._told_full = False
            self._tools.report(f"shard {self.shard}: folding goes on")
        await self.may_go_on()
        self._follow_wall_clock()
        if now_s - self._began_s >= WELL_AFTER_S:
            self._tools.troubles.over(self.shard)
        if not self._due:
            due = await self._store.due(self.clock, self._settings.timers_page_max)
            self._due.name(customer_id for customer_id, _ in due)

    def _follow_wall_clock(self) -> None:
        """Moves the clock on where the shard has caught up.

        While many profiles are due, too, so that what falls due meanwhile and is urgent has its turn before the rest.
        """
        now_s = time.monotonic()
        if self._repair is not None or now_s - self._followed_s < self._settings.tick_interval_ms / 1000:
            return
        self._followed_s = now_s
        wall = self._wall_clock()
        if wall is not None:
            self.follows_wall = True
            self.clock = max(self.clock, wall)

    async def may_go_on(self) -> bool:
        """Whether something is to be folded here; a silent shard asks how far the live one is."""
        if self._leader is not None:
            self.inbox.allow(await self._leader())
            if self.inbox:
                self.wake.set()
        return bool(self.inbox)

    async def anything_due(self) -> bool:
        """Whether a timer is due at the clock; between batches only."""
        return bool(self._due) or bool(await self._store.due(self.clock, 1))

    def _outbox_is_full(self) -> bool:
        return self._commits.outbox_changes >= self._settings.outbox_changes_max
