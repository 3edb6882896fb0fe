"""One shard's work: an updater at a time, from the head on; a new one whenever the former ended."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP
from redis.exceptions import RedisError

from profilestream.archived import Feed
from profilestream.beginning import Beginning
from profilestream.committing import Conflict
from profilestream.core.errors import LogMismatch, ProfilestreamError, StateMismatch
from profilestream.repair import SetBack, Superseded
from profilestream.store.keys import ShardKeys
from profilestream.store.pipeline import open_pipeline
from profilestream.store.shard_store import ShardStore
from profilestream.stream.announcer import Fenced
from profilestream.stream.endings import end_tasks
from profilestream.stream.reports import named
from profilestream.stream.slices import Inbox, Slice
from profilestream.tools import Tools
from profilestream.updater import Updater

BACKOFF_S = (0.05, 5.0)
WELL_AFTER_S = 10.0
"""An updater that worked for so long, or that wrote a commit, was well: what ends it is no repetition."""

DRAIN_S_MAX = 3.0
ANSWER_AGE_MS_MAX = 2_000
FAILURES_MAX = 5
"""So often in a row a shard begins anew after an error that is no lost server; then it stops, loudly."""


class Shard:
    """Keeps one shard going. `failure` is set once it stands still for good."""

    def __init__(
        self, number: int, topics: list[str], keys: ShardKeys, consumer: Any, tools: Tools, wall_clock: bool
    ) -> None:
        self.number = number
        self.failure: ProfilestreamError | None = None
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
        self._beginning = Beginning(number, topics, consumer, tools)

    @property
    def starts(self) -> Mapping[str, int]:
        """The offset from which a topic was first read, where that was not 0."""
        return self._beginning.starts

    # Life

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_going(), name=f"shard {self.number}")

    def stand_by(self) -> None:
        """Instead of `start`, where a trial is not about this shard, or it has not all of its topics: nothing is read.

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
            head, repair = await self._beginning.head(store, role)
            target = repair.target if repair is not None else None
            positions, starts, archived = await self._beginning.positions(head, target)
            carry = await self._beginning.carry(store, role, head)
            leader = self._beginning.leader(store, role) if carry is None else carry.limits
            limits = target.positions if target is not None else None if leader is None else await leader()
            updater = self._updater = Updater(
                shard=self.number,
                head=head,
                inbox=Inbox(positions, limits, archived, self._reached),
                store=store,
                tools=tools,
                wall_clock=self._wall_clock,
                made_room=self._made_room,
                starts=starts,
                repair=repair,
                role=role,
                leader=leader,
                carry=carry,
                alignment=self._beginning.alignment(role, head, repair, carry),
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

    def _reached(self, topic: str, arrived: int) -> int:
        """How far a topic was read, past holes too, once all that was handed on has arrived in the inbox."""
        handed, position = self._consumer.handed_on(TP(topic, self.number))
        return max(arrived, position) if handed is not None and position is not None and arrived >= handed else arrived

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
