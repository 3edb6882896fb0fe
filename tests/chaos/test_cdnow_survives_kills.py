"""Worker and emitter die in the middle, again and again; in the end nothing is lost, doubled or different."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from tests import cdnow
from tests.comparison import compare, expect, read_changes, read_profiles
from tests.kafka_records import properly, read_arrivals, remove_topics, send

SHARDS = 4
ROUNDS = 6
PROGRESS_S = 120
SEED = int(os.environ.get("TEST_SEED", "0")) or time.time_ns() % 1_000_000


class Running:
    """A worker and an emitter as processes of their own."""

    COMMANDS = (("worker", "--clock", "event"), ("emitter",))

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self.environment = dict(environment)
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, number: int) -> None:
        """Starts both; what they say goes into files."""
        for words in self.COMMANDS:
            with (self.directory / f"{words[0]}-{number}.log").open("wb") as log:
                command = [sys.executable, "-m", "profilestream.cli.app", *words]
                self.processes.append(
                    subprocess.Popen(
                        command,
                        cwd=self.directory,
                        env=self.environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )

    def end(self, how: signal.Signals) -> list[int]:
        """Sends the signal to both and waits for their end; gives their exit statuses."""
        for process in self.processes:
            process.send_signal(how)
        statuses = [process.wait(60) for process in self.processes]
        self.processes.clear()
        return statuses

    def assert_alive(self) -> None:
        """Neither has ended by itself."""
        assert [p.poll() for p in self.processes] == [None, None], self.said()

    def said(self) -> str:
        """The last lines of every log."""
        logs = sorted(self.directory.glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text('utf-8', 'replace')[-1_500:]}" for log in logs)


def progress(redis_url: str, namespace: str) -> int:
    """A number that grows with every write of a profile."""
    client: Any = redis.Redis.from_url(redis_url, decode_responses=True)
    with client, client.pipeline(transaction=False) as pipeline:
        for key in client.scan_iter(match=f"{namespace}:*:profile:*", count=1_000):
            pipeline.hget(key, "_revision")
        return sum(int(revision or 0) for revision in pipeline.execute())


async def feed_and_interrupt(
    running: Running,
    kafka: str,
    seen: Callable[[], int],
    slices: Sequence[list[dict[str, Any]]],
    signals: Sequence[signal.Signals],
    chance: random.Random,
) -> None:
    """Each round: start, feed a slice, wait until some of it has got through, strike at a random moment."""
    for number, (events, how) in enumerate(zip(slices, signals, strict=True)):
        running.start(number)
        before = await asyncio.to_thread(seen)
        sendings = [properly("purchases", event, SHARDS) for event in events]
        feeding = asyncio.create_task(send(kafka, sendings, pause_s=0.05))
        async with asyncio.timeout(PROGRESS_S):
            while await asyncio.to_thread(seen) <= before:
                running.assert_alive()
                await asyncio.sleep(0.02)
        delay_s = chance.uniform(0, 1.5)
        await asyncio.sleep(delay_s)
        statuses = await asyncio.to_thread(running.end, how)
        print(f"round {number}: {how.name} {delay_s:.2f} s after the first write, statuses {statuses}")
        if how is signal.SIGINT:
            assert set(statuses) <= {0, 130}, f"{statuses}\n{running.said()}"
        await feeding


def exactly_as_the_oracle(kafka: str, redis_url: str, namespace: str, changes_topic: str) -> None:
    """Compares everything, once all has been fed."""
    arrivals = asyncio.run(read_arrivals(kafka, ["purchases"]))
    assert len(arrivals) == cdnow.ORDERS
    announced = asyncio.run(read_changes(kafka, changes_topic))
    expected = expect(cdnow.DEFINITIONS, arrivals, SHARDS)
    compare(expected, read_profiles(redis_url, namespace), announced, namespace)


@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGKILL] * ROUNDS,
        [signal.SIGKILL, signal.SIGINT, signal.SIGTERM] * (ROUNDS // 3),
    ],
    ids=["killed", "either"],
)
def test_whatever_ends_worker_and_emitter_the_oracle_still_agrees(
    signals: list[signal.Signals],
    servers: Any,
    cli: Any,
    cli_environment: dict[str, str],
    namespace: str,
    topic_name: Callable[[str], str],
    workdir: Path,
) -> None:
    print(f"TEST_SEED={SEED}")
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    cli("init", "--definitions", "definitions.toml", "--shards", str(SHARDS))
    events = cdnow.in_order_of_time(cdnow.purchases())
    size = -(-len(events) // len(signals))
    slices = [events[start : start + size] for start in range(0, len(events), size)]
    # Small commits: more moments in which to die.
    running = Running({**cli_environment, "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "10"}, workdir)
    try:
        asyncio.run(
            feed_and_interrupt(
                running,
                servers.kafka,
                lambda: progress(servers.redis, namespace),
                slices,
                signals,
                random.Random(SEED),
            )
        )
    finally:
        running.end(signal.SIGKILL)
    assert "Traceback" not in running.said(), running.said()
    cli("worker", "--clock", "event", "--until-caught-up", timeout_s=300)
    cli("emitter", "--until-caught-up", timeout_s=300)
    exactly_as_the_oracle(servers.kafka, servers.redis, namespace, topic_name("segment-changes"))
