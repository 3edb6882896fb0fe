"""A type of events moves to another topic: what only the former one has is not lost unasked."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from aiokafka import AIOKafkaProducer
from tests.integration import shop
from tests.integration.test_worker import make_topics, running
from tests.kafka_records import EVENT_TOPICS, properly, remove_topics

from profilestream.settings import Settings
from profilestream.wire.times import format_time

MOVED = shop.DEFINITIONS + '[sources.orders]\ntopic = "orders"\ntype = "purchase"\n'
BESIDE = MOVED + '[sources.purchases]\ntopic = "purchases"\ntype = "purchase"\n'
TRAITS = {"orders", "spend", "dearest", "last_order_at"}


@pytest.mark.parametrize("partitions", [shop.SHARDS, shop.SHARDS + 1], ids=["folded as it is", "forwarded whole"])
def test_a_type_that_moves_to_another_topic_does_not_lose_what_came_by_the_former_one_unasked(
    partitions: int, servers: Any, own_settings: Settings, cli: Any, workdir: Path, namespace: str
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    asyncio.run(make_topics(servers.kafka, {"purchases": partitions}))
    (workdir / "definitions.toml").write_text(shop.DEFINITIONS)
    cli("init", "definitions.toml", "--shards", str(shop.SHARDS))
    shop.put(servers.kafka, shop.purchases(120))
    shop.catch_up(cli)
    cli("emitter", "--until-caught-up")
    (workdir / "moved.toml").write_text(MOVED)
    (workdir / "beside.toml").write_text(BESIDE)

    plan = json.loads(cli("plan", "moved.toml", "--json").stdout)
    assert [(one["topic"], one["gone"]) for one in plan["log"] if one["left"]] == [("purchases", 120)]
    assert {one["name"] for one in plan["incomplete"] if one["what"] == "trait" and one["lost"]} == TRAITS
    assert "purchases" in cli("plan", "moved.toml").stdout

    refused = cli("apply", "moved.toml", "--yes", "--clock", "event", expect=1)
    assert "cannot be folded again" in refused.stderr and all(name in refused.stderr for name in TRAITS)
    cli("replay", "moved.toml", "--clock", "event", "--until-caught-up")
    refused = cli("promote", "g2", "--yes", expect=1)
    assert "spend: topic purchases is not read any more" in refused.stderr
    cli("drop", "g2", "--yes")

    beside = json.loads(cli("plan", "beside.toml", "--json").stdout)
    assert not beside["incomplete"] and not any(one["left"] for one in beside["log"])
    cli("apply", "beside.toml", "--yes", "--clock", "event", timeout_s=120)
    shop.right_whatever_the_order(shop.purchases(120), servers.redis, namespace)

    began = format_time(time.time_ns() // 1_000_000)
    cli("apply", "moved.toml", "--yes", "--allow-history-loss", "--clock", "event", timeout_s=120)
    with redis.Redis.from_url(str(own_settings.redis), decode_responses=True) as client:
        live = client.get(f"{namespace}:live")
        since: Any = client.hget(f"{namespace}:{live}:meta", "complete_since")
    assert json.loads(since).keys() == TRAITS and all(at > began for at in json.loads(since).values())


def test_a_trait_that_looks_back_a_day_loses_nothing_with_a_topic_that_was_left_a_year_ago(
    servers: Any, cli: Any, cli_environment: dict[str, str], workdir: Path
) -> None:
    """The producers have moved long ago; now the former topic is taken out of the definitions."""
    year_ms = 365 * 86_400_000
    orders = '[sources.orders]\ntopic = "orders"\ntype = "purchase"\n'
    both = "[traits]\nlately = \"count(purchase, over='1d')\"\n" + orders + BESIDE.partition(orders)[2]
    asyncio.run(remove_topics(servers.kafka, [*EVENT_TOPICS, "orders"]))
    asyncio.run(make_topics(servers.kafka, {"purchases": shop.SHARDS, "orders": shop.SHARDS}))  # in a sender's own time
    (workdir / "both.toml").write_text(both)
    (workdir / "moved.toml").write_text(both.partition("[sources.purchases]")[0])
    cli("init", "both.toml", "--shards", str(shop.SHARDS))
    now_ms = time.time_ns() // 1_000_000
    asyncio.run(send_at(servers.kafka, "purchases", now_ms - year_ms))
    asyncio.run(send_at(servers.kafka, "orders", now_ms))
    cli("worker", "--until-caught-up")
    plan = json.loads(cli("plan", "moved.toml", "--json").stdout)
    assert [one["topic"] for one in plan["log"] if one["left"]] == ["purchases"] and not plan["incomplete"]
    cli("replay", "moved.toml", "--until-caught-up")
    with running(cli_environment, workdir, "worker"):
        assert "generation g2 is live" in cli("promote", "g2", "--yes").stdout


async def send_at(kafka: str, topic: str, at_ms: int) -> None:
    """An order in each shard's partition that occurred and arrived at that time."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        for n in range(20):
            event = {"event_id": f"{topic}-{n}", "customer_id": f"c{n}", "occurred_at": at_ms, "amount_minor": 5}
            one = properly(topic, event, shop.SHARDS)
            await producer.send_and_wait(one.topic, one.value, one.key, one.partition, timestamp_ms=at_ms)
    finally:
        await producer.stop()
