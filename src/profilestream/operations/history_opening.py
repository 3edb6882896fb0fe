"""Opening a customer's history: where the customer stands, what was announced, and what the log still has.

async with open_history(settings, "c42") as history:
    async for entry in history.entries():
        print(entry.at, entry.event, entry.traits, entry.crossings, history.values)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from profilestream.core.engine import Engine
from profilestream.operations.explain import check_customer, no_customer
from profilestream.operations.history import History
from profilestream.operations.keeping import read_kept
from profilestream.operations.retention import Kept
from profilestream.operations.told import Known, Told, read_announced, read_waiting
from profilestream.settings import Settings
from profilestream.store.connection import AsyncClient, connect
from profilestream.store.keys import Keys, shard_of
from profilestream.store.metadata import Generation, read_generation, read_live
from profilestream.store.standing import Standing, read_standing, waiting_changes
from profilestream.stream.archive import Archive
from profilestream.stream.shard_log import ShardLog, Span
from profilestream.stream.sources import Sources
from profilestream.wire.changes import SegmentChange
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import decode_state


@asynccontextmanager
async def open_history(
    settings: Settings,
    customer_id: str,
    report: Callable[[str], None] = lambda line: None,
    archive: Archive | None = None,
) -> AsyncIterator[History]:
    """The history of a customer of the live generation, up to what has been folded now; what the log no longer has is
    read from `archive`.

    `report` gets a line for each thing that takes its time before the first entry. Raises NotFound for an unknown
    customer, UsageError for an id that is no text, StateMismatch for a state of other definitions, ServerUnavailable
    without Kafka or Redis.
    """
    assert settings.kafka is not None and settings.redis is not None
    check_customer(customer_id)
    client = connect(settings.redis)
    try:
        generation = await read_generation(client, settings.namespace, await read_live(client, settings.namespace))
        shard = shard_of(customer_id, generation.shards)
        standing, waiting = await _stored(client, settings, generation, shard, customer_id)
    finally:
        await client.aclose()
    engine = Engine(
        parse_definitions(generation.definitions, f"generation {generation.name}"),
        ids_max=settings.remembered_ids_max,
        ids_ms_max=settings.remembered_ids_ms_max,
        keys_max=settings.map_keys_max,
    )
    assert standing.state is not None
    numbers = {name: m[0] for name, m in decode_state(standing.state, customer_id, engine).members.items()}
    report("reading what was announced")
    announced = await read_announced(settings, customer_id, shard)
    changes: list[tuple[SegmentChange, Known]] = [(change, "announced") for change in announced]
    changes += [(change, "waiting") for change in waiting]
    told = Told(changes, generation.name, numbers)
    kept = await read_kept(settings, generation, shard, standing.head, Sources(engine, settings).topics, archive)
    spans = {part.topic: Span(max(part.begins, part.first_read), part.position) for part in kept if part.readable}
    told.release(p for p in told.places if not _is_readable(p, shard, spans, settings.rekeyed_topic, kept))
    report("reading the log")
    async with ShardLog(settings.kafka, shard, spans, archive) as log:
        kept = [part.beginning(log.first_timestamps.get(part.topic)) for part in kept]
        yield History(customer_id, generation, engine, settings, standing, told, log, kept)


async def _stored(
    client: AsyncClient, settings: Settings, generation: Generation, shard: int, customer_id: str
) -> tuple[Standing, list[SegmentChange]]:
    """Where the customer stands, and the changes that wait in the outbox. Raises NotFound for an unknown customer."""
    keys = Keys(settings.namespace, generation.name).shard(shard)
    standing = await read_standing(client, keys, customer_id)
    if standing.state is None:
        raise no_customer(customer_id, generation)
    found = [read_waiting(value) async for value in waiting_changes(client, keys, customer_id)]
    return standing, [change for change in found if change is not None]


def _is_readable(
    where: tuple[str, int, int], shard: int, spans: Mapping[str, Span], rekeyed_topic: str, kept: Iterable[Kept]
) -> bool:
    """Whether the record that stood there first will be met: in its own partition, or among the forwarded ones."""
    topic, partition, offset = where
    if partition == shard and topic in spans and spans[topic].begin <= offset < spans[topic].end:
        return True
    return all(part.is_whole for part in kept if part.topic == rekeyed_topic) and not (
        partition == shard and any(part.topic == topic for part in kept)
    )
