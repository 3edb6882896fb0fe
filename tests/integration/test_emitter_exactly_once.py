"""Each change is announced exactly once and in order, whatever dies and whenever; real Kafka, real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from tests.integration.emitting import (
    CLOCK_MS,
    Place,
    crossing_of,
    expected_crossings,
    place,
    running,
    subscriber,
    until,
)

from profilestream.emitter import Emitter
from profilestream.settings import Settings
from profilestream.store.commits import Change, Commit
from profilestream.store.outbox import Outbox
from profilestream.store.pipeline import open_pipeline
from profilestream.store.shard_store import ShardStore
from profilestream.stream.announcer import Announcer, Fenced, read_announced_position

SHARDS = 4
EMITTER = """
import asyncio, signal
from profilestream.emitter import Emitter
from profilestream.settings import Settings

async def main():
    emitter = Emitter(Settings())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, emitter.stop)
    await emitter.run()

asyncio.run(main())
"""


@pytest.fixture
async def here(own_settings: Settings) -> AsyncIterator[Place]:
    async with place(own_settings, SHARDS) as made:
        yield made


@contextlib.contextmanager
def process(environment: Mapping[str, str]) -> Any:
    """An emitter in a process of its own; its standard error is the parent's."""
    child = subprocess.Popen([sys.executable, "-c", EMITTER], env=dict(environment), stdout=subprocess.DEVNULL)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait(10)


async def fill(here: Place, commits: int, changes: int) -> None:
    """Commits of `changes` changes each in every shard; every third customer comes back, so it exits."""
    for n in range(commits):
        await asyncio.gather(
            *(
                here.commit(shard, [(f"c{shard}-{n // 3}-{i}", "big_spender") for i in range(changes)])
                for shard in range(here.shards)
            )
        )


async def assert_announced_exactly_once_and_in_order(here: Place) -> None:
    records = await here.announced()
    seen: dict[tuple[str, str], int] = {}
    for record in records:
        customer, segment, crossing = crossing_of(record)
        assert crossing == seen.get((customer, segment), 0) + 1, (customer, segment, crossing)
        seen[customer, segment] = crossing
        assert customer.startswith(f"c{record.partition}-")
    assert seen == here.crossings
    assert len(records) == sum(here.crossings.values())


def outbox(here: Place, shard: int) -> Outbox:
    return Outbox(here.redis, here.keys(shard).outbox, here.keys(shard).head)


async def test_a_change_becomes_one_record_with_key_header_value_and_a_place_in_announced(here: Place) -> None:
    await here.commit(2, [("c42", "big_spender")])
    await here.commit(2, [("c42", "big_spender"), ("c43", "lapsing")])
    waiting = await outbox(here, 2).read(0, changes_max=10, bytes_max=10_000)
    await Emitter(here.settings).run(until_caught_up=True)

    records = await here.announced()
    assert [r.partition for r in records] == [2, 2, 2]
    assert [r.key for r in records] == [b"c42", b"c42", b"c43"]
    assert [r.value for r in records] == [change.value for commit in waiting for change in commit.changes]
    assert all(r.headers == (("content-type", b"application/cloudevents+json"),) for r in records)
    told = {r.key: json.loads(r.value) for r in await here.announced(here.settings.announced_topic)}
    namespace = here.settings.namespace
    assert told == {
        json.dumps([namespace, "c42", "big_spender"], separators=(",", ":")).encode(): {
            "crossing": 2, "change": "exited", "generation": "g1",
        },
        json.dumps([namespace, "c43", "lapsing"], separators=(",", ":")).encode(): {
            "crossing": 1, "change": "entered", "generation": "g1",
        },
    }  # fmt: skip
    position = await read_announced_position(here.settings, 2)
    assert position is not None
    assert (position.generation, position.sequence, position.positions) == ("g1", 2, {"purchases": 20})
    assert position.commit == waiting[-1].head.commit
    assert await read_announced_position(here.settings, 1) is None
    assert await here.waiting() == 0


