"""Reads a topic as it is now: from its beginning to the end it had when reading began."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from profilestream.core.errors import LogMismatch
from profilestream.stream.topics import Admin, unavailable

READ_TIMEOUT_MS: Final = 100  # a marker at the end brings no record: waiting long for one is waiting for nothing
STALLED_READS_MAX: Final = 300
READ_RECORDS_MAX: Final = 2_000  # as objects they take many times their bytes
FETCH_BYTES_MAX: Final = 4 * 1024 * 1024
LAST_OFFSETS: Final = 16
LAST_FACTOR: Final = 32


async def read_to_end(kafka: str, topic: str, since: Mapping[int, int] | None = None) -> AsyncIterator[Any]:
    """Yields the committed records (aiokafka's) of a topic that has a fixed end.

    Nothing where the topic does not exist. Records of one partition come in order, of several in any. With `since`
    (partition: offset) only those partitions, from there on. Raises ServerUnavailable when Kafka does not answer or
    goes silent on the way, LogMismatch where the log ends before `since`.
    """
    async with Admin(kafka) as admin:
        begins = await admin.begin_offsets(topic)
        ends = await admin.end_offsets(topic)
    if since is not None:
        begins = {p: max(begins.get(p, 0), offset) for p, offset in since.items()}
        ends = {p: end for p, end in ends.items() if p in since}
        for partition, begin in begins.items():
            if ends.get(partition, 0) < begin:
                raise LogMismatch(
                    f"topic {topic}, partition {partition}: it had reached {begin}, but ends at "
                    f"{ends.get(partition, 0)}; it was made anew or truncated. Restore it, or use another namespace"
                )
    waiting = {TopicPartition(topic, p): end for p, end in ends.items() if end > begins.get(p, 0)}
    if not waiting:
        return
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        client_id="profilestream-reader",
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
    )
    try:
        await consumer.start()
        consumer.assign(list(waiting))
        for tp in waiting:
            consumer.seek(tp, begins[tp.partition])
        async for record in _until(consumer, waiting, kafka):
            yield record
    except KafkaError as error:
        raise unavailable(kafka, error) from None
    finally:
        await consumer.stop()


async def last_record(kafka: str, topic: str, partition: int, holds: Callable[[Any], bool]) -> Any:
    """The last committed record of a partition for which `holds` does; None where there is none.

    Reads back in growing steps, since markers and what was aborted may lie behind it. Raises as `read_to_end` does.
    """
    async with Admin(kafka) as admin:
        begin = (await admin.begin_offsets(topic)).get(partition, 0)
        end = (await admin.end_offsets(topic)).get(partition, 0)
    reach = LAST_OFFSETS
    while True:
        since, found = max(begin, end - reach), None
        async for record in read_to_end(kafka, topic, {partition: since}):
            if holds(record):
                found = record
        if found is not None or since == begin:
            return found
        reach *= LAST_FACTOR


async def _until(consumer: Any, waiting: dict[TopicPartition, int], kafka: str) -> AsyncIterator[Any]:
    """Yields records below each partition's end; positions, not records, tell the end (there are holes)."""
    stalled = 0
    before: dict[TopicPartition, int] = {}
    while waiting:
        slices = await consumer.getmany(*waiting, timeout_ms=READ_TIMEOUT_MS, max_records=READ_RECORDS_MAX)
        for tp, records in slices.items():
            for record in records:
                if record.offset < waiting[tp]:
                    yield record
        positions = {tp: await consumer.position(tp) for tp in waiting}
        for tp, position in positions.items():
            if position >= waiting[tp]:
                del waiting[tp]
                consumer.pause(tp)
        stalled = stalled + 1 if positions == before else 0
        before = positions
        if stalled > STALLED_READS_MAX:
            topic = next(iter(waiting)).topic
            raise LogMismatch(
                f"Kafka at {kafka} gives no more of topic `{topic}` though its end is not reached; try again"
            )
