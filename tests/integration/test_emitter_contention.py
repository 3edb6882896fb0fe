"""Relays that hold the same shard at the same time, and Kafka's refusals in the midst of a transaction."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, KafkaError, NotLeaderForPartitionError, OutOfOrderSequenceNumber
from tests.integration.emitting import Place, crossing_of, expected_crossings, place, until

from profilestream.settings import Settings
from profilestream.store.outbox import Outbox
from profilestream.stream import relay
from profilestream.stream.relay import RelayEvents, ShardRelay


@pytest.fixture
async def here(own_settings: Settings) -> AsyncIterator[Place]:
    async with place(own_settings, 1) as here:
        yield here


class Watched:
    """A relay of shard 0 that notes what it tells its emitter."""

    def __init__(self, here: Place) -> None:
        keys = here.keys(0)
        self.announced = 0
        self.lost: list[Exception] = []
        events = RelayEvents(self._count, lambda: None, self.lost.append, lambda line: None)
        outbox = Outbox(here.redis, keys.outbox, keys.head)
        self.relay = ShardRelay(here.settings, outbox, generation=here.generation, shard=0, events=events)

    def _count(self, changes: int) -> None:
        self.announced += changes


@contextlib.asynccontextmanager
async def at_work(*watched: Watched) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one.relay.run()) for one in watched]
    try:
        yield
    finally:
        for one in watched:
            one.relay.stop()
        await asyncio.gather(*tasks)


async def nothing_waits(here: Place) -> bool:
    return await here.waiting() == 0


async def assert_each_once_and_in_order(here: Place) -> None:
    found = [crossing_of(record) for record in await here.announced()]
    assert Counter(found) == Counter(expected_crossings(here))
    by_pair: dict[tuple[str, str], list[int]] = {}
    for customer, segment, crossing in found:
        by_pair.setdefault((customer, segment), []).append(crossing)
    assert all(numbers == sorted(numbers) for numbers in by_pair.values())


async def test_relays_that_both_hold_a_shard_take_turns_and_never_stop_each_other_for_good(here: Place) -> None:
    one, two = Watched(here), Watched(here)
    async with at_work(one, two):
        for n in range(60):
            await here.commit(0, [(f"c{n % 7}", "big_spender"), (f"c{n % 5}", "lapsing")])
            await asyncio.sleep(0.05)
        await until(lambda: nothing_waits(here), 60)
        # Both are still there, and a shard that was idle is announced within seconds.
        await asyncio.sleep(1)
        await here.commit(0, [("late", "big_spender")])
        await until(lambda: nothing_waits(here), 30)
    await assert_each_once_and_in_order(here)


@pytest.mark.parametrize("refusal", [OutOfOrderSequenceNumber, InvalidProducerEpoch, NotLeaderForPartitionError])
async def test_a_refusal_in_a_transaction_is_settled_by_opening_the_id_anew(
    refusal: type[KafkaError], here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Any = AIOKafkaProducer.send_batch
    refused = 0

    async def send_batch(producer: Any, batch: Any, topic: str, *, partition: int) -> Any:
        """Every third batch is refused, half of these after the broker has taken it."""
        nonlocal refused
        refused += 1
        if refused % 3:
            return await original(producer, batch, topic, partition=partition)
        if refused % 2:
            await (await original(producer, batch, topic, partition=partition))
        future = asyncio.get_running_loop().create_future()
        future.set_exception(refusal())
        return future

    monkeypatch.setattr(AIOKafkaProducer, "send_batch", send_batch)
    monkeypatch.setattr(relay, "_STANDING_S_MAX", 0.4)  # an epoch that is refused reads as a fence, and is waited out
    watched = Watched(here)
    async with at_work(watched):
        for n in range(12):
            await here.commit(0, [(f"c{n % 3}", "big_spender")])
            await until(lambda: nothing_waits(here), 60)
    assert refused > 12
    await assert_each_once_and_in_order(here)
