"""What making the next generation would take, measured on a sample: an estimate, and called one.

Of each topic the newest records of a few shards are decoded, folded and encoded as a replay does it, under the live
definitions and the new ones: the rate gives the time, the sizes of both give the memory. Writing to Redis and reading
from Kafka come on top of that time; several processes share it. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis.cluster
import redis.exceptions

from profilestream.core.definitions import Definitions
from profilestream.core.engine import Engine
from profilestream.core.profile import Profile
from profilestream.operations.reach import Reach
from profilestream.operations.sweep import engine_with
from profilestream.settings import Settings
from profilestream.store.connection import SyncClient, connect_sync, is_moved_away, reaching
from profilestream.store.keys import Keys, ShardKeys
from profilestream.store.metadata import Generation
from profilestream.store.profile_writes import ProfileWriter
from profilestream.store.samples import in_proportion
from profilestream.stream.shard_log import ShardLog, Span
from profilestream.stream.slices import Record
from profilestream.stream.sources import Sources
from profilestream.stream.topics import Admin
from profilestream.wire.dead_letters import Rejection

SHARDS_SAMPLED: Final = 2
RECORDS_A_TOPIC: Final = 2_000
RECORDS_BEFORE: Final = 500
"""So many are folded before time is taken: what is compiled at its first use is not compiled again."""
PROFILES_SAMPLED: Final = 200
"""Of so many profiles the memory is asked for, of each its hash and its state."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What it takes. None stands for what could not be measured: no records, no customers, a command not allowed.

    `records` would be read, at `records_per_s` in one process. The `customers` have `live_bytes` in Redis now and
    would have `new_bytes` beside them; `free_bytes` are left below Redis's maxmemory.
    """

    records: int
    records_per_s: float | None
    customers: int
    live_bytes: int | None
    new_bytes: int | None
    free_bytes: int | None

    @property
    def seconds(self) -> float | None:
        """How long one process would fold for, at least."""
        if not self.records:
            return 0.0
        return None if self.records_per_s is None else self.records / self.records_per_s


async def estimate(
    settings: Settings, live: Generation, before: Definitions, after: Definitions, reaches: Sequence[Reach], log: bool
) -> Estimate:
    """Measures both samples; `log` says whether anything has to be folded from the log.

    Raises ServerUnavailable without servers.
    """
    samples = await _records(settings, live, reaches)
    engine = engine_with(settings)
    taken, seconds, new_size = _folded(engine(after), settings, samples)
    _, _, live_size = _folded(engine(before), settings, samples)
    memory = _memory(settings, live)
    grown = new_size / live_size if live_size and new_size else 1.0
    return Estimate(
        records=sum(r.records for r in reaches) if log else 0,
        records_per_s=taken / seconds if taken and seconds > 0 else None,
        customers=memory.customers,
        live_bytes=memory.bytes,
        new_bytes=None if memory.bytes is None else round(memory.bytes * grown),
        free_bytes=memory.free,
    )


async def _records(settings: Settings, live: Generation, reaches: Iterable[Reach]) -> list[list[Record]]:
    """The newest records of a few shards, each shard's merged as a worker merges them."""
    topics = [r.topic for r in reaches if not r.missing]
    found = []
    step = max(1, live.shards // SHARDS_SAMPLED)
    for shard in list(range(0, live.shards, step))[:SHARDS_SAMPLED]:
        async with Admin(str(settings.kafka)) as admin:
            bounds = await admin.bounds(topics, shard)
        spans = {topic: Span(max(begin, end - RECORDS_A_TOPIC), end) for topic, (begin, end) in bounds.items()}
        async with ShardLog(str(settings.kafka), shard, spans) as log:
            found.append([record async for run in log.runs() for record in run])
    return found


def _folded(engine: Engine, settings: Settings, samples: Iterable[Iterable[Record]]) -> tuple[int, float, int]:
    """How many records time was taken of, the CPU seconds for them and their profiles' writes, and the bytes of all
    profiles then."""
    sources, writer = Sources(engine, settings), ProfileWriter(engine)
    now_ms = time.time_ns() // 1_000_000
    profiles: dict[str, Profile] = {}
    written: dict[str, Profile] = {}
    crossings: list[Any] = []
    warm = False
    count = 0
    started = time.process_time()
    for records in samples:
        clock = None
        for record in records:
            if count == RECORDS_BEFORE and not warm:
                count, warm, started = 0, True, time.process_time()
            count += 1
            event, handler, _ = sources.read(record, now_ms)
            if isinstance(event, Rejection) or handler is None:
                continue
            customer_id = event.customer_id
            clock = event.occurred_at if clock is None else max(clock, event.occurred_at)
            profile = profiles.get(customer_id)
            if profile is None:
                profile = profiles[customer_id] = engine.new_profile(customer_id)
            engine.fold(profile, event, handler, clock, record.timestamp, crossings, None)
            written[customer_id] = profile
            if len(written) >= settings.commit_customers_max:
                _write(writer, written)
                crossings.clear()
    _write(writer, written)
    seconds = time.process_time() - started
    for profile in profiles.values():
        profile.written = None  # so that the next write is of the whole
    return count, seconds, _write(writer, profiles)


def _write(writer: ProfileWriter, profiles: dict[str, Profile]) -> int:
    """Writes profiles as a commit does, forgets them, and gives how many bytes they came to."""
    size = 0
    for profile in profiles.values():
        write = writer.write(profile, True)
        size += len(write.state) + sum(len(field) for field in write.fields if isinstance(field, str | bytes))
    profiles.clear()
    return size


@dataclass(frozen=True, slots=True)
class _Memory:
    customers: int
    bytes: int | None
    free: int | None


def _memory(settings: Settings, live: Generation) -> _Memory:
    """How many customers there are, and what their profiles take, by a random sample of them."""
    assert settings.redis is not None
    client: Any = connect_sync(settings.redis)
    keys = Keys(settings.namespace, live.name)
    shards = [keys.shard(number) for number in range(live.shards)]
    try:
        with reaching(client):
            counts = [client.scard(shard.customers) for shard in shards]
            sizes: list[int] = []
            for shard, part in zip(shards, in_proportion(counts, PROFILES_SAMPLED), strict=True):
                if part:
                    sizes += _sizes(client, shard, client.srandmember(shard.customers, part))
        return _Memory(
            sum(counts), round(sum(sizes) / len(sizes) * sum(counts)) if sizes else None, _free_bytes(client)
        )
    finally:
        client.close()


def _sizes(client: Any, shard: ShardKeys, customers: Iterable[bytes]) -> list[int]:
    """Bytes of Redis's memory for each profile with its state; none in a cluster, or where the server does not tell."""
    if isinstance(client, redis.cluster.RedisCluster):
        return []
    pipeline: Any = client.pipeline(transaction=False)
    for customer in customers:
        pipeline.memory_usage(shard.profile_prefix.encode() + customer)
        pipeline.memory_usage(shard.state_prefix.encode() + customer)
    try:
        replies: list[int | None] = pipeline.execute()
    except redis.exceptions.ResponseError as error:
        if is_moved_away(error):
            raise
        return []  # the command is not allowed
    pairs = zip(replies[::2], replies[1::2], strict=True)
    return [profile + state for profile, state in pairs if profile is not None and state is not None]


def _free_bytes(client: SyncClient) -> int | None:
    """How much memory is left; None where there is no limit, in a cluster, or where it is not told."""
    if isinstance(client, redis.cluster.RedisCluster):
        return None
    try:
        with reaching(client):
            info: Any = client.info("memory")
    except redis.exceptions.ResponseError:
        return None
    limit = info.get("maxmemory")
    return max(0, limit - info["used_memory"]) if limit else None
