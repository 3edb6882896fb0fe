"""A real worker lets a streak end and a view go unanswered by time alone, at the exact instants, and says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.comparison import compare, expect, read_changes, read_profiles
from tests.conftest import Cli
from tests.kafka_records import event_lines, read_arrivals, remove_topics

DEFINITIONS = """
[settings]
timezone = "Europe/Berlin"

[streams]
view = "browsing[kind == 'product_view']"
cart = "browsing[kind == 'add_to_cart']"

[traits]
streak_days = "streak(date(browsing[kind == 'app_open'].occurred_at))"
looked_only = "unmatched(view.sku, cart.sku, within='2d', over='30d')"

[segments.on_a_streak]
enter = "streak_days >= 3"

[segments.forgot_the_lamp]
enter = "'lamp' in looked_only"

[segments.undecided]
enter = "len(looked_only) >= 2"
"""


def browsing(number: int, at: str, customer: str = "c", **fields: Any) -> dict[str, Any]:
    return {"event_id": f"b{number}", "customer_id": customer, "occurred_at": at, "kind": "app_open"} | fields


def test_a_streak_ends_and_values_become_unmatched_by_time_alone(
    servers: Any, cli: Cli, namespace: str, topic_name: Callable[[str], str], workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(DEFINITIONS)
    # The streak's last day is the one before clocks go forward: it ends 23 hours after that day's midnight.
    views = [
        browsing(1, "2026-03-26T10:00:00Z"),
        browsing(2, "2026-03-27T10:00:00Z", kind="product_view", sku="lamp"),
        browsing(3, "2026-03-27T22:59:59.999Z"),
        browsing(4, "2026-03-28T10:00:00Z", kind="product_view", sku="sofa"),
        browsing(5, "2026-03-28T11:00:00Z", kind="product_view", sku="rug"),
        browsing(6, "2026-03-28T12:00:00Z"),
        browsing(7, "2026-03-29T10:00:00Z", kind="add_to_cart", sku="rug"),
    ]
    cli("init", "--definitions", "definitions.toml", "--shards", "1")

    def fold(events: list[dict[str, Any]]) -> dict[str, Any]:
        (workdir / "events.jsonl").write_text(event_lines(events))
        cli("produce", "browsing", "events.jsonl")
        cli("worker", "--clock", "event", "--until-caught-up")
        found: dict[str, Any] = json.loads(cli("profile", "c", "--json").stdout)
        return found

    before = fold(views)
    assert before["traits"] == {"streak_days": 3, "looked_only": []} and list(before["segments"]) == ["on_a_streak"]
    after = fold([browsing(8, "2026-04-02T00:00:00Z", "somebody else")])
    assert after["traits"] == {"streak_days": 0, "looked_only": ["sofa", "lamp"]}
    assert sorted(after["segments"]) == ["forgot_the_lamp", "undecided"]
    cli("emitter", "--until-caught-up")

    announced = asyncio.run(read_changes(servers.kafka, topic_name("segment-changes")))
    told = [(v["data"]["segment"], v["data"]["change"], v["data"]["cause"], v["time"]) for v in map(_value, announced)]
    assert told == [
        ("on_a_streak", "entered", "event", "2026-03-28T12:00:00.000Z"),
        ("forgot_the_lamp", "entered", "time", "2026-03-29T10:00:00.001Z"),
        ("on_a_streak", "exited", "time", "2026-03-29T22:00:00.000Z"),
        ("undecided", "entered", "time", "2026-03-30T10:00:00.001Z"),
    ]
    arrivals = asyncio.run(read_arrivals(servers.kafka, ["browsing"]))
    compare(expect(DEFINITIONS, arrivals, 1), read_profiles(servers.redis, namespace), announced, namespace)


def _value(record: Any) -> Any:
    return json.loads(record.value)
