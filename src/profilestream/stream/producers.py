"""The idempotent producer for everything that needs no transaction: dead letters, strays, `produce`.

What it promises:

1. Records of one partition are written in the order of their `send`, each once, however often the
   connection breaks: the broker drops repeats and refuses gaps.
2. After a failure nothing more is written until `restart`. So a later stray never overtakes a lost
   one, which its shard would take for already folded.
3. `flush` returns when everything sent is acknowledged by all in-sync replicas; a commit that covers the
   records comes after it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.store.keys import murmur2
from profilestream.stream.lanes import Headers, Lane, record_bytes
from profilestream.stream.reports import Troubles
from profilestream.stream.topics import Admin, Report, unavailable

BATCH_BYTES_MAX: Final = 256 * 1024
UNACKNOWLEDGED_BYTES_MAX: Final = 32 * 1024 * 1024
SILENCE_S: Final = 5.0
STOP_TIMEOUT_S: Final = 2.0

VALUE_BYTES: Final = "value_bytes"
KEY_BYTES: Final = "key_bytes"


class ForwardingProducer:
    """Sends records in order, in batches, and waits for their acknowledgement.

    `async with ForwardingProducer("host:port") as producer`, or `start` and `stop`. A lost Kafka is waited
    for, with one line to `report`. Not more than `UNACKNOWLEDGED_BYTES_MAX` wait: `send` then pauses.
    """

    def __init__(self, kafka: str, report: Report | None = None, troubles: Troubles | None = None) -> None:
        """With `troubles` a lost Kafka is said there, together with what else finds it lost."""
        self._kafka = kafka
        self._troubles = troubles or Troubles(report or (lambda line: None))
        self._producer: Any = None
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._topics: dict[str, tuple[int, int]] = {}
        self._failure: ProfilestreamError | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._waiting_bytes = 0
        self._acknowledged = asyncio.Event()
        self.acknowledged_records = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connects; raises ServerUnavailable when Kafka does not answer."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka,
            client_id="profilestream-forwarder",
            enable_idempotence=True,
            acks="all",
            max_batch_size=BATCH_BYTES_MAX,
            linger_ms=0,
        )
        try:
            await self._producer.start()
        except (KafkaError, OSError, AssertionError) as error:  # aiokafka asserts that there is a broker
            await self._let_go()
            raise unavailable(self._kafka, error) from None

    async def stop(self) -> None:
        """Lets go of the connection; what was not flushed may or may not have been written."""
        self._failure = self._failure or ProfilestreamError("the producer was stopped")
        for lane in self._lanes.values():
            lane.abandon(self._failure)
        self._lanes.clear()
        await self._let_go()

    async def _let_go(self) -> None:
        """Closes the connection; an idempotent producer would else try for ever to reach a lost Kafka."""
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._producer.stop()
        except TimeoutError:
            # The library offers no way to give up on what is unsent; without this its sender lives on.
            await self._producer.client.close()
            await self._producer._sender.close()

    async def restart(self) -> None:
        """Begins anew after a failure; the caller sends again what was not acknowledged, in order."""
        await self.stop()
        self._failure = None
        self._topics.clear()
        await self.start()

    @property
    def failed(self) -> bool:
        """Whether nothing can be sent until `restart`."""
        return self._failure is not None

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has; raises UsageError where there is no such topic."""
        return (self._topics.get(topic) or await self._topic(topic))[0]

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        timestamp_ms: int | None = None,
        partition: int | None = None,
    ) -> asyncio.Future[None]:
        """Takes a record; the future is done when it is acknowledged (records of a batch share one).

        Without `partition`, Kafka's default partitioner decides (0 where there is no key); without
        `timestamp_ms`, the present does. Raises ProfilestreamError for a record greater than the topic
        takes, and after any failure until `restart`.
        """
        if self._failure is not None:
            raise self._failure
        partitions, bytes_max = self._topics.get(topic) or await self._topic(topic)
        size = record_bytes(key, value, headers)
        if size > bytes_max:
            raise ProfilestreamError(
                f"a record of {size} bytes is more than topic `{topic}` takes ({bytes_max}); "
                "raise the topic's max.message.bytes and start again"
            )
        if partition is None:
            partition = (murmur2(key) & 0x7FFFFFFF) % partitions if key else 0
        lane = self._lanes.get((topic, partition))
        if lane is None:
            lane = self._lanes[topic, partition] = Lane(self, topic, partition, bytes_max)
        while self._waiting_bytes > UNACKNOWLEDGED_BYTES_MAX:
            await self._wait_for_acknowledgement()
        return lane.add(key, value, headers, timestamp_ms, size)

    async def send_dead_letter(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        timestamp_ms: int | None = None,
        partition: int | None = None,
    ) -> asyncio.Future[None]:
        """`send`, but a record that the topic is too small for is sent without its value (then key).

        What is left out is said by the headers `value_bytes` and `key_bytes` (its length); the original
        is in its topic, at the offset that the dead letter names.
        """
        bytes_max = (self._topics.get(topic) or await self._topic(topic))[1]
        if value is not None and record_bytes(key, value, headers) > bytes_max:
            headers = [*headers, (VALUE_BYTES, b"%d" % len(value))]
            value = None
        if key is not None and record_bytes(key, value, headers) > bytes_max:
            headers = [*headers, (KEY_BYTES, b"%d" % len(key))]
            key = None
        return await self.send(topic, key, value, headers, timestamp_ms, partition)

    async def flush(self) -> None:
        """Returns when every record sent so far is acknowledged; raises the first failure otherwise."""
        for lane in self._lanes.values():
            lane.close_batch()
        mine = set(self._waiting)
        while mine and self._failure is None:
            await self._wait_for_acknowledgement()
            mine &= self._waiting
        if self._failure is not None:
            raise self._failure

    async def _wait_for_acknowledgement(self) -> None:
        """Waits for any batch; says once that Kafka is silent, and once that it is back."""
        self._acknowledged.clear()
        silent = False
        while self._failure is None:
            try:
                async with asyncio.timeout(SILENCE_S):
                    await self._acknowledged.wait()
                break
            except TimeoutError:
                silent = True
                self._troubles.begin(
                    self, f"Kafka at {self._kafka} does not acknowledge what is sent", "waiting for it"
                )
        if silent:
            self._troubles.over(self) if self._failure is None else self._troubles.leave(self)
        if self._failure is not None:
            raise self._failure

    async def _topic(self, topic: str) -> tuple[int, int]:
        """A topic's number of partitions and greatest record, read once."""
        async with Admin(self._kafka) as admin:
            info = (await admin.describe([topic]))[topic]
        if info is None:
            raise UsageError(f"Kafka at {self._kafka} has no topic `{topic}`; `profilestream init` makes the topics")
        self._topics[topic] = info.partitions, info.message_bytes_max
        return self._topics[topic]

    # Called by the lanes.

    async def submit(self, batch: Any, topic: str, partition: int) -> None:
        """Writes one batch and returns when it is acknowledged."""
        if self._failure is not None:
            raise self._failure
        try:
            await (await self._producer.send_batch(batch, topic, partition=partition))
        except (KafkaError, AssertionError) as error:
            raise ProfilestreamError(
                f"Kafka at {self._kafka} refuses records for topic `{topic}` ({type(error).__name__}); "
                "see the broker's log and the topic's settings"
            ) from error

    def create_batch(self) -> Any:
        """An empty batch of the client library."""
        return self._producer.create_batch()

    def began(self, future: asyncio.Future[None], size: int) -> None:
        """Notes that bytes wait for acknowledgement."""
        self._waiting.add(future)
        self._waiting_bytes += size

    def finished(self, future: asyncio.Future[None], size: int, records: int, failure: BaseException | None) -> None:
        """Notes that a batch is acknowledged or has failed, and wakes whoever waits."""
        self._waiting.discard(future)
        self._waiting_bytes -= size
        self._acknowledged.set()
        if failure is None:
            self.acknowledged_records += records
        elif self._failure is None and isinstance(failure, ProfilestreamError):
            self._failure = failure
