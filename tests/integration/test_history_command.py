"""`history` on real servers, held to the oracle and to the profile that the worker wrote."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from tests.integration import shop
from tests.integration.test_strays import SEED
from tests.integration.test_worker import make_topics
from tests.kafka_records import Sending, cut_log, event_bytes, properly, remove_topics, send
from tests.oracle import Oracle, format_time, shard_of

from profilestream.operations.history import History
from profilestream.operations.history_entries import Entry
from profilestream.operations.history_opening import open_history
from profilestream.settings import Settings
from profilestream.store.reader import ProfileReader

MINUTE = 60_000
DEFINITIONS = """
[traits]
orders = "count(purchase)"
spend_1h = "sum(purchase.amount_minor, over='1h')"
dearest = "max(purchase.amount_minor)"
last_order_at = "last(purchase.occurred_at)"

[segments.spender]
enter = "spend_1h >= 100"
exit = "spend_1h < 40"

[segments.idle]
enter = "since(last_order_at) > minutes(40)"
"""


async def read(settings: Settings, customer_id: str, until: int | None = None) -> tuple[History, list[Entry]]:
    """A customer's history, read to its end."""
    async with open_history(settings, customer_id) as history:
        return history, [entry async for entry in history.entries(until)]


def orders() -> list[dict[str, Any]]:
    """An order a minute of twelve customers; every seventh is late, every eleventh comes again."""
    chance, events = random.Random(7), []
    for n in range(300):
        late = 50 * MINUTE if n % 7 == 0 else 0
        events.append(
            {
                "type": "purchase",
                "event_id": f"e{n}",
                "customer_id": f"c{chance.randrange(12)}",
                "occurred_at": shop.BEGAN_MS + n * MINUTE - late,
                "amount_minor": n % 97,
            }
        )
        if n % 11 == 0:
            events.append(events[chance.randrange(len(events))])
    return events


def own_of(events: list[dict[str, Any]], customer_id: str) -> list[dict[str, Any]]:
    """The events of a customer's shard."""
    shard = shard_of(customer_id, shop.SHARDS)
    return [e for e in events if shard_of(e["customer_id"], shop.SHARDS) == shard]


def known_at(events: list[dict[str, Any]], until: int) -> list[dict[str, Any]]:
    """The events that had come when the clock stood there."""
    return events[: next((n for n, e in enumerate(events) if e["occurred_at"] > until), len(events))]


