"""The subscriber on a real Kafka: what it sees, where it goes on, and what it stops at or says."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections import Counter

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from tests.integration.subscribing import SEGMENTS, Topic, change, crossings, nothing_comes, take

from profilestream import ChangeSubscriber, LogMismatch, NotFound, ProfilestreamError, UsageError
from profilestream.wire.changes import encode_change


async def test_a_change_comes_decoded_with_its_place_and_aborted_ones_do_not(topic: Topic) -> None:
    sent = change("c1", 1)
    await topic.put(change("aborted", 1), abort=True)
    await topic.put(sent)
    async with topic.subscriber() as changes:
        (got,) = await take(changes, 1)
        assert await nothing_comes(changes)
    assert (got.topic, got.partition >= 0, got.value) == (topic.name, True, encode_change(sent))
    assert (got.customer_id, got.segment, got.change, got.crossing) == ("c1", "big_spender", "entered", 1)
    assert (got.cause, dict(got.values), got.generation, got.definitions) == ("event", {"orders": 1}, "g1", "a1b2c3")
    assert (got.id, got.time, got.event) == ("big_spender/c1/1", "2026-01-31T09:30:00.001Z", sent.event)


async def test_changes_of_a_customer_come_in_order_and_once(topic: Topic) -> None:
    await topic.put(*crossings(20, 10))
    await topic.put(*[change(f"c{c}", 11) for c in range(20)])
    async with topic.subscriber() as changes:
        got = await take(changes, 220)
    for c in range(20):
        assert [one.crossing for one in got if one.customer_id == f"c{c}"] == list(range(1, 12))


async def test_a_commit_covers_what_was_handed_out_and_nothing_more(topic: Topic) -> None:
    await topic.put(*crossings(8, 5))
    async with topic.subscriber() as changes:
        first = await take(changes, 13)
        await changes.commit()
        await take(changes, 5)  # handed out, never committed
    async with topic.subscriber() as changes:
        rest = await take(changes, 27)
        assert await nothing_comes(changes)
        await changes.commit()
    assert Counter(one.id for one in [*first, *rest]) == Counter(
        f"big_spender/c{c}/{n}" for c in range(8) for n in range(1, 6)
    )
    assert await topic.lag() == 0  # the ends of transactions are passed too


async def test_a_change_can_be_committed_by_itself_with_all_before_it_in_its_partition(topic: Topic) -> None:
    await topic.put(*crossings(8, 5))
    async with topic.subscriber() as changes:
        got = await take(changes, 40)
        mine = [one for one in got if one.partition == got[0].partition]
        await changes.commit(mine[2])
        await changes.commit(mine[0])  # a commit never goes back
        assert await topic.committed() == {mine[2].partition: mine[2].offset + 1}
    async with topic.subscriber() as changes:
        again = {one.id for one in await take(changes, 37)}
    assert again == {one.id for one in got} - {one.id for one in mine[:3]}


async def test_auto_commit_leaves_out_the_change_in_hand(topic: Topic) -> None:
    await topic.put(*[change("c1", n) for n in range(1, 6)])
    with pytest.raises(RuntimeError):
        async with topic.subscriber(auto_commit=True) as changes:
            async for one in changes:
                if one.crossing == 3:
                    raise RuntimeError("the handler fails")
    async with topic.subscriber(auto_commit=True) as changes:
        assert [one.crossing for one in await take(changes, 3)] == [3, 4, 5]
        assert await nothing_comes(changes)
    assert await topic.lag() == 0


async def test_a_new_group_may_begin_at_the_end_and_loses_nothing_from_then_on(topic: Topic) -> None:
    await topic.put(*crossings(8, 1))
    async with topic.subscriber(start="end") as changes:
        assert await nothing_comes(changes)
    await topic.put(*[change(f"c{c}", 2) for c in range(8)])  # while nobody subscribes, and nothing was committed
    async with topic.subscriber(start="end") as changes:
        assert {one.crossing for one in await take(changes, 8)} == {2}


async def test_only_the_segments_asked_for_come_and_the_others_count_as_passed(topic: Topic) -> None:
    await topic.put(*[change(f"c{c}", n, segment) for n in (1, 2) for c in range(5) for segment in SEGMENTS])
    async with topic.subscriber(segments=["lapsing"]) as changes:
        assert {one.segment for one in await take(changes, 10)} == {"lapsing"}
        assert await nothing_comes(changes)
        await changes.commit()
    assert await topic.lag() == 0


async def test_only_the_customers_asked_for_come_and_the_others_count_as_passed(topic: Topic) -> None:
    await topic.put(*[change(f"c{c}", n) for n in (1, 2) for c in range(5)])
    async with topic.subscriber(customers=["c1", "c3"], segments=SEGMENTS) as changes:
        taken = await take(changes, 4)
        assert sorted((one.customer_id, one.crossing) for one in taken) == [
            (c, n) for c in ("c1", "c3") for n in (1, 2)
        ]
        assert await nothing_comes(changes)
        await changes.commit()
    assert await topic.lag() == 0


async def test_a_strangers_record_is_passed_over_counted_and_said_once(topic: Topic) -> None:
    await topic.put(b"{}", b"noise", change("c1", 1), change("c1", 2))
    lines: list[str] = []
    async with topic.subscriber(report=lines.append) as changes:
        assert [one.crossing for one in await take(changes, 2)] == [1, 2]
        assert await nothing_comes(changes)
        assert changes.foreign_records == 2
    assert len(lines) == 1 and "partition 0, offset 0: not a segment change" in lines[0]


async def test_a_change_that_this_version_cannot_read_stops_the_subscriber_before_it(topic: Topic) -> None:
    newer = encode_change(change("c1", 1)).replace(b'"cause":"event"', b'"cause":"merger"')
    await topic.put(newer)
    for _ in range(2):  # nothing was passed: the next one stands before it too
        async with topic.subscriber(auto_commit=True) as changes:
            for _ in range(2):
                with pytest.raises(ProfilestreamError, match=r"partition 0, offset 0.*newer version"):
                    await take(changes, 1)


async def test_what_was_removed_before_it_was_read_is_named_and_not_skipped(topic: Topic) -> None:
    await topic.put(*[change("c1", n) for n in range(1, 5)])
    async with topic.subscriber() as changes:
        (got, *_) = await take(changes, 2)
        await changes.commit(got)
    admin = AIOKafkaAdminClient(bootstrap_servers=topic.kafka)
    await admin.start()
    await admin.delete_records({TopicPartition(topic.name, got.partition): RecordsToDelete(before_offset=3)})
    await admin.close()
    async with topic.subscriber() as changes:
        with pytest.raises(LogMismatch, match=r"has reached 1, but the log goes from 3 to 5"):
            await take(changes, 1)


async def test_calls_that_cannot_be_meant_say_so(topic: Topic) -> None:
    for options in ({"group": "ps-emitter"}, {"group": ""}, {"group": None, "auto_commit": True}, {"segments": "one"}):
        with pytest.raises(UsageError):
            topic.subscriber(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        topic.subscriber(start="middle")
    with pytest.raises(NotFound, match="profilestream init"):
        await ChangeSubscriber(topic.kafka, "g", topic="no-such-topic").start()
    await topic.put(change("c1", 1))
    async with topic.subscriber(None) as changes:
        (got,) = await take(changes, 1)
        with pytest.raises(UsageError, match="group"):
            await changes.commit()
    async with topic.subscriber() as changes:
        with pytest.raises(UsageError, match="handed it out"):
            await asyncio.gather(anext(changes), changes.commit(msgspec.structs.replace(got, offset=100)))


async def test_the_iteration_ends_at_stop_after_the_change_in_hand_and_close_is_quick(topic: Topic) -> None:
    await topic.put(change("c1", 1), change("c1", 2))
    changes = topic.subscriber()
    await changes.start()
    async for _one in changes:
        changes.stop()
        await changes.commit()
    assert sum((await topic.committed()).values()) == 1
    waiting = asyncio.create_task(take(topic.subscriber("other"), 1))
    began = time.monotonic()
    await changes.close()
    waiting.cancel()
    assert time.monotonic() - began < 8
    async with topic.subscriber("third") as third:
        await take(third, 2)
        idle = asyncio.create_task(anext(third))
        await asyncio.sleep(0.3)
        await third.close()
        with pytest.raises(StopAsyncIteration):
            await idle


async def test_a_cancelled_wait_loses_no_change(topic: Topic) -> None:
    rng = random.Random(secrets.randbits(32))
    got: list[int] = []
    async with topic.subscriber() as changes:
        putting = asyncio.create_task(put_slowly(topic, 60))
        async with asyncio.timeout(60):
            while len(got) < 60:
                try:
                    async with asyncio.timeout(rng.random() * 0.02):
                        got.append((await anext(changes)).crossing)
                except TimeoutError:
                    pass
        await putting
    assert got == list(range(1, 61))


async def put_slowly(topic: Topic, count: int) -> None:
    for n in range(1, count + 1):
        await topic.put(change("c1", n))


async def test_without_a_handler_lines_go_to_the_library_s_logger(
    topic: Topic, caplog: pytest.LogCaptureFixture
) -> None:
    await topic.put(b"{}", change("c1", 1))
    with caplog.at_level(logging.WARNING, "profilestream"):
        async with topic.subscriber() as changes:
            await take(changes, 1)
            assert await nothing_comes(changes)
    assert [record.name for record in caplog.records if "not a segment change" in record.message] == ["profilestream"]
