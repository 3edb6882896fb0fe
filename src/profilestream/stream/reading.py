"""Reads a topic as it is now: from its beginning to the end it had when reading began."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from profilestream.core.errors import LogMismatch
from profilestream.stream.topics import REQUEST_TIMEOUT_MS, learn, unavailable

READ_TIMEOUT_MS: Final = 20  # a marker at the end brings no record: waiting long for one is waiting for nothing
STALLED_READS_MAX: Final = 1_500
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
    async with _reader(kafka) as consumer:
        begins, ends = await _bounds(consumer, topic, since)
        if since is not None:
            begins = {p: max(begins.get(p, 0), offset) for p, offset in since.items()}
            for partition, begin in begins.items():
                if ends.get(partition, 0) < begin:
                    raise LogMismatch(
                        f"topic {topic}, partition {partition}: it had reached {begin}, but ends at "
                        f"{ends.get(partition, 0)}; it was made anew or truncated. Restore it, or use another namespace"
                    )
        async for record in _between(consumer, topic, begins, ends, kafka):
            yield record


async def last_record(kafka: str, topic: str, partition: int, holds: Callable[[Any], bool]) -> Any:
    """The last committed record of a partition for which `holds` does; None where there is none.

    Reads back in growing steps, since markers and what was aborted may lie behind it. Raises as `read_to_end` does.
    """
    async with _reader(kafka) as consumer:
        begins, ends = await _bounds(consumer, topic, {partition})
        begin, end, reach = begins.get(partition, 0), ends.get(partition, 0), LAST_OFFSETS
        while True:
            since, found = max(begin, end - reach), None
            async for record in _between(consumer, topic, {partition: since}, {partition: end}, kafka):
                if holds(record):
                    found = record
            if found is not None or since == begin:
                return found
            reach *= LAST_FACTOR


@asynccontextmanager
async def _reader(kafka: str) -> AsyncIterator[Any]:
    """One connection for all that is asked and read: those who begin are many, and wait for it."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        client_id="profilestream-reader",
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )
    try:
        await consumer.start()
        yield consumer
    except KafkaError as error:
        raise unavailable(kafka, error) from None
    finally:
        await consumer.stop()


async def _bounds(consumer: Any, topic: str, only: Container[int] | None) -> tuple[dict[int, int], dict[int, int]]:
    """Where partitions begin and end; none of a topic that does not exist, or of `only` those that do."""
    # All topics are asked for: a request that names one would make it on a broker with `auto.create.topics.enable`.
    there = (await consumer._client.fetch_all_metadata()).partitions_for_topic(topic) or ()
    partitions = [TopicPartition(topic, p) for p in sorted(there) if only is None or p in only]
    if not partitions:
        return {}, {}
    await learn(consumer, partitions)
    begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    return {tp.partition: at for tp, at in begins.items()}, {tp.partition: at for tp, at in ends.items()}


async def _between(
    consumer: Any, topic: str, begins: Mapping[int, int], ends: Mapping[int, int], kafka: str
) -> AsyncIterator[Any]:
    """Yields the records of each partition from where it begins to where it ends."""
    waiting = {TopicPartition(topic, p): end for p, end in ends.items() if end > begins.get(p, 0)}
    if not waiting:
        return
    consumer.assign(list(waiting))
    for tp in waiting:
        consumer.seek(tp, begins[tp.partition])
    async for record in _until(consumer, waiting, kafka):
        yield record


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
