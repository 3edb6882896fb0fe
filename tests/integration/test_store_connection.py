"""Connections to real servers: alone, frozen, killed, with a password, as a cluster, behind Sentinel."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.exceptions
from tests.integration.store_server import RedisProcess, free_port, make_cluster, make_sentinel

from profilestream.core.errors import ServerUnavailable, StoreRefused
from profilestream.store.commits import Commit, Membership, ProfileWrite
from profilestream.store.connection import check_server, connect, connect_sync, reaching
from profilestream.store.keys import Keys
from profilestream.store.metadata import Generation, set_live, write_generation
from profilestream.store.pipeline import open_pipeline
from profilestream.store.reader import AsyncProfileReader, ProfileReader
from profilestream.store.shard_store import ShardStore

GENERATION = Generation("g1", 4, "[segments.big]\nenter = 'x > 1'\n", "f", "2026-01-31T09:30:00.000Z", "live")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    server = RedisProcess(tmp_path)
    yield server
    server.kill()


async def test_replies_come_in_order_however_many_are_under_way(server: RedisProcess) -> None:
    pipeline = await open_pipeline(server.url)
    futures = [pipeline.send("ECHO", str(i)) for i in range(10_000)]
    assert await asyncio.gather(*futures) == [str(i).encode() for i in range(10_000)]
    assert pipeline.bytes_in_flight == 0
    await pipeline.close()


async def test_an_error_reply_fails_its_own_future_only(server: RedisProcess) -> None:
    pipeline = await open_pipeline(server.url)
    before, wrong, after = pipeline.send("PING"), pipeline.send("NOSUCH"), pipeline.send("PING")
    assert await before == b"PONG"
    with pytest.raises(redis.exceptions.ResponseError):
        await wrong
    assert await after == b"PONG"
    assert not pipeline.closed
    await pipeline.close()


async def test_a_cancelled_wait_does_not_shift_the_replies_of_others(server: RedisProcess) -> None:
    pipeline = await open_pipeline(server.url)
    first, second = pipeline.send("ECHO", "1"), pipeline.send("ECHO", "2")
    first.cancel()
    assert await second == b"2"
    await pipeline.close()


async def test_ready_waits_until_there_is_room(server: RedisProcess) -> None:
    pipeline = await open_pipeline(server.url, bytes_in_flight_max=100_000)
    future = pipeline.send("SET", "k", b"x" * 200_000)
    waiting = asyncio.ensure_future(pipeline.ready())
    await asyncio.sleep(0)
    assert not waiting.done()
    await future
    await waiting
    await pipeline.close()


async def test_a_killed_server_fails_all_that_is_pending_and_names_the_address(
    server: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()
    caplog.clear()  # what other tests have left
    pipeline = await open_pipeline(server.url)
    futures = [pipeline.send("BLPOP", "never", 0), *(pipeline.send("PING") for _ in range(5))]
    await asyncio.sleep(0.05)
    server.kill()
    for future in futures[:2]:
        with pytest.raises(ServerUnavailable, match=str(server.port)):
            await future
    assert pipeline.closed
    with pytest.raises(ServerUnavailable):
        await pipeline.send("PING")
    with pytest.raises(ServerUnavailable):
        await pipeline.ready()
    with pytest.raises(ServerUnavailable, match=str(server.port)):
        await open_pipeline(server.url)
    await pipeline.close()
    futures.clear()
    gc.collect()
    assert not caplog.records  # nobody complains of the futures that nobody looked at


async def test_a_frozen_server_is_noticed_by_the_reply_that_it_owes(server: RedisProcess) -> None:
    pipeline = await open_pipeline(server.url, reply_timeout_s=0.4)
    await asyncio.sleep(0.6)  # idle for longer than that is no fault
    assert await pipeline.send("PING") == b"PONG"
    server.freeze()
    with pytest.raises(ServerUnavailable, match="not answered"):
        await asyncio.wait_for(pipeline.send("PING"), 5)
    assert pipeline.closed
    await pipeline.close()


async def test_a_server_that_became_a_replica_counts_as_lost(server: RedisProcess) -> None:
    pipeline = await open_pipeline(server.url)
    store = ShardStore(pipeline, Keys("ps", "g1").shard(0))
    await store.load_script()
    server.client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    with pytest.raises(ServerUnavailable):
        await store.send_commit(Commit("", "a1", 1, profiles=[ProfileWrite("c", b"s", ["a", "1"])]))
    assert pipeline.closed
    await pipeline.close()


async def test_a_server_with_a_password_needs_it_and_no_error_shows_it(tmp_path: Path) -> None:
    server = RedisProcess(tmp_path, "--requirepass", "s3cret")
    try:
        good = f"redis://:s3cret@127.0.0.1:{server.port}/0"
        bad = f"redis://:s3cret-not@127.0.0.1:{server.port}/0"
        pipeline = await open_pipeline(good)
        assert await pipeline.send("PING") == b"PONG"
        await pipeline.close()
        for url in (bad, server.url):
            with pytest.raises(ServerUnavailable, match="password") as caught:
                pipeline = await open_pipeline(url)
                await pipeline.send("PING")
            assert "s3cret" not in str(caught.value)
            client = connect(url)
            with pytest.raises(ServerUnavailable, match="password"), reaching(client):
                await client.ping()  # type: ignore[misc]
            await client.aclose()
    finally:
        server.kill()


async def test_a_client_that_reaches_nobody_names_the_address() -> None:
    port = free_port()
    client = connect(f"redis://:s3cret@127.0.0.1:{port}/0")
    with pytest.raises(ServerUnavailable, match=f"127.0.0.1:{port} cannot be reached") as caught:
        await check_server(client)
    assert "s3cret" not in str(caught.value)
    await client.aclose()
    for url in (f"redis+cluster://127.0.0.1:{port}", f"redis+sentinel://127.0.0.1:{port}/main"):
        with pytest.raises(ServerUnavailable):
            await open_pipeline(url, "k")
        with pytest.raises(ServerUnavailable), ProfileReader(url) as reader:
            reader.get("c")


async def test_only_a_server_that_never_drops_keys_is_accepted(server: RedisProcess) -> None:
    client = connect(server.url)
    await check_server(client)
    server.client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreRefused, match="noeviction"):
        await check_server(client)
    await client.aclose()


async def test_a_cluster_serves_commits_and_readers(tmp_path: Path) -> None:
    nodes = make_cluster(tmp_path)
    try:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port},127.0.0.1:{nodes[1].port}"
        client = connect(url)
        await check_server(client)
        await write_generation(client, "ps", GENERATION)
        await set_live(client, "ps", "g1")
        await client.aclose()
        ports = set()
        for shard in range(GENERATION.shards):
            keys = Keys("ps", "g1").shard(shard)
            pipeline = await open_pipeline(url, keys.head)
            ports.add(pipeline._connection.port)
            store = ShardStore(pipeline, keys)
            await store.load_script()
            commit = Commit(
                "",
                "a1",
                1,
                profiles=[ProfileWrite(f"c{shard}", b"s", ["x", b"1"], due=5)],
                memberships=[Membership("big", f"c{shard}", 100 - shard, True)],
            )
            assert (await store.send_commit(commit)).status == "done"
            await pipeline.close()
        assert ports == {node.port for node in nodes}
        async with AsyncProfileReader(url) as reader:
            assert await reader.count("big") == 4
            assert [m.customer_id async for m in reader.members("big")] == ["c3", "c2", "c1", "c0"]
        with ProfileReader(url) as sync_reader:
            assert sync_reader.count("big") == 4
            assert [m.customer_id for m in sync_reader.members("big")] == ["c3", "c2", "c1", "c0"]
            assert len(sync_reader.get_many(["a", "b", "c", "d"])) == 4
        sent_to_the_wrong_node = await open_pipeline(nodes[0].url)
        futures = [sent_to_the_wrong_node.send("GET", f"k{i}") for i in range(10)]
        with pytest.raises(ServerUnavailable):
            await asyncio.gather(*futures)
        assert sent_to_the_wrong_node.closed
        await sent_to_the_wrong_node.close()
    finally:
        for node in nodes:
            node.kill()


async def test_sentinel_names_the_master_for_commits_and_readers(server: RedisProcess, tmp_path: Path) -> None:
    sentinel = make_sentinel(tmp_path / "sentinel", server, "main")
    try:
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main?db=1"
        client = connect(url)
        await check_server(client)
        await write_generation(client, "ps", GENERATION)
        await set_live(client, "ps", "g1")
        await client.aclose()
        pipeline = await open_pipeline(url, "k")
        assert await pipeline.send("GET", "ps:live") == b"g1"
        await pipeline.close()
        with ProfileReader(url) as reader:
            assert reader.count("big") == 0
        sync_client = connect_sync(url, decode=True)
        assert sync_client.get("ps:live") == "g1"
        sync_client.close()
        with pytest.raises(ServerUnavailable, match="no sentinel"):
            await open_pipeline(f"redis+sentinel://127.0.0.1:{sentinel.port}/other", "k")
    finally:
        sentinel.kill()
