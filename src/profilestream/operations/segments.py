"""`segments` and `members`: which segments there are, and who is in them. Only Redis is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from profilestream.operations.explain import no_segment
from profilestream.store.connection import connect_sync, reaching
from profilestream.store.keys import Keys
from profilestream.store.metadata import Generation, read_generation_sync, read_live_sync, segment_tables
from profilestream.store.reader import ProfileReader

COMMANDS_A_BATCH_MAX: Final = 4_000


@dataclass(frozen=True, slots=True)
class SegmentCount:
    """A segment of the live generation and how many members it has."""

    name: str
    description: str
    members: int


def count_segments(redis: str, namespace: str) -> tuple[Generation, list[SegmentCount]]:
    """The segments in the order of the file; members are counted over all shards.

    Raises NotFound before `init`, ServerUnavailable without Redis.
    """
    client = connect_sync(redis)
    try:
        generation = read_generation_sync(client, namespace, read_live_sync(client, namespace))
        known = _descriptions(generation)
        keys = Keys(namespace, generation.name)
        shards = [keys.shard(number) for number in range(generation.shards)]
        wanted = [shard.segment(name) for name in known for shard in shards]
        counts: list[int] = []
        with reaching(client):
            for start in range(0, len(wanted), COMMANDS_A_BATCH_MAX):
                pipeline = client.pipeline(transaction=False)
                for key in wanted[start : start + COMMANDS_A_BATCH_MAX]:
                    pipeline.zcard(key)
                counts += pipeline.execute()
    finally:
        client.close()
    size = len(shards)
    return generation, [
        SegmentCount(name, description, sum(counts[n * size : (n + 1) * size]))
        for n, (name, description) in enumerate(known.items())
    ]


def count_members(reader: ProfileReader, segment: str) -> int:
    """How many members a segment has; for an unknown one raises NotFound, which names the one that may be meant."""
    generation = reader.generation()
    known = _descriptions(generation)
    if segment not in known:
        raise no_segment(segment, generation, known)
    return reader.count(segment)


def _descriptions(generation: Generation) -> dict[str, str]:
    tables = segment_tables(generation)
    return {name: str(table.get("description", "")) for name, table in tables.items()}