async def test_what_the_store_commits_is_announced_with_the_heads_position(here: Place) -> None:
    pipeline = await open_pipeline(str(here.settings.redis), here.keys(1).head)
    store = ShardStore(pipeline, here.keys(1))
    await store.load_script()
    crossing, change, value = here.change("c1-é", "big_spender")
    entered = Change("c1-é", "big_spender", crossing, "entered" if change == "entered" else "exited", value)
    await store.send_commit(Commit("", "aa01", 1, CLOCK_MS, {"purchases": 5, "rekeyed": 2}, changes=[entered]))
    await store.send_commit(Commit("aa01", "aa02", 2, CLOCK_MS + 1, {"purchases": 9, "rekeyed": 2}))
    await pipeline.close()
    await Emitter(here.settings).run(until_caught_up=True)
    await assert_announced_exactly_once_and_in_order(here)
    position = await read_announced_position(here.settings, 1)
    assert position is not None
    assert (position.sequence, position.commit, position.clock) == (1, "aa01", CLOCK_MS)
    assert position.positions == {"purchases": 5, "rekeyed": 2}


async def test_a_kill_in_the_midst_of_twenty_thousand_changes_loses_and_repeats_none(
    here: Place, cli_environment: Mapping[str, str]
) -> None:
    filling = asyncio.create_task(fill(here, commits=200, changes=25))
    with process(cli_environment) as first, process(cli_environment) as second:
        await until(lambda: count_at_least(here, 3_000))
        first.kill()
        with process(cli_environment) as third:
            await asyncio.sleep(1)
            second.kill()
            await filling
            await until(lambda: nothing_waits(here), 60)
            await here.commit(0, [("c0-last", "big_spender")])  # announced by the third: it is up by now
            await until(lambda: nothing_waits(here), 60)
            third.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(third.wait, 10) == 0
    assert len(list(expected_crossings(here))) == 20_001
    await assert_announced_exactly_once_and_in_order(here)


async def test_many_kills_lose_and_repeat_nothing(here: Place, cli_environment: Mapping[str, str]) -> None:
    filling = asyncio.create_task(fill(here, commits=150, changes=10))
    for lifetime_s in (0.9, 1.3, 1.1, 1.6):
        with process(cli_environment) as child:
            await asyncio.sleep(lifetime_s)
            child.kill()
    await filling
    await Emitter(here.settings).run(until_caught_up=True)
    await assert_announced_exactly_once_and_in_order(here)


async def count_at_least(here: Place, number: int) -> bool:
    total = sum(here.crossings.values())
    return total - await here.waiting() >= number


async def nothing_waits(here: Place) -> bool:
    return await here.waiting() == 0


async def test_a_crash_between_the_transaction_and_the_removal_repeats_nothing(here: Place) -> None:
    for n in range(3):
        await here.commit(1, [(f"c1-{n}-{i}", "big_spender") for i in range(4)])
    announcer = Announcer(here.settings, 1)
    assert await announcer.open() is None
    commits = await outbox(here, 1).read(0, changes_max=5, bytes_max=10**6)
    assert [commit.head.sequence for commit in commits] == [1, 2]
    await announcer.announce("g1", commits)
    await announcer.close()  # the crash: nothing was removed
    assert await here.waiting() == 12

    await Emitter(here.settings).run(until_caught_up=True)
    await assert_announced_exactly_once_and_in_order(here)


async def test_a_crash_inside_a_transaction_leaves_nothing_of_it(here: Place) -> None:
    await here.commit(1, [(f"c1-{i}", "big_spender") for i in range(4)])
    commits = await outbox(here, 1).read(0, changes_max=10, bytes_max=10**6)
    announcer = Announcer(here.settings, 1)
    await announcer.open()
    producer: Any = announcer._producer
    await producer.begin_transaction()
    await producer.send_and_wait(here.settings.changes_topic, commits[0].changes[0].value, key=b"c1-0", partition=1)
    await announcer.close()

    await Emitter(here.settings).run(until_caught_up=True)
    await assert_announced_exactly_once_and_in_order(here)


async def test_a_zombie_that_wakes_up_can_announce_nothing(here: Place) -> None:
    await here.commit(0, [("c0-a", "big_spender")])
    zombie = Announcer(here.settings, 0)
    await zombie.open()
    commits = await outbox(here, 0).read(0, changes_max=10, bytes_max=10**6)
    await Emitter(here.settings).run(until_caught_up=True)
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    with pytest.raises(Fenced):
        await zombie.announce("g1", commits)
    await zombie.close()
    del zombie
    gc.collect()
    assert complaints == []  # no trace of the client library's own futures either
    await assert_announced_exactly_once_and_in_order(here)


