"""A live generation in Redis, put there in the layout that readers are told; and a gym's customers, for segments."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from tests.property.shard import T0

from profilestream.store.connection import connect, connect_sync
from profilestream.store.keys import Keys, shard_of
from profilestream.store.metadata import Generation, set_live, write_generation
from profilestream.wire.times import format_time

DAY_MS = 86_400_000
SHARDS = 4
TEXT = """
[settings]
currency = "EUR"

[traits]
spend   = "sum(purchase.amount_minor)"
orders  = "count(purchase)"
last_at = "last(purchase.occurred_at)"
channel = "last(purchase.channel)"
liked   = "top(browsing.category, 3)"
by_sku  = "count(item, by=sku)"
gap     = "mean_gap(purchase)"
vip     = "orders >= 9"
age     = "latest(attributes.age)"

[segments.fit]
description = "Moves a lot"
enter = "orders >= 5"

[segments.few]
enter = "orders >= 100"
"""
Values = Mapping[str, Any]


def put(
    url: str,
    customers: Mapping[str, Values],
    members: Mapping[str, Mapping[str, int]],
    *,
    namespace: str = "ps",
    text: str = TEXT,
    clock: int | None = T0,
    fields: Values | None = None,
) -> None:
    """Writes a live generation in the layout that readers are told: traits, and since when (ms) members are in."""
    generation = Generation("g1", SHARDS, text, "f", "2026-01-31T09:30:00.000Z", "live")

    async def prepare() -> None:
        client = connect(url)
        await write_generation(client, namespace, generation)
        await set_live(client, namespace, "g1")
        await client.aclose()

    asyncio.run(prepare())
    shards = [Keys(namespace, "g1").shard(number) for number in range(SHARDS)]
    client = connect_sync(url)
    pipeline = client.pipeline(transaction=False)
    common = {"_revision": "1", "_as_of": format_time(T0 - 1), "_segments": "{}", **(fields or {})}
    for customer_id, values in customers.items():
        texts = {name: json.dumps(value) for name, value in values.items() if value is not None}
        shard = shards[shard_of(customer_id, SHARDS)]
        pipeline.hset(shard.profile(customer_id), mapping={**common, **texts})
        pipeline.set(shard.state(customer_id), b"private")
    for segment, found in members.items():
        for customer_id, since in found.items():
            pipeline.zadd(shards[shard_of(customer_id, SHARDS)].segment(segment), {customer_id: since})
    for shard in shards:
        if clock is not None:
            pipeline.hset(shard.head, "clock", clock)
    pipeline.execute()
    client.close()


def gym(members: int, others: int) -> tuple[dict[str, Values], dict[str, dict[str, int]]]:
    """Members who buy much, today, by app, and like yoga; others who do not, and whom little is known of."""
    customers: dict[str, Values] = {}
    for n in range(members):
        customers[f"fit-{n:04}"] = {
            "spend": 10_000 + n, "orders": 10, "last_at": format_time(T0 - DAY_MS), "liked": ["yoga", "run"],
            "by_sku": {"mat": 1}, "gap": 2 * DAY_MS, "vip": True, "age": 30,
            "channel": "app" if n % 10 else f"own-{n}",
        }  # fmt: skip
    for n in range(others):
        customers[f"other-{n:04}"] = {
            "spend": 100, "orders": 1, "last_at": format_time(T0 - 9 * DAY_MS), "channel": "web", "liked": ["news"],
            "vip": False, "age": None if n % 2 else 60,
        }  # fmt: skip
    since = {f"fit-{n:04}": T0 - 3 * DAY_MS for n in range(members)}
    return customers, {"fit": since, "few": {f"fit-{n:04}": T0 for n in range(min(members, 19))}}
