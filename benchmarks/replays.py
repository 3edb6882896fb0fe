"""A replay of another generation: beside live orders, held to rates and not held, and then alone."""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import time
from typing import Any

from benchmarks import pinned
from benchmarks.figures import Figures, quantile, tell
from benchmarks.programs import SETTLE_S, Programs, until
from benchmarks.purchases import FULL
from benchmarks.traffic import AMOUNT_MINOR, Seen, Traffic
from benchmarks.worker import Heads, check
from profilestream import Settings

TURN_S = 0.5
REPLAYED = FULL.replace("orders >= 5 and monetary >= 4", "orders >= 4 and monetary >= 4")
NAME = "g2"


class Replays:
    """Makes generation g2, and measures how that goes on; each step adds its figures."""

    def __init__(
        self, settings: Settings, given: argparse.Namespace, programs: Programs, figures: Figures, traffic: Traffic
    ) -> None:
        self._settings = settings
        self._given = given
        self._programs = programs
        self._figures = figures
        self._traffic = traffic
        self._what = str(programs.file("replayed", REPLAYED))
        self._process: Any = None

    async def beside_orders(self) -> None:
        """Held to each rate, and then not held, which goes on.

        By turns of seconds the replay's process is stopped and goes on: a machine that others use is now fast and now
        slow, and what is seen minutes apart says more of that than of the replay.
        """
        rounds = self._given.rounds
        for rate in self._given.max_rate:
            name = f"replay held to {rate:,}"
            process = await self._begin(name, "--max-rate", str(rate))
            await self._by_turns(process, name, rounds)
            process.send_signal(signal.SIGINT)
            await self._programs.ended(process, "replay")
            await asyncio.sleep(SETTLE_S / 5)
        await self._programs.ended(self._programs.start("replay", NAME, "--set-rate", "none"), "replay")
        self._process = await self._begin("replay not held")
        await self._by_turns(self._process, "replay not held", 1 + rounds // 3)

    async def alone(self, worker: subprocess.Popen[bytes], core: int, spend: int) -> None:
        """The rest of it, on the core on which the worker was measured, with nothing else to do; `spend` is that of
        the events before the live orders."""
        tell("the rest of the replay, alone")
        process, end = self._process, self._given.events + self._traffic.sent
        for one in (worker, process):
            pinned.move(one.pid, {core})
        began, began_s, cpu_s = self._folded(), time.monotonic(), pinned.cpu_s(process.pid)
        assert end - began > end // 20, "next to nothing is left of the replay; more --events are needed"

        async def is_level() -> bool:
            return self._folded() >= end

        await until("replay to come to its end", is_level)
        events, seconds = end - began, time.monotonic() - began_s
        per_million = (pinned.cpu_s(process.pid) - cpu_s) / events * 1e6
        self._figures["replay, events/s"] = events / seconds
        self._figures["replay, CPU-s per million"] = per_million
        self._figures["replay to live fold, events/s"] = events / seconds / self._figures["live fold, events/s"]
        self._figures["replay to live fold, CPU"] = per_million / self._figures["live fold, CPU-s per million"]
        spend += self._traffic.sent * AMOUNT_MINOR
        await asyncio.to_thread(check, self._settings, self._given.shards, end, spend, NAME)
        for one in (worker, process):
            pinned.move(one.pid, self._programs.cores)

    async def _begin(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Starts one, of a new generation the first time; returns once it folds."""
        tell(f"live orders, {name}")
        before = self._folded()
        process = self._programs.start("replay", self._what, "--clock", "event", *words)
        self._what = NAME

        async def folds() -> bool:
            assert process.poll() is None, self._programs.log("replay").read_text()
            return self._folded() > before

        await until("replay to begin", folds)
        await asyncio.sleep(SETTLE_S / 5)
        return process

    async def _by_turns(self, process: subprocess.Popen[bytes], name: str, rounds: int) -> None:
        """Live orders while the replay stands still, and while it folds."""
        alone, beside, folded, folding_s = Seen(), Seen(), 0, 0.0
        for _ in range(rounds):
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(TURN_S)
            alone += await self._traffic.during(self._given.seconds)
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(TURN_S)
            began, began_s = self._folded(), time.monotonic()
            beside += await self._traffic.during(self._given.seconds)
            folded, folding_s = folded + self._folded() - began, folding_s + time.monotonic() - began_s
        self._figures[f"{name}, records/s"] = folded / folding_s
        for percent in (50, 95, 99):
            before, now = quantile(alone.orders_ms, percent), quantile(beside.orders_ms, percent)
            self._figures[f"{name}: live p{percent} without it, ms"] = before
            self._figures[f"{name}: live p{percent}, ms"] = now
            self._figures[f"{name}: live p{percent}, ratio"] = now / before
        self._figures[f"{name}: live longest, ms"] = max(beside.orders_ms)

    def _folded(self) -> int:
        return Heads(self._settings, self._given.shards, NAME).folded()
