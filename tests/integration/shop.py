"""A small shop on real servers: its definitions, its events, and what must stand there once all is folded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.comparison import compare, expect, read_changes, read_profiles
from tests.kafka_records import Arrival, properly, remove_topics, send

from profilestream.settings import Settings
from profilestream.worker import Worker

SHARDS = 2
DEFINITIONS = """
[traits]
orders = "count(purchase)"
spend = "sum(purchase.amount_minor)"
dearest = "max(purchase.amount_minor)"
last_order_at = "last(purchase.occurred_at)"

[segments.buyer]
enter = "orders >= 2"

[segments.spender]
enter = "spend >= 1_000"
"""
BEGAN_MS = 1_700_000_000_000


def purchases(count: int, start: int = 0, customers: int = 40, **fields: Any) -> list[dict[str, Any]]:
    """Purchases in order of time, of customers by turns."""
    return [
        {
            "type": "purchase",
            "event_id": f"e{n}",
            "customer_id": f"c{n * 7 % customers}",
            "occurred_at": BEGAN_MS + n * 1_000,
            "amount_minor": n % 97,
            **fields,
        }
        for n in range(start, start + count)
    ]


def open_shop(kafka: str, cli: Any, workdir: Path, shards: int = SHARDS) -> None:
    """The event topics empty, and a generation."""
    asyncio.run(remove_topics(kafka))
    (workdir / "definitions.toml").write_text(DEFINITIONS)
    cli("init", "definitions.toml", "--shards", str(shards))


def put(kafka: str, events: Iterable[dict[str, Any]], shards: int = SHARDS) -> None:
    """Each event into its customer's partition."""
    asyncio.run(send(kafka, [properly("purchases", event, shards) for event in events]))


def catch_up(cli: Any, *words: str) -> str:
    said: str = cli("worker", "--clock", "event", "--until-caught-up", *words).stdout
    return said


def right(events: Iterable[dict[str, Any]], redis_url: str, namespace: str, shards: int = SHARDS) -> None:
    """Fails unless the profiles are those of these events, in this order of each shard; changes are not looked at."""
    arrivals = [Arrival("purchases", 0, n, event) for n, event in enumerate(events)]
    compare(expect(DEFINITIONS, arrivals, shards), read_profiles(redis_url, namespace), None, namespace)


def right_whatever_the_order(
    events: Iterable[dict[str, Any]], redis_url: str, namespace: str, shards: int = SHARDS
) -> None:
    """As `right`, of what does not depend on the order of arrival."""
    arrivals = [Arrival("purchases", 0, n, event) for n, event in enumerate(events)]
    found = read_profiles(redis_url, namespace)
    compare(expect(DEFINITIONS, arrivals, shards), found, None, namespace, order_matters=False)


def crossings(kafka: str, topic: str) -> list[str]:
    """The ids of all announced changes, in order of partition and offset."""
    import json

    return [json.loads(r.value)["id"] for r in asyncio.run(read_changes(kafka, topic))]


@asynccontextmanager
async def worker_here(settings: Settings, said: list[str]) -> AsyncIterator[Worker]:
    """A worker in this process, so that its parts can be broken; what it says is appended to `said`."""
    worker = Worker(settings, said.append, clock="event")
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.wait({task}, timeout=30)
        assert task.done(), "the worker does not stop"
