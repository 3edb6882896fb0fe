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
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis.asyncio
from rich.console import Console
from rich.table import Table

from benchmarks import pinned
from benchmarks.figures import Figures, quantile, shown, tell
from benchmarks.programs import SETTLE_S, Programs, until
from benchmarks.purchases import FULL
from benchmarks.replays import TURN_S, Replays
from benchmarks.traffic import Traffic
from benchmarks.worker import measure_worker, prepare, servers
from profilestream import Settings
from profilestream.operations.promote import unaligned
from profilestream.store.keys import Keys, live_key
from profilestream.store.metadata import read_generation
from profilestream.store.places import count_in_repair, read_heads

DROP_S = 20.0
SECONDS_MAX = 7.5
THRESHOLD = FULL.replace("spend_30d >= 50_000", "spend_30d >= 60_000")


def main() -> None:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with it
    core, others = pinned.cores()
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, others)  # the servers that are started here inherit it
    with tempfile.TemporaryDirectory() as folder, servers(given, Path(folder) / "servers") as running:
        settings = Settings(kafka=running.kafka, redis=running.redis, namespace=f"bench-{secrets.token_hex(4)}")
        tell(f"sending {given.events:,} purchases of {given.customers:,} customers")
        spend = asyncio.run(prepare(settings, FULL, given))
        tell("folding")
        live, _ = measure_worker(settings, given, core, Path(folder))
        figures = Figures()
        figures["live fold, events/s"] = live.per_second
        figures["live fold, CPU-s per million"] = live.cpu_s_per_million
        with Programs(settings, Path(folder), every) as programs:
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


class _Course:
    """One thing after the other; each adds its figures."""

    def __init__(
        self,
        settings: Settings,
        given: argparse.Namespace,
        programs: Programs,
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
        replays = Replays(self._settings, self._given, self._programs, self._figures, self._traffic)
        worker = self._programs.start("worker", "--clock", "event")
        self._programs.start("emitter")
        tell("announcing")
        await until("changes to be announced", self._outbox_is_empty)
        self._traffic.start()
        await asyncio.sleep(SETTLE_S)
        await until("what the first orders made due", self._nothing_due)
        await replays.beside_orders()
        await self._traffic.stop()
        await replays.alone(worker, self._core, self._spend)
        self._traffic.start()
        await asyncio.sleep(SETTLE_S)
        await until("numbers to be compared", self._is_aligned)
        await self._switch("promote", "promote", "g2", to="g2")
        await self._switch("roll back", "rollback", to="g1")
        await self._apply()
        await self._drop()
        await self._traffic.stop()
        await self._redis.aclose()

    # Switching

    async def _switch(self, name: str, *words: str, to: str) -> None:
        """A promotion: seconds from the start of the command until Redis names it, and until all shards are done."""
        tell(name)
        self._traffic.take()
        began_s = time.monotonic()
        process = self._programs.start(*words, "--yes")

        async def has_switched() -> bool:
            return bool(await self._redis.get(live_key(self._settings.namespace)) == to.encode())

        await until("readers to switch", has_switched, 0.002)
        self._figures[f"{name}: until readers switch, s"] = time.monotonic() - began_s
        await self._until_announced(to)
        self._figures[f"{name}: until all is announced, s"] = time.monotonic() - began_s
        await self._programs.ended(process, words[0])
        seen = self._traffic.take()
        self._figures[f"{name}: live p99 meanwhile, ms"] = quantile(seen.orders_ms, 99)
        self._figures[f"{name}: live longest meanwhile, ms"] = max(seen.orders_ms)
        await asyncio.sleep(SETTLE_S)

    async def _until_announced(self, name: str) -> None:
        generation = await read_generation(self._redis, self._settings.namespace, name)

        async def is_done() -> bool:
            return not await count_in_repair(self._redis, self._settings.namespace, generation) and (
                await self._outbox_is_empty(name)
            )

        await until("shards to be reconciled", is_done)

    async def _apply(self) -> None:
        """A threshold is changed: everything is taken over from the live profiles."""
        tell("apply")
        self._traffic.take()
        began_s = time.monotonic()
        process = self._programs.start(
            "apply", str(self._programs.file("threshold", THRESHOLD)), "--yes", "--clock", "event"
        )
        keys = Keys(self._settings.namespace, "g3")

        async def is_made() -> bool:
            assert process.poll() is None, self._programs.log("apply").read_text()
            return bool(await self._redis.exists(*(keys.shard(n).head for n in range(self._given.shards))))

        await until("generation to be made", is_made)
        carrying_s = time.monotonic()
        generation = await read_generation(self._redis, self._settings.namespace, "g3")

        async def is_carried() -> bool:
            heads = await read_heads(self._redis, self._settings.namespace, generation)
            return all(head.carried is not None and head.carried.done for head in heads.values())

        await until("profiles to be carried", is_carried)
        carried_s = time.monotonic()
        customers = 0
        for number in range(self._given.shards):
            customers += await self._redis.scard(keys.shard(number).customers)
        await self._until_announced("g3")
        self._figures["apply: customers carried a second"] = customers / (carried_s - carrying_s)
        self._figures["apply: until all is announced, s"] = time.monotonic() - began_s
        self._figures["apply: live p99 meanwhile, ms"] = quantile(self._traffic.take().orders_ms, 99)
        await self._programs.ended(process, "apply")
        await asyncio.sleep(SETTLE_S)

    async def _drop(self) -> None:
        """How long looks at Redis take while a generation is dropped."""
        tell("drop")
        before = await self._traffic.during(DROP_S)
        began_s = time.monotonic()
        said = await self._programs.ended(self._programs.start("drop", "g2", "--yes"), "drop")
        tell(said.strip().splitlines()[-1])
        during = self._traffic.take()
        self._figures["drop, s"] = time.monotonic() - began_s
        for name, seen in (("before the drop", before), ("during the drop", during)):
            self._figures[f"{name}: a look at Redis p99, ms"] = quantile(seen.looks_ms, 99)
            self._figures[f"{name}: longest look at Redis, ms"] = max(seen.looks_ms)
            self._figures[f"{name}: live p99, ms"] = quantile(seen.orders_ms, 99)

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


def _show(given: argparse.Namespace, figures: Figures) -> None:
    if given.json:
        print(json.dumps({"given": vars(given), "figures": figures}))
        return
    table = Table("", box=None, pad_edge=False, title=f"{given.events:,} events, {given.customers:,} customers")
    table.add_column("", justify="right")
    for name, value in figures.items():
        table.add_row(name, shown(value))
    console = Console(highlight=False, width=110)
    console.print(table)
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}")


if __name__ == "__main__":
    main()
