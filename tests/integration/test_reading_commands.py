"""The reading commands on a real Redis, read as a program: the contract's keys, and what is not there."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest
from tests.conftest import Cli
from tests.integration.stored import BERLIN, order, store

from profilestream.core.events import BUILT_IN
from profilestream.settings import Settings
from profilestream.store.connection import connect
from profilestream.store.metadata import Generation, write_generation
from profilestream.wire.schemas import schemas

SCHEMAS = schemas(BUILT_IN)
DAY_MS = 86_400_000
EMPTY = "[traits]\norders = 'count(purchase)'\n"


def of_contract(explanation: dict[str, Any]) -> dict[str, Any]:
    """The contract's keys of an explanation, in its order."""
    keys = ("customer_id", "segment", "member", "crossing", "since", "conditions", "changes_at")
    found = {key: explanation[key] for key in keys}
    conditions = [{key: c[key] for key in ("text", "holds", "value", "threshold")} for c in found["conditions"]]
    return found | {"conditions": conditions}


def read(cli: Cli, *words: str) -> Any:
    return json.loads(cli(*words, "--json").stdout)


def test_a_profile_has_exactly_the_fields_of_the_contract(cli: Cli, berlin: Settings) -> None:
    assert read(cli, "profile", "zoë 1") == {
        "customer_id": "zoë 1",
        "generation": "g1",
        "shard": 0,
        "revision": 2,
        "as_of": "2026-01-02T12:00:00.000Z",
        "traits": {
            "orders": 2,
            "spend": 14_345,
            "last_at": "2026-01-02T12:00:00.000Z",
            "gap": 26 * 3_600_000,
            "channels": ["store\x1b[31m", "web"],
            "by_channel": {"store\x1b[31m": 2_000, "web": 12_345},
            "vip": True,
            "week": 1,
        },
        "segments": {"regular": {"since": "2026-01-02T12:00:00.000Z", "crossing": 1}},
    }


def test_an_explanation_has_exactly_the_fields_of_the_contract(cli: Cli, berlin: Settings) -> None:
    regular = read(cli, "explain", "zoë 1", "regular")
    assert of_contract(regular) == {
        "customer_id": "zoë 1",
        "segment": "regular",
        "member": True,
        "crossing": 1,
        "since": "2026-01-02T12:00:00.000Z",
        "conditions": [
            {"text": "vip", "holds": True, "value": True, "threshold": None},
            {"text": "has(refund_at)", "holds": False, "value": None, "threshold": None},
            {"text": "1 < orders", "holds": True, "value": 1, "threshold": 2},
            {"text": "orders <= 10", "holds": True, "value": 2, "threshold": 10},
            {"text": "since(last_at) > days(30)", "holds": False, "value": 1_512_000_000, "threshold": 30 * DAY_MS},
        ],
        "changes_at": "2026-02-01T12:00:00.001Z",
    }
    jsonschema.validate(regular, SCHEMAS["explain.json"])
    assert regular["changes_by"] == ["since(last_at) > days(30)"]
    assert [c["decides"] for c in regular["conditions"]] == [False, False, False, False, True]


def test_all_of_a_customer_is_every_segment_and_every_trait(cli: Cli, berlin: Settings) -> None:
    found = read(cli, "explain", "zoë 1")
    jsonschema.validate(found, SCHEMAS["explain-customer.json"])
    assert (found["customer_id"], found["generation"], found["clock"]) == ("zoë 1", "g1", "2026-01-20T00:00:00.000Z")
    regular, big = found["segments"]
    assert regular == read(cli, "explain", "zoë 1", "regular")
    assert (big["member"], big["crossing"], big["since"], big["changes_at"]) == (False, 0, None, None)
    assert big["conditions"][0]["distance"] == -985_655 == -big["conditions"][0]["step"]["by"]
    traits = {one["name"]: one for one in found["traits"]}
    assert list(traits) == ["orders", "spend", "last_at", "gap", "channels", "by_channel", "refund_at", "vip", "week"]
    assert traits["refund_at"] == {
        "name": "refund_at",
        "value": None,
        "text": "last(purchase[kind == 'refund'].occurred_at)",
        "meaning": "time of the latest purchase event where kind is refund",
        "comment": None,
        "complete_since": None,
        "lacks": [],
        "changes_at": None,
    }
    assert traits["vip"]["meaning"] == "orders is at least 2" and traits["vip"]["value"] is True
    assert traits["week"] == {
        "name": "week",
        "value": 1,
        "text": "count(purchase[channel == 'web'], over='20d')",
        "meaning": "number of purchase events where channel is web, in the last 20 days",
        "comment": "of orders from the web",
        "complete_since": None,
        "lacks": [],
        "changes_at": "2026-01-21T06:00:00.000Z",
    }


