"""How long a single order takes: from its sending to the profile in Redis, and to a subscriber.

Worker and emitter run on as they are. One order is sent at a time, each of a customer who has none yet, so that
each makes one segment change. Time runs from before the record is handed to the Kafka client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from profilestream.core.errors import ProfilestreamError
from profilestream.operations.demo.orders import TOPIC, event
from profilestream.settings import Settings
from profilestream.store.keys import shard_of
from profilestream.store.reader import AsyncProfileReader
from profilestream.stream.topics import unavailable
from profilestream.wire.changes import decode_change

ORDERS: Final = 100
WAIT_S_MAX: Final = 10.0
LOOK_S: Final = 0.0005
PAUSE_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of every order, from sending to where it was seen; sorted."""

    to_redis_ms: Sequence[float]
    to_subscriber_ms: Sequence[float]


def percentile(sorted_values: Sequence[float], percent: int) -> float:
    """The least value that `percent` of all values do not exceed (nearest rank)."""
    return sorted_values[max(0, -(-len(sorted_values) * percent // 100) - 1)]


async def measure(
    settings: Settings, clocks: Mapping[int, int], progress: Callable[[int], None], orders: int = ORDERS
) -> Latency:
    """Sends `orders` orders, one after the other, and waits for each at both ends.

    `clocks` (ms) has every shard's: an order occurs at that of its shard, so that nobody else's time moves on.
    Raises ProfilestreamError when one does not arrive within ten seconds.
    """
    shards = len(clocks)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka, enable_idempotence=True)
    to_redis, to_subscriber = [], []
    try:
        await producer.start()
        async with _Subscriber(settings, shards) as subscriber, _reader(settings) as reader:
            await producer.partitions_for(TOPIC)
            for number in range(1, orders + 1):
                customer = f"visitor-{number:03d}"
                shard = shard_of(customer, shards)
                value = event(f"visit-{number:03d}", customer, clocks[shard], 1_999, 1)
                seen = subscriber.expect(customer)
                began = time.perf_counter()
                sending = await producer.send(TOPIC, value, customer.encode(), shard)
                async with asyncio.timeout(WAIT_S_MAX):
                    readable, received = await asyncio.gather(_readable(reader, customer), seen)
                    await sending
                to_redis.append((readable - began) * 1000)
                to_subscriber.append((received - began) * 1000)
                progress(number)
                await asyncio.sleep(PAUSE_S)
    except TimeoutError:
        raise ProfilestreamError(
            f"an order was not seen in Redis and by a subscriber within {WAIT_S_MAX:.0f} s of its sending; "
            "the logs of worker and emitter may say why"
        ) from None
    except KafkaError as error:
        raise unavailable(str(settings.kafka), error) from None
    finally:
        await producer.stop()
    return Latency(sorted(to_redis), sorted(to_subscriber))


def _reader(settings: Settings) -> AsyncProfileReader:
    return AsyncProfileReader(str(settings.redis), settings.namespace)


async def _readable(reader: AsyncProfileReader, customer: str) -> float:
    """The moment at which a reader has the profile."""
    while await reader.get(customer) is None:  # noqa: ASYNC110  Redis does not tell
        await asyncio.sleep(LOOK_S)
    return time.perf_counter()


class _Subscriber:
    """A consumer of committed segment changes, from the topic's present end on."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._assigned = [TopicPartition(settings.changes_topic, number) for number in range(partitions)]
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka, enable_auto_commit=False, isolation_level="read_committed"
        )
        self._expected: dict[str, asyncio.Future[float]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> _Subscriber:
        await self._consumer.start()
        self._consumer.assign(self._assigned)
        await self._consumer.seek_to_end(*self._assigned)
        for partition in self._assigned:
            await self._consumer.position(partition)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._consumer.stop()

    def expect(self, customer: str) -> asyncio.Future[float]:
        """The moment at which the first change of this customer is read."""
        found: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._expected[customer] = found
        return found

    async def _read(self) -> None:
        async for record in self._consumer:
            expected = self._expected.pop(decode_change(record.value).customer_id, None)
            if expected is not None and not expected.done():
                expected.set_result(time.perf_counter())
