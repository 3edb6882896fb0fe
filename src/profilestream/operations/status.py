"""`status`: where everything stands, from Redis, and from Kafka as far as it answers.

Redis tells the live generation and where each shard is; Kafka tells how much lies before it. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import redis.asyncio.cluster
import redis.exceptions

from profilestream.core.errors import ProfilestreamError
from profilestream.settings import Settings
from profilestream.store.addresses import parse_address
from profilestream.store.commits import Head, read_head
from profilestream.store.connection import AsyncClient, connect, reaching
from profilestream.store.keys import Keys
from profilestream.store.metadata import Generation, read_generation, read_live
from profilestream.stream.generations import read_all
from profilestream.stream.topic_layout import event_topics
from profilestream.stream.topics import Admin
from profilestream.wire.definitions import parse_definitions

SHARDS_A_BATCH: Final = 256


@dataclass(slots=True)
class ShardStatus:
    """One shard: its head, the changes that wait in its outbox, the customers with a timer and the next one (ms).

    `lag` is how many records of its topics lie before it, by topic; None where Kafka did not tell.
    """

    number: int
    head: Head
    outbox: int
    timers: int
    next_due: int | None
    lag: dict[str, int] | None = None


@dataclass(slots=True)
class Status:
    """One installation. What a server did not tell is None.

    `forwarded` is the lag of topics that are forwarded whole (their partitions are not the shards). `dead_letters`
    counts the records of their topic. `kafka_problem` says why Kafka told nothing; `missing_topics` are not there.
    `over` are the former generations whose time to be kept in step is past, which take room for nothing.
    """

    namespace: str
    generation: Generation
    shards: list[ShardStatus]
    redis: str
    redis_version: str | None
    redis_bytes: int | None
    kafka: str | None
    kafka_problem: str | None = None
    missing_topics: tuple[str, ...] = ()
    forwarded: dict[str, int] = field(default_factory=dict)
    dead_letters: int | None = None
    over: tuple[Generation, ...] = ()

    @property
    def outbox(self) -> int:
        """Changes that wait to be announced."""
        return sum(shard.outbox for shard in self.shards)

    @property
    def timers(self) -> int:
        """Customers for whom time alone will change something."""
        return sum(shard.timers for shard in self.shards)

    @property
    def clocks(self) -> list[int]:
        """The clocks (ms) of the shards that have had an event, the earliest first."""
        return sorted(s.head.clock for s in self.shards if s.head.clock is not None)

    @property
    def lag_by_topic(self) -> dict[str, int] | None:
        """Records that are not folded yet, by topic; None where Kafka did not tell."""
        if self.kafka_problem is not None:
            return None
        found: dict[str, int] = {}
        for lag in (*(shard.lag or {} for shard in self.shards), self.forwarded):
            for topic, records in lag.items():
                found[topic] = found.get(topic, 0) + records
        return found


async def read_status(settings: Settings) -> Status:
    """How the installation stands; a Kafka that is away or not given is part of the answer.

    Raises NotFound before `init`, ServerUnavailable without Redis.
    """
    assert settings.redis is not None
    client = connect(settings.redis)
    try:
        live = await read_generation(client, settings.namespace, await read_live(client, settings.namespace))
        status = await status_of(client, settings, live)
    finally:
        await client.aclose()
    if status.kafka_problem is None:
        known = await read_all(str(settings.kafka), settings.generations_topic, settings.namespace)
        now_ms = time.time_ns() // 1_000_000
        status.over = tuple(g for g in known.by_name.values() if g.name != live.name and g.is_over(now_ms))
    return status


async def status_of(client: AsyncClient, settings: Settings, generation: Generation) -> Status:
    """How the shards of any generation stand, and what lies before them; raises ServerUnavailable without Redis."""
    with reaching(client):
        version, memory_bytes = await _server(client)
        shards = await _shards(client, Keys(settings.namespace, generation.name), generation.shards)
    status = Status(
        namespace=settings.namespace,
        generation=generation,
        shards=shards,
        redis=parse_address(str(settings.redis)).shown,
        redis_version=version,
        redis_bytes=memory_bytes,
        kafka=settings.kafka,
    )
    await _ask_kafka(settings, status)
    return status


async def _server(client: AsyncClient) -> tuple[str | None, int | None]:
    """Version and memory in use; of a cluster, or where INFO is not allowed, nothing."""
    if isinstance(client, redis.asyncio.cluster.RedisCluster):
        return None, None
    try:
        server: Mapping[str, Any] = await client.info("server")
        memory: Mapping[str, Any] = await client.info("memory")
    except redis.exceptions.NoPermissionError:
        return None, None
    version = server.get("redis_version")
    return (None if version is None else str(version)), memory.get("used_memory")


async def _shards(client: AsyncClient, keys: Keys, count: int) -> list[ShardStatus]:
    found: list[ShardStatus] = []
    for start in range(0, count, SHARDS_A_BATCH):
        numbers = range(start, min(count, start + SHARDS_A_BATCH))
        pipeline = client.pipeline(transaction=False)
        for number in numbers:
            shard = keys.shard(number)
            pipeline.hgetall(shard.head)
            pipeline.xlen(shard.outbox)
            pipeline.zcard(shard.timers)
            pipeline.zrange(shard.timers, 0, 0, withscores=True)
        replies: list[Any] = await pipeline.execute()
        for i, number in enumerate(numbers):
            fields, waiting, timers, first = replies[4 * i : 4 * i + 4]
            head = read_head(list(chain.from_iterable(fields.items())))
            found.append(ShardStatus(number, head, waiting, timers, int(first[0][1]) if first else None))
    return found


async def _ask_kafka(settings: Settings, status: Status) -> None:
    """Adds what Kafka knows; where it does not answer, why."""
    if not settings.kafka:
        status.kafka_problem = "no address given"
        return
    try:
        found = parse_definitions(status.generation.definitions, f"generation {status.generation.name}")
        async with Admin(settings.kafka) as admin:
            await _measure(admin, settings, status, (*event_topics(found), settings.rekeyed_topic))
    except ProfilestreamError as error:
        status.kafka_problem = str(error)


async def _measure(admin: Admin, settings: Settings, status: Status, topics: tuple[str, ...]) -> None:
    described = await admin.describe([*topics, settings.dead_letters_topic])
    status.missing_topics = tuple(name for name, info in described.items() if info is None)
    for shard in status.shards:
        shard.lag = {}
    committed: Mapping[tuple[str, int], int] | None = None
    for topic in topics:
        info = described[topic]
        if info is None:
            continue
        begins, ends = await admin.begin_offsets(topic), await admin.end_offsets(topic)
        if info.partitions == len(status.shards):
            for shard in status.shards:
                position = shard.head.positions.get(topic, begins[shard.number])
                assert shard.lag is not None
                shard.lag[topic] = max(0, ends[shard.number] - position)
            continue
        # Forwarded whole: nobody's shard, so what is past is what the group has committed.
        if committed is None:
            committed = await admin.committed(f"{settings.namespace}-{status.generation.name}")
        status.forwarded[topic] = sum(
            max(0, end - committed.get((topic, partition), begins[partition])) for partition, end in ends.items()
        )
    if described[settings.dead_letters_topic] is not None:
        begins = await admin.begin_offsets(settings.dead_letters_topic)
        ends = await admin.end_offsets(settings.dead_letters_topic)
        status.dead_letters = sum(end - begins[partition] for partition, end in ends.items())