def test_an_explanation_keeps_as_many_keys_of_a_map_as_the_worker(
    cli: Cli, cli_environment: dict[str, str], own_settings: Settings
) -> None:
    text = """
    [traits]
    channels = "count(purchase, by=channel, over='7d')"
    [segments.everywhere]
    enter = "len(channels) > 1_100"
    """
    first = [order("c", 0, "2026-01-01T00:00:00Z", channel="gone soon")]
    rest = [order("c", n, "2026-01-02T00:00:00Z", channel=f"w{n}") for n in range(1, 1_201)]
    last = [order("other", 1, "2026-01-08T12:00:00Z")]
    asyncio.run(store(own_settings, text, [*first, *rest, *last], shards=1, keys_max=1_500))
    cli_environment["PROFILESTREAM_MAP_KEYS_MAX"] = "1500"
    found = read(cli, "explain", "c", "everywhere")
    assert (found["member"], found["conditions"][0]["value"], found["changes_at"]) == (
        True, 1_200, "2026-01-09T00:00:00.000Z"
    )  # fmt: skip
    (trait,) = read(cli, "explain", "c")["traits"]
    assert len(trait["value"]) == 1_200


def test_an_explanation_is_for_the_shards_clock_though_no_timer_has_fired_yet(cli: Cli, own_settings: Settings) -> None:
    events = [
        order("c", 1, "2026-01-01T00:00:00Z"),
        order("c", 2, "2026-01-02T00:00:00Z"),
        order("other", 1, "2026-03-01T00:00:00Z"),
    ]
    asyncio.run(store(own_settings, BERLIN, events, shards=1))
    assert "regular" in read(cli, "profile", "c")["segments"]
    found = read(cli, "explain", "c", "regular")
    assert (found["member"], found["crossing"], found["since"], found["changes_at"]) == (False, 2, None, None)
    assert found["conditions"][-1]["value"] == 58 * DAY_MS
    assert "left at 2026-02-01 01:00:00.001 CET (27 d 23 h ago), crossing 2" in cli("explain", "c", "regular").stdout


def test_segments_and_members_agree_with_every_profile(cli: Cli, shop: Settings) -> None:
    segments = read(cli, "segments")
    assert [s["name"] for s in segments] == [
        "big_spender", "lapsing", "active", "splurged", "careful", "growing", "lost", "veteran",
    ]  # fmt: skip
    assert segments[0]["description"] == "Spends a lot now; stays one until spending falls well below"
    assert segments[1]["description"] == ""
    members = read(cli, "members", "big_spender")
    assert len(members) == segments[0]["members"] > 50
    assert members == sorted(members, key=lambda m: (m["since"], m["customer_id"].encode()))
    assert set(members[0]) == {"customer_id", "since"}
    first = read(cli, "profile", members[0]["customer_id"])
    assert first["segments"]["big_spender"]["since"] == members[0]["since"]
    assert read(cli, "members", "big_spender", "--count", "3") == members[:3]
    assert read(cli, "members", "big_spender", "--newest") == members[::-1]
    assert read(cli, "members", "lapsing") == []


def test_segments_count_who_entered_and_left_lately_by_the_shards_own_clocks(cli: Cli, own_settings: Settings) -> None:
    # `e` leaves on the evening of the 9th, by time alone, and comes back; the last order's time is the newest clock.
    events = [
        *(order("a", n, "2026-01-01T10:00:00Z") for n in range(2)),
        *(order("b", n, "2026-01-09T10:00:00Z") for n in range(2)),
        *(order("c", n, f"2026-01-10T0{n}:00:00Z", 600_000) for n in range(2)),
        *(order("e", n, "2025-12-10T20:00:00Z") for n in range(2)),
        order("e", 2, "2026-01-10T09:45:00Z"),
        *(order("d", n, "2026-01-10T09:30:00Z") for n in range(2)),
        order("later", 1, "2026-01-10T10:00:00Z"),
    ]
    asyncio.run(store(own_settings, BERLIN, sorted(events, key=lambda e: e["occurred_at"])))
    regular, big = read(cli, "segments")
    assert regular == {
        "name": "regular",
        "description": "Came back",
        "members": 5,
        "entered_1h": 2,
        "left_1h": 0,
        "entered_1d": 3,
        "left_1d": 1,
        "as_of": "2026-01-10T10:00:00.000Z",
    }
    assert (big["members"], big["entered_1h"], big["entered_1d"]) == (1, 0, 1)
    shown = cli("segments")
    assert [line.split() for line in shown.stdout.splitlines()[1:]] == [
        ["regular", "5", "2", "0", "3", "1", "Came", "back"],
        ["big", "1", "0", "0", "1", "0"],
    ]
    assert shown.stderr.startswith("1h and 1d end at 2026-01-10 10:00:00 UTC, the newest clock of all shards, ")
    assert shown.stderr.endswith(" behind this machine's\n")


