"""`segments` and `members`: which segments there are, how they move, and who is in them. Only Redis is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from profilestream.core.errors import NotFound
from profilestream.operations.explain import no_segment
from profilestream.store.connection import SyncClient, connect_sync, reaching
from profilestream.store.crossings import Traffic, traffic
from profilestream.store.keys import Keys
from profilestream.store.metadata import Generation, read_generation_sync, read_live_sync, segment_tables
from profilestream.store.reader import ProfileReader

SEGMENTS_A_STEP: Final = 2_000
"""Segments asked for in one command: what a shard's Redis looks up while nobody else is served."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of the live generation, its members, and who came and went lately."""

    name: str
    description: str
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Listing:
    """The segments in the order of the file. `clock` (ms) is the newest of all shards' clocks, at which the last hour
    and the last day end; None before the first event."""

    generation: Generation
    clock: int | None
    segments: list[Segment]


def list_segments(redis: str, namespace: str) -> Listing:
    """The segments of the live generation, counted over all shards.

    Crossings are counted at their own times. What a shard has not come to yet is in no count, and a shard without
    events has an old clock; so the last hour is the same for all, by the newest clock. Raises NotFound before `init`,
    ServerUnavailable without Redis.
    """
    client = connect_sync(redis)
    try:
        generation = read_generation_sync(client, namespace, read_live_sync(client, namespace))
        known = descriptions(generation)
        keys = Keys(namespace, generation.name)
        shards = [keys.shard(number) for number in range(generation.shards)]
        counts: list[Sequence[Any]] = []
        with reaching(client):
            clock = newest_clock(client, namespace, generation)
            names = list(known)
            for start in range(0, len(names), SEGMENTS_A_STEP):
                pipeline = client.pipeline(transaction=False)
                for shard in shards:
                    pipeline.hmget(shard.crossings, names[start : start + SEGMENTS_A_STEP])
                counts += zip(*pipeline.execute(), strict=True)
    finally:
        client.close()
    found = [
        Segment(name, description, traffic(counted, clock or 0))
        for (name, description), counted in zip(known.items(), counts, strict=True)
    ]
    return Listing(generation, clock, found)


def check_segment(reader: ProfileReader, segment: str) -> None:
    """Raises NotFound for a segment that the live generation lacks, and names the one that may be meant."""
    try:
        reader.count(segment)
    except NotFound:
        generation = reader.generation()
        known = descriptions(generation)
        if segment in known:
            raise
        raise no_segment(segment, generation, known) from None


def newest_clock(client: SyncClient, namespace: str, generation: Generation) -> int | None:
    """The newest of all shards' clocks (ms) as their last commits left them; None before the first event."""
    keys = Keys(namespace, generation.name)
    with reaching(client):
        pipeline = client.pipeline(transaction=False)
        for number in range(generation.shards):
            pipeline.hget(keys.shard(number).head, "clock")
        return max((int(clock) for clock in pipeline.execute() if clock is not None), default=None)


def descriptions(generation: Generation) -> dict[str, str]:
    """The segments of a generation, in the order of the file, and how they are described."""
    tables = segment_tables(generation)
    return {name: str(table.get("description", "")) for name, table in tables.items()}
