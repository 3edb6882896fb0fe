"""Logs with holes are folded through; a log that lacks what comes next stops what reads it, with both numbers."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete
from tests.integration import shop
from tests.integration.test_outages import said
from tests.integration.test_worker import make_topics, profiles, running, total, wait_until
from tests.kafka_records import Sending, event_bytes, properly, read_topic, remove_topics, send

SHARDS = 1


async def delete_before(kafka: str, topic: str, offset: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


async def make_compacted(kafka: str, topic: str) -> None:
    """A topic that the broker compacts as soon as it can."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    config = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.001",
        "max.compaction.lag.ms": "100",
    }
    try:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=config)])
    finally:
        await admin.close()


def orders(servers: Any, namespace: str) -> int:
    return total(profiles(servers.redis, namespace), "orders")


def test_records_removed_before_they_were_folded_stop_the_shard_and_those_removed_after_do_not(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    shop.open_shop(servers.kafka, cli, workdir, SHARDS)
    events = shop.purchases(400)
    shop.put(servers.kafka, events[:100], SHARDS)
    shop.catch_up(cli)
    asyncio.run(delete_before(servers.kafka, "purchases", 60))
    shop.put(servers.kafka, events[100:200], SHARDS)
    shop.catch_up(cli)
    shop.right(events[:200], servers.redis, namespace, SHARDS)
    shop.put(servers.kafka, events[200:300], SHARDS)
    asyncio.run(delete_before(servers.kafka, "purchases", 250))
    done = cli("worker", "--until-caught-up", expect=1)
    assert "next record to fold is 200" in done.stdout and "begins at 250" in done.stdout
    assert "records 200 to 249" in done.stdout
    assert orders(servers, namespace) == 200


def test_a_topic_made_anew_under_a_live_worker_stops_its_shards_and_says_where_they_were(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    shop.open_shop(servers.kafka, cli, workdir, SHARDS)
    events = shop.purchases(300)
    with running(cli_environment, workdir, "worker", "--clock", "event") as worker:
        shop.put(servers.kafka, events, SHARDS)
        wait_until(lambda: orders(servers, namespace) == 300, "300 orders")
        asyncio.run(remove_topics(servers.kafka, ["purchases"]))
        asyncio.run(make_topics(servers.kafka, {"purchases": SHARDS}))
        shop.put(servers.kafka, shop.purchases(50, 300), SHARDS)
        wait_until(lambda: "Kafka does not show all of topic purchases" in said(workdir), "the line about the topic")
        wait_until(lambda: "stands still" in said(workdir), "the line that it stands still")
        assert worker.wait(30) == 1, "no shard is left that works"
    assert "records up to 300 were folded, but the log ends at 50" in said(workdir), said(workdir)
    assert orders(servers, namespace) == 300
    assert "Traceback" not in said(workdir)


def test_topics_made_anew_with_more_records_than_before_are_told_by_their_ids(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    """One of a shard's own topics, and one that is forwarded whole."""
    asyncio.run(remove_topics(servers.kafka))
    asyncio.run(make_topics(servers.kafka, {"browsing": 3}))
    (workdir / "definitions.toml").write_text(shop.DEFINITIONS)
    cli("init", "definitions.toml", "--shards", str(SHARDS))

    def look(count: int, prefix: str) -> None:
        view = {"customer_id": "c1", "occurred_at": shop.BEGAN_MS, "kind": "search"}
        views = [Sending("browsing", event_bytes({**view, "event_id": f"{prefix}{n}"}), None, 0) for n in range(count)]
        asyncio.run(send(servers.kafka, views))

    shop.put(servers.kafka, shop.purchases(100), SHARDS)
    look(20, "a")
    shop.catch_up(cli)
    shop.catch_up(cli)
    for topic, partitions in (("browsing", 3), ("purchases", SHARDS)):
        asyncio.run(remove_topics(servers.kafka, [topic]))
        asyncio.run(make_topics(servers.kafka, {topic: partitions}))
        if topic == "browsing":
            look(50, "b")
            done = cli("worker", "--until-caught-up", expect=1)
            assert "topic browsing, partition 0: the topic was made anew, with records 0 to 49" in done.stdout
    shop.put(servers.kafka, shop.purchases(300, 100), SHARDS)
    with running(cli_environment, workdir, "worker"):
        line = "the next record to fold is 100, and the log ends at 300, but it is another log"
        wait_until(lambda: line in said(workdir), "the line of the shard")
    assert orders(servers, namespace) == 100


def test_a_forwarded_partition_whose_next_records_are_gone_stands_still_and_the_rest_goes_on(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    asyncio.run(make_topics(servers.kafka, {"browsing": 1}))
    (workdir / "definitions.toml").write_text(shop.DEFINITIONS)
    cli("init", "definitions.toml", "--shards", "2")
    view = {"customer_id": "c1", "occurred_at": shop.BEGAN_MS, "kind": "search"}

    def look(start: int) -> None:
        views = [
            Sending("browsing", event_bytes({**view, "event_id": f"v{n}"}), None, 0) for n in range(start, start + 50)
        ]
        asyncio.run(send(servers.kafka, views))

    look(0)
    shop.catch_up(cli)
    wait_until(lambda: _committed(servers.kafka, f"{namespace}-g1", "browsing") == 50, "the offset is committed")
    look(50)
    asyncio.run(delete_before(servers.kafka, "browsing", 70))
    with running(cli_environment, workdir, "worker", "--clock", "event") as worker:
        wait_until(lambda: "forwarding stands still" in said(workdir), "the line that it stands still")
        shop.put(servers.kafka, shop.purchases(100), 2)
        wait_until(lambda: orders(servers, namespace) == 100, "orders of other topics")
        time.sleep(2)
        assert worker.poll() is None
    assert said(workdir).count("the next record to forward is 50, but the log begins at 70") == 1, said(workdir)
    done = cli("worker", "--until-caught-up", expect=1)
    assert "records 50 to 69 were removed" in done.stderr


def _committed(kafka: str, group: str, topic: str) -> int | None:
    async def ask() -> int | None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(group)
            return next((at.offset for tp, at in found.items() if tp.topic == topic), None)
        finally:
            await admin.close()

    return asyncio.run(ask())


def test_holes_of_compaction_and_of_aborted_transactions_are_no_losses(
    servers: Any, cli: Any, namespace: str, workdir: Path
) -> None:
    """The broker's cleaner looks every 15 s, so this takes its time."""
    asyncio.run(remove_topics(servers.kafka))
    asyncio.run(make_compacted(servers.kafka, "purchases"))
    (workdir / "definitions.toml").write_text(shop.DEFINITIONS)
    cli("init", "definitions.toml", "--shards", str(SHARDS))
    early = shop.purchases(300, customers=10)

    async def produce() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=servers.kafka, transactional_id=namespace)
        await producer.start()
        for part in range(30):
            await producer.begin_transaction()
            for event in early[part * 10 : (part + 1) * 10]:
                one = properly("purchases", event, SHARDS)
                await producer.send(one.topic, one.value, one.key, one.partition)
            await (producer.abort_transaction() if part % 5 == 4 else producer.commit_transaction())
        await producer.stop()

    asyncio.run(produce())
    time.sleep(0.3)
    late = shop.purchases(30, 300, customers=10)
    shop.put(servers.kafka, late, SHARDS)  # makes a new segment, so that the former can be compacted
    wait_until(lambda: len(asyncio.run(read_topic(servers.kafka, "purchases"))) < 100, "the cleaner")
    kept = [json.loads(r.value) for r in asyncio.run(read_topic(servers.kafka, "purchases"))]
    shop.catch_up(cli)
    shop.right([{**event, "type": "purchase"} for event in kept], servers.redis, namespace, SHARDS)
    more = shop.purchases(40, 330, customers=10)
    shop.put(servers.kafka, more, SHARDS)
    shop.catch_up(cli)
    shop.right([{**e, "type": "purchase"} for e in kept] + more, servers.redis, namespace, SHARDS)
