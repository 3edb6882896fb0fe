"""Commits on a real Redis: all or nothing, in order, guarded by the head."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from tests.integration.store_server import RedisProcess

from profilestream.store.commits import (
    Change,
    Commit,
    Head,
    Membership,
    ProfileWrite,
    commit_command,
)
from profilestream.store.keys import Keys
from profilestream.store.pipeline import PipelinedConnection, open_pipeline
from profilestream.store.shard_store import SCRIPT_SHA, NoScript, ScriptFailed, ShardStore

KEYS = Keys("ps", "g1").shard(3)


@pytest.fixture
async def pipeline(module_server: RedisProcess) -> AsyncIterator[PipelinedConnection]:
    pipeline = await open_pipeline(module_server.url, KEYS.head)
    await pipeline.send("FLUSHALL")
    yield pipeline
    await pipeline.close()


@pytest.fixture
async def store(pipeline: PipelinedConnection) -> ShardStore:
    store = ShardStore(pipeline, KEYS, timers_page_max=3)
    await store.load_script()
    return store


def full(expected: str = "", commit: str = "a1", sequence: int = 1) -> Commit:
    """A commit with something of everything."""
    return Commit(
        expected,
        commit,
        sequence,
        clock=1_000,
        positions={"purchases": 17, "browsing": 4},
        origins={"purchase:purchases:9": 5},
        profiles=[
            ProfileWrite("c1", b"\x00\xff\r\n", ["orders", b"2", "_revision", b"3"], due=2_000),
            ProfileWrite("größe 😀", b"s2", ["orders", b"1"]),
        ],
        memberships=[Membership("big", "c1", 990, True), Membership("lapsing", "c1", 990, False)],
        changes=[
            Change("c1", "big", 1, "entered", b'{"a":1}'),
            Change("c1", "lapsing", 2, "exited", b'{"a":2}'),
        ],
        fingerprint="f1",
    )


async def everything(pipeline: PipelinedConnection) -> dict[bytes, object]:
    """All that the server holds."""
    dump = {}
    for key in await pipeline.send("KEYS", "*"):
        dump[key] = await pipeline.send("DUMP", key)
    return dump


async def test_a_fresh_shard_has_an_empty_head_and_no_states(store: ShardStore) -> None:
    assert await store.read_head() == Head()
    assert await store.load(["c1", "c2"]) == [None, None]
    assert await store.load([]) == []
    assert await store.due(10**15, 10) == []
    assert await store.next_due() is None


async def test_a_commit_changes_everything_at_once(store: ShardStore, pipeline: PipelinedConnection) -> None:
    reply = await store.send_commit(full())
    assert (reply.status, reply.head_commit, reply.outbox_changes, reply.due) == ("done", "a1", 2, [])
    assert await store.read_head() == Head(
        "a1", 1, 1_000, {"purchases": 17, "browsing": 4}, {"purchase:purchases:9": 5}, "f1", False
    )
    assert await store.load(["größe 😀", "c9", "c1"]) == [b"s2", None, b"\x00\xff\r\n"]
    assert await pipeline.send("HGETALL", KEYS.profile("c1")) == [b"orders", b"2", b"_revision", b"3"]
    assert await pipeline.send("ZRANGE", KEYS.segment("big"), 0, -1, "WITHSCORES") == [b"c1", b"990"]
    assert await store.due(2_000, 10) == [("c1", 2_000)]
    assert await store.due(1_999, 10) == []
    assert await store.next_due() == 2_000


async def test_the_outbox_has_the_changes_under_the_commits_number_and_the_head_with_the_last(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    await store.send_commit(full())
    first, last = await pipeline.send("XRANGE", KEYS.outbox, "-", "+")
    assert (first[0], last[0]) == (b"1-1", b"1-2")
    assert first[1] == [
        *(b"customer", b"c1", b"segment", b"big", b"crossing", b"1"),
        *(b"change", b"entered", b"value", b'{"a":1}'),
    ]
    assert last[1][-2] == b"head"
    assert json.loads(last[1][-1]) == {
        "commit": "a1",
        "sequence": 1,
        "clock": 1000,
        "positions": {"purchases": 17, "browsing": 4},
    }


async def test_a_commit_that_builds_on_another_head_writes_nothing_and_learns_the_present_one(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    await store.send_commit(full())
    before = await everything(pipeline)
    for expected in ("", "b2"):
        reply = await store.send_commit(full(expected, "c3", 2))
        assert (reply.status, reply.head_commit) == ("conflict", "a1")
    assert await everything(pipeline) == before


async def test_a_chain_of_commits_is_in_flight_at_once_and_a_break_stops_all_behind_it(store: ShardStore) -> None:
    ids = ["", *(f"{i:x}" for i in range(0xA0, 0xA0 + 20))]
    replies = [store.send_commit(full(ids[i - 1], ids[i], i)) for i in range(1, 11)]
    replies += [store.send_commit(full("dead", ids[11], 11))]
    replies += [store.send_commit(full(ids[i - 1], ids[i], i)) for i in range(12, 21)]
    assert [(await reply).status for reply in replies] == ["done"] * 10 + ["conflict"] * 10
    head = await store.read_head()
    assert (head.commit, head.sequence) == (ids[10], 10)


async def test_a_commit_of_timers_alone_leaves_clock_and_positions(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    await store.send_commit(full())
    await store.send_commit(Commit("a1", "a2", 2, changes=[Change("c1", "big", 2, "exited", b"{}")]))
    head = await store.read_head()
    assert (head.commit, head.clock, head.positions) == ("a2", 1_000, {"purchases": 17, "browsing": 4})
    (entry,) = await pipeline.send("XRANGE", KEYS.outbox, "2", "+")
    assert json.loads(entry[1][-1]) == {
        "commit": "a2",
        "sequence": 2,
        "clock": 1000,
        "positions": {"purchases": 17, "browsing": 4},
    }


async def test_the_reply_names_who_is_due_after_the_commits_own_timers_a_page_at_a_time(store: ShardStore) -> None:
    late = [ProfileWrite(f"c{i}", b"s", due=1_000 + i) for i in (5, 4, 3, 2, 1)]
    assert (await store.send_commit(Commit("", "a1", 1, profiles=late, due_before=1_004))).due == ["c1", "c2", "c3"]
    moved = [ProfileWrite("c1", b"s"), ProfileWrite("c2", b"s", due=9_000), ProfileWrite("c6", b"s", due=-5)]
    reply = await store.send_commit(Commit("a1", "a2", 2, profiles=moved, due_before=1_004))
    assert reply.due == ["c6", "c3", "c4"]


async def test_urgent_timers_are_named_before_all_others_and_each_customer_once(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    writes = [ProfileWrite(f"c{i}", b"s", due=1_000 + i, urgent=2_000 - i if i > 2 else None) for i in range(6)]
    reply = await store.send_commit(Commit("", "a1", 1, profiles=writes, due_before=1_996))
    assert reply.due == ["c5", "c4", "c0"], "a page of three"
    assert await store.due(1_996, 10) == [("c5", 1_995), ("c4", 1_996), ("c0", 1_000), ("c1", 1_001), ("c2", 1_002),
                                          ("c3", 1_003)]  # fmt: skip
    gone = [ProfileWrite("c5", b"s", due=1_000, due_changed=False, urgent=None)]
    kept = [ProfileWrite("c4", b"s", due=1_001, urgent=None, urgent_changed=False)]
    reply = await store.send_commit(Commit("a1", "a2", 2, profiles=[*gone, *kept], due_before=1_996))
    assert reply.due == ["c4", "c0", "c1"]
    assert await pipeline.send("ZRANGE", KEYS.urgent, 0, -1) == [b"c4", b"c3"]


async def test_fields_are_removed_and_a_rewrite_leaves_none_of_the_former(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    await store.send_commit(full())
    fewer = [ProfileWrite("c1", b"s", ["city", b'"x"'], removed=["orders", "never"])]
    await store.send_commit(Commit("a1", "a2", 2, profiles=fewer))
    assert await pipeline.send("HGETALL", KEYS.profile("c1")) == [b"_revision", b"3", b"city", b'"x"']
    anew = [ProfileWrite("c1", b"s", ["orders", b"9"], rewrite=True)]
    await store.send_commit(Commit("a2", "a3", 3, profiles=anew))
    assert await pipeline.send("HGETALL", KEYS.profile("c1")) == [b"orders", b"9"]


async def test_ten_thousand_fields_members_and_timers_fit_into_a_commit(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    fields = [text for i in range(10_000) for text in (f"f{i}", str(i))]
    profiles = [ProfileWrite("wide", b"s", fields, removed=[f"g{i}" for i in range(10_000)])]
    profiles += [ProfileWrite(f"c{i}", b"s", due=i) for i in range(10_000)]
    members = [Membership("big", f"c{i}", i, True) for i in range(10_000)]
    await store.send_commit(Commit("", "a1", 1, profiles=profiles, memberships=members))
    assert await pipeline.send("HLEN", KEYS.profile("wide")) == 10_000
    assert await pipeline.send("HGET", KEYS.profile("wide"), "f9999") == b"9999"
    assert await pipeline.send("ZCARD", KEYS.segment("big")) == 10_000
    assert len(await store.due(10**6, 20_000)) == 10_000
    gone = [Membership("big", f"c{i}", i, False) for i in range(10_000)]
    await store.send_commit(Commit("a1", "a2", 2, memberships=gone))
    assert await pipeline.send("ZCARD", KEYS.segment("big")) == 0


async def test_however_a_commits_arguments_are_mangled_it_writes_all_or_nothing(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    await store.send_commit(full())
    before = await everything(pipeline)
    command = commit_command(SCRIPT_SHA, KEYS, full("a1", "a2", 2), 3)
    first_argument = 3 + int(command[2])
    counts = range(first_argument + 6, first_argument + 13)
    mangled = [[*command[:i], *command[i + 1 :]] for i in range(first_argument + 1, len(command))]
    mangled += [[*command[:i], "1", *command[i:]] for i in range(first_argument + 1, len(command))]
    mangled += [[*command[:i], bad, *command[i + 1 :]] for i in counts for bad in ("7", "-1", "", "x", "1e3", "999999")]
    mangled += [[*command[:i], bad, *command[i + 1 :]] for i in (2,) for bad in ("4", "5", "6")]
    written = 0
    for arguments in mangled:
        try:
            reply = await pipeline.send_all(arguments)
        except Exception as error:
            assert "PROFILESTREAM" in str(error), error
            reply = [0]
        if reply[0] == 0:
            assert await everything(pipeline) == before
            continue
        # A mangled value can still be a well-formed commit; then it must be complete.
        head = await store.read_head()
        assert head.sequence == 2
        written += 1
        await pipeline.send("FLUSHALL")
        await store.send_commit(full())
    assert written < len(mangled) / 4


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        (KEYS.profile("c1"), "SET"),
        (KEYS.profile("größe 😀"), "SET"),
        (KEYS.timers, "SET"),
        (KEYS.urgent, "SET"),
        (KEYS.outbox, "SET"),
        (KEYS.segment("lapsing"), "SET"),
    ],
)
async def test_a_foreign_key_in_the_way_is_found_before_anything_is_written(
    store: ShardStore, pipeline: PipelinedConnection, key: str, wrong: str
) -> None:
    await pipeline.send(wrong, key, "x")
    before = await everything(pipeline)
    with pytest.raises(ScriptFailed):
        await store.send_commit(full())
    assert await everything(pipeline) == before


async def test_a_number_that_does_not_follow_the_head_is_refused(store: ShardStore) -> None:
    await store.send_commit(full())
    with pytest.raises(ScriptFailed, match="sequence"):
        await store.send_commit(full("a1", "a2", 3))
    assert (await store.read_head()).commit == "a1"


async def test_an_outbox_that_is_ahead_of_a_lost_head_is_found_before_anything_is_written(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    await store.send_commit(full())
    await pipeline.send("DEL", KEYS.head)
    before = await everything(pipeline)
    with pytest.raises(ScriptFailed, match="outbox"):
        await store.send_commit(full())
    assert await everything(pipeline) == before


async def test_an_emptied_outbox_goes_on_with_the_next_number(store: ShardStore, pipeline: PipelinedConnection) -> None:
    await store.send_commit(full())
    await pipeline.send("XTRIM", KEYS.outbox, "MAXLEN", 0)
    assert (await store.send_commit(full("a1", "a2", 2))).outbox_changes == 2
    assert [entry[0] for entry in await pipeline.send("XRANGE", KEYS.outbox, "-", "+")] == [b"2-1", b"2-2"]


async def test_a_server_that_forgot_the_script_says_so_for_all_in_flight_and_takes_it_again(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    await pipeline.send("SCRIPT", "FLUSH")
    futures = [store.send_commit(full()), store.send_commit(full("a1", "a2", 2))]
    for future in futures:
        with pytest.raises(NoScript):
            await future
    await store.load_script()
    assert (await store.send_commit(full())).status == "done"


async def test_when_memory_is_used_up_a_commit_writes_nothing_and_says_what_to_raise(
    store: ShardStore, pipeline: PipelinedConnection
) -> None:
    await store.send_commit(full())
    before = await everything(pipeline)
    await pipeline.send("CONFIG", "SET", "maxmemory", "1kb")
    try:
        anew = [ProfileWrite("c1", b"s", ["orders", b"9"], rewrite=True)]
        for commit in (full("a1", "a2", 2), Commit("a1", "a2", 2, profiles=anew)):
            with pytest.raises(ScriptFailed, match="maxmemory"):
                await store.send_commit(commit)
            assert await everything(pipeline) == before
    finally:
        await pipeline.send("CONFIG", "SET", "maxmemory", "0")
