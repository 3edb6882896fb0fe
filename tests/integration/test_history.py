"""`history` on real servers, held to the oracle and to the profile that the worker wrote."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.integration import shop
from tests.oracle import Oracle, shard_of

from profilestream.operations.history import Entry, History, open_history
from profilestream.settings import Settings


async def read(settings: Settings, customer_id: str, until: int | None = None) -> tuple[History, list[Entry]]:
    """A customer's history, read to its end."""
    async with open_history(settings, customer_id) as history:
        return history, [entry async for entry in history.entries(until)]


def test_the_history_is_the_oracles(servers: Any, cli: Any, own_settings: Settings, workdir: Path) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    events = shop.purchases(400)
    shop.put(servers.kafka, events)
    shop.catch_up(cli)
    own = [e for e in events if shard_of(e["customer_id"], shop.SHARDS) == shard_of("c7", shop.SHARDS)]
    wanted = Oracle(shop.DEFINITIONS).run(own).customers["c7"]
    history, entries = asyncio.run(read(own_settings, "c7"))
    assert history.differences() == []
    assert dict(history.values) == wanted.traits
    assert [e.event.event_id for e in entries if e.event] == [e["event_id"] for e in own if e["customer_id"] == "c7"]
    crossings = [(c.segment, c.change, c.crossing, c.at, c.cause, dict(c.values)) for e in entries for c in e.crossings]
    assert crossings == [(c.segment, c.change, c.crossing, c.time_ms, c.cause, c.values) for c in wanted.changes]
