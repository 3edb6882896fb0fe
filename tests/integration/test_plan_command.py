"""`plan` on real servers, for a real shop: exactly who would move, from profiles that it leaves as they are."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
from tests import cdnow
from tests.conftest import Cli
from tests.integration.isolation import fresh_sources
from tests.kafka_records import cut_log, event_lines
from tests.property.shard import Shard

from profilestream.core.engine import Engine
from profilestream.core.errors import ProfilestreamError
from profilestream.core.events import BUILT_IN
from profilestream.operations.plan_files import check_current, read_plan
from profilestream.settings import Settings
from profilestream.store.keys import shard_of
from profilestream.store.metadata import read_generation_sync
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.schemas import schemas

SHARDS = 4
SCHEMA = schemas(BUILT_IN)["plan.json"]
EDITS = (
    ("spend_90d >= 10_000 and orders >= 2", "spend_90d >= 7_000 and orders >= 2"),
    ("since(last_order_at) > days(30)", "since(last_order_at) > days(60)"),
    ("cds_90d            = \"sum(item.quantity, over='90d')\"\n", ""),
    ("[traits]\n", '[traits]\ncds_per_spend = "cds / total_spend"\norders_60d = "count(order, over=\'60d\')"\n'),
)
NEW_SEGMENTS = """
[segments.loyal]
enter = "orders >= 5"

