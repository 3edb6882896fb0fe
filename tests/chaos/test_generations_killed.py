"""Commands that change generations, workers and emitters are killed in every phase, under load; all comes out exact."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from profilestream.settings import Settings
from tests.chaos.changing import SHARDS, Feeder, Reading, Subscribed, definitions, watched
from tests.chaos.programs import Fleet
from tests.comparison import compare, expect, read_changes, read_profiles
from tests.integration.test_promoting import agree, crossings
from tests.integration.test_worker import wait_until
from tests.kafka_records import read_arrivals, remove_topics

SEED = int(os.environ.get("TEST_SEED", "0")) or time.time_ns() % 1_000_000
KEPT_MS = 15_000
LEVEL_S_MAX = 90

# A process that dies between the two writes of a promotion, in Kafka and in Redis.
DIES_BETWEEN = """
import os, signal, sys
from profilestream.operations import promote

async def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

promote.write_generation = die
from profilestream.cli.app import main
sys.argv = ["profilestream", *sys.argv[1:]]
main()
"""

PHASES = (
    "planning", "carrying", "folding", "asking", "between Kafka and Redis", "turns opening", "reconciling",
    "replaying", "promoting", "rolling back",
)  # fmt: skip


ROUNDS = int(os.environ.get("TEST_ROUNDS", len(PHASES)))


class Installation:
    """One namespace with a worker and an emitter, which are started again where they were killed."""

    def __init__(self, settings: Settings, environment: dict[str, str], folder: Path, chance: random.Random) -> None:
        self.settings = settings
        self.chance = chance
        self.environment = {
            **environment,
            "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "4",
            "PROFILESTREAM_KEEP_FORMER_MS": str(KEPT_MS),
        }
        self.fleet = Fleet(self.environment, folder / "programs")
        self.client: Any = redis.Redis.from_url(str(settings.redis), decode_responses=True)
        self.rounds = 0

    def file(self, number: int) -> str:
        name = f"round-{number}.toml"
        (self.fleet.folder / name).write_text(definitions(number))
        return name

    def command(self, *words: str) -> str:
        """Runs to its end; a command that another one fences is run again."""
        return asyncio.run(self.fleet.run(*words))

    @contextmanager
    def started(self, *words: str, code: str = "") -> Iterator[subprocess.Popen[str]]:
        """A command that is killed at the end of the block, if it is not over."""
        program = ["-c", code] if code else ["-m", "profilestream.cli.app"]
        log = (self.fleet.folder / f"struck-{self.rounds}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, *program, *words],
            cwd=self.fleet.folder, env=self.environment, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            log.close()

    def said(self, text: str) -> bool:
        return text in (self.fleet.folder / f"struck-{self.rounds}.log").read_text()

    @property
    def live(self) -> str:
        return str(self.client.get(f"{self.settings.namespace}:live"))

    def heads(self, generation: str) -> list[dict[str, str]]:
        return [self.client.hgetall(f"{self.settings.namespace}:{generation}:{{{n}}}:head") for n in range(SHARDS)]

    def newest(self) -> str:
        names = [k.split(":")[1] for k in self.client.scan_iter(f"{self.settings.namespace}:*:meta", count=1_000)]
        return max(names, key=lambda name: int(name[1:]))

    def kill_some(self) -> str:
        """Kills worker, emitter, both or none; their successors are started at once."""
        struck = self.chance.choice([("worker",), ("emitter",), ("worker", "emitter"), ()])
        for role in struck:
            for program in list(self.fleet.of(role)):  # type: ignore[arg-type]
                self.fleet.kill(program)
            self.fleet.start(role)  # type: ignore[arg-type]
        return " and ".join(struck) or "nobody else"

    def pause(self, seconds_max: float) -> None:
        time.sleep(self.chance.uniform(0, seconds_max))


def strike(there: Installation, phase: str) -> str:
    """One round: a change is begun, and killed in this phase. Gives the definitions that are to be live at its end."""
    there.rounds += 1
    number, before = there.rounds, there.live
    file = there.file(number)
    live_text = there.client.hget(f"{there.settings.namespace}:{before}:meta", "definitions")
    apply = ("apply", file, "--yes", "--clock", "event")
    if phase == "planning":
        with there.started(*apply):
            there.pause(2.5)
    elif phase in ("carrying", "folding"):
        newest = there.newest()

        def under_way() -> bool:
            heads = there.heads(there.newest()) if there.newest() != newest else []
            if phase == "carrying":
                return any(head.get("carried", "").startswith("after") for head in heads)
            return any(json.loads(head.get("positions", "{}")).get("purchases") for head in heads)

        with there.started(*apply) as process:
            wait_until(lambda: under_way() or process.poll() is not None, f"it is {phase}")
            there.pause(0.3)
    elif phase == "asking":
        with there.started("apply", file, "--clock", "event"):
            wait_until(lambda: there.said("Go on?"), "it asks")
            there.pause(0.5)
        assert there.live == before
    elif phase == "between Kafka and Redis":
        with there.started(*apply, code=DIES_BETWEEN) as process:
            assert process.wait(LEVEL_S_MAX) == -signal.SIGKILL
        wait_until(lambda: there.live != before, "a worker tells Redis", 30)
    elif phase in ("turns opening", "reconciling"):
        with there.started(*apply) as process:
            wait_until(lambda: there.live != before, "readers switch")
            if phase == "reconciling":
                live = there.live
                wait_until(lambda: any("repair" not in head for head in there.heads(live)), "one shard is reconciled")
            there.pause(0.4)
            print("killed with it:", there.kill_some())
    elif phase in ("replaying", "promoting"):
        with there.started("replay", file, "--clock", "event"):
            wait_until(lambda: there.said("made generation"), "the generation is made")
            there.pause(2.0)
        made = there.newest()
        print("killed with it:", there.kill_some())
        there.command("replay", made, "--clock", "event", "--until-caught-up")
        if phase == "promoting":
            with there.started("promote", made, "--yes"):
                there.pause(2.5)
                print("killed with it:", there.kill_some())
        there.command("promote", made, "--yes")
        return definitions(number)
    else:
        there.command(*apply)
        with there.started("rollback", "--yes"):
            there.pause(2.5)
            print("killed with it:", there.kill_some())
        there.command("promote", before, "--yes", "--allow-history-loss")
        return str(live_text)
    print("killed with it:", there.kill_some())
    there.command(*apply)
    return definitions(number)


def check(there: Installation, text: str, feeder: Feeder, seen: Subscribed, topic: str) -> None:
    """Nothing is fed: the profiles are the oracle's, and the numbers of all changes are 1, 2, 3 up to what they say."""
    settings, live = there.settings, there.live

    def level() -> bool:
        heads = there.heads(live)
        at = [json.loads(head.get("positions", "{}")).get("purchases", 0) for head in heads]
        outboxes = [there.client.xlen(f"{settings.namespace}:{live}:{{{n}}}:outbox") for n in range(SHARDS)]
        return at == list(feeder.sent.values()) and not any("repair" in head for head in heads) and not any(outboxes)

    wait_until(level, f"{live} is level, and all is told", LEVEL_S_MAX)
    assert there.live == live
    arrivals = asyncio.run(read_arrivals(str(settings.kafka), ["purchases"]))
    compare(
        expect(text, arrivals, SHARDS),
        read_profiles(str(settings.redis), settings.namespace),
        None,
        settings.namespace,
        order_matters=False,
    )
    told = crossings(asyncio.run(read_changes(str(settings.kafka), topic)))
    agree(told, str(settings.redis), settings.namespace)
    wait_until(lambda: seen.last == {pair: len(own) for pair, own in told.items()}, "the subscriber has all", 30)
    assert not seen.wrong, seen.wrong[:10]


