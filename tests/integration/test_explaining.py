"""`explain` where it asks Kafka: the last events that moved a segment, and since when a trait covers all events."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema
from tests.conftest import Cli
from tests.integration import shop
from tests.kafka_records import cut_log, properly, remove_topics, send

from profilestream.core.events import BUILT_IN
from profilestream.settings import Settings
from profilestream.store.keys import shard_of
from profilestream.wire.schemas import schemas
from profilestream.wire.times import format_time

SCHEMAS = schemas(BUILT_IN)
DAY_MS = 86_400_000
DEFINITIONS = """
[traits]
orders    = "count(purchase)"
spend_30d = "sum(purchase.amount_minor, over='30d')"
asked_at  = "last(support.occurred_at)"

[segments.spender]
enter = "spend_30d >= 1_000 and last(purchase.channel) == 'web'"

[segments.quiet]
enter = "not has(asked_at) and orders >= 1"
"""


def order(n: int, customer_id: str, day: float, amount: int, **fields: Any) -> dict[str, Any]:
    at = shop.BEGAN_MS + int(day * DAY_MS)
    return {
        "type": "purchase", "event_id": f"e{n}", "customer_id": customer_id, "occurred_at": at, "amount_minor": amount,
        "channel": "web", **fields,
    }  # fmt: skip


def begin(kafka: str, cli: Cli, workdir: Path) -> None:
    """The event topics empty, and a generation of these definitions."""
    asyncio.run(remove_topics(kafka))
    (workdir / "definitions.toml").write_text(DEFINITIONS)
    cli("init", "definitions.toml", "--shards", str(shop.SHARDS))


def put(kafka: str, events: list[dict[str, Any]]) -> list[Any]:
    """Each event into its customer's partition; gives the records' metadata."""
    return asyncio.run(send(kafka, [properly("purchases", event, shop.SHARDS) for event in events]))


def test_the_last_events_that_moved_a_segment_are_told_with_what_they_changed(
    servers: Any, cli: Cli, workdir: Path
) -> None:
    begin(servers.kafka, cli, workdir)
    events = [
        order(1, "ada", 0, 400),
        order(2, "bob", 0.5, 5_000),
        order(3, "ada", 1, 700),
        order(4, "ada", 2, 0, channel="store"),
        order(5, "ada", 40, 5),
    ]
    put(servers.kafka, events)
    shop.catch_up(cli)
    quick = json.loads(cli("explain", "ada", "spender", "--json").stdout)
    assert "events" not in quick
    found = json.loads(cli("explain", "ada", "spender", "--events", "4", "--json").stdout)
    jsonschema.validate(found, SCHEMAS["explain.json"])
    told = found.pop("events")
    assert found.pop("events_whole") is True
    assert found == quick
    channel = "channel of the latest purchase event"
    assert [(e["cause"], e["event"] and e["event"]["event_id"], e["values"], e["crossings"]) for e in told] == [
        ("event", "e4", [{"name": channel, "before": "web", "after": "store"}],
         [{"crossing": 2, "change": "exited"}]),
        ("time", None, [{"name": "spend_30d", "before": 1_100, "after": 700}], []),
        ("time", None, [{"name": "spend_30d", "before": 700, "after": 0}], []),
        ("event", "e5", [{"name": "spend_30d", "before": 0, "after": 5},
                         {"name": channel, "before": "store", "after": "web"}], []),
    ]  # fmt: skip
    lines = [" ".join(line.split()) for line in cli("explain", "ada", "spender", "--events", "1").stdout.splitlines()]
    when = format_time(events[-1]["occurred_at"])[:19].replace("T", " ")
    assert lines[-2] == "the last events that moved it"
    assert lines[-1] == f"{when} UTC purchase e5 spend_30d 0 -> 5; {channel} store -> web"
    none = cli("explain", "ada", "quiet", "--events", "9", "--kafka", "127.0.0.1:1", expect=1)
    assert none.stdout.startswith("customer ada is in quiet since ")  # what Redis knows is told all the same
    assert none.stderr.startswith("Kafka at 127.0.0.1:1 ") and none.stderr.count("\n") == 1
    assert cli("explain", "ada", "--events", "3", expect=2).stderr == (
        "--events needs a segment: which events moved it\n"
    )


def test_a_trait_covers_all_events_from_the_first_record_on_that_was_there_to_be_read(
    servers: Any, cli: Cli, own_settings: Settings, workdir: Path
) -> None:
    begin(servers.kafka, cli, workdir)
    events = [order(n, "ada", n, 400) for n in range(5)]
    sent = put(servers.kafka, events)
    asyncio.run(cut_log(servers.kafka, "purchases", shard_of("ada", shop.SHARDS), 2))
    shop.catch_up(cli)
    found = json.loads(cli("explain", "ada", "--json").stdout)
    jsonschema.validate(found, SCHEMAS["explain-customer.json"])
    traits = {one["name"]: one for one in found["traits"]}
    assert traits["orders"]["value"] == 3
    since = format_time(sent[2].timestamp + own_settings.future_ms_max)
    assert {n: (t["complete_since"], t["lacks"]) for n, t in traits.items()} == {
        "orders": (since, ["purchases"]),
        "spend_30d": (since, ["purchases"]),
        "asked_at": (None, []),
    }
    shown = cli("explain", "ada").stdout
    assert "not read from the beginning, as earlier records were gone: purchases from offset 2 on" in shown
    away = json.loads(cli("explain", "ada", "--json", "--kafka", "127.0.0.1:1").stdout)["traits"]
    assert {t["name"]: (t["complete_since"], t["lacks"]) for t in away}["orders"] == (None, ["purchases"])
