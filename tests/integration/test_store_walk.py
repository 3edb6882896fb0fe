"""A walk over the customers of a shard on a real Redis: everybody once, states and head of one instant."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.integration.store_server import RedisProcess

from profilestream.store.commits import Carriage, Commit, Membership, ProfileWrite
from profilestream.store.keys import Keys
from profilestream.store.pipeline import PipelinedConnection, open_pipeline
from profilestream.store.shard_store import ShardStore
from profilestream.store.walk import ShardWalk

KEYS = Keys("ps", "g1").shard(3)


@pytest.fixture
async def pipeline(module_server: RedisProcess) -> AsyncIterator[PipelinedConnection]:
    pipeline = await open_pipeline(module_server.url, KEYS.head)
    await pipeline.send("FLUSHALL")
    yield pipeline
    await pipeline.close()


@pytest.fixture
async def store(pipeline: PipelinedConnection) -> ShardStore:
    store = ShardStore(pipeline, KEYS)
    await store.load_script()
    return store


@pytest.fixture
def walk(pipeline: PipelinedConnection) -> ShardWalk:
    return ShardWalk(pipeline, KEYS)


def states(n: int, *names: str, new: bool = True) -> Commit:
    """The n-th commit: these customers' states say its number."""
    writes = [ProfileWrite(name, b"%d" % n, rewrite=True, is_new=new) for name in names]
    before = f"{n - 1:x}" if n > 1 else ""
    return Commit(before, f"{n:x}", n, clock=n * 10, positions={"purchases": n}, profiles=writes)


async def test_everybody_who_was_written_is_listed_in_order_of_ids(store: ShardStore, walk: ShardWalk) -> None:
    assert await walk.customers() == []
    names = [f"größe {n}" for n in range(5_000)]
    await store.send_commit(states(1, *names[:2_500]))
    await store.send_commit(states(2, *names[2_500:]))
    await store.send_commit(states(3, *names[:10], new=False))
    listed = sorted(name.encode() for name in names)
    assert await walk.customers() == listed
    assert await walk.customers(listed[2].decode()) == listed[3:]


async def test_a_page_has_states_and_head_of_one_instant_and_no_more_bytes_than_asked(
    store: ShardStore, walk: ShardWalk
) -> None:
    await store.send_commit(states(1, "a", "b", "c"))
    await store.send_commit(states(2, "b", new=False))
    page = await walk.page([b"a", b"gone", b"b", b"c"], bytes_max=1_000)
    assert page.states == [b"1", None, b"2", b"1"]
    assert (page.head.positions, page.head.clock, page.head.commit) == ({"purchases": 2}, 20, "2")
    assert (await walk.page([b"a", b"b", b"c"], bytes_max=2)).states == [b"1", b"2"]
    assert (await walk.page([b"a", b"b", b"c"], bytes_max=0)).states == [b"1"]
    assert (await ShardWalk(walk._pipeline, Keys("ps", "g9").shard(3)).page([b"a"], 9)).states == [None]


async def test_a_commit_that_is_refused_lists_nobody(store: ShardStore, walk: ShardWalk) -> None:
    await store.send_commit(states(1, "a"))
    assert (await store.send_commit(states(1, "b"))).status == "conflict"
    assert await walk.customers() == [b"a"]


async def test_the_head_tells_how_far_the_carrying_has_come(store: ShardStore) -> None:
    for n, carried in enumerate((Carriage(), Carriage("größe 1"), Carriage(done=True)), 1):
        commit = states(n, "a")
        commit.carried = carried
        await store.send_commit(commit)
        assert (await store.read_head()).carried == carried


async def test_a_membership_that_is_brought_in_line_is_no_crossing(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    commit = states(1, "a")
    commit.memberships = [Membership("big", "a", 5, True), Membership("big", "b", 7, True, counted=False)]
    await store.send_commit(commit)
    assert await pipeline.send("HGET", KEYS.crossings, "big") == b"2|1 0 0 1 0|1 0 0 1 0"
