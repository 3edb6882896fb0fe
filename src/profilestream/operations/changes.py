"""Reads segment changes as a subscriber sees them: committed ones only, in order within a partition."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

from profilestream.core.errors import NotFound, UsageError
from profilestream.settings import Settings
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

    Changes of one customer come in order; between customers no order is promised. With `follow` a lost Kafka
    is waited for, with one line to `report`; otherwise it raises ServerUnavailable. A record that is no segment
    change is passed over and reported (with `follow` each partition's first), one that says it is and cannot be read
    raises ProfilestreamError. Raises NotFound where the topic does not exist.
    """
    kafka, topic = _address(settings), settings.changes_topic
    if follow:
        async with ChangeSubscriber(kafka, topic=topic, report=report) as changes:
            async for change in changes:
                if only.accepts(change):
                    yield change
        return
    await _check_there(kafka, topic)
    records = read_to_end(kafka, topic)
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


def _address(settings: Settings) -> str:
    if not settings.kafka:
        raise UsageError("reading changes needs --kafka (or PROFILESTREAM_KAFKA)")
    return settings.kafka


async def _check_there(kafka: str, topic: str) -> None:
    async with Admin(kafka) as admin:
        if (await admin.describe([topic]))[topic] is None:
            raise NotFound(f"Kafka at {kafka} has no topic {topic}; `profilestream init` makes it")
