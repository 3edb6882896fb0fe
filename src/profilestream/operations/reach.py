"""How far back the log reaches, topic by topic, and what cannot be whole if it is folded from there."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import KafkaError

from profilestream.core import expressions as x
from profilestream.core.changes_between import Changes, SegmentChange, TraitChange
from profilestream.core.definitions import Definitions
from profilestream.core.expressions import Aggregate
from profilestream.operations.retention import NEVER_WHOLE
from profilestream.settings import Settings
from profilestream.store.commits import Head
from profilestream.store.metadata import Generation
from profilestream.stream.archive import Archive
from profilestream.stream.topic_ids import TopicIds
from profilestream.stream.topics import Admin, TopicInfo, unavailable
from profilestream.wire.times import parse_time

FORWARDED: Final = ""
"""Stands for the type of the topic of forwarded records, which are of any type."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What one topic still has, or an archive: `records` (offsets, holes too), and when the first arrived (ms; None: no
    record).

    `gone` is how many were there before, all of which had arrived by `gone_ms` (None: nobody knows). With `limited`
    more will go, by age, by size or by compaction; of a `compacted` topic nobody knows what has gone. `made_anew` since
    the live generation read it; `missing`: it is not there at all. One that is `left` is read for this type by the live
    generation only: what that has folded of it is gone for whoever folds anew.
    """

    topic: str
    type_name: str
    records: int = 0
    gone: int = 0
    begins_ms: int | None = None
    gone_ms: int | None = None
    limited: bool = False
    compacted: bool = False
    made_anew: bool = False
    missing: bool = False
    left: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all is there that ever was."""
        return not (self.gone or self.compacted or self.made_anew)

    @property
    def is_cut(self) -> bool:
        """Whether what has gone is just what arrived first."""
        return not (self.compacted or self.made_anew)


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A trait or segment that does not know all of the past; whole from `since` on (a clock in ms, None: never).

    `lost` says that the live generation has of it what the log no longer has. One that is `inherited` needs no log: the
    live profiles of which it is made are incomplete already.
    """

    name: str
    is_trait: bool
    since: int | None
    lost: bool
    inherited: bool = False


def passed_by(heads: Iterable[Head]) -> Mapping[str, int]:
    """How many offsets of each topic the shards of a generation have passed. Of a topic that is forwarded whole, having
    another number of partitions, they know up to where its records have come to them."""
    passed: Counter[str] = Counter()
    strays: dict[tuple[str, str], int] = {}
    for head in heads:
        passed.update({topic: at - head.starts.get(topic, 0) for topic, at in head.positions.items()})
        for name, offset in head.origins.items():
            _, topic, partition = name.rsplit(":", 2)
            strays[topic, partition] = max(offset + 1, strays.get((topic, partition), 0))
    forwarded: Counter[str] = Counter()
    for (topic, _), records in strays.items():
        forwarded[topic] += records
    return dict(forwarded) | dict(passed)


async def read_left(
    settings: Settings, before: Definitions, after: Definitions, passed: Mapping[str, int]
) -> list[Reach]:
    """The topics by which an event type came and, by new definitions, comes no more; `passed` says how many offsets of
    each the live generation has passed. Whether their records were copied to another topic nobody knows.

    Raises ServerUnavailable without Kafka.
    """
    read = {(s.topic, s.type_name) for s in after.sources}
    left = [s for s in before.sources if s.type_name in after.types and (s.topic, s.type_name) not in read]
    found = []
    async with Admin(str(settings.kafka)) as admin:
        for source in left:
            if records := passed.get(source.topic, 0):
                last_ms = await admin.last_timestamp(source.topic)
                gone_ms = time.time_ns() // 1_000_000 if last_ms is None else last_ms
                found.append(Reach(source.topic, source.type_name, gone=records, gone_ms=gone_ms, left=True))
    return found


async def read_reach(
    settings: Settings, definitions: Definitions, live: Generation, archive: Archive | None = None
) -> list[Reach]:
    """What each topic of the definitions has, in their order, and the topic of forwarded records last.

    Raises ServerUnavailable without Kafka, LogMismatch where archive and log do not join.
    """
    kafka = str(settings.kafka)
    wanted = [(s.topic, s.type_name) for s in definitions.sources if s.type_name in definitions.types]
    wanted.append((settings.rekeyed_topic, FORWARDED))
    ids = TopicIds(kafka, settings.generations_topic, settings.namespace, live.name)
    try:
        await ids.read()
        async with Admin(kafka) as admin:
            described = await admin.describe(topic for topic, _ in wanted)
            return [
                await _reach(
                    admin,
                    topic,
                    type_name,
                    described[topic],
                    await ids.is_other(topic),
                    archive if _is_of_shards(described[topic], live) else None,
                )
                for topic, type_name in wanted
            ]
    except KafkaError as error:
        raise unavailable(kafka, error) from None


def _is_of_shards(info: TopicInfo | None, live: Generation) -> bool:
    """Whether a topic is folded as it is. Records of others are forwarded, and archived where they went to."""
    return info is not None and info.partitions == live.shards


async def _reach(
    admin: Admin, topic: str, type_name: str, info: TopicInfo | None, made_anew: bool, archive: Archive | None
) -> Reach:
    if info is None:
        return Reach(topic, type_name, missing=True)
    begins, ends = await admin.begin_offsets(topic), await admin.end_offsets(topic)
    first = await admin.first_timestamps(topic)
    if archive is not None:
        for partition, log_begin in begins.items():
            begins[partition] = archive.begin_with(topic, partition, log_begin)
            if begins[partition] < log_begin:
                at = await asyncio.to_thread(archive.first_timestamp, topic, partition)
                first |= {} if at is None else {partition: at}
    cut = [first.get(partition) for partition, begin in begins.items() if begin]
    return Reach(
        topic,
        type_name,
        records=sum(end - begins[partition] for partition, end in ends.items()),
        gone=sum(begins.values()),
        begins_ms=min(first.values(), default=None),
        gone_ms=max((at for at in cut if at is not None), default=None) if None not in cut else None,
        limited=info.retention_is_limited,
        compacted=info.is_compacted,
        made_anew=made_anew,
    )


def incomplete(
    changes: Changes,
    reaches: Iterable[Reach],
    future_ms_max: int,
    complete_since: Mapping[str, str],
    clock: int | None = None,
) -> list[Incomplete]:
    """The traits and segments that differ and would not be whole, in the file's order.

    An aggregate without a window never is whole where anything is gone. Another is once nothing that was removed can be
    in its window: that arrived before the first record that is left, and occurred at most `future_ms_max` later.
    What is whole at the earliest `clock` (ms) of the shards is not listed. `complete_since` has from when on the live
    generation's incomplete traits are whole.
    """
    since = whole_from(changes.missing, [r for r in reaches if not r.is_whole], future_ms_max)
    young = _young(changes.before, complete_since)
    parts: list[tuple[bool, TraitChange | SegmentChange]] = [(True, c) for c in changes.traits]
    parts += [(False, c) for c in changes.segments]
    found = []
    for is_trait, change in parts:
        at = max((since[a] for a in change.needs if a in since), default=None)
        if at is not None:
            if clock is not None and at <= clock:
                continue  # nothing that was removed would be in a window by now
            was = parse_time(complete_since[change.name]) if is_trait and change.name in complete_since else None
            lost = change.kind == "changed" and (was is None or was < at)
            found.append(Incomplete(change.name, is_trait, None if at >= NEVER_WHOLE else at, lost))
        elif change.kind in ("added", "changed"):
            at = max((young[a] for a in _aggregates(changes.after, is_trait, change.name) if a in young), default=None)
            if at is not None:
                found.append(Incomplete(change.name, is_trait, at, lost=False, inherited=True))
    return found


def known_since(changes: Changes, reaches: Iterable[Reach], now_ms: int) -> dict[str, int]:
    """For each trait that needs more of the log than there is: from when on (ms) all that it looks at is there."""
    cut = [r for r in reaches if not r.is_whole]
    found: dict[str, int] = {}
    for change in changes.traits:
        types = {name for aggregate in change.needs for name in aggregate.types}
        parts = [r for r in cut if r.type_name in types or r.type_name == FORWARDED] if types else []
        if parts:
            times = [r.gone_ms if r.gone_ms is not None and r.is_cut else now_ms for r in parts]
            found[change.name] = max(times)
    return found


def _young(definitions: Definitions, complete_since: Mapping[str, str]) -> dict[Aggregate, int]:
    """From when on (ms) the aggregates of incomplete traits are whole, as far as their traits tell."""
    found: dict[Aggregate, int] = {}
    for name, since in complete_since.items():
        if name in definitions.by_trait:
            for aggregate in x.aggregates(definitions.by_trait[name].node):
                at = parse_time(since)
                found[aggregate] = min(found.get(aggregate, at), at)
    for trait in definitions.traits:
        if trait.name not in complete_since:
            for aggregate in x.aggregates(trait.node):
                found.pop(aggregate, None)  # a whole trait has it too
    return found


def _aggregates(definitions: Definitions, is_trait: bool, name: str) -> Iterator[Aggregate]:
    if is_trait:
        yield from x.aggregates(definitions.by_trait[name].node)
        return
    segment = definitions.by_segment[name]
    for node in (segment.enter, segment.exit):
        if node is not None:
            yield from x.aggregates(node)


def whole_from(aggregates: Iterable[Aggregate], cut: Iterable[Reach], future_ms_max: int) -> Mapping[Aggregate, int]:
    """From which clock (ms) on each aggregate is whole that the topics which lack something feed."""
    since: dict[Aggregate, int] = {}
    for part in cut:
        for aggregate in aggregates:
            if part.type_name != FORWARDED and part.type_name not in aggregate.types:
                continue
            whole = NEVER_WHOLE
            if aggregate.over_ms is not None and part.gone_ms is not None and part.is_cut:
                whole = part.gone_ms + future_ms_max + aggregate.over_ms + aggregate.ago_ms
            since[aggregate] = max(since.get(aggregate, whole), whole)
    return since
