"""A shard whose outbox is full, beside a store that only counts: what it says of itself, and what it holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tests.property.shard import DAY, T0, Shard, engine_of

from profilestream.core.engine import Engine
from profilestream.roles import Role
from profilestream.settings import Settings
from profilestream.store.commits import Commit, CommitReply, Head
from profilestream.stream.counters import Counters
from profilestream.stream.generations import Live
from profilestream.stream.slices import Inbox, Slice
from profilestream.stream.sources import Sources
from profilestream.stream.turns import Turns
from profilestream.updater import Updater
from profilestream.wire.states import encode_state

BEGAN = T0 + DAY


class Store:
    """Answers commits after a while; `states` are those of customers for whom something is due."""

    def __init__(self, states: dict[str, bytes], answer_s: float) -> None:
        self.states = states
        self.outbox = self.passed = 0
        self.clocks: list[int | None] = []
        self._commit = ""
        self._answer_s = answer_s

    async def load(self, customers: list[str]) -> list[bytes | None]:
        return [self.states.get(customer) for customer in customers]

    def send_commit(self, commit: Commit) -> asyncio.Future[CommitReply]:
        self._commit = commit.commit
        self.outbox += len(commit.changes)
        self.clocks.append(commit.clock)
        for write in commit.profiles:
            self.passed += self.states.pop(write.customer_id, None) is not None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[CommitReply] = loop.create_future()
        reply = CommitReply("done", commit.commit, self.outbox, self._due())
        loop.call_later(self._answer_s, lambda: answer.done() or answer.set_result(reply))
        return answer

    def _due(self) -> list[str]:
        return sorted(self.states)[:1]

    async def due(self, *_: Any) -> list[tuple[str, int]]:
        return [(customer, 0) for customer in self._due()]

    async def read_head(self) -> Head:
        return Head(commit=self._commit)

    async def outbox_changes(self) -> int:
        return self.outbox


async def no_pace(count: int) -> None:
    """Nothing is held to a rate."""


class World:
    """Shards of one worker, of which one at a time lets time pass."""

    def __init__(self, **settings: Any) -> None:
        self.engine: Engine = engine_of({"n": "count(purchase, over='1h')"}, {"s": "count(purchase) >= 1"})
        self.settings = Settings(kafka="x:1", redis="redis://x", outbox_changes_max=3, tick_interval_ms=10, **settings)
        self.tools: Any = SimpleNamespace(
            settings=self.settings, engine=self.engine, generation=SimpleNamespace(name="g1", shards=1),
            customers=None, commit_customers_max=self.settings.commit_customers_max, keep_pace=no_pace,
            counters=Counters(), sources=Sources(self.engine, self.settings), producer=None, report=lambda line: None,
            troubles=SimpleNamespace(over=lambda number: None), turns=Turns(1),
        )  # fmt: skip

    def due(self, count: int) -> dict[str, bytes]:
        """The states of customers for whom something is due."""
        shard = Shard(self.engine)
        for n in range(count):
            shard.take(self._order(f"due{n}", T0) | {"type": "purchase"})
        return {name: encode_state(profile, self.engine) for name, profile in shard.profiles.items()}

    def updater(self, store: Any, orders: int, wall_clock: Callable[[], int | None] = lambda: None) -> Updater:
        inbox = Inbox(dict.fromkeys(self.tools.sources.topics, 0))
        records: list[Any] = [
            SimpleNamespace(
                topic="purchases", partition=0, offset=n, timestamp=BEGAN + n, key=None, headers=(),
                value=json.dumps(self._order(f"new{n}", BEGAN + n)).encode(),
            )
            for n in range(orders)
        ]  # fmt: skip
        if records:
            inbox.put(Slice("purchases", 0, 0, records))
        return Updater(
            0, Head(clock=BEGAN), inbox, store, self.tools, wall_clock, lambda: None, None, None, Role(Live("g1"))
        )

    def _order(self, customer: str, at: int) -> dict[str, Any]:
        return {"event_id": customer, "customer_id": customer, "occurred_at": at, "amount_minor": 1}


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def test_a_shard_with_records_at_hand_that_wait_for_room_is_not_idle_and_keeps_to_its_clock() -> None:
    world, store = World(commit_changes_max=1), Store({}, 0.02)
    updater = world.updater(store, 12, wall_clock=lambda: None if updater.inbox else BEGAN + 10**9)
    task = asyncio.create_task(updater.run())
    while updater.positions.get("purchases", 0) < 12:
        await until(lambda: store.outbox >= 3)
        await asyncio.sleep(0.05)
        assert not updater.idle.is_set()
        store.outbox = 0
        await until(lambda: store.outbox >= 3 or updater.idle.is_set())
        if updater.idle.is_set():
            break
    assert updater.positions["purchases"] == 12
    assert store.clocks[:12] == [BEGAN + n for n in range(12)]
    updater.stop()
    await task


async def test_a_shard_whose_outbox_is_full_leaves_its_turn_to_let_time_pass_to_others() -> None:
    world = World(commit_customers_max=1, commits_in_flight_max=1)
    other = Store(world.due(30), 0.02)
    tasks = [asyncio.create_task(world.updater(other, 0).run())]
    await until(lambda: other.passed > 0)
    full = Store(world.due(30), 0.001)
    tasks.append(asyncio.create_task(world.updater(full, 12).run()))
    await until(lambda: full.outbox >= 3)
    await until(lambda: other.passed == 30)
    for task in tasks:
        task.cancel()
