"""The worker on real servers: assignment, other partition counts, transactions, the wall clock, a lost Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.comparison import read_changes
from tests.kafka_records import Sending, properly, remove_topics, send

DEFINITIONS = """
[streams]
order = "purchase[kind == 'order']"

[traits]
orders = "count(order)"
spend = "sum(order.amount_minor)"
views = "count(browsing)"
age = "latest(attributes.age)"
last_order_at = "last(order.occurred_at)"

[segments.waiting]
enter = "has(last_order_at) and since(last_order_at) >= 4_000"

[segments.viewer]
enter = "views >= 15 and orders >= 1"
"""
CUSTOMERS = 20


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def event(number: int, prefix: str = "e", **fields: Any) -> dict[str, Any]:
    """An event of one of the customers."""
    common = {"event_id": f"{prefix}{number}", "customer_id": f"c{number % CUSTOMERS}", "occurred_at": now_ms()}
    return {**common, **fields}


def begin(cli: Any, workdir: Path, shards: int, definitions: str = DEFINITIONS) -> None:
    (workdir / "definitions.toml").write_text(definitions)
    cli("init", "definitions.toml", "--shards", str(shards))


def profiles(redis_url: str, namespace: str) -> list[dict[str, str]]:
    client: Any = redis.Redis.from_url(redis_url, decode_responses=True)
    with client:
        return [client.hgetall(key) for key in client.scan_iter(match=f"{namespace}:*:profile:*", count=1_000)]


def total(found: list[dict[str, str]], field: str) -> int:
    return sum(int(p.get(field, 0)) for p in found)


@contextmanager
def running(environment: Mapping[str, str], workdir: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A long-running command; what it says is in `<name>-<pid>.log`."""
    log = workdir / f"{words[0]}-{time.monotonic_ns()}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "profilestream.cli.app", *words],
            cwd=workdir,
            env=dict(environment),
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def wait_until(holds: Any, what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)


async def make_topics(kafka: str, partitions: Mapping[str, int]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, count, 1) for name, count in partitions.items()])
    finally:
        await admin.close()


def test_without_a_generation_the_worker_says_to_run_init(cli: Any) -> None:
    done = cli("worker", "--until-caught-up", expect=1)
    assert "profilestream init" in done.stderr
    assert "Traceback" not in done.stderr


def test_topics_with_other_partition_counts_are_forwarded_and_folded_once(
    servers: Any, cli: Any, namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    asyncio.run(make_topics(servers.kafka, {"browsing": 7, "attributes": 1}))
    begin(cli, workdir, 3)
    views = [event(i, "v", kind="page_view") for i in range(300)]
    facts = [event(i, "a", set={"age": i}) for i in range(40)]
    sendings = [Sending("browsing", json.dumps(e).encode(), None, i % 7) for i, e in enumerate(views)]
    sendings += [Sending("attributes", json.dumps(e).encode(), None, 0) for e in facts]
    sendings += [properly("purchases", event(i, "p", amount_minor=i), 3) for i in range(60)]
    asyncio.run(send(servers.kafka, sendings))
    cli("worker", "--until-caught-up")
    found = profiles(servers.redis, namespace)
    assert len(found) == CUSTOMERS
    assert total(found, "views") == 300
    assert total(found, "_revision") == 400
    assert all("age" in p for p in found)
    again = cli("worker", "--until-caught-up")
    assert "done: 0 events" in again.stdout
    assert total(profiles(servers.redis, namespace), "_revision") == 400


def test_aborted_transactions_are_never_folded_and_markers_are_no_holes(
    servers: Any, cli: Any, namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 2)

    async def produce() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=servers.kafka, transactional_id=namespace)
        await producer.start()
        for number in range(30):
            await producer.begin_transaction()
            for i in range(10):
                one = properly("purchases", event(number * 10 + i, amount_minor=1), 2)
                await producer.send(one.topic, one.value, one.key, one.partition)
            await (producer.abort_transaction() if number % 3 == 2 else producer.commit_transaction())
        await producer.stop()

    asyncio.run(produce())
    cli("worker", "--until-caught-up")
    assert total(profiles(servers.redis, namespace), "orders") == 200
    # A live worker meets markers at the end of what it fetched, over and over.
    asyncio.run(produce())
    cli("worker", "--until-caught-up")
    found = profiles(servers.redis, namespace)
    assert total(found, "orders") == 200, "the same ids again are duplicates"
    assert total(found, "spend") == 200


