"""Replays of a part: from offsets, of some customers, of some shards; and topics that only the new definitions read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import redis
from tests.comparison import compare, expect, read_profiles
from tests.integration import shop
from tests.integration.test_worker import running
from tests.kafka_records import Arrival, Sending, cut_log, event_bytes, read_arrivals, send
from tests.oracle import shard_of

EVENTS = 200
CUT = 5
VIEWS = """
[traits]
orders = "count(purchase)"
spend = "sum(purchase.amount_minor)"
views = "count(browsing)"

[segments.viewer]
enter = "views >= 3"
"""


def hashes(client: Any, namespace: str, generation: str) -> dict[str, dict[str, str]]:
    """By customer what readers would see of a generation; when time was last let pass depends on the commits."""
    found = {}
    for key in client.scan_iter(f"{namespace}:{generation}:*:profile:*", count=1_000):
        fields = client.hgetall(key)
        fields.pop("_as_of")
        found[key.partition(":profile:")[2]] = fields
    return found


def test_a_replay_begins_at_offsets_that_the_log_has_or_is_about_chosen_customers_or_shards(
    servers: Any, cli: Any, namespace: str, workdir: Path
) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    shop.put(servers.kafka, shop.purchases(EVENTS))
    shop.catch_up(cli)
    client: Any = redis.Redis.from_url(servers.redis, decode_responses=True)
    live = hashes(client, namespace, "g1")
    replay = ("replay", "definitions.toml", "--clock", "event", "--until-caught-up")

    def refused(offsets: dict[str, dict[str, int]]) -> str:
        (workdir / "offsets.json").write_text(json.dumps(offsets))
        said: str = cli(*replay, "--offsets", "offsets.json", expect=2).stderr
        return " ".join(said.split())

    asyncio.run(cut_log(servers.kafka, "purchases", 0, CUT))
    end = json.loads(client.hget(f"{namespace}:g1:{{1}}:head", "positions"))["purchases"]
    assert f"has offsets 0 to {end}, so none can begin at {end + 1}" in refused({"purchases": {"1": end + 1}})
    assert f"has offsets {CUT} to" in refused({"purchases": {"0": CUT - 1}})
    assert "there is none; its partitions are 0 to 1" in refused({"purchases": {"2": 0}})
    assert "topic sales is not read" in refused({"sales": {"0": 0}})
    assert client.keys(f"{namespace}:g2:*") == []

    (workdir / "offsets.json").write_text(json.dumps({"purchases": {"0": CUT, "1": end}}))
    cli(*replay, "--offsets", "offsets.json")
    late = hashes(client, namespace, "g2")
    assert {shard_of(customer, shop.SHARDS) for customer in late} == {0}
    assert sum(int(fields["orders"]) for fields in late.values()) == EVENTS - end - CUT

    chosen = sorted(c for c in live if shard_of(c, shop.SHARDS) == 1)[:3]
    (workdir / "customers.txt").write_text("\n".join([*chosen, "nobody"]))
    cli(*replay, "--customers", "customers.txt")
    assert hashes(client, namespace, "g3") == {customer: live[customer] for customer in chosen}
    cli(*replay, "--shards", "1")
    assert hashes(client, namespace, "g4") == {c: f for c, f in live.items() if shard_of(c, shop.SHARDS) == 1}
    assert "is a trial" in cli("promote", "g4", "--yes", expect=2).stderr
    client.close()


def test_a_topic_that_only_the_new_definitions_read_is_folded_strays_and_all_before_and_after_they_are_live(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    (workdir / "views.toml").write_text(VIEWS)
    shop.put(servers.kafka, shop.purchases(60))

    def view(number: int) -> dict[str, Any]:
        customer = f"c{number * 7 % 40}"
        return {"event_id": f"v{number}", "customer_id": customer, "occurred_at": shop.BEGAN_MS + number * 900}

    def look(numbers: range) -> None:
        events = [view(n) | {"kind": "page_view"} for n in numbers]
        # Every third goes where another shard's records are.
        at = [(shard_of(e["customer_id"], shop.SHARDS) + (n % 3 == 0)) % shop.SHARDS for n, e in enumerate(events)]
        sent = [Sending("browsing", event_bytes(e), b"k", p) for e, p in zip(events, at, strict=True)]
        asyncio.run(send(servers.kafka, sent))

    look(range(100))
    with running(cli_environment, workdir, "worker", "--clock", "event"):
        cli("replay", "views.toml", "--clock", "event", "--until-caught-up")
        look(range(100, 160))
        with running(cli_environment, workdir, "replay", "g2", "--clock", "event"):
            cli("promote", "g2", "--yes")
            look(range(160, 220))
            shop.put(servers.kafka, shop.purchases(30, start=60))
    cli("worker", "--clock", "event", "--until-caught-up")
    found = asyncio.run(read_arrivals(servers.kafka, ["purchases", "browsing"]))
    arrivals = [Arrival(a.topic, 0, a.offset, a.event) for a in found]
    compare(
        expect(VIEWS, arrivals, shop.SHARDS),
        read_profiles(servers.redis, namespace), None, namespace, order_matters=False,
    )  # fmt: skip
