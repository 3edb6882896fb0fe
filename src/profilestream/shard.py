"""One shard's work: an updater at a time, from the head on; a new one whenever the former ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP
from redis.exceptions import RedisError

from profilestream.aligning import Alignment
from profilestream.archived import Feed, begins_with, read_first
from profilestream.carrying import FROM_LIVE, Carry, Former, begin_carrying
from profilestream.core.errors import LogMismatch, ProfilestreamError, ServerUnavailable, StateMismatch
from profilestream.repair import Repair, SetBack, Superseded, begin, first_positions, needs_turn, quiet
from profilestream.roles import Role
from profilestream.store.commits import Head, Mark
from profilestream.store.keys import Keys, ShardKeys
from profilestream.store.pipeline import open_pipeline
from profilestream.store.shard_store import ShardStore
from profilestream.store.walk import ShardWalk
from profilestream.stream.announcer import AnnouncedPosition, Fenced
from profilestream.stream.endings import end_tasks
from profilestream.stream.generations import Live
from profilestream.stream.reports import named
from profilestream.stream.slices import Inbox, Slice
from profilestream.tools import Tools
from profilestream.updater import Conflict, Updater

BACKOFF_S = (0.05, 5.0)
WELL_AFTER_S = 10.0
"""An updater that worked for so long, or that wrote a commit, was well: what ends it is no repetition."""

DRAIN_S_MAX = 3.0
ANSWER_AGE_MS_MAX = 2_000
FAILURES_MAX = 5
"""So often in a row a shard begins anew after an error that is no lost server; then it stops, loudly."""


class Shard:
    """Keeps one shard going. `failure` is set once it stands still for good; `starts` has the offset from which a topic
    was first read, where that was not 0."""

    def __init__(
        self, number: int, topics: list[str], keys: ShardKeys, consumer: Any, tools: Tools, wall_clock: bool
    ) -> None:
        self.number = number
        self.failure: ProfilestreamError | None = None
        self.starts: Mapping[str, int] = {}
        self._topics = topics
        self._keys = keys
        self._consumer = consumer
        self._tools = tools
        self._follows_wall = wall_clock
        self._updater: Updater | None = None
        self._feed: Feed | None = None
        self._task: asyncio.Task[None] | None = None
        self._work: asyncio.Task[None] | None = None
        self._full: set[str] = set()
        self._stopped = False
        self._anew = asyncio.Event()

    # Life

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_going(), name=f"shard {self.number}")

    def stand_by(self) -> None:
        """Instead of `start`, where a trial is not about this shard: nothing of it is read.

        Its partitions get a position all the same. One without any is a failure of each fetch, of all that are read.
        """
        for topic in self._topics:
            self._pause(topic)
        places = {TP(topic, self.number): 0 for topic in self._topics}
        self._task = asyncio.create_task(self._consumer.seek_all(places), name=f"shard {self.number}")

    async def stop(self) -> None:
        """Ends the work once what is in flight is answered; what is not in time may or may not be written, the head
        will tell."""
        self._stopped = True
        if self._task is not None:
            if self._updater is not None:
                self._updater.stop()
                await asyncio.wait({self._task}, timeout=DRAIN_S_MAX)
            await end_tasks(self._task)
        self._updater = None
        self._tools.troubles.leave(self.number)

    def begin_anew(self) -> None:
        """Drops the updater, if there is one; the next begins from the head."""
        self._anew.set()
        if self._work is not None:
            self._work.cancel()

    async def _keep_going(self) -> None:
        backoff_s, failures, tools = BACKOFF_S[0], 0, self._tools
        while self.failure is None and not self._stopped:
            began_s = time.monotonic()
            try:
                try:
                    await tools.revive_producer()
                    await self._work_from_head()
                finally:
                    committed = self._updater is not None and self._updater.committed
                    if committed or time.monotonic() - began_s >= WELL_AFTER_S:
                        backoff_s, failures = BACKOFF_S[0], 0
                    self._updater = None
            except (Conflict, SetBack, Fenced, Superseded):
                pass
            except (LogMismatch, StateMismatch) as error:
                self._give_up(error)
            except (ProfilestreamError, RedisError, KafkaError, OSError) as error:
                line = named(error, tools.settings.kafka, tools.settings.redis)
                tools.troubles.begin(self.number, line, "trying again")
            except Exception as error:
                failures += 1
                if failures >= FAILURES_MAX:
                    self._give_up(_bug(self.number, error))
            await self._sleep(backoff_s)
            backoff_s = min(BACKOFF_S[1], backoff_s * 2)

    async def _sleep(self, seconds: float) -> None:
        """Between two updaters; who wants one from the head on at once is not kept waiting for long."""
        await asyncio.sleep(BACKOFF_S[0])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds - BACKOFF_S[0]):
                await self._anew.wait()
        self._anew.clear()

    def _give_up(self, error: ProfilestreamError) -> None:
        self.failure = error
        for topic in self._topics:
            self._pause(topic)
        self._tools.troubles.leave(self.number)
        self._tools.report(f"shard {self.number} stands still: {named(error, None, None)}")

    async def _work_from_head(self) -> None:
        """Reads the head, seeks to its positions, and lets an updater work until it ends."""
        tools = self._tools
        assert tools.settings.redis is not None
        pipeline = await open_pipeline(tools.settings.redis, self._keys.head)
        try:
            store = ShardStore(pipeline, self._keys, timers_page_max=tools.settings.timers_page_max)
            await store.load_script()
            role = tools.role
            head, repair = await self._head(store, role)
            positions, starts, archived = await self._positions(head, repair)
            carry = await self._carry(store, role, head)
            leader = self._leader(store, role) if carry is None else carry.limits
            limits = repair.target.positions if repair is not None else None if leader is None else await leader()
            updater = self._updater = Updater(
                shard=self.number,
                head=head,
                inbox=Inbox(positions, limits, archived),
                store=store,
                tools=tools,
                wall_clock=self._wall_clock,
                made_room=self._made_room,
                starts=starts,
                repair=repair,
                role=role,
                leader=leader,
                carry=carry,
                alignment=self._alignment(role, head, repair, carry),
            )
            self._release_buffers()
            places = positions | archived
            await self._consumer.seek_all({TP(topic, self.number): offset for topic, offset in places.items()})
            if role is not tools.role:
                raise Conflict  # the head was read in another role
            work = self._work = asyncio.create_task(updater.run())
            feeding = self._read_archive(archived, updater, work) if archived else None
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                if not work.cancelled():
                    await end_tasks(work)
                    raise
                if feeding is not None and feeding.done():
                    feeding.result()  # raises what ended the work, if it was that
                raise Conflict from None
            finally:
                if feeding is not None:
                    self._feed = None
                    await end_tasks(feeding)
        finally:
            await pipeline.close()

    def _read_archive(
        self, archived: Mapping[str, int], updater: Updater, work: asyncio.Task[None]
    ) -> asyncio.Task[None]:
        """Begins to read topics from the archive, up to where each is read from the log; a failure ends the work."""
        tools = self._tools
        assert tools.archive is not None
        for topic in archived:
            self._pause(topic)

        async def go_on(topic: str, offset: int) -> None:
            await self._consumer.seek_all({TP(topic, self.number): offset})
            self._made_room()

        self._feed = Feed(
            tools.archive, self.number, archived, updater.inbox, tools.waiting_bytes_max, updater.wake.set, go_on
        )
        feeding = asyncio.create_task(self._feed.run())
        feeding.add_done_callback(lambda task: task.cancelled() or (task.exception() and work.cancel()))
        return feeding

    async def _head(self, store: ShardStore, role: Role) -> tuple[Head, Repair | None]:
        """The shard's head, and what it has to catch up with if it lacks what was announced, or a turn opens."""
        tools, live = self._tools, role.live
        if live is None:
            return await quiet(store, await self._begun(store)), None
        found = await store.read_head()
        if found.carried is not None and not found.carried.done:
            return await quiet(store, found), None  # Redis was set back to before all was carried
        announced = await tools.announced.position(self.number)
        if needs_turn(announced, tools.generation.name, live.turn, self.number):
            head = await quiet(store, await store.read_head())
            target = announced or AnnouncedPosition("", 0, "", turn=0)
            opens = partial(self._open_turn, live, announced)
            return head, Repair(self.number, target, 0, store, tools.announced, self._reached, opens=opens)
        in_history = announced is None or await store.settle_announced(announced.mark)
        found = await store.read_head()
        if not found.commit:
            await tools.reassert()
        repairing = found.repair
        head = await begin(store, found, announced, in_history)
        if not head.repair:
            return head, None
        if announced is None:
            # Folding on would be silent for ever: nobody would know when the repair is over.
            raise ServerUnavailable(f"Kafka does not say what was announced of shard {self.number}, which is in repair")
        cause = announced.cause
        if not repairing and not cause:
            tools.report(
                f"shard {self.number}: Redis lacks commits that were announced; repairing the shard from the log"
            )
        since = head.announced.offset if head.announced is not None else 0
        told = not cause or live.announce == "net"
        return head, Repair(
            self.number, announced, since, store, tools.announced, self._reached, cause or "repair", told
        )

    async def _open_turn(self, live: Live, announced: AnnouncedPosition | None, at: Mark) -> None:
        """Writes the marker of a turn for this shard, whose last commit `at` names, and begins anew.

        What was announced since is looked for first: then this is not the place yet. Raises SetBack in either case.
        """
        seen = announced or AnnouncedPosition("", 0, "")
        marker = AnnouncedPosition(
            self._tools.generation.name,
            at.sequence,
            at.commit,
            seen.clock,
            seen.positions,
            dict(self.starts),
            live.turn,
            live.cause or "backfill",
        )
        await self._tools.announced.open_turn(self.number, announced, marker)
        raise SetBack

    def _leader(self, store: ShardStore, role: Role) -> Callable[[], Awaitable[dict[str, int]]] | None:
        """For a silent shard: asks how far each topic may be folded, which is to where the live shard is."""
        leader = role.leader
        if leader is None:
            return None
        head = Keys(self._tools.settings.namespace, leader.name).shard(self.number).head
        topics = [topic for topic in self._topics if topic in leader.topics]

        async def limits() -> dict[str, int]:
            positions = await store.positions_of(head)
            return {topic: positions.get(topic, 0) for topic in topics}

        return limits

    async def _carry(self, store: ShardStore, role: Role, head: Head) -> Carry | None:
        """What is left to carry, where this generation takes over profiles of another.

        Raises ProfilestreamError where that one is not live any more, nor was when all had been carried once.
        """
        tools = self._tools
        if tools.former is None or head.carried is None or head.carried.done:
            return None
        former = await tools.former()
        if role.live is None and (role.leader is None or role.leader.name != former.name):
            raise ProfilestreamError(
                f"generation {tools.generation.name} takes profiles over from {former.name}, which is not live any "
                f"more; drop {tools.generation.name}, and plan anew"
            )
        walk = self._former_walk(store, former)
        return Carry(former, walk, head.carried, self._topics, self._reached, tools.settings, lambda: self.starts)

    def _alignment(self, role: Role, head: Head, repair: Repair | None, carry: Carry | None) -> Alignment | None:
        """For a silent shard that has nothing to carry, and may be promoted one day."""
        if not role.is_silent or repair is not None or carry is not None or self._tools.generation.only:
            return None
        return Alignment(self.number, head, self._tools.announced, self._tools.settings)

    async def _begun(self, store: ShardStore) -> Head:
        """The head of a silent shard, which has a commit where profiles are to be carried."""
        head, tools = await store.read_head(), self._tools
        if tools.former is None or head.commit:
            return head  # once begun, it does not take the former generation, which may be dropped by now
        walk = self._former_walk(store, await tools.former())
        return await begin_carrying(store, head, walk, tools.generation.start.get("from") == FROM_LIVE)

    def _former_walk(self, store: ShardStore, former: Former) -> ShardWalk:
        return store.walk(Keys(self._tools.settings.namespace, former.name).shard(self.number))

    def _reached(self, topic: str) -> int:
        """How far a topic was read, past holes too, once all that was handed on has arrived in the inbox."""
        assert self._updater is not None
        arrived = self._updater.inbox.expected(topic)
        handed, position = self._consumer.handed_on(TP(topic, self.number))
        return max(arrived, position) if handed is not None and position is not None and arrived >= handed else arrived

    async def _positions(
        self, head: Head, repair: Repair | None
    ) -> tuple[dict[str, int], dict[str, int] | None, dict[str, int]]:
        """Where each topic is read on, and where the logs of topics that are new here begin, if not at 0; and up to
        where topics are read from the archive.

        Raises LogMismatch for a position that the log does not reach.
        """
        partitions = {topic: TP(topic, self.number) for topic in self._topics}
        begins = await self._consumer.begin_offsets(partitions.values())
        ends = await self._consumer.end_offsets(partitions.values())
        target = repair.target if repair is not None else None
        began = {} if target is None else dict.fromkeys(target.positions, 0) | target.starts
        unknown = [tp for t, tp in partitions.items() if t not in head.positions and t not in began and begins[tp]]
        if unknown:
            # A topic that is new here, or a Redis that has lost everything before anything was announced.
            began |= {tp.topic: first for tp, first in (await self._consumer.first_offsets(unknown)).items()}
        began |= self._asked_starts()
        archive, archived = self._tools.archive, dict[str, int]()
        log: Mapping[str, int] = {topic: begins[tp] for topic, tp in partitions.items()}
        there = log
        if archive is not None:
            there = begins_with(archive, self.number, {**began, **head.positions}, log)
        positions = first_positions(self.number, head, began, there)
        if archive is not None:
            archived = read_first(archive, self.number, positions, log, {t: ends[tp] for t, tp in partitions.items()})
        for topic, tp in partitions.items():
            needed = max(positions[topic], target.positions.get(topic, 0) if target is not None else 0)
            if needed > ends[tp]:
                raise LogMismatch(
                    f"topic {topic}, partition {self.number}: records up to {needed} were folded, but the log "
                    f"ends at {ends[tp]}; the topic was made anew or truncated. Restore it, or use another namespace"
                )
            if positions[topic] and await self._tools.topic_ids.is_other(topic):
                raise LogMismatch(
                    f"topic {topic}, partition {self.number}: the next record to fold is {positions[topic]}, and the "
                    f"log ends at {ends[tp]}, but it is another log: the topic was made anew. Restore it, or use "
                    "another namespace"
                )
        self.starts = {t: p for t, p in positions.items() if p and t not in head.positions} | head.starts
        return positions, self.starts if self.starts != head.starts else None, archived

    def _asked_starts(self) -> dict[str, int]:
        """Where a replay was asked to begin, of each topic of which that is not the beginning of its log."""
        asked: Mapping[str, Mapping[str, int]] = self._tools.generation.start.get("offsets", {})
        number = str(self.number)
        return {topic: asked[topic][number] for topic in self._topics if number in asked.get(topic, {})}

    # Slices

    def put(self, piece: Slice) -> None:
        """Takes a slice in; raises Gap where the consumer must seek again.

        Without an updater, or while its topic is read from the archive, it is passed over, and its topic is not fetched
        from any more: while Redis is away the whole log would be read for nothing.
        """
        updater = self._updater
        if updater is None or updater.inbox.awaits(piece.topic):
            self._pause(piece.topic)
            return
        updater.inbox.put(piece)
        if updater.inbox.waiting_bytes(piece.topic) > self._tools.waiting_bytes_max:
            self._pause(piece.topic)
        updater.wake.set()

    def _pause(self, topic: str) -> None:
        self._full.add(topic)
        self._consumer.on_buffer_full(TP(topic, self.number))

    def _made_room(self) -> None:
        """Lets topics be fetched again whose waiting records have become few."""
        updater = self._updater
        if self._feed is not None:
            self._feed.made_room()
        for topic in list(self._full):
            if updater is not None and updater.inbox.awaits(topic):
                continue
            if updater is None or updater.inbox.waiting_bytes(topic) < self._tools.waiting_bytes_max // 2:
                self._full.discard(topic)
                self._consumer.on_buffer_drop(TP(topic, self.number))

    def _release_buffers(self) -> None:
        for topic in self._full:
            self._consumer.on_buffer_drop(TP(topic, self.number))
        self._full.clear()

    # Questions

    def positions(self) -> Mapping[str, int]:
        """The next offset of each topic that is safely past."""
        return self._updater.positions if self._updater is not None else {}

    def has_passed(self, topic: str, end: int) -> bool:
        """Whether all records up to an end, and whatever else was handed on, are folded and written, and nothing is at
        work. Of a silent shard what the live one has folded counts."""
        updater = self._updater
        if updater is None or not updater.idle.is_set() or updater.inbox:
            return False
        if updater.inbox.holds_back(topic):
            return True
        handed, position = self._consumer.handed_on(TP(topic, self.number))
        if handed is None or position is None or updater.inbox.expected(topic) < handed:
            return False
        return position >= end or updater.inbox.is_at_limit(topic)

    def waiting(self, topic: str, handed: int) -> int:
        """Records of a topic that were handed on and are not safely past."""
        return max(0, handed - self.positions().get(topic, handed))

    async def nothing_due(self) -> bool:
        """Whether no timer is due at the shard's clock, which has followed the wall clock if it is to, and a silent
        shard is where the live one is."""
        updater = self._updater
        if updater is None or await updater.may_go_on():
            return False
        if self._follows_wall and not self._tools.role.is_silent and not updater.follows_wall:
            return False  # Kafka has yet to say that there is nothing more
        return updater.idle.is_set() and not await updater.anything_due()

    def _wall_clock(self) -> int | None:
        """To where the clock may go with the wall clock (ms): the shard has read all that there was then.

        None unless it has caught up with every topic, and knows so from answers of Kafka that are fresh: after a
        pause of the process or an outage the ends that it remembers are old, and records may wait.
        """
        updater = self._updater
        if not self._follows_wall or updater is None or updater.inbox or updater.inbox.holds_back():
            return None
        oldest = now = time.time_ns() // 1_000_000
        for topic in self._topics:
            tp = TP(topic, self.number)
            end, asked = self._consumer.end_known(tp)
            handed, position = self._consumer.handed_on(tp)
            if end is None or asked is None or handed is None or position is None:
                return None
            if position < end or updater.inbox.expected(topic) < handed or asked < now - ANSWER_AGE_MS_MAX:
                return None
            oldest = min(oldest, asked)
        return oldest


def _bug(shard: int, error: BaseException) -> ProfilestreamError:
    """A failure in folding, told by its place in the code; its text might hold a customer's data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "unknown"
    return ProfilestreamError(
        f"shard {shard}: folding failed {FAILURES_MAX} times at the same records with {type(error).__name__} "
        f"in {place}; nothing of them was written. Please report this; other shards go on"
    )