def test_a_key_is_all_that_redis_cli_needs(cli: Cli, berlin: Settings) -> None:
    key = cli("key", "zoë 1").stdout
    assert key == f"{berlin.namespace}:g1:{{0}}:profile:zoë 1\n"
    assert read(cli, "key", "zoë 1") == {
        "customer_id": "zoë 1", "generation": "g1", "shard": 0, "profile": key.rstrip("\n"),
    }  # fmt: skip


def test_status_tells_what_waits_though_kafka_is_away(cli: Cli, berlin: Settings) -> None:
    """One timer: of the second customer, who has one order, time alone changes nothing that shows."""
    found = read(cli, "status", "--kafka", "127.0.0.1:1")
    assert (found["generation"], found["shards"], found["outbox"], found["timers"]) == ("g1", 1, 1, 1)
    assert found["clock"] == "2026-01-20T00:00:00.000Z"
    assert found["lag"] is None and "does not answer" in found["kafka"]["problem"]
    shown = cli("status", "--kafka", "127.0.0.1:1")
    assert "lag           unknown while Kafka does not answer" in shown.stdout
    assert shown.stderr == ""


def test_status_counts_the_records_that_no_shard_has_folded_yet(cli: Cli, workdir: Any) -> None:
    (workdir / "definitions.toml").write_text(EMPTY)
    cli("init", "--definitions", "definitions.toml")
    before = read(cli, "status")
    assert before["missing_topics"] == [] and before["dead_letters"] == 0 and before["clock"] is None
    lines = [json.dumps(order(f"c{n}", 1, "2026-01-01T00:00:00Z")) for n in range(7)]
    (workdir / "events.jsonl").write_text("\n".join(lines))
    cli("produce", "purchases", "events.jsonl")
    after = read(cli, "status")
    assert after["lag"] - before["lag"] == 7
    assert after["lag_by_topic"]["purchases"] - before["lag_by_topic"]["purchases"] == 7
    if all(info == 0 for info in before["lag_by_topic"].values()):
        assert sum(shard["lag"] for shard in after["by_shard"]) == 7


@pytest.mark.parametrize("command", ["profile", "explain", "key"])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_unknown_customer_fails_with_one_line(cli: Cli, berlin: Settings, command: str, form: tuple[str]) -> None:
    done = cli(command, "nobody", *form, expect=1)
    assert (done.stdout, done.stderr) == ("", "no customer `nobody` in generation g1\n")


@pytest.mark.parametrize("words", [("members", "regulr"), ("explain", "zoë 1", "regulr")])
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_unknown_segment_fails_with_the_one_that_was_meant(
    cli: Cli, berlin: Settings, words: tuple[str, ...], form: tuple[str]
) -> None:
    done = cli(*words, *form, expect=1)
    assert (done.stdout, done.stderr) == ("", "no segment `regulr` in generation g1; did you mean `regular`?\n")


@pytest.mark.parametrize(
    "words", [("profile", "c"), ("explain", "c"), ("key", "c"), ("segments",), ("members", "s"), ("status",)]
)
def test_before_init_every_command_says_to_run_it(cli: Cli, namespace: str, words: tuple[str, ...]) -> None:
    done = cli(*words, expect=1)
    assert done.stderr == f"namespace `{namespace}` has no live generation; run `profilestream init` first\n"


def test_without_an_address_of_redis_it_is_wrong_use_and_a_lost_one_fails(bare_cli: Cli) -> None:
    assert "--redis" in bare_cli("profile", "c", expect=2).stderr
    for words in (("profile", "c"), ("explain", "c"), ("segments",), ("status",)):
        done = bare_cli(*words, "--redis", "redis://127.0.0.1:1", expect=1)
        assert done.stderr == "Redis at 127.0.0.1:1 cannot be reached; check that it runs and its address\n"


def test_a_state_of_other_definitions_is_refused_in_one_line(cli: Cli, own_settings: Settings) -> None:
    events = [order("c", 1, "2026-01-01T00:00:00Z")]
    asyncio.run(store(own_settings, BERLIN, events, shards=1))

    async def other() -> None:
        client = connect(str(own_settings.redis))
        generation = Generation("g1", 1, EMPTY, "f", "2026-01-31T09:30:00.000Z", "live")
        await write_generation(client, own_settings.namespace, generation)
        await client.aclose()

    asyncio.run(other())
    done = cli("explain", "c", expect=1)
    assert done.stderr.startswith("a stored state has layout") and done.stderr.count("\n") == 1
