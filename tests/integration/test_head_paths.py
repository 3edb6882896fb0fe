"""A head that is not what a worker believes, a commit that is refused or lost: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.integration import shop
from tests.integration.emitting import until
from tests.integration.proxy import Proxy
from tests.integration.store_server import RedisProcess
from tests.integration.test_worker import profiles, running, total, wait_until

from profilestream.core.engine import Engine
from profilestream.settings import Settings
from profilestream.store.keys import Keys, shard_of
from profilestream.store.shard_store import SCRIPT_SHA

COMMIT = SCRIPT_SHA.encode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis of this test's own, which may be filled and misconfigured."""
    server = RedisProcess(tmp_path / "redis")
    yield server
    server.kill()


@pytest.fixture
def proxy(server: RedisProcess, cli_environment: dict[str, str]) -> Iterator[Proxy]:
    """What stands between the workers and that Redis."""
    proxy = Proxy(server.port)
    cli_environment["PROFILESTREAM_REDIS"] = f"redis://127.0.0.1:{proxy.port}/0"
    yield proxy
    proxy.close()


@pytest.fixture
def opened(servers: Any, proxy: Proxy, cli: Any, workdir: Path) -> None:
    shop.open_shop(servers.kafka, cli, workdir)


def orders(server: RedisProcess, namespace: str) -> int:
    return total(profiles(server.url, namespace), "orders")


def commits(server: RedisProcess) -> int:
    """How many were tried, refused ones too."""
    return server.client.info("commandstats")["cmdstat_evalsha"]["calls"]


def log(workdir: Path) -> str:
    return "".join(file.read_text() for file in sorted(workdir.glob("worker-*.log")))


def test_a_reply_that_is_lost_after_the_commit_was_done_doubles_nothing(
    opened: None, servers: Any, server: RedisProcess, proxy: Proxy, cli_environment: Any, namespace: str, workdir: Path
) -> None:
    events = shop.purchases(2_000)
    limits = {"PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "10"}
    with running({**cli_environment, **limits}, workdir, "worker", "--clock", "event"):
        for part in range(4):
            proxy.lose_reply_to(COMMIT)
            shop.put(servers.kafka, events[part * 500 : (part + 1) * 500])
            wait_until(lambda: proxy.requests == 1, "a commit whose reply is lost")
            wait_until(lambda part=part: orders(server, namespace) == (part + 1) * 500, "all orders")
    shop.right(events, server.url, namespace)
    assert "Traceback" not in log(workdir)


def test_a_redis_that_forgets_the_script_is_told_it_again(
    opened: None, servers: Any, server: RedisProcess, cli_environment: Any, namespace: str, workdir: Path
) -> None:
    events = shop.purchases(900)
    with running(cli_environment, workdir, "worker", "--clock", "event"):
        for part in range(3):
            shop.put(servers.kafka, events[part * 300 : (part + 1) * 300])
            wait_until(lambda part=part: orders(server, namespace) == (part + 1) * 300, "all orders")
            server.client.script_flush()
    shop.right(events, server.url, namespace)


def test_while_redis_has_no_memory_left_there_is_one_line_and_when_it_has_work_goes_on(
    opened: None, servers: Any, server: RedisProcess, cli_environment: Any, namespace: str, workdir: Path
) -> None:
    events = shop.purchases(900)
    with running(cli_environment, workdir, "worker", "--clock", "event") as worker:
        shop.put(servers.kafka, events[:300])
        wait_until(lambda: orders(server, namespace) == 300, "300 orders")
        server.client.config_set("maxmemory", "1kb")
        shop.put(servers.kafka, events[300:600])
        wait_until(lambda: "memory is used up" in log(workdir), "the line about memory")
        before = commits(server)
        time.sleep(8)
        tried = commits(server) - before
        assert tried <= 12 * shop.SHARDS, f"{tried} attempts in 8 s: pauses of 0.05 s, doubling, leave 8 a shard"
        assert orders(server, namespace) == 300
        server.client.config_set("maxmemory", "0")
        wait_until(lambda: orders(server, namespace) == 600, "600 orders")
        shop.put(servers.kafka, events[600:])
        wait_until(lambda: orders(server, namespace) == 900, "900 orders")
        wait_until(lambda: "settled" in log(workdir), "the line that it is over")
        assert worker.poll() is None
    shop.right(events, server.url, namespace)
    assert log(workdir).count("memory is used up (OOM); raise maxmemory; trying again") == 1, log(workdir)
    assert log(workdir).count("settled: ") == 1, log(workdir)


def test_a_foreign_key_in_the_way_stops_a_commit_whole_and_is_named_once(
    opened: None, servers: Any, server: RedisProcess, cli_environment: Any, namespace: str, workdir: Path
) -> None:
    events = shop.purchases(400)
    key = Keys(namespace, "g1").shard(shard_of("c0", shop.SHARDS)).profile("c0")
    server.client.set(key, "somebody else's")
    with running(cli_environment, workdir, "worker", "--clock", "event"):
        shop.put(servers.kafka, events)
        wait_until(lambda: "another kind" in log(workdir), "the line about the key")
        time.sleep(2)
        assert log(workdir).count("another kind") == 1, log(workdir)
        assert server.client.get(key) == b"somebody else's"
        assert "profile:" not in log(workdir), "the key has the id of a customer"
        server.client.delete(key)
        wait_until(lambda: orders(server, namespace) == 400, "all orders")
    shop.right(events, server.url, namespace)


async def test_a_fold_that_raises_writes_nothing_and_after_five_times_the_shard_stands_still_alone(
    servers: Any, own_settings: Settings, monkeypatch: pytest.MonkeyPatch, namespace: str, cli: Any, workdir: Path
) -> None:
    await asyncio.to_thread(shop.open_shop, servers.kafka, cli, workdir)
    events = shop.purchases(400)
    await asyncio.to_thread(shop.put, servers.kafka, events[:200])
    bad = "c7"
    fold: Callable[..., Any] = Engine.fold
    tried = 0

    def broken(self: Engine, profile: Any, event: Any, *more: Any) -> Any:
        nonlocal tried
        if profile.customer_id == bad and event.event_id == "e201":
            tried += 1
            raise ZeroDivisionError("c7's data")
        return fold(self, profile, event, *more)

    monkeypatch.setattr(Engine, "fold", broken)
    client: Any = redis.Redis.from_url(str(own_settings.redis))
    said: list[str] = []
    async with shop.worker_here(own_settings, said):
        await until(lambda: total(profiles(servers.redis, namespace), "orders") >= 200, 60)
        await asyncio.to_thread(shop.put, servers.kafka, events[200:])
        await until(lambda: any("stands still" in line for line in said), 60)
        await asyncio.sleep(2)
    assert tried == 5
    stuck = shard_of(bad, shop.SHARDS)
    (line,) = [line for line in said if "stands still" in line]
    assert line.startswith(f"shard {stuck} stands still") and "ZeroDivisionError" in line and "data" not in line
    for n in range(shop.SHARDS):
        mine = [e for e in events if shard_of(e["customer_id"], shop.SHARDS) == n and (n != stuck or e in events[:200])]
        keys = client.scan_iter(match=f"{namespace}:g1:{{{n}}}:profile:*")
        assert sum(int(client.hget(key, "orders")) for key in keys) == len(mine)
    client.close()
    monkeypatch.undo()
    await asyncio.to_thread(shop.catch_up, cli)
    await asyncio.to_thread(shop.right, events, servers.redis, namespace)
