"""While Redis is away or slow: one line, little is fetched, memory stays bounded, and work resumes by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.integration import shop
from tests.integration.emitting import until
from tests.integration.proxy import Proxy
from tests.integration.test_outages import lines, said
from tests.integration.test_worker import profiles, running, total, wait_until

from profilestream.settings import Settings
from profilestream.store.shard_store import SCRIPT_SHA
from profilestream.stream.transport import SliceConsumerThread

MIB = 1024 * 1024
AWAY_S = 5.0


@pytest.fixture
def proxy(servers: Any, cli_environment: dict[str, str]) -> Iterator[Proxy]:
    """What stands between the commands and Redis."""
    proxy = Proxy(int(servers.redis.rpartition(":")[2].partition("/")[0]))
    cli_environment["PROFILESTREAM_REDIS"] = f"redis://127.0.0.1:{proxy.port}/0"
    yield proxy
    proxy.close()


def test_a_redis_that_is_away_is_said_once_by_each_and_work_resumes(
    servers: Any, proxy: Proxy, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    shop.open_shop(servers.kafka, cli, workdir, shards=6)
    events = shop.purchases(3_000)
    shop.put(servers.kafka, events[:1_000], 6)
    with (
        running(cli_environment, workdir, "worker", "--clock", "event") as worker,
        running(cli_environment, workdir, "emitter") as emitter,
    ):
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 1_000, "1,000 orders")
        wait_until(lambda: "announced" in said(workdir, "emitter"), "changes")
        proxy.go_away()
        shop.put(servers.kafka, events[1_000:2_000], 6)
        time.sleep(AWAY_S)
        proxy.come_back()
        shop.put(servers.kafka, events[2_000:], 6)
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 3_000, "3,000 orders")
        for name in ("worker", "emitter"):
            wait_until(lambda name=name: len(lines(workdir, name)) >= 2, f"the {name}'s line that it is over")
        time.sleep(1)
        assert (worker.poll(), emitter.poll()) == (None, None)
    for name in ("worker", "emitter"):
        heard = lines(workdir, name)
        assert len(heard) == 2 and heard[0].startswith("Redis at "), heard
        assert str(proxy.port) in heard[0] and "again" in heard[1]
    cli("emitter", "--until-caught-up")
    shop.right(events, servers.redis, namespace, 6)
    found = shop.crossings(servers.kafka, cli_environment["PROFILESTREAM_CHANGES_TOPIC"])
    assert len(found) == len(set(found))


async def test_while_redis_is_away_the_log_is_not_read_for_nothing(
    servers: Any,
    own_settings: Settings,
    proxy: Proxy,
    cli: Any,
    namespace: str,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await asyncio.to_thread(shop.open_shop, servers.kafka, cli, workdir)
    events = shop.purchases(12_000, customers=1_000)
    await asyncio.to_thread(shop.put, servers.kafka, events)
    fetched = 0
    fetch = SliceConsumerThread._fetch_records

    async def counting(self: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal fetched
        found = await fetch(self, *arguments, **more)
        fetched += sum(len(piece.records) for piece in found.values())
        return found

    monkeypatch.setattr(SliceConsumerThread, "_fetch_records", counting)
    own_settings.redis = f"redis://127.0.0.1:{proxy.port}/0"
    own_settings.waiting_bytes_max = MIB
    said: list[str] = []
    async with shop.worker_here(own_settings, said):
        await until(lambda: total(profiles(servers.redis, namespace), "orders") > 0, 60)
        proxy.go_away()
        before = fetched
        await asyncio.sleep(AWAY_S)
        print(f"{fetched - before} of {len(events)} records were fetched while Redis was away")
        assert fetched - before < 5_000
        proxy.come_back()
        await until(lambda: total(profiles(servers.redis, namespace), "orders") == len(events), 90)


def test_memory_does_not_grow_with_a_backlog_of_large_records(
    servers: Any, proxy: Proxy, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    """200 MiB wait in Kafka; Redis takes no commit for a while."""
    shop.open_shop(servers.kafka, cli, workdir)
    limits = {**cli_environment, "PROFILESTREAM_WAITING_BYTES_MAX": str(16 * MIB)}
    with running(limits, workdir, "worker", "--clock", "event") as worker:
        shop.put(servers.kafka, shop.purchases(20))
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 20, "20 orders")
        process = psutil.Process(worker.pid)
        idle = process.memory_info().rss
        proxy.hold(SCRIPT_SHA.encode())
        for part in range(20):
            shop.put(servers.kafka, shop.purchases(100, 20 + part * 100, note="x" * 102_400))
        grown = 0
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            grown = max(grown, process.memory_info().rss - idle)
            time.sleep(0.05)
        proxy.release()
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 2_020, "all orders")
        grown = max(grown, process.memory_info().rss - idle)
    print(f"{idle / MIB:.0f} MiB idle, {grown / MIB:.0f} MiB more with 200 MiB waiting")
    assert grown < 100 * MIB


def test_two_workers_that_run_until_caught_up_wait_for_a_lost_redis_and_leave_nothing(
    servers: Any, proxy: Proxy, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    """They join one after the other, so shards change hands on the way."""
    shop.open_shop(servers.kafka, cli, workdir, shards=4)
    events = shop.purchases(6_000, customers=800)
    shop.put(servers.kafka, events, 4)
    limits = {**cli_environment, "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "10"}
    words = ("worker", "--clock", "event", "--until-caught-up")
    proxy.delay_s = 0.05
    with running(limits, workdir, *words) as first:
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") > 0, "the first orders")
        with running(limits, workdir, *words) as second:
            time.sleep(2)
            proxy.go_away()
            time.sleep(3)
            assert (first.poll(), second.poll()) == (None, None), said(workdir)
            proxy.come_back()
            proxy.delay_s = 0.0
            assert (first.wait(90), second.wait(90)) == (0, 0), said(workdir)
    assert "Traceback" not in said(workdir)
    shop.right(events, servers.redis, namespace, 4)