def test_with_the_wall_clock_time_alone_moves_customers(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 2)
    topic = cli_environment["PROFILESTREAM_CHANGES_TOPIC"]
    with running(cli_environment, workdir, "worker"), running(cli_environment, workdir, "emitter"):
        wait_until(lambda: "folding" in next(workdir.glob("worker-*.log")).read_text(), "a worker at work")
        sent = [event(i, amount_minor=5) for i in range(10)]
        asyncio.run(send(servers.kafka, [properly("purchases", e, 2) for e in sent]))
        wait_until(lambda: len(asyncio.run(read_changes(servers.kafka, topic))) == 10, "ten changes on Kafka")
    due = {e["customer_id"]: e["occurred_at"] + 4_000 for e in sent}
    for record in asyncio.run(read_changes(servers.kafka, topic)):
        change = json.loads(record.value)
        at = datetime.fromisoformat(change["time"])
        assert change["data"]["cause"] == "time"
        assert round(at.timestamp() * 1000) == due[change["subject"]], "the instant itself, not when it was noticed"
        assert record.timestamp - due[change["subject"]] < 60_000
    for found in profiles(servers.redis, namespace):
        assert json.loads(found["_segments"])["waiting"]["crossing"] == 1


def test_two_workers_share_the_shards_and_a_shard_is_never_split(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 6)
    group = f"{namespace}-g1"
    with running(cli_environment, workdir, "worker"), running(cli_environment, workdir, "worker"):
        wait_until(lambda: len(_assignments(servers.kafka, group)) == 2, "two members with partitions")
        members = _assignments(servers.kafka, group)
        owners: dict[int, set[int]] = {}
        for member, partitions in enumerate(members):
            for _, partition in partitions:
                owners.setdefault(partition, set()).add(member)
        assert sorted(owners) == list(range(6))
        assert all(len(who) == 1 for who in owners.values()), owners
        assert {len({p for _, p in partitions}) for partitions in members} == {3}
        sendings = [properly("purchases", event(i, amount_minor=1), 6) for i in range(500)]
        asyncio.run(send(servers.kafka, sendings))
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 500, "500 orders")


def _assignments(kafka: str, group: str) -> list[list[tuple[str, int]]]:
    """The partitions of each member of a group that has any."""
    from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

    async def ask() -> list[list[tuple[str, int]]]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            (response,) = await admin.describe_consumer_groups([group])
            (described,) = response.groups
            found = []
            for *_, assignment in described[5]:
                if assignment:
                    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
                    found.append([(topic, p) for topic, partitions in decoded.assignment for p in partitions])
            return [f for f in found if f]
        finally:
            await admin.close()

    return asyncio.run(ask())


