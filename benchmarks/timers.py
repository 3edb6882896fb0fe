"""Time alone: a million profiles due at one midnight, and windows that lose as many events as they take in.

    python -m benchmarks.timers [--profiles 1_000_000] [--events 100_000] [--rounds 2] [--rate 100] [--json]

The midnight: profiles are written to Redis, a worker on one core takes live events at a modest rate, and these carry
the shards' clocks over midnight. Measured are timers drained a second, when all memberships had changed, and how long a
live event takes to its profile, before midnight and during the drain. In the end memberships and a sample are checked.

The steady state: the same events through definitions with windows of 1, 7 and 30 days, and with windows of ten years,
which nothing leaves; in turn, each by a worker on one core (`--profiles 0` or `--events 0` leaves a part out).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks import pinned
from benchmarks.figures import quantile, tell
from benchmarks.midnight import DEFINITIONS, LOOK_S, Drain, Left, Live, check, fill
from benchmarks.worker import Measured, measure_worker, prepare, servers
from profilestream import Settings
from profilestream.operations.initialise import initialise
from profilestream.stream.topic_layout import event_topics
from profilestream.wire.definitions import parse_definitions

IDLE_S = 10.0
STALLED_S = 120.0

WINDOWS = """
[streams]
order = "purchase[kind == 'order']"

[traits]
orders      = "count(order)"
total_spend = "sum(purchase.amount_minor)"
spend_1d    = "sum(order.amount_minor, over='{0}')"
orders_7d   = "count(order, over='{1}')"
spend_30d   = "sum(order.amount_minor, over='{2}')"
largest_7d  = "max(order.amount_minor, over='{1}')"

[segments.big_spender]
enter = "spend_30d >= 50_000"
exit  = "spend_30d < 40_000"

