"""`export-log`: copies topics into an archive (`stream/archive.py`), which has what Kafka may no longer have one day.

Each partition is copied from where the archive ends (at first from its beginning, or from a time on) to where the log
ends now, in parts of bounded size. What was copied is in the archive's list; a run that is broken off, or the
next one a month later, goes on behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError

from profilestream.core.errors import LogMismatch, NotFound
from profilestream.settings import Settings
from profilestream.stream import generations
from profilestream.stream.archive import Archive
from profilestream.stream.archive_files import Format, check_format
from profilestream.stream.reading import read_to_end
from profilestream.stream.topic_ids import read_ids
from profilestream.stream.topic_layout import event_topics
from profilestream.stream.topics import Admin, unavailable
from profilestream.wire.definitions import parse_definitions

PART_RECORDS_MAX: Final = 50_000
PART_BYTES_MAX: Final = 32 * 1024 * 1024
RECORD_BYTES: Final = 200
"""What a record is taken to weigh besides key and value, while it waits to be written."""

Progress = Callable[[int, int], None]
"""Told how many offsets are done, of how many."""


@dataclass(slots=True)
class Exported:
    """What one run has copied: records, and the offsets from which to which, by topic and partition."""

    records: int
    spans: dict[tuple[str, int], tuple[int, int]]


async def live_topics(settings: Settings) -> tuple[str, ...]:
    """The topics that the live generation folds, strays' own among them; raises NotFound where none is live."""
    known = await generations.read_all(str(settings.kafka), settings.generations_topic, settings.namespace)
    if known.live is None:
        raise NotFound(f"namespace `{settings.namespace}` has no live generation; name topics with --topic")
    definitions = parse_definitions(known.live.definitions, f"generation {known.live_name}")
    return (*event_topics(definitions), settings.rekeyed_topic)


async def export_log(
    settings: Settings,
    directory: Path,
    topics: Iterable[str],
    since_ms: int | None = None,
    format: Format = "jsonl.gz",
    progress: Progress = lambda done, total: None,
) -> Exported:
    """Copies what the archive does not have yet. `since_ms` (a record's timestamp) counts only for partitions of which
    nothing is archived.

    Raises NotFound for a topic that is not there, LogMismatch where archive and log do not join, UsageError for a
    folder with another list or a format that is not installed, OSError for a folder that cannot be written,
    ServerUnavailable.
    """
    check_format(format)
    archive = Archive.open(directory)
    spans = await _spans(str(settings.kafka), archive, topics, since_ms)
    exported = Exported(0, spans)
    done, total = 0, sum(end - begin for begin, end in spans.values())
    progress(done, total)
    for (topic, partition), (begin, end) in spans.items():
        async for at, records in _parts(str(settings.kafka), topic, partition, begin, end):
            await asyncio.to_thread(archive.add, topic, partition, begin, at, records, format)
            exported.records += len(records)
            done, begin = done + at - begin, at
            progress(done, total)
    return exported


async def _spans(
    kafka: str, archive: Archive, topics: Iterable[str], since_ms: int | None
) -> dict[tuple[str, int], tuple[int, int]]:
    """The offsets to copy, by topic and partition, where there are any."""
    spans = {}
    try:
        ids = await read_ids(kafka)
    except KafkaError as error:
        raise unavailable(kafka, error) from None
    archive.check_ids(ids)
    async with Admin(kafka) as admin:
        for topic, info in (await admin.describe(topics)).items():
            if info is None:
                raise NotFound(f"no topic {topic}")
            begins, ends = await admin.begin_offsets(topic), await admin.end_offsets(topic)
            starts = begins if since_ms is None else await admin.offsets_at(topic, since_ms)
            archive.partitions[topic] = info.partitions
            if topic in ids:
                archive.ids[topic] = ids[topic]
            for partition in range(info.partitions):
                archive.join(topic, partition, begins[partition])
                archived, end = archive.end(topic, partition), ends[partition]
                if archived is not None and archived > end:
                    raise LogMismatch(
                        f"topic {topic}, partition {partition}: the archive ends at {archived}, but the log ends at "
                        f"{end}; the topic was made anew. Use another folder"
                    )
                begin = starts[partition] if archived is None else archived
                if begin < end:
                    spans[topic, partition] = (begin, end)
    return spans


async def _parts(kafka: str, topic: str, partition: int, begin: int, end: int) -> Any:
    """(offset reached, records) of each part: all that lie below it and not in the part before."""
    records: list[Any] = []
    size = 0
    async for record in read_to_end(kafka, topic, {partition: begin}):
        if record.offset >= end:
            break
        records.append(record)
        size += RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
        if len(records) >= PART_RECORDS_MAX or size >= PART_BYTES_MAX:
            yield record.offset + 1, records
            records, size, begin = [], 0, record.offset + 1
    if begin < end:
        yield end, records
