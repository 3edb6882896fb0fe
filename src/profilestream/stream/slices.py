"""Slices: consecutive records of one partition from one fetch, and the inbox in which a shard's slices wait.

The inbox gives records in the order of their timestamps over all topics that have records waiting; an empty topic is
not waited for. It knows the shard's positions and so keeps out what was fetched before a seek: a slice below the
position is trimmed, one that begins above it means that the consumer must seek again. Holes inside a slice
(compaction, transaction markers, aborted records) are normal.

Topics that come from an archive are waited for: all of it is there, so their order is that of their timestamps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from profilestream.settings import Settings

Record = Any
"""A record as the consumer gives it: topic, partition, offset, timestamp (ms), key, value, headers."""

RECORD_BYTES = 400
HEADER_BYTES = 150
"""What a waiting record, and each of its headers, is taken to weigh besides the bytes of its key, value and headers."""


PART_BYTES_MIN = 64 * 1024


def waiting_bytes_part(settings: Settings, shards: int, topics: int) -> int:
    """What one partition's waiting records may weigh, in bytes: its part of what a worker with all of them may hold."""
    return max(PART_BYTES_MIN, settings.waiting_bytes_max // (shards * topics))


class Slice(NamedTuple):
    """Records of one partition. The fetch began at `begin`: there is nothing between it and the first record."""

    topic: str
    partition: int
    begin: int
    records: list[Record]


class Gap(Exception):
    """A slice begins above the position: the consumer has to seek to `offset` again."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(topic, partition, offset)
        self.topic = topic
        self.partition = partition
        self.offset = offset


class Inbox:
    """One shard's waiting records, by topic; `positions` are the next offsets to be taken."""

    def __init__(
        self,
        positions: Mapping[str, int],
        limits: Mapping[str, int] | None = None,
        awaited: Iterable[str] = (),
        reached: Callable[[str, int], int] = lambda topic, arrived: arrived,
    ) -> None:
        """With `limits` records from those offsets on wait apart until `allow` or `lift`. Nothing is given while an
        `awaited` topic, which may go on and is not `complete`, has none waiting. `reached` says how far a topic was
        read of which all below an offset has arrived here: past holes too."""
        self.positions = dict(positions)
        self._limits = dict(limits or {})
        self._awaited = set(awaited)
        self._reached = reached
        self._beyond: dict[str, list[Record]] = {}
        self._expected = dict(positions)
        self._queues: dict[str, deque[Record]] = {}
        self._bytes: dict[str, int] = {}

    def put(self, piece: Slice) -> None:
        """Adds a slice; raises Gap where records are missing before it."""
        topic = piece.topic
        expected = self._expected[topic]
        if piece.begin > expected:
            raise Gap(topic, piece.partition, expected)
        records = piece.records
        if records[-1].offset < expected:
            return
        if records[0].offset < expected:
            records = [r for r in records if r.offset >= expected]
        self._expected[topic] = records[-1].offset + 1
        self._bytes[topic] = self._bytes.get(topic, 0) + sum(weight(r) for r in records)
        limit = self._limits.get(topic)
        if limit is not None and records[-1].offset >= limit:
            self._beyond.setdefault(topic, []).extend(r for r in records if r.offset >= limit)
            records = [r for r in records if r.offset < limit]
            if not records:
                return
        self._queues.setdefault(topic, deque()).extend(records)

    def take(self) -> Record | None:
        """The waiting record with the earliest timestamp, or None; its position is passed."""
        queues = self._queues
        if not queues or (self._awaited and self._waits()):
            return None
        if len(queues) == 1:
            (topic,) = queues
        else:
            topic = min(queues, key=lambda t: queues[t][0].timestamp)
        queue = queues[topic]
        record = queue.popleft()
        if not queue:
            del queues[topic]
        self._bytes[topic] -= weight(record)
        self.positions[topic] = record.offset + 1
        return record

    def complete(self, topic: str, end: int) -> None:
        """All that there is of an awaited topic below `end` has been put here: it is not waited for any more."""
        self._awaited.discard(topic)
        self._expected[topic] = max(self._expected[topic], end)

    def awaits(self, topic: str) -> bool:
        """Whether records of a topic are still to come that are awaited."""
        return topic in self._awaited

    def _waits(self) -> bool:
        queues, beyond = self._queues, self._beyond
        return any(t not in queues and t not in beyond and not self.is_at_limit(t) for t in self._awaited)

    def is_level(self) -> bool:
        """Whether nothing waits to be folded, nor is a record below a limit still to come.

        Something may wait although nothing is given: for an awaited topic.
        """
        return not self._queues and all(self._is_passed(topic, limit) for topic, limit in self._limits.items())

    def _is_passed(self, topic: str, limit: int) -> bool:
        """Whether nothing below its limit is still to come of a topic, which may be none that is read here."""
        if self.positions.get(topic, limit) >= limit or topic in self._beyond:
            return True
        return self._reached(topic, self._expected[topic]) >= limit

    def allow(self, limits: Mapping[str, int]) -> None:
        """Sets other limits: what lies below them now may be taken."""
        self._limits = dict(limits)
        for topic, records in list(self._beyond.items()):
            limit = self._limits.get(topic)
            free = records if limit is None else [r for r in records if r.offset < limit]
            if not free:
                continue
            self._queues.setdefault(topic, deque()).extend(free)
            del records[: len(free)]
            if not records or limit is None:
                del self._beyond[topic]

    def holds_back(self, topic: str | None = None) -> bool:
        """Whether records (of a topic, or of any) wait beyond a limit."""
        return bool(self._beyond) if topic is None else topic in self._beyond

    def is_at_limit(self, topic: str) -> bool:
        """Whether a topic may be taken no further, whatever comes."""
        return topic in self._limits and self.positions[topic] >= self._limits[topic]

    def lift(self) -> None:
        """Takes the limits away."""
        for topic, records in self._beyond.items():
            self._queues.setdefault(topic, deque()).extend(records)
        self._limits, self._beyond = {}, {}

    def expected(self, topic: str) -> int:
        """The offset of a topic below which everything has arrived here."""
        return self._expected[topic]

    def waiting_bytes(self, topic: str) -> int:
        """What a topic's waiting records weigh."""
        return self._bytes.get(topic, 0)

    def __bool__(self) -> bool:
        return bool(self._queues) and not (self._awaited and self._waits())


def weight(record: Record) -> int:
    """What a waiting record is taken to weigh, in bytes."""
    size = RECORD_BYTES + len(record.value or b"") + len(record.key or b"")
    if record.headers:
        size += sum(HEADER_BYTES + len(name) + len(text or b"") for name, text in record.headers)
    return size
