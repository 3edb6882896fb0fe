"""Subscribers of one group on a real Kafka: partitions move when one comes, goes, hangs or is killed."""

from __future__ import annotations

import asyncio
import random
import secrets
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.integration.emitting import until
from tests.integration.subscribing import Topic, change, crossings, nothing_comes, take

from profilestream import ChangeSubscriber, ReceivedChange

ROOT = Path(__file__).parent.parent.parent


async def test_a_second_subscriber_takes_its_part_and_nothing_is_lost_or_handed_out_twice(topic: Topic) -> None:
    """Each commits after every change, so the move itself costs no change twice."""
    got: dict[str, list[ReceivedChange]] = {"first": [], "second": []}

    async def work(name: str, changes: ChangeSubscriber) -> None:
        async for one in changes:
            got[name].append(one)
            await asyncio.sleep(0.01)  # the change is in hand while partitions move
            await changes.commit()

    await topic.put(*crossings(12, 60))  # enough to last until the move has come about
    first, second = topic.subscriber(), topic.subscriber()
    await first.start()
    tasks = [asyncio.create_task(work("first", first))]
    await until(lambda: len(got["first"]) >= 20)
    await second.start()
    tasks.append(asyncio.create_task(work("second", second)))
    await until(lambda: len(got["second"]) >= 20)
    first.stop()  # and back to one
    await tasks[0]
    await first.close()
    await until(lambda: len(got["first"]) + len(got["second"]) >= 720)
    second.stop()
    await tasks[1]
    await second.close()
    seen = Counter(one.id for name in got for one in got[name])
    assert seen == Counter(one.id for one in crossings(12, 60))
    for name in got:
        for c in range(12):
            numbers = [one.crossing for one in got[name] if one.customer_id == f"c{c}"]
            assert numbers == sorted(numbers)


async def test_partitions_move_only_when_the_change_in_hand_is_done_with(topic: Topic) -> None:
    await topic.put(*crossings(12, 3))
    async with topic.subscriber(handover_s=60.0) as first:
        (in_hand,) = await take(first, 1)
        async with topic.subscriber(handover_s=60.0) as second:
            assert await nothing_comes(second, 8)  # it has asked to join by then
            await first.commit()
            more = asyncio.create_task(take(first, 1))
            (theirs,) = await take(second, 1)
            assert theirs.id != in_hand.id
            more.cancel()


async def test_a_partition_that_stays_goes_on_where_it_was_without_a_commit(topic: Topic) -> None:
    await topic.put(*crossings(12, 3))
    async with topic.subscriber() as first:
        got = await take(first, 36)
        assert await nothing_comes(first)
        async with topic.subscriber() as second:
            moving = asyncio.create_task(nothing_comes(first, 5))  # takes part in the move
            again = await take(second, 1)
            theirs = {one.partition for one in got} & {again[0].partition}
            assert theirs
            assert await moving  # what stayed with the first is not handed out to it again


async def test_a_handler_that_hangs_gives_its_partitions_up_until_it_asks_for_the_next(topic: Topic) -> None:
    await topic.put(*crossings(12, 3))
    lines: list[str] = []
    async with topic.subscriber(handling_s_max=2.0, report=lines.append) as first:
        (in_hand,) = await take(first, 1)
        async with topic.subscriber() as second:
            assert in_hand.id in {one.id for one in await take(second, 36)}
            assert len(lines) == 1 and "in hand for 2 s" in lines[0]
            await second.commit()
        await first.commit()  # nothing is its own any more: no error, and nothing goes back
        assert await nothing_comes(first, 5)
        await topic.put(change("c1", 4))
        assert (await take(first, 1))[0].crossing == 4
    assert await topic.lag() > 0


async def test_a_change_in_hand_for_too_long_is_handed_over_and_said(topic: Topic) -> None:
    await topic.put(*crossings(12, 3))
    lines: list[str] = []
    async with topic.subscriber(handover_s=0.5, report=lines.append) as first:
        (in_hand,) = await take(first, 1)
        async with topic.subscriber(handover_s=0.5) as second:
            await take(second, 1)
            assert any("a change is in hand for 0.5 s" in line for line in lines)
            await first.commit(in_hand)  # of a partition that may have gone: no error either way


async def test_killed_at_any_moment_everything_is_seen_and_nothing_committed_comes_again(topic: Topic) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    await topic.put(*crossings(15, 40))
    expected = {f"big_spender/c{c}/{n}" for c in range(15) for n in range(1, 41)}
    seen: Counter[str] = Counter()
    committed: set[str] = set()
    group = f"killed-{seed}"
    kills = 0
    deadline = time.monotonic() + 240
    while set(seen) != expected:
        assert time.monotonic() < deadline, f"{len(seen)} of {len(expected)} after {kills} kills"
        words = [sys.executable, "-m", "tests.integration.subscribing", topic.kafka, topic.name, group, "7"]
        before = set(committed)
        for line in await asyncio.to_thread(lines_until_killed, words, rng.randint(200, 500), expected - set(seen)):
            what, one = line.split()
            if what == "committed":
                committed.add(one)
            else:
                assert one not in before, f"{one} was committed and came again"
                seen[one] += 1
        kills += 1
    assert kills >= 2
    assert committed


def lines_until_killed(words: list[str], count: int, missing: set[str]) -> list[str]:
    """What a subscriber prints until it is killed: after so many lines, or once all that was missing has come."""
    lines: list[str] = []
    left = set(missing)
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        while len(lines) < count and left:
            lines.append(child.stdout.readline())
            left.discard(lines[-1].split()[1])
        child.kill()
        rest = child.stdout.read().splitlines(keepends=True)
    return [*lines, *(line for line in rest if line.endswith("\n"))]
