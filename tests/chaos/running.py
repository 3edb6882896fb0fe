"""One chaos run from beginning to end: servers, load and programs up; faults; everything caught up; the verdict."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.announcements import Announcements, examine
from tests.chaos.faults import KINDS, Fault, plan
from tests.chaos.feeding import PARTITIONS, SHARDS, Feeder
from tests.chaos.programs import WORDS, Fleet, Role
from tests.chaos.servers import Broker, Store, make_topic
from tests.chaos.story import DEFINITIONS, Story
from tests.chaos.striking import Striker
from tests.chaos.verdict import Truth, Verdict, judge, read_truth
from tests.chaos.watching import Watch
from tests.comparison import read_profiles
from tests.kafka_records import read_topic

NAMESPACE = "chaos"
REPAIR_S_MAX = 300.0
CATCH_UP_S_MAX = 900.0
BACK_UP_EVERY_S = 3.0
ENVIRONMENT = {
    # The least that every broker allows: a killed program is noticed sooner.
    "PROFILESTREAM_SESSION_TIMEOUT_MS": "6000",
    # Small commits: more moments in which to die.
    "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "20",
    # More than a customer has events, so that the limit on remembered ids, which is by design, is not met.
    "PROFILESTREAM_REMEMBERED_IDS_MAX": "4096",
}
START: tuple[Role, ...] = ("worker", "worker", "emitter", "emitter")


@dataclass
class Strike:
    """A fault that was struck; `repair_s` is None where it was not repaired in time. `back_s` is, of what was frozen,
    the time to repair once it went on."""

    fault: Fault
    at_s: float
    repair_s: float | None = None
    back_s: float | None = None


@dataclass
class Run:
    """What was done and what came of it."""

    seed: int
    rate: float
    customers: int
    seconds: float = 0.0
    catch_up_s: float = 0.0
    strikes: list[Strike] = field(default_factory=list)
    fed: Counter[str] = field(default_factory=Counter)
    ended_alone: Counter[str] = field(default_factory=Counter)
    endings_s: list[tuple[Role, float]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    repairs: int = 0
    problems: list[str] = field(default_factory=list)
    truth: Truth | None = None
    verdict: Verdict = field(default_factory=Verdict)
    announced: Announcements = field(default_factory=Announcements)

    def wrong(self) -> list[str]:
        """Everything that is not as it must be."""
        return [*self.problems, *self.verdict.wrong(), *self.announced.wrong]


class Chaos:
    """A run in a folder of its own; `say` is told how it goes, a line each."""

    def __init__(
        self, folder: Path, seed: int, seconds: float, rate: float, customers: int, say: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._say = say
        self._broker = Broker(folder / "kafka")
        self._store = Store(folder / "redis")
        self._story = Story(seed, customers, seconds)
        self._run = Run(seed, rate, customers)
        self._measuring: list[asyncio.Task[None]] = []

    async def run(self) -> Run:
        """Whatever goes wrong is in the result; an exception is a fault of the run itself."""
        kafka = await asyncio.to_thread(self._broker.start)
        await asyncio.to_thread(self._store.start)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PROFILESTREAM_")}
        addresses = {"PROFILESTREAM_KAFKA": kafka, "PROFILESTREAM_REDIS": self._store.url}
        own = {"PROFILESTREAM_NAMESPACE": NAMESPACE, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        self._fleet = Fleet({**inherited, **ENVIRONMENT, **addresses, **own}, self._folder / "programs")
        try:
            await self._make_topics(kafka)
            feeder = Feeder(kafka, self._story, self._run.seed, self._run.rate)
            await self._under_load(feeder)
            await self._catch_up()
            self._say("reading the raw topics, asking the oracle")
            await self._judge(kafka)
        finally:
            self._fleet.kill_all()
            self._store.kill()
            await asyncio.to_thread(self._broker.kill)
        return self._run

    async def _make_topics(self, kafka: str) -> None:
        for topic, partitions in PARTITIONS.items():
            if partitions != SHARDS:
                await make_topic(kafka, topic, partitions)
        (self._fleet.folder / "definitions.toml").write_text(DEFINITIONS)
        await self._fleet.run("init", "definitions.toml", "--shards", str(SHARDS))

    async def _under_load(self, feeder: Feeder) -> None:
        """Feeds and strikes for as long as was asked for, and until every kind has been struck."""
        with self._store.client() as client:
            prefix = f"{NAMESPACE}:{client.get(f'{NAMESPACE}:live')}"
        self._watch = Watch(self._store.client(), prefix, feeder.reached)
        self._striker = Striker(self._fleet, self._broker, self._store)
        for role in START:
            self._fleet.start(role)
        feeder.start()
        beside = [asyncio.create_task(work) for work in (self._back_up(), self._mind(), self._watch.look())]
        try:
            if await self._watch.repaired(time.monotonic(), REPAIR_S_MAX) is None:
                self._run.problems.append(f"they never kept up: {self._watch.behind}\n{self._fleet.ends_of_logs()}")
            self._began = time.monotonic()
            for fault in plan(self._run.seed):
                # What is not repaired does not get better by more of it; what it led to is judged all the same.
                enough = time.monotonic() - self._began > self._seconds and fault.number > len(KINDS)
                if enough or self._run.problems:
                    break
                await self._strike(fault)
            await asyncio.gather(*self._measuring)
            self._run.seconds = time.monotonic() - self._began
            await feeder.stop()
        finally:
            for task in beside:
                task.cancel()
        for task in beside:
            if not task.cancelled() and task.done():
                task.result()  # a bug of the run itself
        self._run.fed = feeder.counts

    async def _strike(self, fault: Fault) -> None:
        strike = Strike(fault, time.monotonic() - self._began)
        self._run.strikes.append(strike)
        since = await self._striker.strike(fault)
        measured = asyncio.create_task(self._measure(strike, since))
        self._measuring.append(measured)
        if not fault.rushed:
            await measured
        await asyncio.sleep(fault.pause_s)

    async def _measure(self, strike: Strike, since: float) -> None:
        fault = strike.fault
        strike.repair_s = await self._watch.repaired(since, REPAIR_S_MAX)
        said = _said(strike.repair_s)
        if fault.kind.endswith("past its session") and (back := await self._striker.thawed()) is not None:
            strike.back_s = await self._watch.repaired(back, REPAIR_S_MAX)
            said += f", and once it went on in {_said(strike.back_s)}"
        self._say(f"{strike.at_s:7.1f} s  fault {fault.number}: {fault.kind}, repaired in {said}")
        if strike.repair_s is None:
            ends = self._fleet.ends_of_logs()
            what = f"fault {fault.number} ({fault.kind}) is not repaired"
            self._run.problems.append(f"{what}: {self._watch.behind}\n{ends}")

    async def _mind(self) -> None:
        while True:
            self._fleet.replace_ended()
            await asyncio.sleep(1)

    async def _back_up(self) -> None:
        while True:
            await self._striker.back_up()
            await asyncio.sleep(BACK_UP_EVERY_S)

    async def _catch_up(self) -> None:
        """Ends every program, half of them by force, and lets a worker and an emitter finish."""
        chance = random.Random(f"end {self._run.seed}")
        for program in list(self._fleet.programs):
            if chance.random() < 0.5:
                self._fleet.kill(program)
            else:
                await self._fleet.terminate(program)
        run, fleet = self._run, self._fleet
        began = time.monotonic()
        try:
            for role in ("worker", "emitter"):
                await fleet.run(*WORDS[role], "--until-caught-up", timeout_s=CATCH_UP_S_MAX)
        except AssertionError as error:
            run.problems.append(str(error))
        run.catch_up_s = time.monotonic() - began
        run.ended_alone, run.endings_s, run.statuses = fleet.ended_alone, fleet.endings_s, fleet.statuses
        for log in fleet.logs():
            said = log.read_text("utf-8", "replace")
            run.repairs += said.count(": repaired; ")
            if "Traceback" in said:
                run.problems.append(f"a traceback in {log.name}:\n{said[said.index('Traceback') :][:2_000]}")
        # One that is still starting has nothing to hand over, and ends at once.
        if run.statuses.keys() - {0, -signal.SIGTERM}:
            run.problems.append(f"exit statuses after SIGTERM: {dict(run.statuses)}")

    async def _judge(self, kafka: str) -> None:
        records = [record for topic in PARTITIONS for record in await read_topic(kafka, topic)]
        letters = await read_topic(kafka, "dead-letters")
        changes = await read_topic(kafka, "segment-changes")
        stored = await asyncio.to_thread(read_profiles, self._store.url, NAMESPACE)
        run = self._run
        run.truth = await asyncio.to_thread(read_truth, DEFINITIONS, records, SHARDS, PARTITIONS)
        run.verdict = await asyncio.to_thread(judge, run.truth, stored, letters, NAMESPACE)
        run.announced = examine(changes, stored, run.truth.events, NAMESPACE)


def _said(seconds: float | None) -> str:
    return "NEVER" if seconds is None else f"{seconds:.1f} s"
