"""However events come to their shard, the profiles are those of the same events well keyed.

Each event has an id of its own and the segments have no `exit`: nothing compared here depends on the order of arrival.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.integration import shop
from tests.integration.proxy import Proxy
from tests.integration.test_worker import make_topics, profiles, running, total, wait_until
from tests.kafka_records import Sending, event_bytes, read_topic, remove_topics, send

from profilestream.store.keys import Keys, shard_of
from profilestream.store.shard_store import SCRIPT_SHA

COMMIT = SCRIPT_SHA.encode()
SEED = int(os.environ.get("TEST_SEED", "0")) or time.time_ns() % 1_000_000


@pytest.fixture(autouse=True)
def forgetful(cli_environment: dict[str, str]) -> None:
    """Ids of events are as good as forgotten, so that only positions and origins keep a record from counting twice."""
    cli_environment["PROFILESTREAM_REMEMBERED_IDS_MAX"] = "1"


@pytest.fixture
def proxy(servers: Any, cli_environment: dict[str, str]) -> Iterator[Proxy]:
    """What stands between one worker and Redis."""
    proxy = Proxy(int(servers.redis.rpartition(":")[2].partition("/")[0]))
    yield proxy
    proxy.close()


def consistent_random(key: bytes | None, partitions: int, chance: random.Random) -> int:
    """librdkafka's default partitioner: crc32 of the key, any partition without one."""
    return zlib.crc32(key) % partitions if key else chance.randrange(partitions)


def astray(events: list[dict[str, Any]], partitions: int, chance: random.Random) -> list[Sending]:
    """A third by librdkafka's partitioner, a third anywhere under a foreign key, a third without a key."""
    found = []
    for n, event in enumerate(events):
        key = [str(event["customer_id"]).encode(), b"order-%d" % n, None][n % 3]
        where = consistent_random(key, partitions, chance) if n % 3 != 1 else chance.randrange(partitions)
        found.append(Sending("purchases", event_bytes(event), key, where))
    return found


@pytest.mark.parametrize("partitions", [2, 3], ids=["fewer", "as many"])
def test_wherever_producers_put_events_the_profiles_are_the_same(
    partitions: int, servers: Any, cli: Any, namespace: str, workdir: Path
) -> None:
    print(f"TEST_SEED={SEED}")
    shards = 3
    asyncio.run(remove_topics(servers.kafka))
    asyncio.run(make_topics(servers.kafka, {"purchases": partitions}))
    (workdir / "definitions.toml").write_text(shop.DEFINITIONS)
    cli("init", "definitions.toml", "--shards", str(shards))
    events = shop.purchases(1_500)
    asyncio.run(send(servers.kafka, astray(events, partitions, random.Random(SEED))))
    shop.catch_up(cli)
    shop.right_whatever_the_order(events, servers.redis, namespace, shards)
    revisions = total(profiles(servers.redis, namespace), "_revision")
    assert revisions == len(events), "each once"


def forwarded(kafka: str, topic: str) -> list[tuple[int, int]]:
    """Partition and offset where each forwarded record was read first, in order."""
    found = []
    for record in asyncio.run(read_topic(kafka, topic)):
        headers = {name: value.decode() for name, value in record.headers}
        found.append((int(headers["partition"]), int(headers["offset"])))
    return found


def all_strays(events: list[dict[str, Any]]) -> list[Sending]:
    """Every event in the partition of another shard."""
    return [
        Sending("purchases", event_bytes(e), None, (shard_of(e["customer_id"], shop.SHARDS) + 1) % shop.SHARDS)
        for e in events
    ]


@pytest.mark.parametrize("how", ["crash", "zombie"])
def test_strays_that_were_acknowledged_and_never_committed_are_forwarded_again_and_folded_once(
    how: str, servers: Any, proxy: Proxy, cli: Any, cli_environment: Any, namespace: str, workdir: Path
) -> None:
    """The worker's commits are withheld, so it ends, or freezes, exactly between acknowledgement and commit."""
    shop.open_shop(servers.kafka, cli, workdir)
    events = shop.purchases(600)
    asyncio.run(send(servers.kafka, all_strays(events)))
    topic = cli_environment["PROFILESTREAM_REKEYED_TOPIC"]
    proxied = {**cli_environment, "PROFILESTREAM_REDIS": f"redis://127.0.0.1:{proxy.port}/0"}
    proxy.hold(COMMIT)
    with running(proxied, workdir, "worker", "--clock", "event") as first:
        wait_until(lambda: proxy.requests >= shop.SHARDS, "a commit of each shard that is withheld")
        assert total(profiles(servers.redis, namespace), "orders") == 0
        before = forwarded(servers.kafka, topic)
        assert before, "strays were acknowledged"
        first.send_signal(signal.SIGKILL if how == "crash" else signal.SIGSTOP)
        if how == "crash":
            proxy.drop()
        with running(cli_environment, workdir, "worker", "--clock", "event") as second:
            wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 600, "all orders")
            if how == "zombie":
                # It wakes, sends what it had in hand, and goes on as if the shards were still its own.
                proxy.release()
                first.send_signal(signal.SIGCONT)
                time.sleep(2)
                assert first.poll() is None
            assert second.poll() is None
    after = forwarded(servers.kafka, topic)
    assert len(after) > len(set(after)), "some were forwarded twice"
    assert len(set(after)) == 600
    shop.right_whatever_the_order(events, servers.redis, namespace)
    assert total(profiles(servers.redis, namespace), "_revision") == 600


def test_a_redis_set_back_after_forwarding_forwards_again_and_folds_once(
    servers: Any, cli: Any, cli_environment: Any, namespace: str, workdir: Path
) -> None:
    """One shard of two, which forwards to the other and gets its strays; then both."""
    shop.open_shop(servers.kafka, cli, workdir)
    events = shop.purchases(700)
    client: Any = redis.Redis.from_url(servers.redis)
    asyncio.run(send(servers.kafka, all_strays(events[:300])))
    shop.catch_up(cli)
    for part, shards in enumerate(([0], [0, 1])):
        kept = {key: client.dump(key) for n in shards for key in _keys(client, namespace, n)}
        asyncio.run(send(servers.kafka, all_strays(events[300 + part * 200 : 500 + part * 200])))
        shop.catch_up(cli)
        for n in shards:
            client.delete(*_keys(client, namespace, n))
        for key, value in kept.items():
            client.restore(key, 0, value)
        shop.catch_up(cli)
        shop.right_whatever_the_order(events[: 500 + part * 200], servers.redis, namespace)
    after = forwarded(servers.kafka, cli_environment["PROFILESTREAM_REKEYED_TOPIC"])
    assert len(after) > len(set(after)) == 700
    client.close()


def _keys(client: Any, namespace: str, shard: int) -> list[bytes]:
    prefix = Keys(namespace, "g1").shard(shard).head.removesuffix("head")
    return list(client.scan_iter(match=f"{prefix}*", count=1_000))
