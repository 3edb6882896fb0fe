"""What stands in for aiokafka's producer and admin clients, as far as profilestream uses them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Self

from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from faust.types import TP

from profilestream.core.errors import LogMismatch
from profilestream.stream.topics import TopicInfo
from tests.simulator.kafka_broker import Broker, Channel
from tests.simulator.timeline import Timeline

BATCH_RECORDS_MAX = 5
PAGE_RECORDS_MAX = 4
TRANSACTION_TIMEOUT_S = 20.0


class Batch:
    """A batch of few records, so that a transaction often has several."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def append(self, **record: Any) -> bool | None:
        if len(self.records) >= BATCH_RECORDS_MAX:
            return None
        self.records.append(record)
        return True

    def record_count(self) -> int:
        return len(self.records)


class Acknowledged:
    """Where a batch was written."""

    def __init__(self, offset: int) -> None:
        self.offset = offset


class _Internals:
    """The parts of aiokafka's producer that profilestream looks into when it closes one."""

    sender_task = None
    _transaction_waiter = None

    def __init__(self) -> None:
        self._batches: dict[Any, Any] = {}

    async def close(self) -> None:
        return None


class SimulatedProducer:
    """AIOKafkaProducer: with a transactional id, or idempotent. An idempotent one sometimes fails, and what it was
    to write may be written all the same."""

    def __init__(self, line: Timeline, broker: Broker, transactional_id: str | None = None, **_: Any) -> None:
        self._line = line
        self._broker = broker
        self._channel = Channel(line, broker)
        self._id = transactional_id
        self._epoch = -1
        self._closed = False
        self._sender = self._message_accumulator = self._txn_manager = self.client = _Internals()

    async def start(self) -> None:
        if self._id is None:
            await self._channel.ask(lambda: None, KafkaConnectionError())
        else:
            name = self._id
            self._epoch = await self._channel.ask(lambda: self._broker.open_id(name))

    async def stop(self) -> None:
        self._closed = True

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Any:
        broker, tp, records = self._broker, TP(topic, partition), batch.records
        if self._id is None:
            asked = self._channel.ask(lambda: broker.append(tp, records), KafkaTimeoutError())
        else:
            name, epoch = self._id, self._epoch
            asked = self._channel.ask(
                lambda: broker.in_transaction(name, epoch, lambda t: broker.append(tp, records, t))
            )
        return _acknowledged(asked)

    async def begin_transaction(self) -> None:
        return None

    async def commit_transaction(self) -> None:
        assert self._id is not None
        name, epoch = self._id, self._epoch
        await self._channel.ask(lambda: self._broker.end_transaction(name, epoch, commit=True))


async def _acknowledged(asked: Any) -> Acknowledged:
    return Acknowledged(await asked)


class SimulatedAdmin:
    """`stream.topics.Admin`, for what a producer asks of a topic."""

    def __init__(self, line: Timeline, broker: Broker) -> None:
        self._broker = broker
        self._channel = Channel(line, broker)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        return None

    async def describe(self, topics: Any) -> dict[str, TopicInfo]:
        counts = self._broker.partitions
        await self._channel.ask(lambda: None)
        return {t: TopicInfo(t, counts[t], {"max.message.bytes": "1048576"}) for t in topics}

    async def end_offsets(self, topic: str) -> dict[int, int]:
        logs = {tp.partition: log for tp, log in self._broker.logs.items() if tp.topic == topic}
        return {
            p: await self._channel.ask(lambda log=log: log.stable, KafkaConnectionError()) for p, log in logs.items()
        }


async def read_to_end(line: Timeline, broker: Broker, topic: str, since: Mapping[int, int]) -> AsyncIterator[Any]:
    """`stream.reading.read_to_end`, page by page."""
    channel = Channel(line, broker)
    for partition, position in since.items():
        log = broker.logs[TP(topic, partition)]
        end = await channel.ask(lambda log=log: log.stable, KafkaConnectionError())
        if end < position:
            raise LogMismatch(f"topic {topic}: it had reached {position}, but ends at {end}")
        while position < end:
            records, position = await channel.ask(
                lambda log=log, position=position: log.read(position, PAGE_RECORDS_MAX), KafkaConnectionError()
            )
            for record in records:
                if record.offset < end:
                    yield record


async def last_record(line: Timeline, broker: Broker, topic: str, partition: int, holds: Callable[[Any], bool]) -> Any:
    """`stream.reading.last_record`."""
    found = None
    async for record in read_to_end(line, broker, topic, {partition: 0}):
        if holds(record):
            found = record
    return found
