"""One shard's part of the log, read again: one partition of several topics, merged by record timestamp.

A worker merges what waits, and an empty topic is not waited for; here every topic has its say, so the order is the same
for every reader. Topics of which records have the same timestamp come in the order in which they were named.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from profilestream.core.errors import LogMismatch
from profilestream.stream.archive import Archive, Reading
from profilestream.stream.reading import READ_RECORDS_MAX, READ_TIMEOUT_MS, STALLED_READS_MAX
from profilestream.stream.slices import Record
from profilestream.stream.topics import unavailable

FETCH_BYTES_MAX: Final = 1024 * 1024
"""What is fetched of one topic at once; the records of at most two fetches of each topic are held."""


class Span(NamedTuple):
    """The offsets of a partition that are read: from `begin` to before `end`."""

    begin: int
    end: int


class _Waiting:
    """A topic's records that were fetched and not given yet."""

    __slots__ = ("archived", "at", "done", "place", "records", "topic")

    def __init__(self, place: int, topic: str, archived: Reading | None = None) -> None:
        self.place = place
        self.topic = topic
        self.archived = archived
        self.records: list[Record] = []
        self.at = 0
        self.done = False

    @property
    def key(self) -> tuple[int, int]:
        return self.records[self.at].timestamp, self.place


class ShardLog:
    """Reads committed records. Use as `async with ShardLog(...) as log: async for records in log.runs()`.

    `first_timestamps` has, from the beginning on, the timestamp (ms) of the first record of each topic that has one;
    `passed` and `total` count offsets, holes too. What an archive covers is read from there, then from Kafka. Raises
    ServerUnavailable where Kafka does not answer, LogMismatch where it gives no more though records must be there,
    where they are removed meanwhile, or where an archived file is damaged.
    """

    def __init__(self, kafka: str, partition: int, spans: Mapping[str, Span], archive: Archive | None = None) -> None:
        self.total = sum(span.end - span.begin for span in spans.values())
        self.first_timestamps: dict[str, int] = {}
        self._kafka = kafka
        self._partition = partition
        self._spans = {topic: span for topic, span in spans.items() if span.end > span.begin}
        self._waiting = [
            _Waiting(n, topic, _archived(archive, topic, partition, span.begin))
            for n, (topic, span) in enumerate(self._spans.items())
        ]
        self._positions = {topic: span.begin for topic, span in self._spans.items()}
        self._consumer: Any = None

    @property
    def passed(self) -> int:
        """How many offsets have been fetched."""
        return sum(self._positions[topic] - span.begin for topic, span in self._spans.items())

    async def __aenter__(self) -> Self:
        if self._spans:
            self._consumer = AIOKafkaConsumer(
                bootstrap_servers=self._kafka,
                client_id="profilestream-history",
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                max_partition_fetch_bytes=FETCH_BYTES_MAX,
            )
            try:
                await self._consumer.start()
                self._consumer.assign([self._tp(topic) for topic in self._spans])
                for waiting in self._waiting:
                    tp = self._tp(waiting.topic)
                    if waiting.archived is None:
                        self._consumer.seek(tp, self._spans[waiting.topic].begin)
                    else:
                        self._consumer.seek(tp, waiting.archived.end)
                        self._consumer.pause(tp)
                await self._fill()
            except BaseException as error:
                await self._consumer.stop()
                raise self._meaning(error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def runs(self) -> AsyncIterator[list[Record]]:
        """Runs of consecutive records of one topic, the earliest first; one reader alone."""
        while True:
            try:
                await self._fill()
            except KafkaError as error:
                raise self._meaning(error) from None
            ready = [w for w in self._waiting if w.records]
            if not ready:
                return
            # Until the first of them is used up nothing need be fetched.
            while ready and all(w.records for w in ready):
                yield _next_run(ready)

    async def _fill(self) -> None:
        """Fetches until every topic that is not at its end has a record waiting."""
        stalled = 0
        for waiting in self._waiting:
            while waiting.archived is not None and not waiting.done and not waiting.records:
                await self._take_archived(waiting, waiting.archived)
        while wanting := [w for w in self._waiting if not w.done and not w.records]:
            partitions = {self._tp(w.topic): w for w in wanting}
            found = await self._consumer.getmany(
                *partitions, timeout_ms=READ_TIMEOUT_MS, max_records=READ_RECORDS_MAX * len(partitions)
            )
            before = self.passed
            for tp, waiting in partitions.items():
                await self._take(waiting, tp, found.get(tp, ()))
            await asyncio.sleep(0)  # lets the client fetch on, and Ctrl-C in
            stalled = stalled + 1 if self.passed == before else 0
            if stalled > STALLED_READS_MAX:
                raise LogMismatch(
                    f"Kafka at {self._kafka} gives no more of topic `{wanting[0].topic}`, partition {self._partition}, "
                    "though records must be there; try again"
                )

    async def _take(self, waiting: _Waiting, tp: TopicPartition, records: Any) -> None:
        """Takes in what was fetched; positions, not records, tell the end (there are holes)."""
        span = self._spans[waiting.topic]
        waiting.records = [r for r in records if r.offset < span.end]
        waiting.at = 0
        if waiting.records:
            self.first_timestamps.setdefault(waiting.topic, waiting.records[0].timestamp)
        position = await self._consumer.position(tp)
        self._positions[waiting.topic] = min(position, span.end)
        if position >= span.end:
            waiting.done = True
            self._consumer.pause(tp)

    async def _take_archived(self, waiting: _Waiting, archived: Reading) -> None:
        """The same from the archive; at its end the log goes on, or what is wanted ends."""
        span, tp = self._spans[waiting.topic], self._tp(waiting.topic)
        records = await archived.next(FETCH_BYTES_MAX)
        waiting.records = [r for r in records if r.offset < span.end]
        waiting.at = 0
        if waiting.records:
            self.first_timestamps.setdefault(waiting.topic, waiting.records[0].timestamp)
        position = records[-1].offset + 1 if records else archived.end
        self._positions[waiting.topic] = min(position, span.end)
        if position >= span.end:
            waiting.done = True
        elif not records:
            waiting.archived = None
            self._consumer.resume(tp)

    def _tp(self, topic: str) -> TopicPartition:
        return TopicPartition(topic, self._partition)

    def _meaning(self, error: BaseException) -> BaseException:
        if isinstance(error, OffsetOutOfRangeError):
            return LogMismatch("records were removed from the log while it was read; run the command again")
        return unavailable(self._kafka, error) if isinstance(error, KafkaError) else error


def _archived(archive: Archive | None, topic: str, partition: int, begin: int) -> Reading | None:
    if archive is None or not archive.covers(topic, partition, begin):
        return None
    return Reading(archive, topic, partition, begin)


def _next_run(ready: list[_Waiting]) -> list[Record]:
    """The records that come before all other topics' ones, from the topic that has the earliest."""
    first = min(ready, key=lambda w: w.key)
    records, start = first.records, first.at
    others = [w.key for w in ready if w is not first]
    if not others:
        end = len(records)
    else:
        timestamp, place = min(others)
        # At the same timestamp the topic that was named first goes on.
        limit = timestamp if first.place < place else timestamp - 1
        end = start + 1
        while end < len(records) and records[end].timestamp <= limit:
            end += 1
    run = records[start:end] if start or end < len(records) else records
    first.at = end
    if end == len(records):
        first.records, first.at = [], 0
    return run
