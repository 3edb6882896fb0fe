"""Changing definitions under load: a replay beside the live worker, promotion, rollback, `apply`, `drop`.

    python -m benchmarks.generations [--events 1_000_000] [--customers 100_000] [--max-rate 500 2_000] [--json]

Real servers, the real commands. A worker on one core folds all events (the live rate). Then live orders come at a
modest rate, and how long each takes to Redis is measured: beside a replay that is held to each `--max-rate`, then
beside one that is not held, and by turns without it. The rest of the replay is measured alone, on the core on
which the worker was. Its profiles are checked; it is promoted, and rolled back; a threshold is applied; a generation is
dropped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis.asyncio
from rich.console import Console
from rich.table import Table

from benchmarks import pinned
from benchmarks.purchases import FULL
from benchmarks.traffic import AMOUNT_MINOR, Seen, Traffic
from benchmarks.worker import Heads, check, measure_worker, prepare, servers
from profilestream import Settings
from profilestream.operations.promote import unaligned
from profilestream.store.keys import Keys, live_key
from profilestream.store.metadata import read_generation
from profilestream.store.places import count_in_repair, read_heads

LOOK_S = 0.02
STALLED_S = 300.0
SETTLE_S = 5.0
DROP_S = 20.0
TURN_S = 0.5
SECONDS_MAX = 7.5
REPLAYED = FULL.replace("orders >= 5 and monetary >= 4", "orders >= 4 and monetary >= 4")
THRESHOLD = FULL.replace("spend_30d >= 50_000", "spend_30d >= 60_000")


class Figures(dict[str, float]):
    """By name, in the order in which they were found; each is told at once."""

    def __setitem__(self, name: str, value: float) -> None:
        super().__setitem__(name, value)
        _tell(f"{name}: {_shown(value)}")


def main() -> None:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with it
    core, others = pinned.cores()
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, others)  # the servers that are started here inherit it
    with tempfile.TemporaryDirectory() as folder, servers(given, Path(folder) / "servers") as running:
        settings = Settings(kafka=running.kafka, redis=running.redis, namespace=f"bench-{secrets.token_hex(4)}")
        _tell(f"sending {given.events:,} purchases of {given.customers:,} customers")
        spend = asyncio.run(prepare(settings, FULL, given))
        _tell("folding")
        live, _ = measure_worker(settings, given, core, Path(folder))
        figures = Figures()
        figures["live fold, events/s"] = live.per_second
        figures["live fold, CPU-s per million"] = live.cpu_s_per_million
        with _Programs(settings, Path(folder), every) as programs:
            asyncio.run(_Course(settings, given, programs, core, spend, figures).run())
    _show(given, figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.generations", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=100.0, help="live orders a second")
    parser.add_argument(
        "--max-rate", type=int, nargs="+", default=[500, 2_000], help="to which a replay is held, records a second"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="without a replay, and beside one, by turns")
    parser.add_argument("--rounds", type=int, default=15, help="of such turns for each rate")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.seconds + TURN_S > SECONDS_MAX:
        parser.error(
            f"--seconds: for longer than {SECONDS_MAX - TURN_S:g} no process may be stopped and keep its place"
        )
    given.kafka, given.redis, given.uniform = None, None, False
    return given


class _Programs:
    """Starts commands as processes; what is left of them ends with it."""

    def __init__(self, settings: Settings, folder: Path, cores: set[int]) -> None:
        self.folder = folder
        self._cores = cores
        self._stack = ExitStack()
        self._environment = {
            "PROFILESTREAM_KAFKA": str(settings.kafka),
            "PROFILESTREAM_REDIS": str(settings.redis),
            "PROFILESTREAM_NAMESPACE": settings.namespace,
        }

    def __enter__(self) -> _Programs:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        process = pinned.start("profilestream.cli.app", list(words), self._cores, self._environment, self.log(words[0]))
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    async def ended(self, process: subprocess.Popen[bytes], name: str) -> str:
        """What it said, once it has ended well."""
        await asyncio.to_thread(process.wait, STALLED_S)
        said = self.log(name).read_text("utf-8", "replace")
        assert process.returncode == 0, f"{name} ended with {process.returncode}:\n{said[-2_000:]}"
        return said


class _Course:
    """One thing after the other; each adds its figures."""

    def __init__(
        self,
        settings: Settings,
        given: argparse.Namespace,
        programs: _Programs,
        core: int,
        spend: int,
        figures: Figures,
    ) -> None:
        self._settings = settings
        self._given = given
        self._programs = programs
        self._core = core
        self._spend = spend
        self._figures = figures
        self._traffic = Traffic(settings, given.shards, given.rate)
        self._redis: Any = redis.asyncio.Redis.from_url(str(settings.redis))

    async def run(self) -> None:
        worker = self._programs.start("worker", "--clock", "event")
        self._programs.start("emitter")
        _tell("announcing")
        await self._until("changes to be announced", self._outbox_is_empty)
        self._traffic.start()
        await asyncio.sleep(SETTLE_S)
        await self._until("what the first orders made due", self._nothing_due)
        await self._latencies()
        await self._traffic.stop()
        await self._replay_alone(worker)
        self._traffic.start()
        await asyncio.sleep(SETTLE_S)
        await self._until("numbers to be compared", self._is_aligned)
        await self._switch("promote", "promote", "g2", to="g2")
        await self._switch("roll back", "rollback", to="g1")
        await self._apply()
        await self._drop()
        await self._traffic.stop()
        await self._redis.aclose()

    # Beside live orders

    async def _latencies(self) -> None:
        """Beside a replay that is held to each rate, and beside one that is not.

        By turns of seconds the replay's process is stopped and goes on: a machine that others use is now fast and now
        slow, and what is seen minutes apart says more of that than of the replay.
        """
        given = self._given
        for rate in (*given.max_rate, None):
            name = "replay not held" if rate is None else f"replay held to {rate:,}"
            _tell(f"live orders, {name}")
            if await self._is_made():
                words = "replay", "g2", "--set-rate", "none" if rate is None else str(rate)
                await self._programs.ended(self._programs.start(*words), "replay")
                process = await self._replay()
            else:
                process = await self._replay(*([] if rate is None else ["--max-rate", str(rate)]))
            await self._beside(process, name, given.rounds if rate is not None else 1 + given.rounds // 3)
            if rate is not None:
                process.send_signal(signal.SIGINT)
                await self._programs.ended(process, "replay")
                await asyncio.sleep(SETTLE_S / 5)

    async def _beside(self, process: subprocess.Popen[bytes], name: str, rounds: int) -> None:
        """Live orders while the replay stands still, and while it folds."""
        alone, beside, folded, folding_s = Seen(), Seen(), 0, 0.0
        for _ in range(rounds):
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(TURN_S)
            alone += await self._traffic.during(self._given.seconds)
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(TURN_S)
            began, began_s = self._replayed(), time.monotonic()
            beside += await self._traffic.during(self._given.seconds)
            folded, folding_s = folded + self._replayed() - began, folding_s + time.monotonic() - began_s
        self._figures[f"{name}, records/s"] = folded / folding_s
        for percent in (50, 99):
            before, now = _quantile(alone.orders_ms, percent), _quantile(beside.orders_ms, percent)
            self._figures[f"{name}: live p{percent} without it, ms"] = before
            self._figures[f"{name}: live p{percent}, ms"] = now
            self._figures[f"{name}: live p{percent}, ratio"] = now / before
        self._figures[f"{name}: live longest, ms"] = max(beside.orders_ms)

    async def _is_made(self) -> bool:
        return bool(await self._redis.exists(Keys(self._settings.namespace, "g2").meta))

    async def _replay(self, *words: str) -> subprocess.Popen[bytes]:
        """Starts one, of a new generation the first time; returns once it folds."""
        there = await self._is_made()
        what, before = ("g2", self._replayed()) if there else (str(self._file("replayed", REPLAYED)), 0)
        process = self._running_replay = self._programs.start("replay", what, "--clock", "event", *words)

        async def folds() -> bool:
            assert process.poll() is None, self._programs.log("replay").read_text()
            return self._replayed() > before

        await self._until("replay to begin", folds)
        await asyncio.sleep(SETTLE_S / 5)
        return process

    async def _replay_alone(self, worker: subprocess.Popen[bytes]) -> None:
        """The rest of the replay, on the core on which the worker was measured, with nothing else to do."""
        _tell("the rest of the replay, alone")
        process, end = self._running_replay, self._given.events + self._traffic.sent
        for one in (worker, process):
            pinned.move(one.pid, {self._core})
        began, began_s, cpu_s = self._replayed(), time.monotonic(), pinned.cpu_s(process.pid)
        assert end - began > end // 20, "next to nothing is left of the replay; more --events are needed"

        async def is_level() -> bool:
            return self._replayed() >= end

        await self._until("replay to come to its end", is_level)
        events, seconds = end - began, time.monotonic() - began_s
        per_million = (pinned.cpu_s(process.pid) - cpu_s) / events * 1e6
        self._figures["replay, events/s"] = events / seconds
        self._figures["replay, CPU-s per million"] = per_million
        self._figures["replay to live fold, events/s"] = events / seconds / self._figures["live fold, events/s"]
        self._figures["replay to live fold, CPU"] = per_million / self._figures["live fold, CPU-s per million"]
        spend = self._spend + self._traffic.sent * AMOUNT_MINOR
        await asyncio.to_thread(check, self._settings, self._given.shards, end, spend, "g2")
        for one in (worker, process):
            pinned.move(one.pid, self._programs._cores)

    def _replayed(self) -> int:
        return Heads(self._settings, self._given.shards, "g2").folded()

    # Switching

    async def _switch(self, name: str, *words: str, to: str) -> None:
        """A promotion: seconds from the start of the command until Redis names it, and until all shards are done."""
        _tell(name)
        self._traffic.take()
        began_s = time.monotonic()
        process = self._programs.start(*words, "--yes")

        async def has_switched() -> bool:
            return bool(await self._redis.get(live_key(self._settings.namespace)) == to.encode())

        await self._until("readers to switch", has_switched, 0.002)
        self._figures[f"{name}: until readers switch, s"] = time.monotonic() - began_s
        await self._until_announced(to)
        self._figures[f"{name}: until all is announced, s"] = time.monotonic() - began_s
        await self._programs.ended(process, words[0])
        seen = self._traffic.take()
        self._figures[f"{name}: live p99 meanwhile, ms"] = _quantile(seen.orders_ms, 99)
        self._figures[f"{name}: live longest meanwhile, ms"] = max(seen.orders_ms)
        await asyncio.sleep(SETTLE_S)

    async def _until_announced(self, name: str) -> None:
        generation = await read_generation(self._redis, self._settings.namespace, name)

        async def is_done() -> bool:
            return not await count_in_repair(self._redis, self._settings.namespace, generation) and (
                await self._outbox_is_empty(name)
            )

        await self._until("shards to be reconciled", is_done)

    async def _apply(self) -> None:
        """A threshold is changed: everything is taken over from the live profiles."""
        _tell("apply")
        self._traffic.take()
        began_s = time.monotonic()
        process = self._programs.start("apply", str(self._file("threshold", THRESHOLD)), "--yes", "--clock", "event")
        keys = Keys(self._settings.namespace, "g3")

        async def is_made() -> bool:
            assert process.poll() is None, self._programs.log("apply").read_text()
            return bool(await self._redis.exists(*(keys.shard(n).head for n in range(self._given.shards))))

        await self._until("generation to be made", is_made)
        carrying_s = time.monotonic()
        generation = await read_generation(self._redis, self._settings.namespace, "g3")

        async def is_carried() -> bool:
            heads = await read_heads(self._redis, self._settings.namespace, generation)
            return all(head.carried is not None and head.carried.done for head in heads.values())

        await self._until("profiles to be carried", is_carried)
        carried_s = time.monotonic()
        customers = 0
        for number in range(self._given.shards):
            customers += await self._redis.scard(keys.shard(number).customers)
        await self._until_announced("g3")
        self._figures["apply: customers carried a second"] = customers / (carried_s - carrying_s)
        self._figures["apply: until all is announced, s"] = time.monotonic() - began_s
        self._figures["apply: live p99 meanwhile, ms"] = _quantile(self._traffic.take().orders_ms, 99)
        await self._programs.ended(process, "apply")
        await asyncio.sleep(SETTLE_S)

    async def _drop(self) -> None:
        """How long looks at Redis take while a generation is dropped."""
        _tell("drop")
        before = await self._traffic.during(DROP_S)
        began_s = time.monotonic()
        said = await self._programs.ended(self._programs.start("drop", "g2", "--yes"), "drop")
        _tell(said.strip().splitlines()[-1])
        during = self._traffic.take()
        self._figures["drop, s"] = time.monotonic() - began_s
        for name, seen in (("before the drop", before), ("during the drop", during)):
            self._figures[f"{name}: a look at Redis p99, ms"] = _quantile(seen.looks_ms, 99)
            self._figures[f"{name}: longest look at Redis, ms"] = max(seen.looks_ms)
            self._figures[f"{name}: live p99, ms"] = _quantile(seen.orders_ms, 99)

    # Waiting

    async def _outbox_is_empty(self, name: str = "g1") -> bool:
        keys = Keys(self._settings.namespace, name)
        pipeline = self._redis.pipeline(transaction=False)
        for number in range(self._given.shards):
            pipeline.xlen(keys.shard(number).outbox)
        return not any(await pipeline.execute())

    async def _is_aligned(self) -> bool:
        made = await read_generation(self._redis, self._settings.namespace, "g2")
        return not await unaligned(self._settings, self._redis, made)

    async def _nothing_due(self) -> bool:
        keys = [Keys(self._settings.namespace, "g1").shard(number) for number in range(self._given.shards)]
        clocks = [await self._redis.hget(shard.head, "clock") for shard in keys]
        return not any([await self._redis.zcount(k.timers, "-inf", at) for k, at in zip(keys, clocks, strict=True)])

    async def _until(self, what: str, holds: Callable[[], Awaitable[bool]], look_s: float = LOOK_S) -> None:
        began_s = time.monotonic()
        while not await holds():
            assert time.monotonic() - began_s < STALLED_S, f"waited in vain for {what}"
            await asyncio.sleep(look_s)

    def _file(self, name: str, text: str) -> Path:
        path = self._programs.folder / f"{name}.toml"
        path.write_text(text, "utf-8")
        return path


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.2f}"


def _quantile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else 0.0


def _show(given: argparse.Namespace, figures: Figures) -> None:
    if given.json:
        print(json.dumps({"given": vars(given), "figures": figures}))
        return
    table = Table("", box=None, pad_edge=False, title=f"{given.events:,} events, {given.customers:,} customers")
    table.add_column("", justify="right")
    for name, value in figures.items():
        table.add_row(name, _shown(value))
    console = Console(highlight=False, width=110)
    console.print(table)
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}")


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