@pytest.fixture
def chance() -> random.Random:
    print(f"TEST_SEED={SEED}")
    return random.Random(SEED)


def test_generations_change_exactly_whatever_is_killed_in_whatever_phase(
    servers: Any,
    own_settings: Settings,
    cli_environment: dict[str, str],
    namespace: str,
    topic_name: Callable[[str], str],
    workdir: Path,
    chance: random.Random,
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    there = Installation(own_settings, cli_environment, workdir, chance)
    there.command("init", there.file(0), "--shards", str(SHARDS))
    changes = topic_name("segment-changes")
    feeder = Feeder(servers.kafka, SEED)
    feeder.feed(200)
    phases = chance.sample(PHASES, len(PHASES))[:ROUNDS]
    try:
        there.fleet.start("worker")
        there.fleet.start("emitter")
        with watched(servers.kafka, servers.redis, namespace, changes) as (seen, reading):
            feeder.start()
            for phase in phases:
                began_s = time.monotonic()
                text = strike(there, phase)
                with feeder.going:
                    check(there, text, feeder, seen, changes)
                print(f"{phase}: {there.live} after {time.monotonic() - began_s:.1f} s")
        assert_read_well(reading)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{there.fleet.ends_of_logs()}") from None
    finally:
        feeder.end()
        there.fleet.kill_all()
        there.client.close()


def assert_read_well(reading: Reading) -> None:
    print(f"{reading.reads} reads; switched after {[round(s, 2) for s in reading.switches_s]} s")
    assert not reading.wrong, reading.wrong[:10]
    assert reading.reads > 50
    assert reading.switches_s and max(reading.switches_s) < 5