def test_a_history_is_the_oracles_and_ends_with_the_profile(
    servers: Any, cli: Any, own_settings: Settings, namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(DEFINITIONS)
    cli("init", "definitions.toml", "--shards", str(shop.SHARDS))
    events, oracle = orders(), Oracle(DEFINITIONS)
    shop.put(servers.kafka, events)
    shop.catch_up(cli)
    for customer_id in ("c3", "c4"):
        own = own_of(events, customer_id)
        wanted = oracle.run(own).customers[customer_id]
        history, entries = asyncio.run(read(own_settings, customer_id))
        assert history.differences() == []
        assert history.duplicates + history.events == sum(e["customer_id"] == customer_id for e in own)
        assert [c.at for e in entries for c in e.crossings] == [c.time_ms for c in wanted.changes]
        told = [(c.segment, c.change, c.crossing, c.cause, dict(c.values)) for e in entries for c in e.crossings]
        assert told == [(c.segment, c.change, c.crossing, c.cause, c.values) for c in wanted.changes]
        assert {c.known for e in entries for c in e.crossings} == {"waiting"}
        assert all(e.event.offset == own.index(_event(own, e)) for e in entries if e.event)
        with ProfileReader(servers.redis, namespace) as reader:
            profile = reader.get(customer_id)
        assert profile is not None
        assert (dict(history.values), history.events) == (profile.traits, profile.revision)
        members = {n: {"since": format_time(at), "crossing": c} for n, (c, at) in history.members.items() if c % 2}
        assert members == profile.segments
        for n in (30, 77, 140, 299):
            until = shop.BEGAN_MS + n * MINUTE + 17_000
            history, _ = asyncio.run(read(own_settings, customer_id, until))
            then = oracle.run(known_at(own, until), until).customers.get(customer_id)
            if then is None:
                assert (dict(history.values), history.events) == ({}, 0)
                continue
            assert dict(history.values) == then.traits, n
            found = {name: (c, at) for name, (c, at) in history.members.items() if c % 2}
            assert found == {name: (m.crossing, m.since_ms) for name, m in then.memberships.items()}, n
    cli("emitter", "--until-caught-up")
    _the_command(cli, own_of(events, "c3"))
    _a_log_that_was_cut(servers.kafka, cli, own_of(events, "c3"))


def _event(own: list[dict[str, Any]], entry: Entry) -> dict[str, Any]:
    assert entry.event is not None
    found: dict[str, Any] = next(e for e in own if e["event_id"] == entry.event.event_id)
    return found


def _the_command(cli: Any, own: list[dict[str, Any]]) -> None:
    wanted = Oracle(DEFINITIONS).run(own).customers["c3"]
    *lines, summary = [json.loads(line) for line in cli("history", "c3", "--json").stdout.splitlines()]
    assert (summary["differences"], summary["log"], summary["whole_since"]) == ([], [], {})
    crossings = [c for line in lines for c in line["crossings"]]
    assert [(c["segment"], c["crossing"], c["known"]) for c in crossings] == [
        (c.segment, c.crossing, "announced") for c in wanted.changes
    ]
    values: dict[str, Any] = {}
    for line in lines:
        for change in line["traits"]:
            assert change["before"] == values.get(change["trait"])
            values[change["trait"]] = change["after"]
    assert values == wanted.traits
    newest = cli("history", "c3", "--json", "--trait", "dearest", "--count", "2").stdout.splitlines()
    dearest = [line for line in lines if any(c["trait"] == "dearest" for c in line["traits"])]
    assert [json.loads(line)["time"] for line in newest[:-1]] == [line["time"] for line in dearest[-2:]]
    moment = shop.BEGAN_MS + 140 * MINUTE
    then = Oracle(DEFINITIONS).run(known_at(own, moment), moment).customers["c3"]
    at = json.loads(cli("history", "c3", "--at", format_time(moment), "--json").stdout)
    assert (at["traits"], at["as_of"]) == (then.traits, format_time(moment))
    shown = cli("history", "c3").stdout
    first = next(e for e in own if e["customer_id"] == "c3")
    assert f"purchase {first['event_id']}" in shown
    assert "what Redis holds is the same" in shown
    assert "no customer `nobody`" in cli("history", "nobody", expect=1).stderr
    early = cli("history", "c3", "--at", "2020-01-01", expect=1).stderr
    assert "had no event by then" in early
    assert "lies after the shard's clock" in cli("history", "c3", "--at", "2040-01-01").stderr
    assert "Kafka at 127.0.0.1:1 does not answer" in cli("history", "c3", "--kafka", "127.0.0.1:1", expect=1).stderr
    assert "leave out --since" in cli("history", "c3", "--at", "2h", "--since", "3h", expect=2).stderr


def _a_log_that_was_cut(kafka: str, cli: Any, own: list[dict[str, Any]]) -> None:
    """What is left is told, and what that means; the crossings that were announced are all there still."""
    shard, cut = shard_of("c3", shop.SHARDS), 60
    asyncio.run(cut_log(kafka, "purchases", shard, cut))
    shown = cli("history", "c3").stdout
    assert f"topic purchases, partition {shard}, begins at offset {cut} now" in shown
    assert f"records 0 to {cut - 1} were folded and are gone" in shown
    assert "these traits lack what was before, if the customer had any of it: orders, dearest, last_order_at" in shown
    assert "on: spend_1h" in shown
    assert "what Redis holds differs from the fold of the log; records that were folded are gone" in shown
    *lines, summary = [json.loads(line) for line in cli("history", "c3", "--json").stdout.splitlines()]
    assert {d["name"] for d in summary["differences"]} >= {"orders"}
    assert [(part["topic"], part["gone"]) for part in summary["log"]] == [("purchases", cut)]
    wanted = Oracle(DEFINITIONS).run(own).customers["c3"].changes
    told = [(c["segment"], c["crossing"], c["time"]) for line in lines for c in line["crossings"]]
    assert sorted(told) == sorted((c.segment, c.crossing, format_time(c.time_ms)) for c in wanted)


def test_strays_and_duplicates_are_in_a_history_once(
    servers: Any, cli: Any, own_settings: Settings, workdir: Path
) -> None:
    """One topic is forwarded whole, of another all lie in the wrong partition; every tenth comes twice."""
    print(f"TEST_SEED={SEED}")
    shards, chance = 3, random.Random(SEED)
    asyncio.run(remove_topics(servers.kafka))
    asyncio.run(make_topics(servers.kafka, {"purchases": 2, "browsing": shards}))
    text = shop.DEFINITIONS.replace("[traits]", "[traits]\nviews = 'count(browsing)'")
    (workdir / "definitions.toml").write_text(text)
    cli("init", "definitions.toml", "--shards", str(shards))
    events = shop.purchases(400)
    events += [dict(event) for event in events[::10]]
    views = [{**e, "type": "browsing", "kind": "page_view", "event_id": f"v{n}"} for n, e in enumerate(events)]
    sendings = [Sending("purchases", event_bytes(e), None, chance.randrange(2)) for e in events]
    sendings += [
        Sending("browsing", event_bytes(v), b"k", (shard_of(v["customer_id"], shards) + n % 2) % shards)
        for n, v in enumerate(views)
    ]
    asyncio.run(send(servers.kafka, sendings))
    shop.catch_up(cli)
    for customer_id in ("c1", "c2", "c3", "c4"):
        history, entries = asyncio.run(read(own_settings, customer_id))
        assert history.differences() == [], customer_id
        met = Counter(e.event.event_id for e in entries if e.event)
        wanted = {e["event_id"] for e in [*events, *views] if e["customer_id"] == customer_id}
        assert met == Counter(wanted), customer_id


def test_with_the_wall_clock_crossings_are_where_they_were_announced(
    servers: Any, cli: Any, own_settings: Settings, workdir: Path
) -> None:
    """The second order is late for the shard's clock, which only what was announced tells."""
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(DEFINITIONS + "[segments.buyer]\nenter = 'orders >= 2'\n")
    cli("init", "definitions.toml", "--shards", str(shop.SHARDS))
    events = [{**e, "customer_id": "c1", "amount_minor": 600} for e in shop.purchases(2)]
    put = [properly("purchases", event, shop.SHARDS) for event in events]
    asyncio.run(send(servers.kafka, put[:1]))
    cli("worker", "--until-caught-up")
    asyncio.run(send(servers.kafka, put[1:]))
    cli("worker", "--until-caught-up")
    cli("emitter", "--until-caught-up")
    told = [json.loads(line) for line in cli("changes", "--json").stdout.splitlines()]
    history, entries = asyncio.run(read(own_settings, "c1"))
    found = [(c.segment, c.crossing, format_time(c.at), c.cause) for e in entries for c in e.crossings]
    assert found == [(c["data"]["segment"], c["data"]["crossing"], c["time"], c["data"]["cause"]) for c in told]
    assert history.differences() == []
    (bought,) = (e for e in entries if e.event and any(c.segment == "buyer" for c in e.crossings))
    assert bought.at > events[1]["occurred_at"] + MINUTE
