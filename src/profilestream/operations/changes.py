"""Reads segment changes as a subscriber sees them: committed ones only, in order within a partition."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from profilestream.core.errors import NotFound, UsageError
from profilestream.settings import Settings
from profilestream.stream.reading import read_to_end
from profilestream.stream.topics import Admin, unavailable, wait_for_kafka
from profilestream.wire.changes import SegmentChange, decode_change

KEPT_CHANGES_MAX = 1_000_000

_READ_MS = 1_000
_CHECK_INTERVAL_S = 5.0


class ReceivedChange(NamedTuple):
    """A segment change and where it stands in the topic; `value` is its CloudEvents JSON as sent."""

    change: SegmentChange
    partition: int
    offset: int
    value: bytes


@dataclass(frozen=True)
class ChangeFilter:
    """Which changes are meant: each part that is given must fit exactly."""

    segment: str | None = None
    customer: str | None = None
    cause: str | None = None

    def accepts(self, change: SegmentChange) -> bool:
        """Whether `change` is one of those."""
        return (
            (self.segment is None or change.segment == self.segment)
            and (self.customer is None or change.customer_id == self.customer)
            and (self.cause is None or change.cause == self.cause)
        )


EVERY_CHANGE = ChangeFilter()


async def read_changes(
    settings: Settings,
    follow: bool = False,
    *,
    only: ChangeFilter = EVERY_CHANGE,
    report: Callable[[str], None] = lambda line: None,
) -> AsyncIterator[ReceivedChange]:
    """Every change from the topic's beginning: to its end as it is now, or, with `follow`, without end.

    Changes of one customer come in order; between customers no order is promised. With `follow` a lost Kafka
    is waited for, with one line to `report`; otherwise it raises ServerUnavailable. A record that is no
    segment change is passed over and reported. Raises NotFound where the topic does not exist.
    """
    topic = settings.changes_topic
    kafka = _address(settings)
    if follow:
        await wait_for_kafka(kafka, report)
    partitions = await _partitions(kafka, topic)
    records = _follow(kafka, topic, partitions, report) if follow else read_to_end(kafka, topic)
    async with aclosing(records):  # type: ignore[type-var]
        async for record in records:
            try:
                change = decode_change(record.value or b"")
            except ValueError:
                where = f"{topic}, partition {record.partition}, offset {record.offset}"
                report(f"{where}: not a segment change, passed over; only emitters should write there")
                continue
            if only.accepts(change):
                yield ReceivedChange(change, record.partition, record.offset, record.value)


async def newest_changes(
    settings: Settings,
    count: int,
    *,
    only: ChangeFilter = EVERY_CHANGE,
    report: Callable[[str], None] = lambda line: None,
) -> list[ReceivedChange]:
    """The newest `count` changes by time, oldest first; within one time by partition and offset.

    Memory is bounded by `count` (at most `KEPT_CHANGES_MAX`, else UsageError). Raises as `read_changes`.
    """
    if not 0 < count <= KEPT_CHANGES_MAX:
        raise UsageError(f"--count {count} is out of range; give a number from 1 to {KEPT_CHANGES_MAX:,}")
    newest: list[tuple[tuple[int, int, int], ReceivedChange]] = []
    async for received in read_changes(settings, only=only, report=report):
        # (partition, offset) is unique, so the comparison never reaches the change itself.
        entry = ((received.change.time_ms, received.partition, received.offset), received)
        if len(newest) < count:
            heapq.heappush(newest, entry)
        else:
            heapq.heappushpop(newest, entry)
    return [received for _, received in sorted(newest, key=lambda entry: entry[0])]


def _address(settings: Settings) -> str:
    if not settings.kafka:
        raise UsageError("reading changes needs --kafka (or PROFILESTREAM_KAFKA)")
    return settings.kafka


async def _partitions(kafka: str, topic: str) -> int:
    async with Admin(kafka) as admin:
        info = (await admin.describe([topic]))[topic]
    if info is None:
        raise NotFound(f"Kafka at {kafka} has no topic {topic}; `profilestream init` makes it")
    return info.partitions


async def _follow(
    kafka: str, topic: str, partitions: int, report: Callable[[str], None]
) -> AsyncIterator[ConsumerRecord]:
    """The committed records of all partitions, from the beginning, without end."""
    consumer: Any = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        client_id="profilestream-changes",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    try:
        await consumer.start()
        consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
        checked = asyncio.get_running_loop().time()
        while True:
            slices = await consumer.getmany(timeout_ms=_READ_MS)
            for records in slices.values():
                for record in records:
                    yield record
            # The client library reconnects by itself, but without a word.
            now = asyncio.get_running_loop().time()
            if slices:
                checked = now
            elif now - checked >= _CHECK_INTERVAL_S:
                await wait_for_kafka(kafka, report)
                checked = asyncio.get_running_loop().time()
    except KafkaError as error:
        raise unavailable(kafka, error) from None
    finally:
        await consumer.stop()
