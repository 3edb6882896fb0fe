"""What a repair does to a shard's keys, on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from tests.integration.store_server import RedisProcess

from profilestream.repair import SetBack, begin
from profilestream.store.commits import Change, Commit, Head, Mark, Stage
from profilestream.store.keys import Keys
from profilestream.store.pipeline import PipelinedConnection, open_pipeline
from profilestream.store.shard_store import CHANGES_ABSORBED_A_CALL, ShardStore
from profilestream.stream.announcer import AnnouncedPosition

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


async def commit(store: ShardStore, crossings: Sequence[tuple[str, str, int]] = (), stage: Stage = "") -> Head:
    """One more commit with these changes; gives the head."""
    head = await store.read_head()
    changes = [Change(c, s, n, "entered" if n % 2 else "exited", b"{}") for c, s, n in crossings]
    number = head.sequence + 1
    reply = await store.send_commit(Commit(head.commit, f"{number:04x}", number, changes=changes, stage=stage))
    assert reply.status == "done"
    return await store.read_head()


async def announced_at(head: Head, sequence_ahead: int = 0) -> AnnouncedPosition:
    return AnnouncedPosition("g1", head.sequence + sequence_ahead, head.commit, offset=7)


async def test_what_was_announced_leaves_the_outbox_and_is_marked_in_the_head(store: ShardStore) -> None:
    first = await commit(store, [("c1", "big", 1)])
    await commit(store, [("c2", "big", 1)])
    mark = Mark(first.sequence, first.commit, 7)
    assert await store.settle_announced(mark)
    assert (await store.read_head()).announced == mark
    assert await store.outbox_changes() == 1
    assert await store.settle_announced(mark)  # again: it is marked, though no longer in the outbox
    assert await store.outbox_changes() == 1


@pytest.mark.parametrize("lost", ["never had", "another of the number"])
async def test_a_history_without_the_announced_commit_is_told_and_left_alone(store: ShardStore, lost: str) -> None:
    head = await commit(store, [("c1", "big", 1)])
    sequence = head.sequence + 1 if lost == "never had" else head.sequence
    assert not await store.settle_announced(Mark(sequence, "ffff", 7))
    assert await store.outbox_changes() == 1
    assert (await store.read_head()).announced is None


async def test_who_asks_late_about_an_earlier_commit_is_answered_by_the_mark(store: ShardStore) -> None:
    first = await commit(store, [("c1", "big", 1)])
    second = await commit(store, [("c1", "big", 2)])
    assert await store.settle_announced(Mark(second.sequence, second.commit, 12))
    assert await store.settle_announced(Mark(first.sequence, first.commit, 7))
    assert (await store.read_head()).announced == Mark(second.sequence, second.commit, 12)
    # What was announced after the mark, as one of a former history, is still missed.
    assert not await store.settle_announced(Mark(first.sequence, first.commit, 13))


async def test_a_repair_begins_above_what_was_announced_and_keeps_the_number_before_each_first_crossing(
    store: ShardStore,
) -> None:
    await commit(store, [("c1", "big", 3), ("c2", "big", 1)])
    head = await commit(store, [("c1", "big", 4)])
    head = await begin(store, head, await announced_at(head, 40), in_history=False)
    stored = await store.read_head()
    assert stored.repair and head.repair and stored.commit == head.commit
    assert stored.sequence == head.sequence == 43
    assert await store.outbox_changes() == 0
    assert await store.repairs() == {("c1", "big"): 2, ("c2", "big"): 0}

    await commit(store, [("c1", "big", 5), ("c3", "big", 1)])  # silent
    assert await store.outbox_changes() == 0
    assert await store.repairs() == {("c1", "big"): 2, ("c2", "big"): 0, ("c3", "big"): 0}

    await commit(store, [("c1", "big", 9)], stage="announce")
    assert await store.outbox_changes() == 1
    ended = await commit(store, stage="end")
    assert not ended.repair
    assert await store.repairs() == {}
    assert await store.outbox_changes() == 1


async def test_a_repair_that_was_broken_off_takes_back_what_it_was_about_to_announce(store: ShardStore) -> None:
    head = await commit(store, [("c1", "big", 1)])
    announced = await announced_at(head, 5)
    await begin(store, head, announced, in_history=False)
    await commit(store, [("c1", "big", 4)], stage="announce")
    head = await store.read_head()
    again = await begin(store, head, announced, in_history=False)
    assert again.sequence == head.sequence  # it is under way, and high enough
    assert await store.outbox_changes() == 0
    assert await store.repairs() == {("c1", "big"): 0}


async def test_a_writer_whose_changes_were_taken_back_does_not_end_the_repair(store: ShardStore) -> None:
    first = await commit(store, [("c1", "big", 1)])
    await begin(store, first, await announced_at(first, 5), in_history=False)
    former = await commit(store, [("c1", "big", 1)], stage="announce")
    taken = await store.read_head()
    assert await store.absorb_outbox(taken)
    assert taken.commit == (await store.read_head()).commit != former.commit
    end = Commit(former.commit, "beef", former.sequence + 1, stage="end")
    assert (await store.send_commit(end)).status == "conflict"
    assert (await store.read_head()).repair and await store.repairs() == {("c1", "big"): 0}
    assert await store.absorb_outbox(taken)  # nothing was there: the head stays whose it is
    assert taken.commit == (await store.read_head()).commit


async def test_a_whole_history_begins_no_repair(store: ShardStore) -> None:
    head = await commit(store, [("c1", "big", 1)])
    assert await begin(store, head, await announced_at(head), in_history=True) == head
    assert await begin(store, head, None, in_history=True) == head
    assert await store.read_head() == head


async def test_a_writer_that_was_overtaken_begins_no_repair(store: ShardStore) -> None:
    old = await commit(store, [("c1", "big", 1)])
    new = await commit(store)
    with pytest.raises(SetBack):
        await begin(store, old, await announced_at(old, 5), in_history=False)
    assert await store.read_head() == new
    assert await store.outbox_changes() == 1


async def test_more_changes_are_absorbed_than_one_call_takes(store: ShardStore) -> None:
    count = CHANGES_ABSORBED_A_CALL * 2 + 1
    head = await commit(store, [(f"c{n}", "big", 1) for n in range(count)])
    await begin(store, head, await announced_at(head, 1), in_history=False)
    assert await store.outbox_changes() == 0
    assert await store.repairs() == {(f"c{n}", "big"): 0 for n in range(count)}


async def test_names_with_any_characters_come_back_as_they_were(store: ShardStore) -> None:
    head = await commit(store, [("größe 😀 %d", "big", 2)])
    await begin(store, head, await announced_at(head, 1), in_history=False)
    assert await store.repairs() == {("größe 😀 %d", "big"): 1}
