"""Kafka with a plain client: what stands in a topic, what is put there, topics made empty."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.oracle import shard_of

TYPE_OF_TOPIC = {
    "purchases": "purchase",
    "browsing": "browsing",
    "support": "support",
    "engagement": "engagement",
    "attributes": "attributes",
}
EVENT_TOPICS = (*TYPE_OF_TOPIC, "commands")
_WAIT_S = 60
_SETTLING_S = 3


@dataclass(frozen=True)
class Arrival:
    """An event where it stands: its record's place and time, and its JSON object plus `type`."""

    topic: str
    partition: int
    offset: int
    event: Mapping[str, Any]


@dataclass(frozen=True)
class Sending:
    """A record to be put into a topic; a partition of None is the one of its key."""

    topic: str
    value: bytes | None
    key: bytes | None
    partition: int | None = None


async def read_topic(kafka: str, topic: str) -> list[Any]:
    """Every committed record of a topic, partition by partition, in order of offset."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        assigned = await _partitions(kafka, topic)
        consumer.assign(assigned)
        ends = await _settled_ends(kafka, consumer, assigned)
        records: list[Any] = []
        # The position passes markers of transactions too, which are no records.
        while any([await consumer.position(tp) < ends[tp] for tp in assigned]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
        return sorted(records, key=lambda r: (r.partition, r.offset))
    finally:
        await consumer.stop()


async def _settled_ends(kafka: str, consumer: Any, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Where committed records end, once no transaction that was answered is on its way into the partitions.

    Kafka answers the end of a transaction before its partitions know of it. One that somebody left open stays open.
    """
    unsettled = AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_uncommitted")
    await unsettled.start()
    try:
        written = await unsettled.end_offsets(partitions)
    finally:
        await unsettled.stop()
    for _ in range(_SETTLING_S * 20):
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        if all(ends[tp] >= written[tp] for tp in partitions):
            break
        await asyncio.sleep(0.05)
    return ends


async def _partitions(kafka: str, topic: str) -> list[TopicPartition]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        (description,) = await admin.describe_topics([topic])
        assert description["partitions"], f"there is no topic {topic}"
        return [TopicPartition(topic, p) for p in sorted(p["partition"] for p in description["partitions"])]
    finally:
        await admin.close()


async def read_arrivals(kafka: str, topics: Iterable[str]) -> list[Arrival]:
    """Every event of the built-in types in these topics."""
    return [
        Arrival(r.topic, r.partition, r.offset, {**json.loads(r.value), "type": TYPE_OF_TOPIC[r.topic]})
        for topic in topics
        for r in await read_topic(kafka, topic)
    ]


async def send(kafka: str, sendings: Iterable[Sending], pause_s: float = 0.0) -> list[Any]:
    """Puts records into their topics, in order within each partition; gives their metadata.

    `pause_s` is waited after every 50 records, for a stream that takes its time.
    """
    producer = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True, linger_ms=5)
    await producer.start()
    try:
        waiting = []
        for number, one in enumerate(sendings, start=1):
            waiting.append(await producer.send(one.topic, one.value, one.key, one.partition))
            if pause_s and number % 50 == 0:
                await asyncio.sleep(pause_s)
        return list(await asyncio.gather(*waiting))
    finally:
        await producer.stop()


def properly(topic: str, event: Mapping[str, Any], shards: int) -> Sending:
    """An event as `produce` sends it: keyed by its customer, in the customer's partition."""
    customer_id = str(event["customer_id"])
    return Sending(topic, event_bytes(event), customer_id.encode(), shard_of(customer_id, shards))


def event_bytes(event: Mapping[str, Any]) -> bytes:
    """An event's JSON object, without the `type` that its topic implies."""
    return json.dumps({k: v for k, v in event.items() if k != "type"}, ensure_ascii=False).encode()


def event_lines(events: Iterable[Mapping[str, Any]]) -> str:
    """A file of events for `produce`."""
    return "".join(event_bytes(event).decode() + "\n" for event in events)


async def remove_topics(kafka: str, topics: Sequence[str] = EVENT_TOPICS) -> None:
    """Deletes topics and waits until they are gone: the names of event topics are the contract's, so
    tests on one Kafka would otherwise read each other's events.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        present = set(topics) & set(await admin.list_topics())
        if present:
            await admin.delete_topics(sorted(present))
        async with asyncio.timeout(_WAIT_S):
            while present & set(await admin.list_topics()):  # noqa: ASYNC110  the broker does not tell
                await asyncio.sleep(0.1)
    finally:
        await admin.close()


async def cut_log(kafka: str, topic: str, partition: int, begin: int) -> None:
    """Removes the records of a partition below `begin`, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(begin)})
    finally:
        await admin.close()
