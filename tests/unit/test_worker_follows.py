"""Which generations a worker works on: it follows a promotion whatever else it waits for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from profilestream import worker as worker_module
from profilestream.core.errors import ProfilestreamError, ServerUnavailable
from profilestream.roles import Role
from profilestream.settings import Settings
from profilestream.store.metadata import Generation
from profilestream.stream.generations import Generations, Live
from profilestream.worker import Worker

TEXT = '[traits]\norders = "count(purchase)"\n'
MADE = "2026-01-01T00:00:00.000Z"


class Work:
    """Stands in for the work on a generation; that on g2 waits for its group until `rebalanced` is set."""

    rebalanced: asyncio.Event

    def __init__(self, settings: Any, generation: Generation, role: Role, *_: Any) -> None:
        self.generation = generation
        self.role = role
        self.stopped = False

    async def start(self) -> None:
        if self.generation.name == "g2":
            await self.rebalanced.wait()

    def follow(self, role: Role) -> None:
        self.role = role

    async def stop(self) -> None:
        self.stopped = True


def known(live: str, turn: int) -> Generations:
    found = {}
    for name in ("g1", "g2", "g3"):
        state = "live" if name == live else "kept"
        found[name] = Generation(name, 2, TEXT, "abc", MADE, state)
    return Generations(found, Live(live, turn))


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(worker_module, "GenerationWork", Work)
    Work.rebalanced = asyncio.Event()
    return Worker(Settings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1/0"), lambda line: None)


async def match(worker: Worker, news: Generations | None = None) -> None:
    if news is not None:
        worker.known = news
    async with asyncio.timeout(5):
        await worker._match()
    await asyncio.sleep(0)


async def test_a_promotion_does_not_wait_for_a_generation_whose_group_does_not_come_to_rest(worker: Worker) -> None:
    await match(worker, known("g3", 1))
    await match(worker)
    assert worker.works.keys() == {"g1", "g3"}
    assert worker.works["g1"].role.live is None
    await match(worker, known("g1", 2))
    assert worker.works["g1"].role.live == Live("g1", 2) and worker.works["g3"].role.live is None
    Work.rebalanced.set()
    await asyncio.sleep(0)
    await match(worker)
    assert worker.works.keys() == {"g1", "g2", "g3"}
    # What it is was told to it while it waited.
    leader = worker.works["g2"].role.leader
    assert leader is not None and leader.name == "g1"


async def test_a_generation_that_is_dropped_while_its_group_comes_to_rest_is_let_go(worker: Worker) -> None:
    await match(worker, known("g3", 1))
    work: Any = worker._beginning["g2"][0]
    there = known("g3", 1)
    worker.known = Generations({**there.by_name, "g2": replace(there.by_name["g2"], state="dropping")}, there.live_now)
    Work.rebalanced.set()
    await match(worker)
    await match(worker)
    assert work.stopped and "g2" not in worker.works


@pytest.mark.parametrize("name", ["g1", "g3"])
async def test_a_generation_that_a_lost_server_keeps_from_beginning_begins_once_it_answers(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    lost: list[Exception] = [ConnectionResetError(), ServerUnavailable("Kafka at 127.0.0.1:1 does not answer (X)")]

    class Late(Work):
        async def start(self) -> None:
            if self.generation.name == name and lost:
                raise lost.pop()

    monkeypatch.setattr(worker_module, "GenerationWork", Late)
    monkeypatch.setattr(worker_module, "CHECK_S", 0.001)
    said: list[str] = []
    worker = Worker(Settings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1/0"), said.append)
    await match(worker, known("g3", 1))
    async with asyncio.timeout(10):
        while name not in worker.works:
            await match(worker)
            await asyncio.sleep(0.001)
    assert worker.works.keys() == {"g1", "g2", "g3"} and not lost
    assert sum(line.startswith(f"folding generation {name}") for line in said) == 1
    assert "Kafka at 127.0.0.1:1 does not answer (X); trying again" in said


async def test_a_kept_generation_that_cannot_be_worked_on_is_let_go_and_the_live_one_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, worker: Worker
) -> None:
    wrong = {"g1"}

    class Wrong(Work):
        async def start(self) -> None:
            if self.generation.name in wrong:
                raise ProfilestreamError("no topic purchases")

    monkeypatch.setattr(worker_module, "GenerationWork", Wrong)
    for _ in range(3):
        await match(worker, known("g3", 1))
    assert worker.works.keys() == {"g2", "g3"}
    worker.works.clear()
    wrong.add("g3")
    with pytest.raises(ProfilestreamError, match="no topic purchases"):
        for _ in range(2):
            await match(worker)


async def test_a_generation_whose_time_is_over_is_let_go_and_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "GenerationWork", Work)
    Work.rebalanced = asyncio.Event()
    said: list[str] = []
    worker = Worker(Settings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1/0"), said.append)
    await match(worker, known("g3", 1))
    await match(worker)
    work: Any = worker.works["g1"]
    there = known("g3", 1)
    past = replace(there.by_name["g1"], kept_until=MADE)
    await match(worker, Generations({**there.by_name, "g1": past}, there.live_now))
    await match(worker)
    assert work.stopped and worker.works.keys() == {"g3"}
    assert said.count(past.question) == 1
