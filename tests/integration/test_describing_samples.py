"""Whom `describe` reads on a real Redis: all or a sample, in every shard, on every server of a cluster; no others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.integration.described import SHARDS, TEXT, gym, put
from tests.integration.store_server import RedisProcess, make_cluster, wait_for

from profilestream.core.errors import NotFound, StoreRefused
from profilestream.operations.describe import describe
from profilestream.store import samples
from profilestream.store.connection import connect_sync
from profilestream.store.keys import Keys, shard_of
from profilestream.store.metadata import Generation
from profilestream.store.samples import Sampler


def settle(client: redis.Redis) -> None:
    """Waits while Redis, after so many writes, still moves keys into a larger table, which changes a walk's pages."""

    def pages() -> list[int]:
        cursor, found = -1, []
        while cursor:
            cursor, page = client.scan(max(cursor, 0), count=100)
            found.append(hash(tuple(page)))
        return found

    def same_again() -> bool:
        earlier = pages()
        time.sleep(0.3)
        return pages() == earlier

    wait_for(same_again)


def test_of_many_only_a_sample_is_read_and_it_is_the_same_the_next_time(
    url: str, module_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "KEYS_LOOKED_AT_MIN", 500)
    put(url, *gym(3_000, 6_000))
    settle(module_server.client)
    before = module_server.client.info("commandstats").get("cmdstat_hmget", {}).get("calls", 0)
    first = describe(url, "ps", "fit", 200)
    calls = module_server.client.info("commandstats")["cmdstat_hmget"]["calls"] - before
    assert (first.members, first.members_read, first.everybody_read) == (3_000, 200, 200)
    assert calls == 400
    assert not first.customers_exact and 7_000 < first.customers < 11_000
    # A quarter of the spends lies below the 25th percentile of all; of a sample of 200 nearly so.
    side = next(one for one in first.traits if one.name == "spend").members
    assert side is not None and 10_400 < (side.low or 0) < 11_100 and 11_100 < side.median < 11_900
    yoga = next(one for one in first.traits if one.name == "liked").named[0].shares
    assert yoga.members == 1 and 0.2 < yoga.everybody < 0.47
    assert describe(url, "ps", "fit", 200) == first


def test_members_come_from_every_shard_by_its_part(url: str) -> None:
    customers, members = gym(1_000, 0)
    put(url, customers, members)
    client = connect_sync(url)
    sampler = Sampler(client, "ps", Generation("g1", SHARDS, TEXT, "f", "", "live"))
    counts = sampler.count_members("fit")
    assert counts == [sum(shard_of(c, SHARDS) == n for c in customers) for n in range(SHARDS)]
    found = sampler.members("fit", counts, 100)
    taken = [sum(profile.shard == n for profile, _ in found.entered) for n in range(SHARDS)]
    assert found.total == 1_000 and sum(taken) == len({profile for profile, _ in found.entered}) == 100
    assert all(abs(part - count / 10) < 1 for part, count in zip(taken, counts, strict=True))
    client.close()


def test_replies_of_many_traits_come_in_small_batches(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "VALUES_A_BATCH_MAX", 50)
    put(url, *gym(40, 20))
    sizes: list[int] = []
    ask = Sampler._ask

    def watched(self: Sampler, commands: Any) -> Any:
        sizes.extend(len(commands) for command in commands[:1] if command.method == "hmget")
        return ask(self, commands)

    monkeypatch.setattr(Sampler, "_ask", watched)
    assert describe(url, "ps", "fit").members_read == 40
    # Nine traits and two fields more: four profiles are below 50 values.
    assert sizes == [4] * 10 + [4] * 15
    sizes.clear()
    assert describe(url, "ps", "fit", traits=["age", "vip"]).members_read == 40
    assert sizes == [12, 12, 12, 4, 12, 12, 12, 12, 12]


def test_other_namespaces_generations_and_programs_are_nobody(url: str, module_server: RedisProcess) -> None:
    customers, members = gym(50, 50)
    put(url, customers, members)
    put(url, {f"x{n}": {"spend": 1} for n in range(200)}, {}, namespace="ps-2")
    for n in range(200):
        module_server.client.hset(f"ps:g2:{{0}}:profile:x{n}", mapping={"spend": "1"})
        module_server.client.set(f"x:ps:g1:{{0}}:profile:{n}", "1")
    found = describe(url, "ps", "fit")
    assert (found.customers, found.customers_exact, found.everybody_read) == (100, True, 100)


def test_customers_that_a_walk_does_not_meet_are_not_made_up(
    url: str, module_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(url, *gym(20, 5))
    pipeline = module_server.client.pipeline(transaction=False)
    for n in range(50_000):
        pipeline.set(f"other:{n}", "1")
    pipeline.execute()
    monkeypatch.setattr(samples, "KEYS_LOOKED_AT_MAX", 100)
    monkeypatch.setattr(samples, "KEYS_LOOKED_AT_A_CUSTOMER", 1)
    with pytest.raises(StoreRefused, match="so many other keys"):
        describe(url, "ps", "fit", 100)


def test_profiles_that_go_meanwhile_are_left_out_and_too_few_are_refused(url: str, module_server: RedisProcess) -> None:
    customers, members = gym(25, 25)
    put(url, customers, members)
    gone = [Keys("ps", "g1").shard(shard_of(c, SHARDS)).profile(c) for c in list(customers)[:5]]
    module_server.client.delete(*gone)
    found = describe(url, "ps", "fit")
    assert (found.members, found.members_read, found.customers) == (25, 20, 45)
    module_server.client.delete(Keys("ps", "g1").shard(shard_of("fit-0010", SHARDS)).profile("fit-0010"))
    with pytest.raises(NotFound, match="19 members"):
        describe(url, "ps", "fit")


def test_of_a_cluster_every_server_that_has_shards_is_walked(tmp_path: Path) -> None:
    nodes = make_cluster(tmp_path)
    try:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
        put(url, *gym(100, 200))
        holding = [node for node in nodes if redis.Redis(port=node.port).dbsize() > 2]
        assert len(holding) == 2, "both servers have shards"
        found = describe(url, "ps", "fit")
        assert (found.members, found.members_read) == (100, 100)
        assert (found.customers, found.customers_exact, found.everybody_read) == (300, True, 300)
        some = describe(url, "ps", "fit", 40)
        assert (some.members_read, some.everybody_read) == (40, 40)
    finally:
        for node in nodes:
            node.kill()
