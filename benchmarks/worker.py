"""Events a second, and CPU seconds a million, of one worker on one core: a real Kafka in, a real Redis out.

    python -m benchmarks.worker [--events 1_000_000] [--customers 100_000] [--uniform] [--plain] [--json]

Without --kafka and --redis, servers are started in a temporary folder, on the other cores. The topics of a Kafka that
is given must not be there yet. What is measured lies between the first and the last event folded, as the shards' heads
say; start-up is left out. No emitter runs, so the changes wait in the outboxes. In the end every profile is read: it
counts only if each event was folded once. The yardstick (`benchmarks.baseline`) runs on the same core and topic.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import redis
from rich.console import Console
from rich.table import Table

from benchmarks import pinned
from benchmarks.figures import tell
from benchmarks.purchases import FULL, PLAIN, purchases
from profilestream import Settings, local
from profilestream.operations.initialise import initialise
from profilestream.store.keys import Keys, shard_of
from profilestream.stream.generations import FIRST
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.topic_layout import event_topics
from profilestream.stream.topics import Admin
from profilestream.wire.definitions import parse_definitions

TOPIC = "purchases"
POLL_S = 0.05
STALLED_S = 120.0
READ_BATCH = 1_000


@dataclass(frozen=True)
class Measured:
    """One program's speed: events folded between the first and the last look, seconds, CPU seconds."""

    events: int
    seconds: float
    cpu_s: float

    @property
    def per_second(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_s_per_million(self) -> float:
        return self.cpu_s / self.events * 1e6


def main() -> None:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end with it
    core, others = pinned.cores()
    os.sched_setaffinity(0, others)  # the servers that are started here inherit it
    with tempfile.TemporaryDirectory() as folder, servers(given, Path(folder) / "servers") as running:
        settings = Settings(kafka=running.kafka, redis=running.redis, namespace=f"bench-{secrets.token_hex(4)}")
        text = PLAIN if given.plain else FULL
        tell(f"sending {given.events:,} purchases of {given.customers:,} customers")
        spend = asyncio.run(prepare(settings, text, given))
        tell("folding")
        worker, commits = measure_worker(settings, given, core, Path(folder))
        check(settings, given.shards, given.events, spend)
        baseline = None
        if given.baseline_events:
            tell("the yardstick: Faust, one event at a time")
            baseline = _measure_baseline(running.kafka, given, core, Path(folder))
    _show(given, worker, commits, baseline)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--uniform", action="store_true", help="every customer is as likely; default: 1 / rank")
    parser.add_argument("--plain", action="store_true", help="five traits, no windows, no segments")
    parser.add_argument("--baseline-events", type=int, default=20_000, help="0: no yardstick")
    parser.add_argument("--kafka", help="HOST:PORT of a Kafka without event topics; with --redis")
    parser.add_argument("--redis", help="redis://HOST:PORT; with --kafka")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if bool(given.kafka) != bool(given.redis):
        parser.error("give both --kafka and --redis, or neither")
    if given.events < 1_000:
        parser.error("--events: at least 1,000")
    return given


@contextmanager
def servers(given: argparse.Namespace, directory: Path) -> Iterator[local.Servers]:
    if given.kafka:
        yield local.Servers(given.kafka, given.redis)
        return
    try:
        yield local.up(directory, tell)
    finally:
        local.down(directory, wipe=True)


async def prepare(settings: Settings, text: str, given: argparse.Namespace) -> int:
    """Makes topics and generation, sends the events keyed as producers should; gives the sum of all amounts."""
    assert settings.kafka is not None
    async with Admin(settings.kafka) as admin:
        if (await admin.describe([TOPIC]))[TOPIC] is not None:
            sys.exit(f"Kafka at {settings.kafka} has a topic `{TOPIC}` already; the benchmark needs one of its own")
    definitions = parse_definitions(text)
    await initialise(settings, text, definitions.fingerprint, event_topics(definitions), given.shards, tell)
    spend = 0
    async with ForwardingProducer(settings.kafka, tell) as producer:
        for purchase in purchases(given.events, given.customers, given.uniform, given.seed):
            customer_id = purchase.customer_id
            partition = shard_of(customer_id, given.shards)
            await producer.send(TOPIC, customer_id.encode(), purchase.value, partition=partition)
            spend += purchase.amount_minor
        await producer.flush()
    return spend


def measure_worker(settings: Settings, given: argparse.Namespace, core: int, folder: Path) -> tuple[Measured, int]:
    """Runs `profilestream worker` until it has caught up; also gives how many commits it made."""
    environment = {
        "PROFILESTREAM_KAFKA": str(settings.kafka),
        "PROFILESTREAM_REDIS": str(settings.redis),
        "PROFILESTREAM_NAMESPACE": settings.namespace,
        "PROFILESTREAM_OUTBOX_CHANGES_MAX": str(10**9),  # nobody announces
    }
    log = folder / "worker.log"
    process = pinned.start(
        "profilestream.cli.app", ["worker", "--clock", "event", "--until-caught-up"], core, environment, log
    )
    heads = Heads(settings, given.shards)
    first = last = (0, 0.0, 0.0)
    moved = time.monotonic()
    try:
        while last[0] < given.events:
            time.sleep(POLL_S)
            folded = heads.folded()
            if folded > last[0]:
                moved = time.monotonic()
                last = (folded, time.perf_counter(), pinned.cpu_s(process.pid))
                first = first if first[0] else last
            if process.poll() is not None or time.monotonic() - moved > STALLED_S:
                break
        status = process.wait(STALLED_S)
    finally:
        process.kill()
        process.wait()
    if status != 0 or last[0] != given.events:
        said = log.read_text()[-2_000:]
        sys.exit(f"the worker ended with {status} at {last[0]:,} of {given.events:,} events:\n{said}")
    return Measured(last[0] - first[0], last[1] - first[1], last[2] - first[2]), heads.commits()


class Heads:
    """What the shards' heads say, asked in one round trip."""

    def __init__(self, settings: Settings, shards: int, generation: str = FIRST) -> None:
        self._redis = redis.Redis.from_url(str(settings.redis))
        keys = Keys(settings.namespace, generation)
        self._names = [keys.shard(number).head for number in range(shards)]

    def _fields(self, field: str) -> list[bytes | None]:
        pipeline = self._redis.pipeline(transaction=False)
        for name in self._names:
            pipeline.hget(name, field)
        return list(pipeline.execute())

    def folded(self) -> int:
        """Events folded so far: the topic had none before, and nothing stands between them."""
        return sum(orjson.loads(found).get(TOPIC, 0) for found in self._fields("positions") if found)

    def commits(self) -> int:
        return sum(int(found or 0) for found in self._fields("sequence"))


def check(settings: Settings, shards: int, events: int, spend: int, generation: str = FIRST) -> None:
    """Exits where the profiles do not hold every event exactly once."""
    client: Any = redis.Redis.from_url(str(settings.redis))
    keys = Keys(settings.namespace, generation)
    found_events = found_spend = 0
    for number in range(shards):
        names = list(client.scan_iter(match=keys.shard(number).profile_prefix + "*", count=10_000))
        for start in range(0, len(names), READ_BATCH):
            pipeline = client.pipeline(transaction=False)
            for name in names[start : start + READ_BATCH]:
                pipeline.hmget(name, "_revision", "total_spend")
            for revision, total in pipeline.execute():
                found_events += int(revision)
                found_spend += int(total)
    if (found_events, found_spend) != (events, spend):
        sys.exit(f"not exact: {found_events:,} events of {events:,}, spend {found_spend:,} of {spend:,}")
    tell(f"exact: {events:,} events and a spend of {spend:,} in the profiles")


def _measure_baseline(kafka: str, given: argparse.Namespace, core: int, folder: Path) -> Measured:
    events = min(given.baseline_events, given.events // 2)
    log = folder / "baseline.log"
    words = ["--kafka", kafka, "--events", str(events), "--partitions", str(given.shards)]
    process = pinned.start("benchmarks.baseline", words, core, {}, log)
    try:
        process.wait(STALLED_S + events / 100)
    except subprocess.TimeoutExpired:
        sys.exit(f"the yardstick does not come to an end:\n{log.read_text()[-2_000:]}")
    finally:
        process.kill()
        process.wait()
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"the yardstick failed:\n{log.read_text()[-2_000:]}")
    return Measured(**json.loads(lines[-1]))


def _show(given: argparse.Namespace, worker: Measured, commits: int, baseline: Measured | None) -> None:
    rows = {"profilestream worker": worker} | ({"Faust, one event at a time": baseline} if baseline else {})
    ratios = {}
    if baseline:
        ratios["per_second"] = worker.per_second / baseline.per_second
        ratios["cpu"] = baseline.cpu_s_per_million / worker.cpu_s_per_million
    if given.json:
        found = {
            name: asdict(m) | {"per_second": m.per_second, "cpu_s_per_million": m.cpu_s_per_million}
            for name, m in rows.items()
        }
        print(json.dumps({"given": vars(given), "commits": commits, "measured": found, "ratios": ratios}))
        return
    what = "5 traits, no windows, no segments" if given.plain else "10 traits, 4 windows, 3 segments"
    draw = "all as likely" if given.uniform else "drawn by 1 / rank"
    table = Table("", box=None, pad_edge=False, title=f"{what}; {given.customers:,} customers, {draw}")
    for title in ("events", "seconds", "events/s", "CPU-s per million"):
        table.add_column(title, justify="right")
    for name, m in rows.items():
        table.add_row(name, f"{m.events:,}", f"{m.seconds:.1f}", f"{m.per_second:,.0f}", f"{m.cpu_s_per_million:.1f}")
    console = Console(highlight=False, width=110)
    console.print(table)
    console.print(f"{commits:,} commits, {given.events / commits:.0f} events each")
    if ratios:
        console.print(
            f"{ratios['per_second']:.1f} times the events a second, 1/{ratios['cpu']:.1f} of the CPU an event"
        )
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}")


if __name__ == "__main__":
    main()
