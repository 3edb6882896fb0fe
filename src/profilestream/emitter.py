"""The emitter: announces the segment changes of all shards that it is assigned.

A consumer group over the changes topic shares the shards among emitters (partition p is shard p); the
topic is never read here. For each assigned shard runs one `ShardRelay`, which does all that must be exact.
What this file decides, who runs where, may be wrong for a moment: a fenced relay can announce nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaConnectionError, KafkaError
from prometheus_client import Counter, Gauge
from redis.exceptions import RedisError

from profilestream.core.errors import (
    NotFound,
    ProfilestreamError,
    ServerUnavailable,
    UsageError,
)
from profilestream.settings import Settings
from profilestream.store.connection import connect, reaching
from profilestream.store.keys import Keys
from profilestream.store.metadata import read_generation, read_live
from profilestream.store.outbox import Outbox
from profilestream.stream.announcer import emitter_group
from profilestream.stream.crew import RELAY_STOP_S_MAX, Crew, Live
from profilestream.stream.endings import end_tasks
from profilestream.stream.relay import RelayEvents, ShardRelay
from profilestream.stream.reports import Outages, StatusLine, named
from profilestream.stream.topics import Admin
from profilestream.stream.watch import watch_kafka

CHANGES_ANNOUNCED = Counter("profilestream_changes_announced_total", "Segment changes announced")
TRANSACTIONS = Counter("profilestream_announce_transactions_total", "Transactions that announced changes")
CHANGES_WAITING = Gauge("profilestream_changes_waiting", "Segment changes in the outboxes of all shards")

_POLL_MS = 1_000
_GENERATION_CHECK_S = 1.0
_LIVE_CHECK_S = 0.2
_CAUGHT_UP_CHECK_S = 0.1
_BACKOFF_S = (0.1, 5.0)
_CONSUMER_STOP_S_MAX = 2.0

_LOST = (KafkaError, RedisError, OSError, ServerUnavailable)


class Emitter:
    """Announces changes until `stop`, or until every outbox of the live generation is empty.

    `report` gets each line for a person: what was lost, what stands still, how many changes were announced.
    `announced` and `transactions` count since the start.
    """

    def __init__(self, settings: Settings, report: Callable[[str], None] = print) -> None:
        if not settings.kafka or not settings.redis:
            raise UsageError("the emitter needs --kafka and --redis (or PROFILESTREAM_KAFKA and PROFILESTREAM_REDIS)")
        self._settings = settings
        self._redis_url = settings.redis
        self._kafka = settings.kafka
        self._report = report
        self._redis: Any = None
        self._stopping = asyncio.Event()
        self._outages = Outages(report)
        self._status = StatusLine(report, settings.lag_report_interval_ms / 1000)
        self.announced = 0
        self.transactions = 0

    def stop(self) -> None:
        """Ask `run` to finish the transactions in hand, leave the group and return.

        To be called in the event loop's thread (`loop.add_signal_handler(SIGTERM, emitter.stop)`).
        """
        self._stopping.set()

    async def run(self, until_caught_up: bool = False) -> None:
        """Announce. Lost servers are waited for, with one line each.

        With `until_caught_up` returns when all outboxes of the live generation are empty, whichever emitter empties
        them, and subscribers can read what was announced; raises `NotFound` when there is no live generation,
        `LogMismatch` when a shard of this emitter stands still.
        """
        self._redis = connect(self._redis_url)
        backoff_s = _BACKOFF_S[0]
        try:
            while not self._stopping.is_set():
                try:
                    if await self._session(until_caught_up):
                        if until_caught_up and not self._stopping.is_set():
                            async with Admin(self._kafka) as admin:
                                await admin.wait_until_readable([self._settings.changes_topic])
                        return
                    backoff_s = _BACKOFF_S[0]
                except _LOST as error:
                    self._lost(error)
                    await self._pause(backoff_s)
                    backoff_s = min(backoff_s * 2, _BACKOFF_S[1])
        finally:
            self._status.show(self.announced, self.transactions, None, last=True)
            await self._redis.aclose()

    async def _session(self, until_caught_up: bool) -> bool:
        """Be a member of the group until stopped, caught up (True), or Kafka is lost."""
        live = await self._live_generation(wait=not until_caught_up)
        if live is None or (until_caught_up and await self._waiting(live) == 0):
            return True
        if not await self._changes_topic_is_there(wait=not until_caught_up):
            return True
        crew = Crew(self._start_relay)
        consumer = _consumer(self._settings)
        poll: asyncio.Task[None] | None = None
        watch: asyncio.Task[None] | None = None
        try:
            await consumer.start()
            consumer.subscribe([self._settings.changes_topic], listener=_Assignment(consumer, crew))
            poll = asyncio.create_task(_keep_membership(consumer))
            watch = asyncio.create_task(watch_kafka(self._kafka, lambda: None, self._lost, self._outages.over))
            return await self._supervise(crew, live, poll, until_caught_up)
        finally:
            await crew.close()
            await end_tasks(*(task for task in (poll, watch) if task is not None))
            await _within(_CONSUMER_STOP_S_MAX, consumer.stop())

    async def _supervise(self, crew: Crew, live: Live, poll: asyncio.Task[None], until_caught_up: bool) -> bool:
        """Follow the live generation, watch the relays, count; True when caught up or stopped."""
        await crew.follow(live)
        interval_s = _CAUGHT_UP_CHECK_S if until_caught_up else _LIVE_CHECK_S
        looked_s = time.monotonic()
        while not await self._pause(interval_s):
            if poll.done():
                poll.result()  # raises what Kafka had to say about the membership
                return False
            crew.raise_failures(mismatches=until_caught_up)
            try:
                is_fresh = not until_caught_up and time.monotonic() - looked_s < _GENERATION_CHECK_S
                if is_fresh and await self._names(live):
                    continue
                looked_s = time.monotonic()
                live = await self._live_generation(wait=False) or live  # never None without waiting
                await crew.follow(live)
                waiting = await self._waiting(live)
            except (RedisError, OSError, ServerUnavailable, NotFound) as error:
                if until_caught_up and isinstance(error, NotFound):
                    raise
                self._lost(error)
                continue
            self._status.show(self.announced, self.transactions, waiting)
            if until_caught_up and waiting == 0:
                return True
        return True

    def _start_relay(self, live: Live, shard: int) -> ShardRelay | None:
        if shard >= live.shards:
            return None  # the topic has more partitions than there are shards
        keys = Keys(self._settings.namespace, live.generation).shard(shard)
        events = RelayEvents(self._count, self._outages.over, self._lost, self._report)
        outbox = Outbox(self._redis, keys.outbox, keys.head)
        return ShardRelay(
            self._settings, outbox, generation=live.generation, shard=shard, events=events, turn=live.turn
        )

    async def _live_generation(self, *, wait: bool) -> Live | None:
        """The live generation; without one raises `NotFound`, or waits (`None` when stopped meanwhile)."""
        namespace = self._settings.namespace
        told = False
        while True:
            try:
                name = await read_live(self._redis, namespace)
                found = await read_generation(self._redis, namespace, name)
                return Live(name, found.shards, max(1, found.turn))
            except NotFound as missing:
                if not wait:
                    raise
                if not told:
                    self._report(f"{missing}; waiting")
                    told = True
            if await self._pause(_GENERATION_CHECK_S):
                return None

    async def _names(self, live: Live) -> bool:
        """Whether readers still use this generation."""
        return await read_live(self._redis, self._settings.namespace) == live.generation

    async def _changes_topic_is_there(self, *, wait: bool) -> bool:
        """Whether it is there before `stop`; joining without it could make it, with a number of partitions
        that nobody chose. Without `wait` raises `NotFound`."""
        topic = self._settings.changes_topic
        told = False
        while True:
            async with Admin(self._kafka) as admin:
                if (await admin.describe([topic]))[topic] is not None:
                    return True
            line = f"Kafka at {self._kafka} has no topic {topic}; `profilestream init` makes it"
            if not wait:
                raise NotFound(line)
            if not told:
                self._report(f"{line}; waiting")
                told = True
            if await self._pause(_GENERATION_CHECK_S):
                return False

    async def _waiting(self, live: Live) -> int:
        keys = Keys(self._settings.namespace, live.generation)
        with reaching(self._redis):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for shard in range(live.shards):
                    pipeline.xlen(keys.shard(shard).outbox)
                    pipeline.hexists(keys.shard(shard).head, "repair")  # its changes are yet to come
                waiting = sum(await pipeline.execute())
        CHANGES_WAITING.set(waiting)
        return int(waiting)

    def _count(self, changes: int) -> None:
        self.announced += changes
        self.transactions += 1
        CHANGES_ANNOUNCED.inc(changes)
        TRANSACTIONS.inc()

    def _lost(self, error: Exception) -> None:
        """Name the server in a line of its own, whichever library the error came from."""
        self._outages.begin(named(error, self._kafka, self._redis_url))

    async def _pause(self, seconds: float) -> bool:
        """Sleep, or wake at once on `stop`; whether it was `stop`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: Any, crew: Crew) -> None:
        self._consumer = consumer
        self._crew = crew

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._crew.assign(())

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = list(assigned)
        self._consumer.pause(*partitions)
        await self._crew.assign(partition.partition for partition in partitions)


def _consumer(settings: Settings) -> Any:
    """A member of the group that never commits: what was announced is in topic `announced`."""
    return AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        group_id=emitter_group(settings.namespace),
        enable_auto_commit=False,
        auto_offset_reset="latest",
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_ms,
        rebalance_timeout_ms=2 * int(RELAY_STOP_S_MAX * 1000),
    )


async def _keep_membership(consumer: Any) -> None:
    """aiokafka leaves a group when it is not asked for records, paused or not; asking also brings errors."""
    while True:
        try:
            await consumer.getmany(timeout_ms=_POLL_MS)
        except AssertionError as error:  # aiokafka's, for a cluster without a broker
            raise KafkaConnectionError(str(error)) from error


async def _within(seconds: float, stopping: Any) -> None:
    """Let a client end in bounded time, whatever state its server left it in."""
    task = asyncio.ensure_future(stopping)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=seconds)
    if task.done() and not task.cancelled():
        error = task.exception()
        if error is not None and not isinstance(error, KafkaError | OSError | ProfilestreamError):
            raise error
