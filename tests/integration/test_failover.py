"""Sentinel makes a replica the master that lacks the last commits, some of them announced: the worker repairs it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.comparison import compare, expect, read_changes, read_profiles
from tests.integration import shop
from tests.integration.store_server import RedisProcess, make_sentinel, wait_for
from tests.integration.test_outages import said
from tests.integration.test_worker import profiles, running, total, wait_until
from tests.kafka_records import read_arrivals


@pytest.fixture
def master(tmp_path: Path) -> Iterator[RedisProcess]:
    server = RedisProcess(tmp_path / "master")
    server.client.execute_command("ACL SETUSER follower on >pw +psync +replconf +ping")
    yield server
    server.kill()


@pytest.fixture
def replica(master: RedisProcess, tmp_path: Path) -> Iterator[RedisProcess]:
    """Follows the master under a login of its own, so that the master can shut it out and nobody else."""
    server = RedisProcess(tmp_path / "replica", "--masteruser", "follower", "--masterauth", "pw")
    server.client.execute_command("REPLICAOF 127.0.0.1", master.port)
    wait_for(lambda: server.client.info("replication")["master_link_status"] == "up")
    yield server
    server.kill()


@pytest.fixture
def sentinel(master: RedisProcess, replica: RedisProcess, tmp_path: Path) -> Iterator[RedisProcess]:
    server = make_sentinel(tmp_path / "sentinel", master, "main")
    for name, value in (("down-after-milliseconds", 1000), ("failover-timeout", 5000)):
        server.client.execute_command("SENTINEL SET main", name, value)
    wait_for(lambda: len(server.client.execute_command("SENTINEL REPLICAS main")) == 1, seconds_max=40)
    yield server
    server.kill()


def test_a_failover_to_a_replica_that_is_behind_is_repaired_and_nothing_is_announced_twice(
    servers: Any,
    master: RedisProcess,
    replica: RedisProcess,
    sentinel: RedisProcess,
    cli: Any,
    cli_environment: dict[str, str],
    namespace: str,
    workdir: Path,
) -> None:
    cli_environment["PROFILESTREAM_REDIS"] = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
    shop.open_shop(servers.kafka, cli, workdir)
    events = shop.purchases(900, customers=300)
    with (
        running(cli_environment, workdir, "worker", "--clock", "event"),
        running(cli_environment, workdir, "emitter"),
    ):
        shop.put(servers.kafka, events[:300])
        wait_until(lambda: total(profiles(replica.url, namespace), "orders") == 300, "300 orders in the replica")
        master.client.execute_command("ACL SETUSER follower off")
        master.client.execute_command("CLIENT KILL TYPE replica")
        shop.put(servers.kafka, events[300:600])
        wait_until(lambda: total(profiles(master.url, namespace), "orders") == 600, "600 orders in the master")
        topic = cli_environment["PROFILESTREAM_CHANGES_TOPIC"]
        wait_until(lambda: len(asyncio.run(read_changes(servers.kafka, topic))) >= 300, "their changes on Kafka")
        assert total(profiles(replica.url, namespace), "orders") == 300, "the replica is behind"
        master.kill()
        began = time.monotonic()
        wait_until(lambda: replica.client.info("replication")["role"] == "master", "the failover")
        wait_until(lambda: total(profiles(replica.url, namespace), "orders") == 600, "what was lost is folded again")
        print(f"repaired {time.monotonic() - began:.1f} s after the master died")
        shop.put(servers.kafka, events[600:])
        wait_until(lambda: total(profiles(replica.url, namespace), "orders") == 900, "900 orders")
        wait_until(lambda: "; 0 differences" in said(workdir, "worker"), "the line of the repair")
    cli("emitter", "--until-caught-up")
    arrivals = asyncio.run(read_arrivals(servers.kafka, ["purchases"]))
    announced = asyncio.run(read_changes(servers.kafka, topic))
    expected = expect(shop.DEFINITIONS, arrivals, shop.SHARDS)
    compare(expected, read_profiles(replica.url, namespace), announced, namespace)
    assert "Traceback" not in said(workdir)
