"""The clock on real servers: time alone moves customers, idle shards follow, three days away, dates that are wrong."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
from tests.comparison import read_changes
from tests.integration.test_worker import begin, now_ms, profiles, running, total, wait_until
from tests.kafka_records import Sending, properly, read_topic, remove_topics, send
from tests.oracle import Oracle, shard_of

DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000
YEAR_ONE = -62_135_596_800_000
SOON_MS = 5_000

DEFINITIONS = """
[traits]
orders_15m = "count(purchase, over='15m')"
orders_before = "count(purchase, over='15m', ago='5m')"
last_order_at = "last(purchase.occurred_at)"
spend_2d = "sum(purchase.amount_minor, over='2d')"

[segments.active]
enter = "orders_15m >= 1"

[segments.new]
enter = "orders_15m >= 1 and orders_before == 0"

[segments.fresh]
enter = "since(last_order_at) < minutes(5)"

[segments.waiting]
enter = "since(last_order_at) >= minutes(5)"
dwell = "1m"

[segments.spender]
enter = "spend_2d >= 100"
"""


DRAINING = """
[traits]
views_15m = "count(browsing, over='15m')"
last_order_at = "last(purchase.occurred_at)"

[segments.fresh]
enter = "since(last_order_at) < minutes(5)"
"""


def order(number: int, customer: str, at: int, amount: int = 1) -> dict[str, Any]:
    return {"event_id": f"e{number}", "customer_id": customer, "occurred_at": at, "amount_minor": amount}


def put(kafka: str, events: list[dict[str, Any]], shards: int) -> None:
    asyncio.run(send(kafka, [properly("purchases", e, shards) for e in events]))


def changes(kafka: str, topic: str) -> list[tuple[str, str, str, int, int, str]]:
    """(customer, segment, change, its time, when Kafka had it, cause) of each change."""
    found = []
    for record in asyncio.run(read_changes(kafka, topic)):
        change = json.loads(record.value)
        data, at = change["data"], datetime.fromisoformat(change["time"])
        when = round(at.timestamp() * 1000)
        found.append((data["customer_id"], data["segment"], data["change"], when, record.timestamp, data["cause"]))
    return found


def clock_of(redis_url: str, namespace: str, shard: int) -> int:
    client: Any = redis.Redis.from_url(redis_url)
    with client:
        return int(client.hget(f"{namespace}:g1:{{{shard}}}:head", "clock") or 0)


def test_with_the_wall_clock_customers_leave_windows_and_conditions_within_seconds_of_the_instant(
    servers: Any, cli: Any, cli_environment: dict[str, str], workdir: Path
) -> None:
    """Events of the past, whose instants come while the test looks on."""
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 2, DEFINITIONS)
    topic = cli_environment["PROFILESTREAM_CHANGES_TOPIC"]
    with running(cli_environment, workdir, "worker"), running(cli_environment, workdir, "emitter"):
        wait_until(lambda: "folding" in next(workdir.glob("worker-*.log")).read_text(), "a worker at work")
        passing = now_ms() + 5_000
        windowed = [order(n, f"w{n}", passing - 5 * MINUTE + 500 * n) for n in range(6)]
        timed = [order(10 + n, f"t{n}", passing - 5 * MINUTE + 500 * n) for n in range(8)]
        dwelling = [order(20 + n, f"d{n}", passing - 6 * MINUTE + 500 * n) for n in range(4)]
        put(servers.kafka, [*windowed, *timed, *dwelling], 2)
        due = {(f"w{n}", "new", "exited"): passing + 500 * n for n in range(6)}
        due |= {(f"t{n}", "fresh", "exited"): passing + 500 * n for n in range(8)}
        due |= {(f"d{n}", "waiting", "entered"): passing + 500 * n for n in range(4)}

        def arrived() -> dict[tuple[str, str, str], tuple[int, int]]:
            found = changes(servers.kafka, topic)
            return {c[:3]: (c[3], c[4]) for c in found if c[:3] in due and c[5] == "time"}

        wait_until(lambda: len(arrived()) == len(due), "a change of each customer", 120)
    late_ms: dict[str, list[int]] = {}
    for name, (at, told) in arrived().items():
        assert at == due[name], "the instant itself, not when it was noticed"
        late_ms.setdefault(name[1], []).append(told - at)
    for segment, lateness in late_ms.items():
        assert min(lateness) >= 0, f"{segment}: told before it was so"
        assert min(lateness) <= SOON_MS, f"{segment}: {sorted(lateness)} ms"


def test_with_event_clocks_another_customers_event_moves_a_customer_out_within_seconds(
    servers: Any, cli: Any, cli_environment: dict[str, str], workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 2, DEFINITIONS)
    topic = cli_environment["PROFILESTREAM_CHANGES_TOPIC"]
    began = now_ms() - 40 * DAY
    other = next(f"o{n}" for n in range(100) if shard_of(f"o{n}", 2) == shard_of("c", 2))
    elsewhere = next(f"o{n}" for n in range(100) if shard_of(f"o{n}", 2) != shard_of("c", 2))
    worker, emitter = ("worker", "--clock", "event"), ("emitter",)
    with running(cli_environment, workdir, *worker), running(cli_environment, workdir, *emitter):
        put(servers.kafka, [order(1, "c", began, 200), order(2, elsewhere, began + 30 * DAY)], 2)
        wait_until(lambda: len(changes(servers.kafka, topic)) == 7, "the customers' entering")
        assert not [c for c in changes(servers.kafka, topic) if c[0] == "c" and c[2] == "exited"]
        sent = now_ms()
        put(servers.kafka, [order(3, other, began + 2 * DAY + HOUR)], 2)

        def left() -> list[Any]:
            return [c for c in changes(servers.kafka, topic) if c[0] == "c" and c[2] == "exited" and c[5] == "time"]

        wait_until(lambda: len(left()) == 4, "the customer's leaving")
    assert {(c[1], c[3]) for c in left()} == {
        ("new", began + 5 * MINUTE),
        ("fresh", began + 5 * MINUTE),
        ("active", began - began % MINUTE + 15 * MINUTE),
        ("spender", began - began % HOUR + 2 * DAY),
    }
    assert min(c[4] for c in left()) - sent <= SOON_MS


def test_an_idle_shard_follows_the_wall_clock_while_another_one_has_a_backlog(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    """One topic has records for one shard alone, all others are idle; that shard folds a customer a commit."""
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 2, DEFINITIONS)
    idle = next(f"c{n}" for n in range(100) if shard_of(f"c{n}", 2) == 0)
    put(servers.kafka, [order(1, idle, now_ms() - 5 * MINUTE + 3_000)], 2)
    cli("worker", "--until-caught-up")
    busy = [n for n in range(60_000) if shard_of(f"b{n}", 2) == 1]
    backlog = [
        Sending("browsing", json.dumps(
            {"event_id": f"v{n}", "customer_id": f"b{n}", "occurred_at": now_ms() - HOUR, "kind": "page_view"}
        ).encode(), None, 1) for n in busy
    ]  # fmt: skip
    asyncio.run(send(servers.kafka, backlog))
    slowly = {**cli_environment, "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "1"}
    client: Any = redis.Redis.from_url(servers.redis, decode_responses=True)
    key = f"{namespace}:g1:{{0}}:profile:{idle}"
    with running(slowly, workdir, "worker"):
        wait_until(lambda: "fresh" not in json.loads(client.hget(key, "_segments")), "the idle shard's customer out")
        positions = json.loads(client.hget(f"{namespace}:g1:{{1}}:head", "positions") or "{}")
    assert positions.get("browsing", 0) < len(backlog), "the other shard was at its backlog all the while"


def test_after_three_days_away_every_crossing_has_its_own_time(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    """For one shard with news in the log, and for one without any."""
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 2, DEFINITIONS)
    now = now_ms()
    names = [next(f"{p}{n}" for n in range(100) if shard_of(f"{p}{n}", 2) == shard) for p in "ab" for shard in (0, 1)]
    before = [order(n, name, now - 4 * DAY + n * HOUR, 150) for n, name in enumerate(names)]
    news = [
        order(10 + n, next(m for m in names if shard_of(m, 2) == 0), now - 3 * DAY + n * 20 * HOUR) for n in range(3)
    ]
    put(servers.kafka, before, 2)
    cli("worker", "--until-caught-up", "--clock", "event")
    put(servers.kafka, news, 2)
    came_back = now_ms()

    def over() -> bool:
        found = profiles(servers.redis, namespace)
        here = [p for p in found if list(json.loads(p["_segments"])) == ["waiting"]]
        return len(here) == len(names) and total(found, "_revision") == len(before) + len(news)

    with running(cli_environment, workdir, "worker"):
        wait_until(over, "everybody waiting")
    cli("emitter", "--until-caught-up")
    told = changes(servers.kafka, cli_environment["PROFILESTREAM_CHANGES_TOPIC"])
    for shard in (0, 1):
        own = [{**e, "type": "purchase"} for e in (*before, *news) if shard_of(e["customer_id"], 2) == shard]
        outcome = Oracle(DEFINITIONS).run(own, came_back)
        for name, customer in outcome.customers.items():
            assert [(c[1], c[2], c[3]) for c in told if c[0] == name] == [
                (c.segment, c.change, c.time_ms) for c in customer.changes
            ]


def test_a_wrong_date_moves_no_shards_clock_away(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 1, DEFINITIONS)
    now = now_ms()
    wrong = [YEAR_ONE, 0, now + 10 * DAY, now + 4 * MINUTE]
    events = [order(0, "c", now - HOUR, 150), *(order(n, f"x{n}", at) for n, at in enumerate(wrong, 1))]
    put(servers.kafka, events[:-1], 1)
    cli("worker", "--until-caught-up", "--clock", "event")
    assert clock_of(servers.redis, namespace, 0) == now - HOUR, "neither back nor ahead"
    letters = asyncio.run(read_topic(servers.kafka, cli_environment["PROFILESTREAM_DEAD_LETTERS_TOPIC"]))
    assert [dict(r.headers)["reason"] for r in letters] == [b"future_time"]
    put(servers.kafka, events[-1:], 1)
    cli("worker", "--until-caught-up", "--clock", "event")
    assert clock_of(servers.redis, namespace, 0) == now + 4 * MINUTE, "five minutes at most, as the contract allows"
    (spender,) = [p for p in profiles(servers.redis, namespace) if "spender" in p["_segments"]]
    assert json.loads(spender["spend_2d"]) == 150


def test_who_crosses_while_many_profiles_drain_is_not_kept_waiting_by_them(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    """Thousands of windows have lost a tile while nobody worked; they drain one by one, and urgent ones come first."""
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 1, DRAINING)
    now = now_ms()
    instants = {f"u{n}": now + 4_000 + 250 * n for n in range(240)}
    urgent = [order(n, name, at - 5 * MINUTE) for n, (name, at) in enumerate(instants.items())]
    views = [{**order(1_000 + n, f"p{n}", now - 17 * MINUTE), "kind": "page_view"} for n in range(8_000)]
    asyncio.run(send(servers.kafka, [properly("browsing", e, 1) for e in views]))
    put(servers.kafka, urgent, 1)
    behind = {**cli_environment, "PROFILESTREAM_TIMERS_PAGE_MAX": "1"}
    client: Any = redis.Redis.from_url(servers.redis, decode_responses=True)
    prefix = f"{namespace}:g1:{{0}}:"
    cli("worker", "--until-caught-up", "--clock", "event")
    left = most = client.zcount(prefix + "timers", "-inf", now + 2_000)
    began, early = 0, list[str]()
    with running(behind, workdir, "worker"):
        while left and not early:
            out = {name for name in instants if client.zscore(prefix + "segment:fresh", name) is None}
            left = client.zcount(prefix + "timers", "-inf", now + 2_000)
            if left < most and not began:
                began = now_ms() + 500
            early = [name for name in out if began and instants[name] > began and left]
            time.sleep(0.02)
    assert most > 2_000 and early, f"{most} were due, and nobody who crossed meanwhile came before the last of them"
