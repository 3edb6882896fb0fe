"""`compare` on real servers: two generations of CDNOW with other thresholds, level and with one of them behind."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis
from jsonschema import Draft202012Validator
from tests import cdnow
from tests.integration import shop
from tests.kafka_records import event_lines, remove_topics

from profilestream.settings import Settings
from profilestream.store.connection import connect
from profilestream.store.metadata import read_generation, write_generation
from profilestream.stream import generations
from profilestream.stream.generations import Live
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.schemas.verifications import COMPARE

SHARDS = 4
OTHER = cdnow.DEFINITIONS.replace("spend_90d >= 10_000 and", "spend_90d >= 6_000 and").replace(
    'repeats            = "orders >= 2"', 'repeats            = "orders >= 3"'
)


async def publish(settings: Settings, name: str, live: str, turn: int, text: str = "") -> None:
    """Makes a generation with other definitions, if there is a text, and says who is live."""
    kafka, topic, namespace = str(settings.kafka), settings.generations_topic, settings.namespace
    client = connect(str(settings.redis))
    try:
        if text:
            made = replace(
                await read_generation(client, namespace, "g1"),
                name=name,
                definitions=text,
                fingerprint=parse_definitions(text, name).fingerprint,
                created_at="2026-01-02T00:00:00.000Z",
                base="g1",
            )
            await generations.publish(kafka, topic, namespace, made)
            await write_generation(client, namespace, made)
        await generations.publish_live(kafka, topic, namespace, Live(live, turn))
        await client.set(f"{namespace}:live", live)
    finally:
        await client.aclose()


def compared(cli: Any, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("compare", *words, "--json", timeout_s=300).stdout)
    Draft202012Validator(COMPARE).validate(found)
    return found


def test_two_generations_of_cdnow_differ_where_definitions_do_and_by_how_many(
    servers: Any, cli: Any, own_settings: Settings, namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    (workdir / "purchases.jsonl").write_text(event_lines(cdnow.in_order_of_time(cdnow.purchases())))
    cli("init", "definitions.toml", "--shards", str(SHARDS))
    cli("produce", "purchases", "purchases.jsonl")
    shop.catch_up(cli)
    assert "there are: none" in cli("compare", expect=2).stderr
    asyncio.run(publish(own_settings, "g2", "g2", 2, OTHER))
    shop.catch_up(cli)
    asyncio.run(publish(own_settings, "g2", "g1", 3))

    found = compared(cli)
    assert (found["live"], found["other"], found["complete"]) == ("g1", "g2", True)
    assert (found["compared"], found["left_out"], found["unexplained"]) == (cdnow.CUSTOMERS, {}, 0)
    assert [t["name"] for t in found["traits"]] == ["repeats"]
    (repeats,) = found["traits"]
    with redis.Redis.from_url(servers.redis, decode_responses=True) as client:
        counts: list[Any] = [
            client.hmget(key, "repeats", "orders") for key in client.scan_iter(match=f"{namespace}:g1:*:profile:*")
        ]
        members: dict[str, int] = {
            name: sum(int(client.zcard(f"{namespace}:{name}:{{{n}}}:segment:big_spender")) for n in range(SHARDS))  # type: ignore[arg-type]
            for name in ("g1", "g2")
        }
    assert repeats["differing"] == sum(orders == "2" for _, orders in counts)
    assert repeats["why"] == {"definition": repeats["differing"]}
    assert set(repeats["examples"][0]) == {"customer_id", "live", "other", "why"}
    big = next(s for s in found["segments"] if s["name"] == "big_spender")
    assert (big["why"], big["changed"]) == ({"definition": big["differing"]}, ["enter"])
    assert big["only_other"] - big["only_live"] == members["g2"] - members["g1"] > 0
    assert {s["name"] for s in found["segments"]} <= {"big_spender", "growing"}

    some = cli("compare", "g2", "--sample", "200").stdout
    assert "segment big_spender" in some and "its meaning changed (enter)" in some
    shop.put(servers.kafka, shop.purchases(8, customers=8), SHARDS)
    shop.catch_up(cli)
    behind = compared(cli, "g2")
    assert behind["left_out"]["behind"] > 0
    assert behind["compared"] + behind["left_out"]["behind"] + behind["left_out"].get("due", 0) >= cdnow.CUSTOMERS
    assert behind["shards_behind"]