def test_a_tiny_cache_changes_nothing_but_the_speed(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 2)
    sendings = []
    for i in range(6_000):
        one = {"event_id": f"e{i}", "customer_id": f"c{i * 7919 % 1500}", "occurred_at": now_ms(), "amount_minor": i}
        sendings.append(properly("purchases", one, 2))
    asyncio.run(send(servers.kafka, sendings))
    limits = {"PROFILESTREAM_CACHED_PROFILES_MAX": "1000", "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "20"}
    done = subprocess.run(
        [sys.executable, "-m", "profilestream.cli.app", "worker", "--until-caught-up"],
        cwd=workdir,
        env={**cli_environment, **limits},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = profiles(servers.redis, namespace)
    assert total(found, "orders") == 6_000
    assert total(found, "spend") == sum(range(6_000))


def test_a_lost_redis_is_waited_for_with_one_line(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 2)
    client: Any = redis.Redis.from_url(servers.redis, decode_responses=True)
    with running(cli_environment, workdir, "worker") as worker:
        asyncio.run(send(servers.kafka, [properly("purchases", event(i, "a", amount_minor=1), 2) for i in range(100)]))
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 100, "100 orders")
        # Every connection is cut, twice, while events come in.
        for part in ("b", "c"):
            client.client_kill_filter(_type="normal", skipme=True)
            more = [properly("purchases", event(i, part, amount_minor=1), 2) for i in range(200)]
            asyncio.run(send(servers.kafka, more))
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 500, "500 orders")
        assert worker.poll() is None
    (log,) = workdir.glob("worker-*.log")
    said = log.read_text()
    assert "Traceback" not in said, said
    assert os.environ.get("HOME", "/nowhere") not in said


def test_a_worker_whose_head_is_another_ones_begins_anew_from_it(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    """What a restored Redis looks like: the head is an older one than the worker remembers."""
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 1)
    client: Any = redis.Redis.from_url(servers.redis)
    with running(cli_environment, workdir, "worker"):
        asyncio.run(send(servers.kafka, [properly("purchases", event(i, "a", amount_minor=1), 1) for i in range(50)]))
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 50, "50 orders")
        keys = [k for k in client.scan_iter(match=f"{namespace}:g1:*", count=1_000) if not k.endswith(b":meta")]
        with client.pipeline(transaction=True) as pipeline:  # all of one instant: keys come and go while time passes
            for key in keys:
                pipeline.dump(key)
            dumped = {key: value for key, value in zip(keys, pipeline.execute(), strict=True) if value is not None}
        asyncio.run(send(servers.kafka, [properly("purchases", event(i, "b", amount_minor=1), 1) for i in range(70)]))
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 120, "120 orders")
        with client.pipeline(transaction=True) as pipeline:
            for key in client.scan_iter(match=f"{namespace}:g1:*", count=1_000):
                if not key.endswith(b":meta"):
                    pipeline.delete(key)
            for key, value in dumped.items():
                pipeline.restore(key, 0, value)
            pipeline.execute()
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 120, "120 orders again")
        asyncio.run(send(servers.kafka, [properly("purchases", event(i, "c", amount_minor=1), 1) for i in range(30)]))
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 150, "150 orders")


def test_a_full_outbox_pauses_folding_with_one_line_and_nothing_is_lost(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    begin(cli, workdir, 1, '[traits]\norders = "count(purchase)"\n\n[segments.buyer]\nenter = "orders >= 1"\n')
    limits = {"PROFILESTREAM_OUTBOX_CHANGES_MAX": "50", "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "20"}
    sendings = []
    for i in range(600):
        one = {"event_id": f"e{i}", "customer_id": f"c{i}", "occurred_at": now_ms(), "amount_minor": i}
        sendings.append(properly("purchases", one, 1))
    asyncio.run(send(servers.kafka, sendings))
    with running({**cli_environment, **limits}, workdir, "worker") as worker:
        (log,) = workdir.glob("worker-*.log")
        wait_until(lambda: "wait for the emitter" in log.read_text(), "the line about the outbox")
        time.sleep(1)
        folded = len(profiles(servers.redis, namespace))
        assert 50 <= folded < 200, "folding has paused, a few commits after the limit"
        assert log.read_text().count("wait for the emitter") == 1
        with running(cli_environment, workdir, "emitter"):
            wait_until(lambda: len(profiles(servers.redis, namespace)) == 600, "600 customers")
        assert worker.poll() is None
    cli("emitter", "--until-caught-up")
    changes = asyncio.run(read_changes(servers.kafka, cli_environment["PROFILESTREAM_CHANGES_TOPIC"]))
    assert sorted(json.loads(c.value)["subject"] for c in changes) == sorted(f"c{i}" for i in range(600))
