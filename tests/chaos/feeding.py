"""The load of a chaos run: producers that key badly, repeat themselves, write in transactions and survive the broker.

What was written is not remembered here: in the end the raw topics say it. Only how far was acknowledged is kept, so
that it can be told when all of that has been folded.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.story import Story, Told
from tests.oracle import shard_of

PARTITIONS = {"purchases": 4, "support": 4, "browsing": 3}
SHARDS = 4
TYPE_OF_TOPIC = {"purchases": "purchase", "support": "support", "browsing": "browsing"}
TICK_S = 0.05
REPEATED, REPEATED_WITHIN = 0.06, 3_000
TRANSACTION_S, ABORTED = 0.4, 0.3
CLOSE_S_MAX = 3.0
LOST = (KafkaError, OSError, AssertionError, asyncio.TimeoutError)


@dataclass
class Reached:
    """How far each shard has to come: by (shard, field of its head) an offset that its position or the greatest
    offset folded from that origin must reach."""

    offsets: dict[tuple[int, str], int] = field(default_factory=dict)

    def note(self, topic: str, partition: int, offset: int, customer_id: str | None) -> None:
        """A record that is acknowledged, and committed if it was in a transaction."""
        if PARTITIONS[topic] == SHARDS:
            self._raise(partition, topic, offset + 1)
        if customer_id is not None:
            shard = shard_of(customer_id, SHARDS)
            if PARTITIONS[topic] != SHARDS or partition != shard:
                self._raise(shard, f"o:{TYPE_OF_TOPIC[topic]}:{topic}:{partition}", offset)

    def _raise(self, shard: int, name: str, offset: int) -> None:
        self.offsets[shard, name] = max(offset, self.offsets.get((shard, name), -1))


class Feeder:
    """Feeds `rate` events a second until told to stop; `counts` says what was acknowledged."""

    def __init__(self, kafka: str, story: Story, seed: int, rate: float) -> None:
        self._kafka = kafka
        self._story = story
        self._chance = random.Random(f"feeder {seed}")
        self._rate = rate
        self._repeats: list[tuple[int, int, Told]] = []
        self._told = 0
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.reached = Reached()
        self.counts: Counter[str] = Counter()
        # A broker that is killed makes clients say much.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    def start(self) -> None:
        plain, transactional = self._feed_plainly, self._feed_in_transactions
        self._tasks = [asyncio.create_task(self._keep_on(work)) for work in (plain, transactional)]

    async def stop(self) -> None:
        """Returns when nothing is written any more and no transaction is open."""
        self._stopping.set()
        for task in self._tasks:
            await task

    async def _keep_on(self, work: Callable[[], Awaitable[None]]) -> None:
        """Works with one producer after the other: a new one begins where the broker has undone the last."""
        while not self._stopping.is_set():
            with suppress(*LOST):
                await work()
            await asyncio.sleep(0.3)

    # Records of their own

    async def _feed_plainly(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka, enable_idempotence=True, linger_ms=5, request_timeout_ms=10_000
        )
        failed: list[BaseException] = []
        try:
            await producer.start()
            loop = asyncio.get_running_loop()
            due = loop.time()
            while not self._stopping.is_set() and not failed:
                for _ in range(self._number(self._rate * TICK_S)):
                    told = self._next()
                    partition, key = self._place(told)
                    future = await producer.send(told.topic, told.value, key, partition)
                    future.add_done_callback(lambda done, told=told: self._acknowledged(told, done, failed))
                # What an outage has kept back is not made up for: the load is steady.
                due = max(due + TICK_S, loop.time())
                await asyncio.sleep(due - loop.time())
            if not failed:
                async with asyncio.timeout(60):
                    await producer.flush()
        finally:
            await _close(producer)

    def _acknowledged(self, told: Told, done: asyncio.Future[Any], failed: list[BaseException]) -> None:
        if done.cancelled() or done.exception() is not None:
            failed.append(asyncio.CancelledError() if done.cancelled() else done.exception())
            return
        where = done.result()
        self.reached.note(told.topic, where.partition, where.offset, told.customer_id)
        self.counts["poison" if told.customer_id is None else "events"] += 1

    def _next(self) -> Told:
        """Something new, or now and then something once more."""
        self._told += 1
        if self._repeats and self._repeats[0][0] <= self._told:
            self.counts["repeated"] += 1
            return heapq.heappop(self._repeats)[2]
        told = self._story.next()
        if told.customer_id is not None and self._chance.random() < REPEATED:
            again = self._told + int(REPEATED_WITHIN * self._chance.random() ** 3)
            heapq.heappush(self._repeats, (again, self._told, told))
        return told

    def _place(self, told: Told) -> tuple[int, bytes | None]:
        """Partition and key: as Kafka's own partitioner says, as librdkafka's does, at random, without a key."""
        chance, partitions = self._chance, PARTITIONS[told.topic]
        if told.customer_id is None:
            return chance.randrange(partitions), b"some key"
        key = told.customer_id.encode()
        how = chance.random()
        if how < 0.6:
            return shard_of(told.customer_id, partitions), key
        if how < 0.75:
            return zlib.crc32(key) % partitions, key
        return chance.randrange(partitions), None if how < 0.9 else b"somebody else"

    # Records in transactions

    async def _feed_in_transactions(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka,
            transactional_id="chaos-feeder",
            transaction_timeout_ms=10_000,
            request_timeout_ms=10_000,
        )
        try:
            async with asyncio.timeout(30):
                await producer.start()
            while not self._stopping.is_set():
                async with asyncio.timeout(30):
                    await self._transact(producer)
                await asyncio.sleep(TRANSACTION_S)
        finally:
            await _close(producer)

    async def _transact(self, producer: AIOKafkaProducer) -> None:
        """A few events, which are then taken back in three of ten cases."""
        aborted = self._chance.random() < ABORTED
        await producer.begin_transaction()
        sent = []
        for _ in range(self._number(self._rate * TRANSACTION_S * 0.15) + 1):
            told = self._story.next("aborted-" if aborted else "t")
            partition, key = self._place(told)
            sent.append((told, await producer.send(told.topic, told.value, key, partition)))
        acknowledged = [(told, await future) for told, future in sent]
        if aborted:
            await producer.abort_transaction()
            self.counts["aborted"] += len(sent)
            return
        await producer.commit_transaction()
        for told, where in acknowledged:
            self.reached.note(told.topic, where.partition, where.offset, told.customer_id)
        self.counts["in transactions"] += len(sent)

    def _number(self, mean: float) -> int:
        """A whole number whose mean is `mean`."""
        return int(mean) + (self._chance.random() < mean % 1)


async def _close(producer: AIOKafkaProducer) -> None:
    """Lets a producer go in bounded time, whatever state the broker has left it in."""
    with suppress(*LOST):
        async with asyncio.timeout(CLOSE_S_MAX):
            await producer.stop()
            return
    with suppress(*LOST):
        async with asyncio.timeout(CLOSE_S_MAX):
            await producer.client.close()
