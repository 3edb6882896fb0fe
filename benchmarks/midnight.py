"""A shard full of profiles that are all due at one midnight, and live events while they drain.

Profiles are made by the engine, a few hundred different ones, and written many times under other ids by the worker's
own commits: a million in a minute or two. Each has two orders, of which the first leaves a window of thirty days at
MIDNIGHT_MS; for one in a hundred that takes a membership away. Live events carry the clock over midnight.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any

import redis
import redis.asyncio
from aiokafka import AIOKafkaProducer

from profilestream import Settings
from profilestream.core.engine import Crossing, Engine
from profilestream.core.events import BUILT_IN
from profilestream.store.commits import Commit, Membership, ProfileWrite
from profilestream.store.keys import Keys, ShardKeys, shard_of
from profilestream.store.pipeline import open_pipeline
from profilestream.store.profile_writes import ProfileWriter
from profilestream.store.shard_store import ShardStore
from profilestream.stream.generations import FIRST
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import Event, EventDecoder

DAY_MS = 86_400_000
MIDNIGHT_MS = 1_735_689_600_000  # 2025-01-01
FILL_CUSTOMERS = 1_000
KINDS = 200
URGENT_EVERY = 100
LIVE_CUSTOMERS = 160
POLL_S = 0.01
LOOK_S = 0.2

DEFINITIONS = """
[streams]
order = "purchase[kind == 'order']"

[traits]
orders        = "count(order)"
spend_30d     = "sum(order.amount_minor, over='30d')"
largest_30d   = "max(order.amount_minor, over='30d')"
last_order_at = "last(order.occurred_at)"

[segments.big_spender]
enter = "spend_30d >= 50_000"