[segments.busy]
enter = "orders_7d >= 2"
"""
STEADY = {
    "as many leave as enter": WINDOWS.format("1d", "7d", "30d"),
    "nothing leaves": WINDOWS.format("10y", "10y", "10y"),
}


def main() -> None:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with it
    core, others = pinned.cores()
    os.sched_setaffinity(0, others)  # the servers that are started here inherit it
    drain, steady = None, {}
    if given.profiles:
        with tempfile.TemporaryDirectory() as folder, servers(given, Path(folder) / "servers") as running:
            drain = asyncio.run(_drain(given, running.kafka, running.redis, core, Path(folder)))
    if given.events:
        with tempfile.TemporaryDirectory() as folder, servers(given, Path(folder) / "servers") as running:
            steady = _steady(given, running.kafka, running.redis, core, Path(folder))
    _show(given, drain, steady)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timers", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--profiles", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=100.0, help="live events a second")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.kafka, given.redis, given.uniform = None, None, True
    return given


# The midnight


async def _drain(given: argparse.Namespace, kafka: str, redis: str, core: int, folder: Path) -> Drain:
    settings = Settings(kafka=kafka, redis=redis, namespace=f"midnight-{secrets.token_hex(4)}")
    definitions = parse_definitions(DEFINITIONS)
    await initialise(settings, DEFINITIONS, definitions.fingerprint, event_topics(definitions), given.shards, tell)
    tell(f"writing {given.profiles:,} profiles")
    began_s = time.monotonic()
    urgent = await fill(settings, given.profiles, given.shards)
    tell(f"written in {time.monotonic() - began_s:.0f} s; the worker begins, {given.rate:.0f} live events a second")
    log = folder / "midnight.log"
    environment = {
        "PROFILESTREAM_KAFKA": kafka,
        "PROFILESTREAM_REDIS": redis,
        "PROFILESTREAM_NAMESPACE": settings.namespace,
    }
    process = pinned.start("profilestream.cli.app", ["worker", "--clock", "event"], core, environment, log)
    live, left = Live(settings, given.shards, given.rate), Left(settings, given.shards)
    task = asyncio.create_task(live.run())
    try:
        while len(live.latencies_ms) < 50:
            await asyncio.sleep(LOOK_S)
            assert process.poll() is None and not task.done(), log.read_text()
        await asyncio.sleep(2.0)
        live.take()
        await asyncio.sleep(IDLE_S)
        idle_ms = live.take()
        tell("midnight")
        live.over_midnight = True
        found = await _until_drained(left, process.pid, given.profiles)
        live_ms = live.take()
        memory = _resident_bytes(process.pid)
    finally:
        live.done = True
        await task
        await left.close()
        process.terminate()
        process.wait(30)
    check(settings, given.profiles, given.shards)
    tell(f"exact: {urgent:,} memberships have changed, each once")
    return Drain(given.profiles, urgent, *found, idle_ms, live_ms, memory)


async def _until_drained(left: Left, pid: int, profiles: int) -> tuple[float, float, float]:
    """Seconds until no urgent timer was due, until none was, CPU seconds meanwhile; from the first that went on."""
    began_s, cpu_s, urgent_s, before, moved_s = None, 0.0, 0.0, profiles, time.monotonic()
    while True:
        await asyncio.sleep(LOOK_S / 4)
        now_s = time.monotonic()
        all_left, urgent_left = await left.count()
        if all_left < before:
            before, moved_s = all_left, now_s
            if began_s is None:
                began_s, cpu_s = now_s, pinned.cpu_s(pid)
        if began_s is not None and not urgent_left and not urgent_s:
            urgent_s = now_s - began_s
        if began_s is not None and not all_left:
            return urgent_s, now_s - began_s, pinned.cpu_s(pid) - cpu_s
        assert now_s - moved_s < STALLED_S, f"{all_left:,} timers are left and do not move"


def _resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


# The steady state


def _steady(given: argparse.Namespace, kafka: str, redis: str, core: int, folder: Path) -> dict[str, list[Measured]]:
    tell(f"sending {given.events:,} purchases of {given.customers:,} customers over 90 days")
    first = Settings(kafka=kafka, redis=redis, namespace=f"steady-{secrets.token_hex(4)}")
    asyncio.run(prepare(first, next(iter(STEADY.values())), given))
    found: dict[str, list[Measured]] = {name: [] for name in STEADY}
    for _ in range(given.rounds):
        for name, text in STEADY.items():
            settings = first.model_copy(update={"namespace": f"steady-{secrets.token_hex(4)}"})
            definitions = parse_definitions(text)
            asyncio.run(
                initialise(settings, text, definitions.fingerprint, event_topics(definitions), given.shards, _quiet)
            )
            measured, _ = measure_worker(settings, given, core, folder)
            tell(f"{name}: {measured.per_second:,.0f} events/s, {measured.cpu_s_per_million:.0f} CPU-s per million")
            found[name].append(measured)
    return found


# What is told


def _show(given: argparse.Namespace, drain: Drain | None, steady: dict[str, list[Measured]]) -> None:
    if given.json:
        told = {n: [asdict(m) for m in several] for n, several in steady.items()}
        shown = None if drain is None else _drain_figures(drain)
        print(json.dumps({"given": vars(given), "drain": shown, "steady": told}))
        return
    if drain is not None:
        for name, value in _drain_figures(drain).items():
            print(f"{name:36} {value:>12,.1f}" if isinstance(value, float) else f"{name:36} {value:>12,}")
    best = {name: min(several, key=lambda m: m.cpu_s) for name, several in steady.items()}
    for name, m in best.items():
        print(f"{name:36} {m.per_second:>12,.0f} events/s {m.cpu_s_per_million:8.1f} CPU-s per million")
    if best:
        busy, quiet = best.values()
        ratio = busy.cpu_s_per_million / quiet.cpu_s_per_million
        print(f"{ratio:.2f} times the CPU an event of windows that nothing leaves")


def _drain_figures(drain: Drain) -> dict[str, float]:
    return {
        "timers": drain.timers,
        "timers a second": drain.per_second,
        "CPU-s per million timers": drain.cpu_s / drain.timers * 1e6,
        "all memberships changed after, s": drain.urgent_s,
        "everything after, s": drain.seconds,
        "live events: idle, p50, ms": quantile(drain.idle_ms, 50),
        "live events: idle, p99, ms": quantile(drain.idle_ms, 99),
        "live events: drain, p50, ms": quantile(drain.live_ms, 50),
        "live events: drain, p99, ms": quantile(drain.live_ms, 99),
        "live events: drain, longest, ms": max(drain.live_ms, default=0.0),
        "worker's memory at most, MiB": drain.memory_bytes / 2**20,
    }


def _quiet(line: str) -> None:
    return None


if __name__ == "__main__":
    main()