[segments.quick]
enter = "orders_60d >= 3"
"""


def edited(text: str) -> str:
    for old, new in EDITS:
        assert old in text
        text = text.replace(old, new, 1)
    return text + NEW_SEGMENTS


def everything(url: str, namespace: str) -> dict[bytes, bytes]:
    """Each key of the namespace with all that it holds."""
    with redis.Redis.from_url(url) as client:
        keys = sorted(client.scan_iter(match=f"{namespace}:*", count=1_000))
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.dump(key)
        return dict(zip(keys, pipeline.execute(), strict=True))


def shards_of(text: str, orders: list[dict[str, Any]]) -> list[Shard]:
    """Every shard as folding its orders makes it."""
    found = [Shard(Engine(parse_definitions(text))) for _ in range(SHARDS)]
    for order in orders:
        found[shard_of(order["customer_id"], SHARDS)].take(order)
    return found


def expected_crossings(text: str, new: str, orders: list[dict[str, Any]], names: set[str]) -> set[tuple[str, str, str]]:
    """Who is in by the live definitions and whom the new conditions, read one by one, would move."""
    moved = set()
    for before, after in zip(shards_of(text, orders), shards_of(new, orders), strict=True):
        for customer, profile in after.profiles.items():
            members = set(before.members(customer))
            for name in names:
                segment = after.engine.definitions.by_segment.get(name)
                if segment is None:
                    moved |= {(customer, name, "exited")} if name in members else set()
                    continue
                assert after.clock is not None
                enter, leave = after.engine.read((segment.enter, segment.exit or segment.enter), profile, after.clock)
                leaves = leave is True if segment.exit is not None else enter is not True
                if name in members and leaves:
                    moved.add((customer, name, "exited"))
                elif name not in members and enter is True and not leaves:
                    moved.add((customer, name, "entered"))
    return moved


def test_a_plan_tells_exactly_who_would_move_and_touches_nothing(
    cli: Cli, workdir: Path, own_settings: Settings
) -> None:
    sources = fresh_sources(own_settings)
    file, other = workdir / "shop.toml", workdir / "edited.toml"
    file.write_text(cdnow.DEFINITIONS + sources)
    other.write_text(edited(cdnow.DEFINITIONS) + sources)
    cli("init", "shop.toml", "--shards", str(SHARDS))
    orders = [{**raw, "type": "purchase"} for raw in cdnow.in_order_of_time(cdnow.purchases())]
    (workdir / "orders.jsonl").write_text(event_lines(orders))
    cli("produce", f"{own_settings.namespace}.purchases", "orders.jsonl")
    cli("worker", "--clock", "event", "--until-caught-up")
    before = everything(str(own_settings.redis), own_settings.namespace)

    same = cli("plan", "shop.toml", "--detailed-exit-code").stdout
    assert same.splitlines()[1] == "nothing changes: the same file"
    assert cli("init", "edited.toml", expect=1).stderr.count("`profilestream plan FILE`") == 1

    found = json.loads(
        cli("plan", "edited.toml", "--json", "--out", "plan.json", "--detailed-exit-code", expect=3).stdout
    )
    jsonschema.validate(found, SCHEMA)
    assert {t["name"]: t["change"] for t in found["traits"]} == {
        "cds_per_spend": "added", "orders_60d": "added", "cds_90d": "removed"
    }  # fmt: skip
    needy = {part["name"] for part in (*found["traits"], *found["segments"]) if part["needs"]}
    assert needy == {"orders_60d", "quick"}
    assert found["method"] == "replay"
    assert found["customers"] == cdnow.CUSTOMERS

    moved = {s["name"]: s for s in found["segments"]}
    assert {"big_spender", "lapsing", "loyal", "quick"} <= moved.keys()
    told = {name for name in moved if name not in needy}
    expected = expected_crossings(cdnow.DEFINITIONS, edited(cdnow.DEFINITIONS), orders, told)
    crossings = [(c["customer_id"], c["segment"], c["change"]) for c in found["crossings"]]
    assert len(crossings) == len(set(crossings))
    assert set(crossings) == expected
    counts = Counter((segment, change) for _, segment, change in expected)
    assert counts["loyal", "entered"] > 50 and counts["lapsing", "exited"] > 50 and counts["big_spender", "entered"] > 5
    members = Counter(name for s in shards_of(cdnow.DEFINITIONS, orders) for c in s.profiles for name in s.members(c))
    for name in told:
        segment = moved[name]
        assert (segment["entering"], segment["leaving"]) == (counts[name, "entered"], counts[name, "exited"])
        assert segment["members"] == members[name]
        entering = sorted(c for c, n, change in expected if n == name and change == "entered")
        assert segment["enter_examples"] == entering[:5]
    assert (moved["quick"]["entering"], moved["quick"]["members"]) == (None, 0)

    # One record of a topic that is gone is enough for what has no window of its own.
    log = {part["topic"]: part for part in found["log"]}
    assert log[f"{own_settings.namespace}.purchases"]["records"] == cdnow.ORDERS
    assert found["incomplete"] == []
    assert found["estimate"]["records"] >= cdnow.ORDERS and found["estimate"]["records_per_s"] > 100
    assert found["estimate"]["new_bytes"] > found["estimate"]["live_bytes"] * 0.5 > 0
    assert everything(str(own_settings.redis), own_settings.namespace) == before

    shown = cli("plan", "edited.toml").stdout
    assert f"  + loyal  new: {counts['loyal', 'entered']} customers would enter" in shown
    assert "who moves is known when the log is folded" in shown

    plan = read_plan(workdir / "plan.json")
    assert "crossings" not in json.loads((workdir / "plan.json").read_text())
    with redis.Redis.from_url(str(own_settings.redis)) as client:
        live = read_generation_sync(client, own_settings.namespace, "g1")
        check_current(plan, own_settings.namespace, live)
    cli("init", "edited.toml", "--rebuild", "--yes")
    with redis.Redis.from_url(str(own_settings.redis)) as client:
        live = read_generation_sync(client, own_settings.namespace, "g2")
        with pytest.raises(ProfilestreamError, match="by now g2"):
            check_current(plan, own_settings.namespace, live)


def test_a_log_that_was_cut_says_what_cannot_be_whole(cli: Cli, workdir: Path, own_settings: Settings) -> None:
    sources = fresh_sources(own_settings)
    text = '[traits]\norders = "count(purchase)"\n'
    (workdir / "shop.toml").write_text(text + sources)
    more = 'week = "count(purchase, over=\'7d\')"\nspend = "sum(purchase.amount_minor)"\n'
    (workdir / "edited.toml").write_text(text + more + sources)
    cli("init", "shop.toml", "--shards", "2")
    orders = [
        {"event_id": f"e{n}", "customer_id": f"c{n}", "occurred_at": n * 1_000, "amount_minor": n} for n in range(1, 40)
    ]
    topic = f"{own_settings.namespace}.purchases"
    (workdir / "orders.jsonl").write_text(event_lines(orders))
    cli("produce", topic, "orders.jsonl")
    cli("worker", "--clock", "event", "--until-caught-up")
    asyncio.run(cut_log(str(own_settings.kafka), topic, 1, 3))
    found = json.loads(cli("plan", "edited.toml", "--json").stdout)
    jsonschema.validate(found, SCHEMA)
    log = {part["topic"]: part for part in found["log"]}
    assert (log[topic]["gone"], log[topic]["records"]) == (3, 36)
    incomplete = {part["name"]: part for part in found["incomplete"]}
    assert incomplete.keys() == {"week", "spend"}
    assert incomplete["spend"]["complete_since"] is None
    assert incomplete["week"]["complete_since"] > log[topic]["begins_at"]
    assert not incomplete["week"]["lost"]
    assert "3 before that are gone" in cli("plan", "edited.toml").stdout


def test_a_namespace_without_a_generation_and_a_file_with_mistakes_are_named(
    cli: Cli, workdir: Path, own_settings: Settings
) -> None:
    (workdir / "shop.toml").write_text('[traits]\norders = "count(purchase)"\n')
    assert "run `profilestream init` first" in cli("plan", "shop.toml", expect=1).stderr
    (workdir / "wrong.toml").write_text('[traits]\norders = "count(purchas)"\n')
    assert "did you mean `purchase`" in cli("plan", "wrong.toml", expect=1).stderr
