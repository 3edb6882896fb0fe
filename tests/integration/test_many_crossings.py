"""One event that takes a customer across thousands of thresholds at once, through worker, Redis, emitter and Kafka."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from tests.comparison import read_changes
from tests.integration import shop
from tests.kafka_records import remove_topics

SEGMENTS, CUSTOMERS = 5_000, 2
DEFINITIONS = """
[traits]
spend = "sum(purchase.amount_minor)"
latest_amount = "last(purchase.amount_minor)"
""" + "\n".join(f'[segments.s{n}]\nenter = "latest_amount > {1_000 + n}"' for n in range(SEGMENTS))


def test_an_event_that_crosses_five_thousand_segments_announces_each_once(
    servers: Any, cli: Any, namespace: str, topic_name: Callable[[str], str], workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(DEFINITIONS)
    cli("init", "definitions.toml", "--shards", "1")
    amounts = [0, SEGMENTS + 1_000, 0]
    events = [
        {"type": "purchase", "event_id": f"e{n}", "customer_id": f"c{n % CUSTOMERS}",
         "occurred_at": shop.BEGAN_MS + n, "amount_minor": amounts[n // CUSTOMERS]}
        for n in range(len(amounts) * CUSTOMERS)
    ]  # fmt: skip
    shop.put(servers.kafka, events[: 2 * CUSTOMERS], 1)
    shop.catch_up(cli)
    client: Any = redis.Redis.from_url(servers.redis, decode_responses=True)
    prefix = f"{namespace}:g1:{{0}}:"
    with client:
        for n in range(CUSTOMERS):
            memberships = json.loads(client.hget(f"{prefix}profile:c{n}", "_segments"))
            assert len(memberships) == SEGMENTS and memberships["s0"]["crossing"] == 1
        assert client.zcard(f"{prefix}segment:s{SEGMENTS - 1}") == CUSTOMERS
        assert int(client.hget(f"{prefix}head", "sequence")) >= CUSTOMERS, "nothing cut the batch"
        cli("emitter", "--until-caught-up")
        assert client.xlen(f"{prefix}outbox") == 0
        shop.put(servers.kafka, events[2 * CUSTOMERS :], 1)
        shop.catch_up(cli)
        assert client.hget(f"{prefix}profile:c0", "_segments") == "{}"
        assert client.hget(f"{prefix}profile:c0", "spend") == str(SEGMENTS + 1_000)
        cli("emitter", "--until-caught-up")
    found = [
        json.loads(record.value)["data"]
        for record in asyncio.run(read_changes(servers.kafka, topic_name("segment-changes")))
    ]
    told = Counter((change["customer_id"], change["segment"], change["crossing"], change["change"]) for change in found)
    assert set(told.values()) == {1}
    assert told.keys() == {
        (f"c{n}", f"s{segment}", crossing, change)
        for n in range(CUSTOMERS)
        for segment in range(SEGMENTS)
        for crossing, change in ((1, "entered"), (2, "exited"))
    }
    for n in range(CUSTOMERS):
        mine = [change["segment"] for change in found if change["customer_id"] == f"c{n}" and change["crossing"] == 1]
        assert mine == [f"s{segment}" for segment in range(SEGMENTS)], "not in the file's order"
