"""What commands that read an archive have in common: opening it, and knowing which generation needs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError

from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.roles import leader_of
from profilestream.settings import Settings
from profilestream.store.commits import Head
from profilestream.store.connection import connect
from profilestream.store.metadata import Generation
from profilestream.store.places import read_heads
from profilestream.stream import generations
from profilestream.stream.archive import Archive
from profilestream.stream.topic_ids import read_ids
from profilestream.stream.topics import Admin, unavailable

ARCHIVE: Final = "archive"
"""In a generation's start: the folder that it began with, as it was named then."""


async def open_archive(settings: Settings, directory: Path | None) -> Archive | None:
    """The archive in a folder, None without one.

    Raises UsageError where there is none or it cannot be read here, LogMismatch where it is of other topics than there
    are now, ServerUnavailable.
    """
    if directory is None:
        return None
    archive = Archive.open(directory)
    if not archive.parts:
        raise UsageError(f"there is no archive in {directory}; `profilestream export-log` makes one")
    archive.check_formats()
    try:
        archive.check_ids(await read_ids(str(settings.kafka)))
    except KafkaError as error:
        raise unavailable(str(settings.kafka), error) from None
    return archive


async def start_with(
    settings: Settings,
    archive: Archive,
    topics: tuple[str, ...],
    live: Generation,
    asked: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """What a generation's start says of an archive: where each topic begins in it, or as `asked`, and its folder.

    These places stand fast from now on, whatever the log loses meanwhile. Raises UsageError for a topic of which only
    the archive has records that nobody would forward, LogMismatch where archive and log do not join.
    """
    offsets = {topic: dict(parts) for topic, parts in asked.items()}
    forwarded = leader_of(live, settings).topics
    async with Admin(str(settings.kafka)) as admin:
        for topic, info in (await admin.describe(topics)).items():
            begins = await admin.begin_offsets(topic)
            first = {partition: archive.begin_with(topic, partition, begin) for partition, begin in begins.items()}
            if info is not None and info.partitions == live.shards:
                there = {str(p): begin for p, begin in first.items() if archive.end(topic, p) is not None}
                if there:
                    offsets[topic] = {**there, **offsets.get(topic, {})}
            elif first != begins and topic not in forwarded:
                raise UsageError(
                    f"topic {topic} has {len(begins)} partitions and generations have {live.shards} shards, so its "
                    "records are forwarded by key, and those that only the archive has never were; produce them again"
                )
    return {"offsets": offsets, ARCHIVE: str(archive.directory)}


async def check_start(settings: Settings, name: str, archive: Archive | None) -> None:
    """Raises UsageError for a generation that was begun without an archive and is given one, and for one that began
    with one, is given none, and has yet to fold what the log no longer has. One that is unknown others tell of."""
    known = await generations.read_all(str(settings.kafka), settings.generations_topic, settings.namespace)
    found = known.by_name.get(name)
    if found is None:
        return
    if archive is not None and found.state == "building" and ARCHIVE not in found.start:
        raise UsageError(
            f"generation {name} was begun without an archive, and its shards where the log began; make another one "
            "with `profilestream replay FILE --archive DIR`"
        )
    if archive is None and ARCHIVE in found.start:
        client = connect(str(settings.redis))
        try:
            heads = await read_heads(client, settings.namespace, found)
        finally:
            await client.aclose()
        if left := await left_in_archive(settings, found, heads):
            raise UsageError(f"{left}; run it with --archive DIR (it began with {found.start[ARCHIVE]})")


async def left_in_archive(settings: Settings, generation: Generation, heads: Mapping[int, Head]) -> str:
    """Which records a generation that began with an archive has yet to fold that the log no longer has; "" for none."""
    if ARCHIVE not in generation.start:
        return ""
    async with Admin(str(settings.kafka)) as admin:
        for topic, parts in generation.start["offsets"].items():
            for partition, begin in (await admin.begin_offsets(topic)).items():
                start = parts.get(str(partition), begin)
                at = heads[partition].positions.get(topic, start) if partition in heads else begin
                if at < begin and partition in generation.only.get("shards", heads):
                    return (
                        f"generation {generation.name} has yet to fold topic {topic}, partition {partition}, from "
                        f"{at} on, and the log begins at {begin}"
                    )
    return ""


async def check_folded(settings: Settings, generation: Generation, heads: Mapping[int, Head]) -> None:
    """Raises ProfilestreamError where workers could not go on with a generation, since they have no archive."""
    if left := await left_in_archive(settings, generation, heads):
        raise ProfilestreamError(
            f"{left}; let `profilestream replay {generation.name} --archive DIR` come past that, then promote it"
        )
