"""Live orders at a steady rate, and how long each takes until readers find it: from its sending to Redis.

Looked at are the profiles of the generation that Redis names as live, as readers do, so that a promotion shows as
nothing or as a delay. How long such a look takes tells what others do to Redis.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio
from aiokafka import AIOKafkaProducer

from benchmarks.purchases import BEGIN_MS, SPAN_MS
from profilestream import Settings
from profilestream.store.keys import Keys, live_key, shard_of

CUSTOMERS = 160
AMOUNT_MINOR = 1
LOOK_S = 0.004
BEHIND_S = 100.0


@dataclass
class Seen:
    """What was seen in a while: milliseconds of each order until it was readable, and of each look at Redis."""

    orders_ms: list[float] = field(default_factory=list)
    looks_ms: list[float] = field(default_factory=list)

    def __add__(self, other: Seen) -> Seen:
        return Seen(self.orders_ms + other.orders_ms, self.looks_ms + other.looks_ms)


class Traffic:
    """Sends between `start` and `stop`; `sent` counts all orders. Orders occur after the benchmark's purchases."""

    def __init__(self, settings: Settings, shards: int, per_second: float) -> None:
        self.sent = 0
        self.live = ""
        self._settings = settings
        self._shards = shards
        self._per_second = per_second
        self._waiting: dict[str, deque[float]] = {f"live{n}": deque() for n in range(CUSTOMERS)}
        self._found = dict.fromkeys(self._waiting, 0)
        self._seen = Seen()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._stopping.clear()
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._look())]

    async def stop(self) -> None:
        """Returns when every order that was sent has been found. Raises what broke it off."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def during(self, seconds: float) -> Seen:
        """What is seen from now on."""
        self.take()
        await asyncio.sleep(seconds)
        return self.take()

    def take(self) -> Seen:
        """What was seen since the last call."""
        for task in self._tasks:
            if task.done():
                task.result()
        found, self._seen = self._seen, Seen()
        return found

    async def _send(self) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._settings.kafka)
        await producer.start()
        began_s, names, first = time.monotonic(), list(self._waiting), self.sent
        try:
            while not self._stopping.is_set():
                number = self.sent - first
                await asyncio.sleep(max(0.0, began_s + number / self._per_second - time.monotonic()))
                name, self.sent = names[self.sent % CUSTOMERS], self.sent + 1
                raw = {
                    "event_id": f"live-{self.sent}",
                    "customer_id": name,
                    "occurred_at": BEGIN_MS + SPAN_MS + self.sent,
                    "amount_minor": AMOUNT_MINOR,
                }
                self._waiting[name].append(time.monotonic())
                partition = shard_of(name, self._shards)
                await producer.send("purchases", json.dumps(raw).encode(), name.encode(), partition=partition)
        finally:
            await producer.stop()

    async def _look(self) -> None:
        client: Any = redis.asyncio.Redis.from_url(str(self._settings.redis))
        namespace, stopped_s = self._settings.namespace, 0.0
        self.live = (await client.get(live_key(namespace))).decode()
        while not self._stopping.is_set() or any(self._waiting.values()):
            if self._stopping.is_set():
                stopped_s = stopped_s or time.monotonic()
                assert time.monotonic() - stopped_s < BEHIND_S, "live orders do not arrive"
            await asyncio.sleep(LOOK_S)
            keys = Keys(namespace, self.live)
            asked = [name for name, sent in self._waiting.items() if sent]
            pipeline = client.pipeline(transaction=False)
            pipeline.get(live_key(namespace))
            for name in asked:
                pipeline.hget(keys.shard(shard_of(name, self._shards)).profile(name), "orders")
            began_s = time.monotonic()
            live, *found = await pipeline.execute()
            now_s = time.monotonic()
            self._seen.looks_ms.append((now_s - began_s) * 1000)
            self.live = live.decode()
            for name, orders in zip(asked, found, strict=True):
                for _ in range(int(orders or 0) - self._found[name]):
                    self._seen.orders_ms.append((now_s - self._waiting[name].popleft()) * 1000)
                self._found[name] = max(self._found[name], int(orders or 0))
        await client.aclose()