[segments.lapsing]
enter = "orders >= 2 and since(last_order_at) > days(30)"
"""


@dataclass(frozen=True)
class Drain:
    """What a drain took: seconds until the memberships had changed, and until everything had; latencies in ms."""

    timers: int
    urgent: int
    urgent_s: float
    seconds: float
    cpu_s: float
    idle_ms: list[float] = field(repr=False)
    live_ms: list[float] = field(repr=False)
    memory_bytes: int = 0

    @property
    def per_second(self) -> float:
        return self.timers / self.seconds


# Profiles


def _templates() -> list[tuple[ProfileWrite, list[Membership]]]:
    """Writes of different profiles as they stand an hour before midnight; every URGENT_EVERYth of them is urgent."""
    engine = Engine(parse_definitions(DEFINITIONS))
    writer, decoder, chance = ProfileWriter(engine), EventDecoder(BUILT_IN), random.Random(1)
    found = []
    for kind in range(KINDS):
        urgent = kind % URGENT_EVERY == 0
        profile, crossings = engine.new_profile("template"), list[Crossing]()
        amounts = (30_000, 30_000) if urgent else (chance.randrange(500, 9_000), chance.randrange(9_000, 20_000))
        for days, amount in zip((30, 12), amounts, strict=True):
            at = MIDNIGHT_MS - days * DAY_MS + chance.randrange(DAY_MS)
            raw = {"event_id": token_hex(6), "customer_id": "template", "occurred_at": at, "amount_minor": amount}
            event = decoder.decode("purchase", json.dumps(raw).encode())
            assert isinstance(event, Event)
            engine.fold(profile, event, engine.handlers["purchase"], at, at, crossings, None)
        write = writer.write(profile, True)
        assert write.due == MIDNIGHT_MS and (write.urgent == MIDNIGHT_MS) == urgent, write
        found.append((write, [Membership(c.segment, "template", c.at, c.crossing % 2 == 1) for c in crossings]))
    return found


async def fill(settings: Settings, profiles: int, shards: int) -> int:
    """Writes the profiles, each to its shard; gives how many of them are urgent."""
    assert settings.redis is not None
    templates, keys = _templates(), Keys(settings.namespace, FIRST)
    by_shard: list[list[int]] = [[] for _ in range(shards)]
    for number in range(profiles):
        by_shard[shard_of(f"m{number:07d}", shards)].append(number)
    for number, customers in enumerate(by_shard):
        await _fill_shard(settings.redis, keys.shard(number), customers, templates)
    return len(range(0, profiles, URGENT_EVERY))


async def _fill_shard(
    url: str, keys: ShardKeys, customers: list[int], templates: list[tuple[ProfileWrite, list[Membership]]]
) -> None:
    pipeline = await open_pipeline(url, keys.head)
    store = ShardStore(pipeline, keys)
    await store.load_script()
    before, sequence = "", 0
    for start in range(0, len(customers), FILL_CUSTOMERS):
        writes, memberships = [], []
        for number in customers[start : start + FILL_CUSTOMERS]:
            customer_id = f"m{number:07d}"
            write, members = templates[number % KINDS]
            writes.append(replace(write, customer_id=customer_id))
            memberships += [replace(m, customer_id=customer_id) for m in members]
        commit = Commit(
            before, token_hex(8), sequence := sequence + 1, MIDNIGHT_MS - 3_600_000, {}, {}, writes, memberships
        )
        assert (await store.send_commit(commit)).status == "done"
        before = commit.commit
    await pipeline.close()


# Live events


class Live:
    """Sends orders of few customers at a steady rate, and looks in Redis when each is in its profile."""

    def __init__(self, settings: Settings, shards: int, per_second: float) -> None:
        self._settings = settings
        self._shards = shards
        self._per_second = per_second
        self._keys = Keys(settings.namespace, FIRST)
        self._waiting: dict[str, deque[float]] = {f"live{n}": deque() for n in range(LIVE_CUSTOMERS)}
        self._seen = dict.fromkeys(self._waiting, 0)
        self.latencies_ms: list[float] = []
        self.over_midnight = False
        self.done = False

    async def run(self) -> None:
        await asyncio.gather(self._send(), self._look())

    async def _send(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._settings.kafka)
        await producer.start()
        began_s, names = time.monotonic(), list(self._waiting)
        try:
            for number in self._numbers(began_s):
                await asyncio.sleep(max(0.0, began_s + number / self._per_second - time.monotonic()))
                name = names[number % len(names)]
                at = MIDNIGHT_MS + (number if self.over_midnight else number - 3_600_000)
                raw = {"event_id": f"l{number}", "customer_id": name, "occurred_at": at, "amount_minor": 1}
                self._waiting[name].append(time.monotonic())
                await producer.send(
                    "purchases", json.dumps(raw).encode(), name.encode(), partition=shard_of(name, self._shards)
                )
        finally:
            await producer.stop()

    def _numbers(self, began_s: float) -> Iterator[int]:
        number = 0
        while not self.done:
            yield number
            number += 1

    async def _look(self) -> None:
        client: Any = redis.asyncio.Redis.from_url(str(self._settings.redis))
        keys = {name: self._keys.shard(shard_of(name, self._shards)).profile(name) for name in self._waiting}
        while not self.done:
            await asyncio.sleep(POLL_S)
            asked = [name for name, sent in self._waiting.items() if sent]
            pipeline = client.pipeline(transaction=False)
            for name in asked:
                pipeline.hget(keys[name], "orders")
            found = await pipeline.execute() if asked else []
            now_s = time.monotonic()
            for name, orders in zip(asked, found, strict=True):
                for _ in range(int(orders or 0) - self._seen[name]):
                    self.latencies_ms.append((now_s - self._waiting[name].popleft()) * 1000)
                self._seen[name] = int(orders or 0)
        await client.aclose()

    def take(self) -> list[float]:
        """The latencies since the last call."""
        found, self.latencies_ms = self.latencies_ms, []
        return found


class Left:
    """How many timers of all shards are still due at midnight."""

    def __init__(self, settings: Settings, shards: int) -> None:
        self._redis: Any = redis.asyncio.Redis.from_url(str(settings.redis))
        keys = Keys(settings.namespace, FIRST)
        self._shards = [keys.shard(number) for number in range(shards)]

    async def count(self) -> tuple[int, int]:
        """(all, urgent)."""
        pipeline = self._redis.pipeline(transaction=False)
        for shard in self._shards:
            pipeline.zcount(shard.timers, "-inf", MIDNIGHT_MS)
            pipeline.zcount(shard.urgent, "-inf", MIDNIGHT_MS)
        found = await pipeline.execute()
        return sum(found[::2]), sum(found[1::2])

    async def close(self) -> None:
        await self._redis.aclose()


def check(settings: Settings, profiles: int, shards: int) -> None:
    """Raises AssertionError where a membership did not change exactly once, or a profile of a sample is not right."""
    client: Any = redis.Redis.from_url(str(settings.redis))
    keys = Keys(settings.namespace, FIRST)
    changes = sum(client.xlen(keys.shard(number).outbox) for number in range(shards))
    members = sum(client.zcard(keys.shard(number).segment("big_spender")) for number in range(shards))
    urgent = len(range(0, profiles, URGENT_EVERY))
    assert (changes, members) == (urgent, 0), f"{changes:,} changes, {members:,} members left of {urgent:,}"
    templates = _templates()
    for number in random.Random(2).sample(range(profiles), min(profiles, 1_000)):
        name = f"m{number:07d}"
        after = client.hgetall(keys.shard(shard_of(name, shards)).profile(name))
        before = dict(
            zip(templates[number % KINDS][0].fields[::2], templates[number % KINDS][0].fields[1::2], strict=True)
        )
        assert after[b"orders"] == b"2" and int(after[b"spend_30d"]) < int(before["spend_30d"]), (name, after)
        assert json.loads(after[b"_segments"]) == {}, (name, after)