async def test_a_stopped_process_that_goes_on_after_another_took_over_repeats_nothing(
    here: Place, cli_environment: Mapping[str, str]
) -> None:
    with process(cli_environment) as child:
        await fill(here, commits=6, changes=10)
        await until(lambda: nothing_waits(here))
        child.send_signal(signal.SIGSTOP)
        await fill(here, commits=6, changes=10)
        await Emitter(here.settings).run(until_caught_up=True)
        child.send_signal(signal.SIGCONT)
        await fill(here, commits=6, changes=10)
        await until(lambda: nothing_waits(here))
        await assert_announced_exactly_once_and_in_order(here)


async def test_a_fenced_emitter_takes_its_shard_back_while_it_is_still_assigned(here: Place) -> None:
    async with running(Emitter(here.settings)):
        await here.commit(3, [("c3-a", "big_spender")])
        await until(lambda: nothing_waits(here))
        worker = Announcer(here.settings, 3)  # a worker that loads the shard opens the id and reads
        position = await worker.open()
        assert position is not None and position.sequence == 1
        await worker.close()
        for n in range(3):
            await here.commit(3, [(f"c3-{n}", "big_spender")])
        await until(lambda: nothing_waits(here))
    await assert_announced_exactly_once_and_in_order(here)


async def test_commits_larger_than_a_transaction_and_a_record_batch_stay_whole(here: Place) -> None:
    long = "x" * 60
    await here.commit(0, [(f"c0-{long}-{i}", f"segment-{long}") for i in range(5_000)])
    await here.commit(0, [("c0-a", "big_spender")])
    (first,) = await outbox(here, 0).read(0, changes_max=2_000, bytes_max=1024 * 1024)
    assert len(first.changes) == 5_000
    emitter = Emitter(here.settings)
    await emitter.run(until_caught_up=True)
    assert (emitter.announced, emitter.transactions) == (5_001, 2)
    await assert_announced_exactly_once_and_in_order(here)


async def test_half_a_commit_waits_for_its_end(here: Place) -> None:
    keys = here.keys(0)
    crossing, change, value = here.change("c0-a", "big_spender")
    entry = {"customer": "c0-a", "segment": "big_spender", "crossing": crossing, "change": change, "value": value}
    await here.redis.xadd(keys.outbox, entry, id="1-1")
    emitter = Emitter(here.settings)
    async with running(emitter):
        await asyncio.sleep(1.5)
        assert emitter.announced == 0
        crossing, change, value = here.change("c0-b", "big_spender")
        end = json.dumps({"commit": "aa", "sequence": 1, "clock": None, "positions": {}}, separators=(",", ":"))
        await here.redis.hset(keys.head, mapping={"commit": "aa", "sequence": 1})
        await here.redis.xadd(keys.outbox, entry | {"customer": "c0-b", "value": value, "head": end}, id="1-2")
        await until(lambda: nothing_waits(here))
    await assert_announced_exactly_once_and_in_order(here)


async def test_the_time_from_outbox_to_subscriber(here: Place, record_property: Callable[[str, Any], None]) -> None:
    async with running(Emitter(here.settings)), subscriber(here) as consumer:
        await here.commit(0, [("c0-warm", "big_spender")])
        await until(lambda: nothing_waits(here))
        took_ms, seen = [], 0
        for n in range(40):
            await asyncio.sleep(0.05)
            began = time.perf_counter()
            await here.commit(n % SHARDS, [(f"c{n % SHARDS}-{n}", "big_spender")])
            while seen < n + 2:
                seen += sum(len(r) for r in (await consumer.getmany(timeout_ms=500)).values())
            took_ms.append((time.perf_counter() - began) * 1000)
    p50, p95 = statistics.median(took_ms), statistics.quantiles(took_ms, n=20)[-1]
    record_property("latency_ms", {"p50": p50, "p95": p95})
    print(f"outbox to subscriber: p50 {p50:.1f} ms, p95 {p95:.1f} ms")
