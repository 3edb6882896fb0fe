"""Reads segment changes as a subscriber sees them: committed ones only, in order within a partition."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing

from profilestream.core.errors import NotFound, UsageError
from profilestream.operations.explain import no_segment
from profilestream.settings import Settings
from profilestream.store.metadata import segment_tables
from profilestream.stream import generations
from profilestream.stream.changes import EVERY_CHANGE, ChangeFilter, ReceivedChange, place_of, received
from profilestream.stream.reading import read_to_end
from profilestream.stream.subscriber import ChangeSubscriber
from profilestream.stream.topics import Admin

KEPT_CHANGES_MAX = 1_000_000


async def read_changes(
    settings: Settings,
    follow: bool = False,
    *,
    only: ChangeFilter = EVERY_CHANGE,
    report: Callable[[str], None] = lambda line: None,
) -> AsyncIterator[ReceivedChange]:
    """Every change from the topic's beginning: to its end as it is now, or, with `follow`, without end.

    Of customers named in `only` nothing but their partitions is read.
    Changes of one customer come in order; between customers no order is promised. With `follow` a lost Kafka
    is waited for, with one line to `report`; otherwise it raises ServerUnavailable. A record that is no segment
    change is passed over and reported (with `follow` each partition's first), one that says it is and cannot be read
    raises ProfilestreamError. Raises NotFound where the topic does not exist.
    """
    kafka, topic = _address(settings), settings.changes_topic
    if follow:
        async with ChangeSubscriber(kafka, topic=topic, customers=only.customers, report=report) as changes:
            async for change in changes:
                if only.accepts(change):
                    yield change
        return
    partitions = only.partitions(await _partitions(kafka, topic))
    records = read_to_end(kafka, topic, dict.fromkeys(partitions, 0))
    async with aclosing(records):  # type: ignore[type-var]
        async for record in records:
            found = received(record)
            if found is None:
                report(f"{place_of(record)}: not a segment change, passed over; only emitters should write there")
            elif only.accepts(found):
                yield found


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
    async for change in read_changes(settings, only=only, report=report):
        # (partition, offset) is unique, so the comparison never reaches the change itself.
        entry = ((change.time_ms, change.partition, change.offset), change)
        if len(newest) < count:
            heapq.heappush(newest, entry)
        else:
            heapq.heappushpop(newest, entry)
    return [change for _, change in sorted(newest, key=lambda entry: entry[0])]


async def check_segments(settings: Settings, names: Collection[str]) -> None:
    """Raises NotFound for a segment that no generation has, and names the one that may be meant. Asks only Kafka."""
    known = await generations.read_all(_address(settings), settings.generations_topic, settings.namespace)
    live = known.live
    if live is None:
        return
    segments = {name: table for one in known.by_name.values() for name, table in segment_tables(one).items()}
    for name in names:
        if name not in segments:
            raise no_segment(name, live, segments)


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
