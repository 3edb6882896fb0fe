"""One world from its seed: processes come, die, freeze and change places, servers fail, then all becomes calm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

from faust.types import TP

from profilestream.carrying import FROM_LIVE
from profilestream.store.keys import Keys, ShardKeys
from profilestream.stream.generations import Generations, Live
from tests.simulator import definitions, faults, seams, workload
from tests.simulator.kafka_broker import Broker
from tests.simulator.kafka_clients import TRANSACTION_TIMEOUT_S
from tests.simulator.loop import Process, Stuck
from tests.simulator.processes import EmitterHost, Host, WorkerHost
from tests.simulator.redis_server import Redis
from tests.simulator.timeline import Timeline

SETTLE_S_MAX = 120.0
STEPS_MAX = 600_000
WORKERS = EMITTERS = 2


class World:
    """Everything of one seed. `run` lets it happen; afterwards `check.problems` says what is wrong, if anything."""

    def __init__(self, seed: int, traces: bool = False) -> None:
        random = Random(f"world {seed}")
        self.seed = seed
        self.work = workload.make(random)
        wall_ms = workload.BEGIN_MS if self.work.clock == "wall" else self.work.end_ms
        self.line = Timeline(random.getrandbits(64), wall_ms, traces)
        self.broker = Broker(self.line, self.work.partitions)
        self.redis = Redis(self.line)
        self.producers = workload.Producers(self.line, self.broker)
        self.settings = definitions.settings(
            commit_customers_max=random.choice((1, 2, 3, 50)),
            commit_changes_max=random.choice((1, 2, 5_000)),
            commits_in_flight_max=random.choice((1, 2, 4)),
            cached_profiles_max=random.choice((1, 100)),
            outbox_changes_max=random.choice((2, 100_000, 100_000)),
            waiting_bytes_max=random.choice((1_500, 1_000_000)),
            timers_page_max=random.choice((1, 250)),
            align_records_min=random.choice((1, 3, 500)),
            align_interval_ms=random.choice((20, 300)),
        )
        self.known = Generations({"g1": definitions.generation(self.work.text, self.work.shards)}, Live("g1"))
        self.view = "g1"
        self.workers: list[WorkerHost] = []
        self.emitters: list[EmitterHost] = []
        self.struck: list[str] = []
        self.untold = False
        """Whether a promotion was told to nobody, so that subscribers miss numbers."""
        self.dead_hosts: list[Host] = []
        self._over = False
        self.random = random
        seams.Present.line, seams.Present.broker, seams.Present.redis = self.line, self.broker, self.redis

    @property
    def live(self) -> str:
        assert self.known.live_now is not None
        return self.known.live_now.name

    @property
    def text(self) -> str:
        """The definitions of the generation in view."""
        return self.known.by_name[self.view].definitions

    @property
    def shard_keys(self) -> list[ShardKeys]:
        """The keys of the generation in view."""
        return [Keys("ps", self.view).shard(n) for n in range(self.work.shards)]

    def run(self) -> None:
        """Lets it all happen; raises Stuck when it does not come to rest."""
        self.line.loop.run(self._live(), STEPS_MAX)

    async def _live(self) -> None:
        arrivals, line = self.work.arrivals, self.line
        for arrival in arrivals[: self.work.prefilled]:
            self._append(arrival)
        for n in range(WORKERS):
            self.workers.append(self._start_worker(n))
        for n in range(EMITTERS):
            self.emitters.append(self._start_emitter(n))
        self.rebalance_workers()
        self.rebalance_emitters()
        span_s = self.random.uniform(0.5, 3.0)
        for _ in range(self.random.choice((0, 1, 2, 4, 8))):
            fault = self.random.choice(faults.LIKELY)
            line.later(self.random.uniform(0.02, span_s), self.strike, fault)
        self._plan_generations(span_s)
        rest = arrivals[self.work.prefilled :]
        for arrival in rest:
            await asyncio.sleep(self.random.uniform(0.0, 2 * span_s / len(rest)))
            self._append(arrival)
        await asyncio.sleep(max(0.0, span_s - line.loop.time()) + 0.2)
        await self._become_calm()
        await self._settle()
        await self._promote_in_calm()
        if self.work.clock == "wall":
            for _ in range(self.random.choice((1, 2))):
                line.leap_to(line.wall_ms() + self.random.choice((7, 50, 300)) * workload.HOUR_MS)
                line.tell("the wall clock leaps")
                await self._settle()

    def _append(self, arrival: workload.Arrival) -> None:
        if self.work.clock == "wall":
            self.line.leap_to(arrival.timestamp)
        self.producers.append(arrival)
        self.line.tell(f"produced {arrival.kind} to {arrival.topic}/{arrival.partition}: {arrival.value!r}")

    # Generations

    def _plan_generations(self, span_s: float) -> None:
        """In some worlds another generation is made, promoted, rolled back, promoted again, at any time."""
        random = self.random
        if random.random() < 0.5:
            return
        at_s = random.uniform(0.0, span_s / 2)
        self.line.later(at_s, self._make_generation)
        for _ in range(random.choice((0, 1, 2, 2, 4))):
            at_s += random.choice((0.05, 0.3, 1.0)) * random.random() * span_s
            self.line.later(at_s, self._strike_with_promotion)

    def _make_generation(self) -> None:
        """By folding the log, or by taking profiles over: then it may begin where the live one stands, if nothing is
        fresh."""
        text = definitions.NEXT[self.work.text]
        more: dict[str, Any] = {"base": "g1"}
        if self.random.random() < 0.6:
            more["method"] = "carry"
            if not definitions.carrier(self.work.text, text).fresh and self.random.random() < 0.7:
                more["start"] = {"from": FROM_LIVE}
        following = definitions.generation(text, self.work.shards, "g2", "building", **more)
        self._publish(replace(self.known, by_name={**self.known.by_name, "g2": following}))
        self.rebalance_workers()

    async def _promote_in_calm(self) -> None:
        """Nothing makes shards begin anew but the promotions, which come one on the heels of the other."""
        if len(self.known.by_name) > 1:
            for _ in range(self.random.choice((0, 1, 2, 3))):
                self._promote()
                await asyncio.sleep(self.random.uniform(0.0, 0.1))
            await self._settle()

    def _strike_with_promotion(self) -> None:
        if not self._over:
            self._promote()

    def _promote(self) -> None:
        """Or roll back: the other one becomes live, in the next turn."""
        if not self._is_carried():
            return
        announce: Any = self.random.choice(("net", "net", "none"))
        self.untold = self.untold or announce == "none"
        name = "g1" if self.live == "g2" else "g2"
        self._publish(replace(self.known, live_now=Live(name, self.known.turn + 1, "backfill", announce)))

    def _is_carried(self) -> bool:
        """Whether every shard of a generation that takes profiles over is done with that; else nobody would promote
        it."""
        if self.known.by_name["g2"].method != "carry":
            return True
        heads = [Keys("ps", "g2").shard(n).head for n in range(self.work.shards)]
        found = [self.redis.server.data.keys.get(head.encode(), {}).get(b"carried") for head in heads]
        return self.live == "g2" or all(carried == b"done" for carried in found)

    def _publish(self, known: Generations) -> None:
        self.known = known
        self.line.tell(f"topic generations: {known.live_now}, {sorted(known.by_name)}")
        for host in (*self.workers, *self.emitters):
            self._tell(host, known)

    # Processes

    def _start_worker(self, n: int) -> WorkerHost:
        process = Process(self.line.loop, f"worker {n}", self._died)
        host = WorkerHost(process, self.line, self.broker, self.work, self.settings)
        host.start()
        self._tell(host, self.known)
        return host

    def _start_emitter(self, n: int) -> EmitterHost:
        process = Process(self.line.loop, f"emitter {n}", self._died)
        host = EmitterHost(process, self.line, self.redis, self.work, self.settings)
        host.start()
        self._tell(host, self.known)
        return host

    def _died(self, process: Process) -> None:
        """The group notices after a while, and somebody starts it again after another."""
        self.line.tell(f"{process.name} is killed")
        if self._over:
            return
        random = self.random
        hosts: list[Any] = self.workers if process.name.startswith("worker") else self.emitters
        n = next(i for i, host in enumerate(hosts) if host.process is process)
        rebalance = self.rebalance_workers if hosts is self.workers else self.rebalance_emitters
        self.line.later(random.uniform(0.05, 0.4), rebalance)
        self.line.later(random.uniform(0.1, 1.0), self._restart, hosts, n, rebalance)

    def _restart(self, hosts: list[Any], n: int, rebalance: Callable[[], None]) -> None:
        if self._over or hosts[n].process.alive:
            return
        self.dead_hosts.append(hosts[n])
        hosts[n] = self._start_worker(n) if hosts is self.workers else self._start_emitter(n)
        self.line.later(self.random.uniform(0.01, 0.2), rebalance)

    def rebalance_workers(self) -> None:
        """Each shard, with its partition of every topic, goes to one of those who answer the group."""
        able = [host for host in self.workers if host.process.alive and not host.process.frozen]
        if not able:
            return
        for host in self.workers:
            host.owns = {}
        for name in self.known.by_name:
            choice = [self.random.randrange(len(able)) for _ in range(self.work.shards + 1)]
            for host in able:
                host.owns[name] = set()
            for topic in (*self.work.topics, "rekeyed"):
                for partition in range(self.work.partitions[topic]):
                    able[choice[partition]].owns[name].add(TP(topic, partition))
        for host in able:
            self._post(host, {name: frozenset(owned) for name, owned in host.owns.items()})

    def rebalance_emitters(self) -> None:
        able = [host for host in self.emitters if host.process.alive and not host.process.frozen]
        if not able:
            return
        owners = [self.random.choice(able) for _ in range(self.work.shards)]
        for host in able:
            self._post(host, frozenset(n for n, owner in enumerate(owners) if owner is host))

    def _post(self, host: Host, assignment: Any) -> None:
        """Not everybody hears of it at once: for a while two may hold the same."""
        host.wanted = assignment  # type: ignore[attr-defined]
        self._tell(host, assignment)

    def _tell(self, host: Any, news: Any) -> None:
        delay_s = 0.001 if self._over else self.random.choice((0.001, 0.001, self.random.uniform(0.0, 0.6)))
        host.posted_s = max(getattr(host, "posted_s", 0.0), self.line.loop.time() + delay_s)
        self.line.at(host.posted_s, host.mailbox.put_nowait, news)

    # Faults

    def strike(self, fault: str) -> None:
        if self._over:
            return
        self.struck.append(fault)
        self.line.tell(f"fault: {fault}")
        faults.BY_NAME[fault](self)

    # Calm

    async def _become_calm(self) -> None:
        self.line.tell("all becomes calm")
        line, self._over = self.line, True
        line.chaos.calm()
        line.chaos.out_of_memory_until_s = 0.0
        await asyncio.sleep(max(0.0, self.redis.away_until_s - line.loop.time()))
        for hosts in (self.workers, self.emitters):
            for n, host in enumerate(list(hosts)):
                host.process.fuse = None
                host.process.thaw()
                if not host.process.alive:
                    hosts[n] = self._start_worker(n) if hosts is self.workers else self._start_emitter(n)  # type: ignore
        self.rebalance_workers()
        self.rebalance_emitters()

    async def _settle(self) -> None:
        """Waits until nothing is left to do; raises Stuck, with what is left, when that never comes."""
        line = self.line
        stop_s, calm = line.loop.time() + SETTLE_S_MAX, 0
        left: list[str] = []
        wall_ms = line.wall_ms()
        while line.loop.time() < stop_s:
            await asyncio.sleep(0.3)
            self.broker.abort_overdue(TRANSACTION_TIMEOUT_S)
            if any(True for host in (*self.workers, *self.emitters) for _ in host.failures()):
                return
            left = list(self._left(wall_ms))
            calm = 0 if left else calm + 1
            if calm == 2:
                return
        raise Stuck("; ".join(left))

    def _left(self, wall_ms: int) -> Iterator[str]:
        """What is still to be done."""
        for host in (*self.workers, *self.emitters):
            if host.assigned != host.wanted:  # type: ignore[attr-defined]
                yield f"{host.process.name} has not taken over"
                return
        for name in self.known.by_name:
            self.view = name
            for number in range(self.work.shards):
                yield from self._left_of_shard(name, number, wall_ms)
        self.view = self.live
        for topic in self.work.topics:
            if self.work.partitions[topic] != self.work.shards:
                for partition in range(self.work.partitions[topic]):
                    tp = TP(topic, partition)
                    owner = next(host for host in self.workers if tp in host.owns[self.live])
                    if owner.here(self.live).forwarder.committed().get(tp, 0) < _needed(self.broker, tp):
                        yield f"{topic}/{partition} is not forwarded"
        for tp, log in self.broker.logs.items():
            if log.open:
                yield f"{tp.topic}/{tp.partition} has an open transaction"

    def _left_of_shard(self, name: str, number: int, wall_ms: int) -> Iterator[str]:
        what, keys, data = f"shard {number} of {name}", self.shard_keys[number], self.redis.server.data
        owner = next(host for host in self.workers if TP("rekeyed", number) in host.owns[name])
        shard = owner.shard(name, number)
        updater = shard._updater if shard is not None else None
        if updater is None or not updater.idle.is_set():
            yield f"{owner.process.name} is at work on {what}"
            return
        head = data.execute([b"HMGET", keys.head.encode(), b"commit", b"repair"])
        if (head[0] or b"").decode() != updater._commits.last or (head[1] is None) is not (name == self.live):
            yield f"{what}: the head is another, or in repair, or not"
        for topic in (*self.work.topics, "rekeyed"):
            position = updater.positions.get(topic, 0)
            if self.work.partitions[topic] == self.work.shards and position < _needed(self.broker, TP(topic, number)):
                yield f"{what}: {topic} is at {position}"
        if data.execute([b"ZRANGEBYSCORE", keys.timers.encode(), b"-inf", b"%d" % updater.clock]):
            yield f"{what}: timers are due"
        if data.execute([b"XLEN", keys.outbox.encode()]):
            yield f"{what}: changes wait"
        if self.work.clock == "wall" and updater.clock < wall_ms:
            yield f"{what}: its clock is behind"


def _needed(broker: Broker, tp: TP) -> int:
    """The offset after the last committed record."""
    records = broker.logs[tp].committed()
    return records[-1].offset + 1 if records else 0
