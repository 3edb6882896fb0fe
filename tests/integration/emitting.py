"""A namespace of its own on real servers, and a worker's hand: outboxes filled as a commit fills them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from profilestream.emitter import Emitter
from profilestream.settings import Settings
from profilestream.store.connection import connect
from profilestream.store.keys import Keys
from profilestream.store.metadata import Generation, set_live, write_generation
from profilestream.stream.reading import read_to_end
from profilestream.stream.topics import Admin
from profilestream.wire.changes import SegmentChange, encode_change

CLOCK_MS = 1_769_851_800_000


@dataclass
class Place:
    """One namespace with its topics and a live generation of `shards` shards."""

    settings: Settings
    redis: Any
    shards: int
    generation: str = "g1"
    crossings: dict[tuple[str, str], int] = field(default_factory=dict)
    sequences: dict[int, int] = field(default_factory=dict)

    def keys(self, shard: int) -> Any:
        return Keys(self.settings.namespace, self.generation).shard(shard)

    def change(self, customer: str, segment: str) -> tuple[int, str, bytes]:
        """The next crossing of a pair: number, direction, value."""
        crossing = self.crossings[customer, segment] = self.crossings.get((customer, segment), 0) + 1
        change = "entered" if crossing % 2 else "exited"
        value = encode_change(
            SegmentChange(
                customer_id=customer,
                segment=segment,
                change=change,  # type: ignore[arg-type]
                crossing=crossing,
                cause="time",
                values={"orders": crossing},
                generation=self.generation,
                definitions="a1b2c3",
                time_ms=CLOCK_MS + crossing,
                source=self.settings.source,
            )
        )
        return crossing, change, value

    async def commit(self, shard: int, pairs: list[tuple[str, str]], *, sequence: int | None = None) -> int:
        """One commit whose changes are the next crossings of `pairs`; its sequence number."""
        sequence = self.sequences.get(shard, 0) + 1 if sequence is None else sequence
        self.sequences[shard] = sequence
        keys = self.keys(shard)
        commit = f"{secrets.token_hex(8)}"
        head = {"commit": commit, "sequence": sequence, "clock": CLOCK_MS, "positions": {"purchases": sequence * 10}}
        async with self.redis.pipeline(transaction=True) as pipeline:
            for n, (customer, segment) in enumerate(pairs, 1):
                crossing, change, value = self.change(customer, segment)
                entry = {
                    "customer": customer,
                    "segment": segment,
                    "crossing": crossing,
                    "change": change,
                    "value": value,
                }
                if n == len(pairs):
                    entry["head"] = json.dumps(head, separators=(",", ":"))
                pipeline.xadd(keys.outbox, entry, id=f"{sequence}-{n}")
            pipeline.hset(keys.head, mapping={"commit": commit, "sequence": sequence, "clock": CLOCK_MS})
            await pipeline.execute()
        return sequence

    async def waiting(self) -> int:
        return sum([await self.redis.xlen(self.keys(shard).outbox) for shard in range(self.shards)])

    async def announced(self, topic: str | None = None) -> list[Any]:
        """Every committed record of the changes topic (or another), by partition and offset."""
        records = [r async for r in read_to_end(str(self.settings.kafka), topic or self.settings.changes_topic)]
        return sorted(records, key=lambda record: (record.partition, record.offset))


@contextlib.asynccontextmanager
async def place(settings: Settings, shards: int, *, live: bool = True) -> AsyncIterator[Place]:
    """The topics that an emitter needs, and a live generation; the keys go away at the end."""
    async with Admin(str(settings.kafka)) as admin:
        await admin.create(settings.changes_topic, shards, {"cleanup.policy": "delete"})
        await admin.create(settings.announced_topic, shards, {"cleanup.policy": "compact"})
    client = connect(str(settings.redis))
    here = Place(settings, client, shards)
    if live:
        await make_live(here)
    try:
        yield here
    finally:
        async for key in client.scan_iter(f"{settings.namespace}:*"):
            await client.delete(key)
        await client.aclose()


async def make_live(here: Place, turn: int = 1) -> None:
    generation = Generation(here.generation, here.shards, "", "a1b2c3", "2026-01-01T00:00:00.000Z", "live", turn=turn)
    await write_generation(here.redis, here.settings.namespace, generation)
    await set_live(here.redis, here.settings.namespace, here.generation)


def expected_crossings(here: Place) -> Iterator[tuple[str, str, int]]:
    """Every crossing that was ever put into an outbox."""
    for (customer, segment), last in here.crossings.items():
        for crossing in range(1, last + 1):
            yield customer, segment, crossing


def crossing_of(record: Any) -> tuple[str, str, int]:
    data = json.loads(record.value)["data"]
    return data["customer_id"], data["segment"], data["crossing"]


@contextlib.asynccontextmanager
async def subscriber(here: Place) -> AsyncIterator[Any]:
    """A read_committed consumer of all changes, from the beginning."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=here.settings.kafka, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(here.settings.changes_topic, shard) for shard in range(here.shards)])
        yield consumer
    finally:
        await consumer.stop()


@contextlib.asynccontextmanager
async def running(emitter: Emitter) -> AsyncIterator[Emitter]:
    """The emitter at work in this process until the block ends."""
    task = asyncio.create_task(emitter.run())
    try:
        yield emitter
    finally:
        emitter.stop()
        await task


async def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    """Wait until `condition` (plain or awaitable) holds."""
    async with asyncio.timeout(timeout_s):
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(0.05)
