"""The worker: takes over shards as Kafka assigns them, and keeps an updater at work on each.

It decides who works where and when to begin anew; what is exact is the updater's and the store's. An updater that ends
is dropped with its inbox, its cache and whatever was in flight; the next one starts from the shard's head.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal

from aiokafka.errors import KafkaError
from faust.types import TP

from profilestream.core.engine import Engine
from profilestream.core.errors import ProfilestreamError, ServerUnavailable, UsageError
from profilestream.settings import Settings
from profilestream.shard import Shard
from profilestream.store.keys import Keys
from profilestream.stream.announced import AnnouncedLog
from profilestream.stream.counters import Counters
from profilestream.stream.endings import end_tasks
from profilestream.stream.forwarding import Forwarder
from profilestream.stream.host import host
from profilestream.stream.live import reassert, take_up
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.reports import Troubles
from profilestream.stream.slices import Gap, Slice
from profilestream.stream.sources import Sources
from profilestream.stream.topic_ids import TopicIds
from profilestream.stream.topics import Admin, wait_for_kafka
from profilestream.stream.watch import watch_kafka
from profilestream.tools import Tools
from profilestream.wire.definitions import parse_definitions

BACKOFF_S = (0.1, 5.0)

# Profiles are many and have no cycles: looking through all of them for garbage, as Python does by default for every
# few thousand new objects, costs more than folding.
GARBAGE_THRESHOLDS = (50_000, 20, 100)
CAUGHT_UP_CHECK_S = 0.05
CAUGHT_UP_ANSWER_S_MAX = 5.0
APP_STOP_S_MAX = 2.0
LAST_COMMIT_S_MAX = 1.0
NOTE_TOPICS_S = 3.0

Clock = Literal["wall", "event"]
Report = Callable[[str], None]


class Worker:
    """Folds the events of the live generation's shards until `stop`, or until caught up.

    `report` gets each line for a person. With the clock "event" time passes only as events say.
    """

    def __init__(self, settings: Settings, report: Report = print, clock: Clock = "wall") -> None:
        if not settings.kafka or not settings.redis:
            raise UsageError("the worker needs --kafka and --redis (or PROFILESTREAM_KAFKA and PROFILESTREAM_REDIS)")
        self.settings = settings
        self.counters = Counters()
        self._report = report
        self._clock = clock
        self._stopping = asyncio.Event()
        self._shards: dict[int, Shard] = {}
        self._assignment: set[TP] = set()
        self._app: Any = None
        self._partitions: dict[str, int] = {}
        self._failed: BaseException | None = None
        self._supervising = False

    def stop(self) -> None:
        """Asks `run` to return; to be called in the event loop's thread."""
        self._stopping.set()

    async def run(self, until_caught_up: bool = False) -> None:
        """Works. Lost servers are waited for, with one line each.

        With `until_caught_up` returns once everything that was in the topics at the start, and what was forwarded
        because of it, is handled and what is due at each shard's clock has happened. Raises NotFound where there is no
        generation, StoreRefused for a Redis that cannot be used, LogMismatch when a shard cannot go on.
        """
        gc.freeze()
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        work = asyncio.create_task(self._work(until_caught_up))
        asked = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((work, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not work.done() and not self._supervising:
            # Still waiting for a server, perhaps: there is nothing to hand over.
            await end_tasks(work)
            return
        await work

    async def _work(self, until_caught_up: bool) -> None:
        kafka = self.settings.kafka
        assert kafka is not None
        await wait_for_kafka(kafka, self._report)
        generation = await take_up(self.settings, self._report)
        engine = Engine(
            parse_definitions(generation.definitions, f"generation {generation.name}"),
            ids_max=self.settings.remembered_ids_max,
            ids_ms_max=self.settings.remembered_ids_ms_max,
            keys_max=self.settings.map_keys_max,
        )
        sources = Sources(engine, self.settings)
        ends = await self._topics(kafka, sources)
        troubles = Troubles(self._report)
        topic_ids = TopicIds(kafka, self.settings.generations_topic, self.settings.namespace, generation.name)
        await topic_ids.read()
        async with ForwardingProducer(kafka, troubles=troubles) as producer:
            self._tools = Tools(
                self.settings,
                generation,
                engine,
                sources,
                producer,
                self.counters,
                AnnouncedLog(self.settings),
                partial(reassert, self.settings, generation),
                self._report,
                troubles,
                topic_ids,
            )
            self._forwarder = Forwarder(self._tools)
            group = f"{self.settings.namespace}-{generation.name}"
            self._app = host(
                self.settings, group, sources.topics, self, self.take, self.revoked, self._tools.waiting_bytes_max
            )
            meaning = f"{generation.shards} shards, definitions {generation.fingerprint}"
            self._report(f"folding generation {generation.name} ({meaning})")
            await self._app.start()
            self._supervising = True
            watch = asyncio.create_task(
                watch_kafka(
                    kafka,
                    self._heard_ms,
                    lambda error: troubles.begin(self, str(error), "trying again"),
                    lambda: troubles.over(self),
                )
            )
            noting = asyncio.create_task(self._keep_noting())
            try:
                await self._supervise(ends if until_caught_up else None)
            finally:
                watch.cancel()
                noting.cancel()
                # A client library waits for a lost Kafka; what it is waited for here is not what must be exact.
                last = (self._app.consumer.force_commit(), self._note_topics())
                await asyncio.wait([asyncio.ensure_future(work) for work in last], timeout=LAST_COMMIT_S_MAX)
                self._forwarder.end()
                await self._release(set(self._shards))
                self._show(final=True)
                await asyncio.wait({asyncio.create_task(self._app.stop())}, timeout=APP_STOP_S_MAX)
        if self._failed is not None:
            raise self._failed

    # Beginning

    async def _topics(self, kafka: str, sources: Sources) -> dict[TP, int]:
        """How many partitions each topic has, and the end of each partition now."""
        async with Admin(kafka) as admin:
            found = await admin.describe(sources.topics)
            missing = [name for name, info in found.items() if info is None]
            if missing:
                raise ProfilestreamError(f"no topic {', '.join(missing)}; run `profilestream init`")
            self._partitions = {name: info.partitions for name, info in found.items() if info is not None}
            ends = {}
            for topic in sources.topics:
                if topic != sources.rekeyed_topic:
                    for partition, end in (await admin.end_offsets(topic)).items():
                        ends[TP(topic, partition)] = end
        return ends

    # Assignment: what Faust calls

    async def begin(self, assignment: set[TP]) -> None:
        """Takes over an assignment: a shard for each partition number, the rest is forwarded."""
        self._assignment = set(assignment)
        await self._release(set(self._shards))
        shards = self._tools.generation.shards
        topics: dict[int, list[str]] = {}
        foreign = []
        for tp in sorted(assignment):
            if self._partitions.get(tp.topic) == shards:
                topics.setdefault(tp.partition, []).append(tp.topic)
            else:
                foreign.append(tp)
        consumer = self._app.consumer
        keys = Keys(self.settings.namespace, self._tools.generation.name)
        for number, names in topics.items():
            shard = Shard(number, names, keys.shard(number), consumer, self._tools, self._clock == "wall")
            self._shards[number] = shard
            if self._is_whole(number, names):
                shard.start()
        self._forwarder.begin(foreign, consumer)

    def _is_whole(self, number: int, names: list[str]) -> bool:
        """Whether a shard has its partition of every topic.

        A commit has the positions of all topics: without one of them the head would forget how far it was read, and
        fold it again from its beginning once it is there again.
        """
        tools, part = self._tools, f"topics of shard {number}"
        own = {topic for topic in tools.sources.topics if self._partitions.get(topic) == tools.generation.shards}
        missing = sorted(own.difference(names))
        if missing:
            tools.troubles.begin(
                part, f"Kafka does not show all of topic {', '.join(missing)}", "its shards wait for it"
            )
        else:
            tools.troubles.over(part)
        return not missing

    async def revoked(self, partitions: set[TP]) -> None:
        """Lets everything go; what is assigned anew comes by `begin`."""
        self._assignment = set()
        await self._release(set(self._shards))
        self._forwarder.end()

    async def take(self, piece: Slice) -> None:
        """Hands a slice to its shard, or on to be forwarded."""
        foreign = self._partitions.get(piece.topic) != self._tools.generation.shards
        owner = self._forwarder if foreign else self._shards.get(piece.partition)
        if owner is not None:
            try:
                owner.put(piece)
            except Gap as gap:
                await self._app.consumer.seek_all({TP(gap.topic, gap.partition): gap.offset})

    def committed(self) -> Mapping[TP, tuple[int, int]]:
        """The positions for Kafka's committed offsets, for dashboards and the forwarder, and where reading began."""
        found = {
            TP(topic, number): (offset, shard.starts.get(topic, 0))
            for number, shard in self._shards.items()
            for topic, offset in shard.positions().items()
        }
        return found | {tp: (offset, 0) for tp, offset in self._forwarder.committed().items()}

    def out_of_range(self, partitions: Iterable[TP]) -> None:
        """Whoever reads these partitions looks at the positions anew."""
        for tp in partitions:
            if self._partitions.get(tp.topic) != self._tools.generation.shards:
                self._forwarder.out_of_range(tp)
            elif (shard := self._shards.get(tp.partition)) is not None:
                shard.begin_anew()

    async def _keep_noting(self) -> None:
        while True:
            await asyncio.sleep(NOTE_TOPICS_S)
            await self._note_topics()

    async def _note_topics(self) -> None:
        """Keeps which topics these are, once something was folded from them: under their names others may come."""
        with contextlib.suppress(KafkaError, ProfilestreamError, OSError):  # a lost Kafka is waited for; others say so
            await self._tools.topic_ids.note({tp.topic for tp, offset in self.committed().items() if offset})

    async def _release(self, numbers: set[int]) -> None:
        await asyncio.gather(*(shard.stop() for n in numbers if (shard := self._shards.pop(n, None)) is not None))

    # Supervision

    async def _supervise(self, ends: Mapping[TP, int] | None) -> None:
        """Shows the status line; returns when stopped, failed, or caught up with `ends`."""
        shown = time.monotonic()
        while not self._stopping.is_set() and not self._broken(any_shard=ends is not None):
            if time.monotonic() - shown >= self.settings.lag_report_interval_ms / 1000:
                shown = time.monotonic()
                await self._show_status()
            if ends is not None and self._assignment and await self._caught_up(ends):
                break
            try:
                async with asyncio.timeout(CAUGHT_UP_CHECK_S if ends is not None else 0.5):
                    await self._stopping.wait()
            except TimeoutError:
                pass

    async def _caught_up(self, ends: Mapping[TP, int]) -> bool:
        """Whether all of `ends`, and what has been forwarded by now, is handled, and nothing is due.

        Asked again from the start whenever not: assignments change, and other workers forward too.
        """
        if not self._passed(ends):
            return False
        rekeyed = self._tools.sources.rekeyed_topic
        try:
            async with asyncio.timeout(CAUGHT_UP_ANSWER_S_MAX):
                mine = [tp for tp in self._assignment if tp.topic == rekeyed]
                forwarded = await self._app.consumer.end_offsets(mine) if mine else {}
                return self._passed(forwarded) and await self._nothing_due() and self._passed(ends)
        except (KafkaError, ServerUnavailable, TimeoutError):
            return False  # a lost server is waited for; the shards say so

    def _heard_ms(self) -> int | None:
        """When Kafka last answered any fetch (wall clock)."""
        asked = [self._app.consumer.end_known(tp)[1] for tp in self._assignment]
        return max((at for at in asked if at is not None), default=None)

    def _broken(self, any_shard: bool) -> bool:
        """Whether Faust has crashed, or all shards (or anything at all) stand still for good."""
        stuck: list[ProfilestreamError] = [s.failure for s in self._shards.values() if s.failure is not None]
        all_stand = bool(stuck) and len(stuck) == len(self._shards)
        stuck += self._forwarder.failures.values()
        if stuck and (any_shard or all_stand):
            self._failed = stuck[0]
        crash = getattr(self._app, "crash_reason", None)
        if crash is not None and self._failed is None:
            self._failed = ProfilestreamError(
                f"the worker's connection to Kafka failed: {type(crash).__name__}; start it again"
            )
        return self._failed is not None

    def _passed(self, ends: Mapping[TP, int]) -> bool:
        """Whether all of it that is assigned here is handled."""
        for tp, end in ends.items():
            if tp not in self._assignment:
                continue
            handed, position = self._app.consumer.handed_on(tp)
            if handed is None or position is None or position < end:
                return False
            if self._partitions[tp.topic] != self._tools.generation.shards:
                if not self._forwarder.has_passed(tp, handed):
                    return False
            elif (shard := self._shards.get(tp.partition)) is None or not shard.has_passed(tp.topic, handed):
                return False
        return True

    async def _nothing_due(self) -> bool:
        return all([await shard.nothing_due() for shard in self._shards.values()])

    async def _show_status(self) -> None:
        self._show(lag=self._lag())

    def _lag(self) -> int:
        """Records that wait in Kafka and here, as far as the consumer knows."""
        lag = 0
        for tp in self._assignment:
            high = self._app.consumer.highwater(tp)
            handed, position = self._app.consumer.handed_on(tp)
            if high is not None and position is not None:
                lag += max(0, high - position)
            shard = self._shards.get(tp.partition)
            if shard is not None and handed is not None:
                lag += shard.waiting(tp.topic, handed)
        return lag

    def _show(self, lag: int | None = None, final: bool = False) -> None:
        line = self.counters.line(lag, final)
        if line is not None:
            self._report(line)
