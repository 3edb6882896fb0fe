"""What the emitter decides without servers: who runs, what is said."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from profilestream.core.errors import LogMismatch, ServerUnavailable, UsageError
from profilestream.emitter import Emitter
from profilestream.settings import Settings
from profilestream.stream import reports
from profilestream.stream.announcer import (
    AnnouncedPosition,
    Announcer,
    emitter_group,
    transactional_id,
)
from profilestream.stream.crew import Crew, Live
from profilestream.stream.reports import Outages, StatusLine


class Relay:
    """Stands for a shard's relay: runs until told to stop, or raises."""

    def __init__(self, live: Live, shard: int, failure: Exception | None = None) -> None:
        self.live, self.shard, self.failure = live, shard, failure
        self.mismatch: LogMismatch | None = None
        self._stopping = asyncio.Event()
        self.ended = False

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        if self.failure is not None:
            raise self.failure
        await self._stopping.wait()
        self.ended = True


@pytest.fixture
def made() -> list[Relay]:
    return []


@pytest.fixture
def crew(made: list[Relay]) -> Crew:
    def make(live: Live, shard: int) -> Any:
        if shard >= live.shards:
            return None
        made.append(Relay(live, shard))
        return made[-1]

    return Crew(make)


def running(made: list[Relay]) -> list[tuple[str, int]]:
    return sorted((relay.live.generation, relay.shard) for relay in made if not relay.ended)


async def test_nothing_runs_before_the_generation_is_known(crew: Crew, made: list[Relay]) -> None:
    await crew.assign([0, 1])
    assert made == []
    await crew.follow(Live("g1", 4))
    assert running(made) == [("g1", 0), ("g1", 1)]


async def test_a_partition_that_is_no_shard_gets_no_relay(crew: Crew, made: list[Relay]) -> None:
    await crew.follow(Live("g1", 2))
    await crew.assign([1, 2, 3])
    assert running(made) == [("g1", 1)]


async def test_a_revoked_shard_has_ended_when_the_call_returns_and_others_go_on(crew: Crew, made: list[Relay]) -> None:
    await crew.follow(Live("g1", 4))
    await crew.assign([0, 1, 2])
    await asyncio.sleep(0)
    await crew.assign([1, 3])
    assert running(made) == [("g1", 1), ("g1", 3)]
    assert len(made) == 4  # the relay of shard 1 is the same one


async def test_another_live_generation_ends_every_relay_of_the_former(crew: Crew, made: list[Relay]) -> None:
    await crew.follow(Live("g1", 4))
    await crew.assign([0, 1])
    await asyncio.sleep(0)
    await crew.follow(Live("g2", 4))
    assert running(made) == [("g2", 0), ("g2", 1)]


async def test_a_closed_crew_starts_nothing_any_more(crew: Crew, made: list[Relay]) -> None:
    await crew.follow(Live("g1", 4))
    await crew.assign([0])
    await asyncio.sleep(0)
    await crew.close()
    await crew.assign([0, 1])
    assert running(made) == []


async def test_a_bug_in_a_relay_is_raised_even_after_its_shard_was_revoked() -> None:
    crew = Crew(lambda live, shard: Relay(live, shard, ZeroDivisionError()))  # type: ignore[arg-type, return-value]
    await crew.follow(Live("g1", 1))
    await crew.assign([0])
    await asyncio.sleep(0.01)
    with pytest.raises(ZeroDivisionError):
        crew.raise_failures(mismatches=False)
    await crew.assign([])
    with pytest.raises(ZeroDivisionError):
        crew.raise_failures(mismatches=False)


async def test_a_shard_that_stands_still_fails_only_who_waits_for_the_end(crew: Crew, made: list[Relay]) -> None:
    await crew.follow(Live("g1", 1))
    await crew.assign([0])
    made[0].mismatch = LogMismatch("shard 0: set back")
    crew.raise_failures(mismatches=False)
    with pytest.raises(LogMismatch, match="shard 0"):
        crew.raise_failures(mismatches=True)
    await crew.close()


async def test_a_broker_that_is_lost_while_a_shard_is_opened_is_a_lost_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(producer: object) -> None:
        raise AssertionError("Did we not perform bootstrap?")  # what aiokafka 0.14 says then

    monkeypatch.setattr(AIOKafkaProducer, "start", start)
    announcer = Announcer(Settings(kafka="127.0.0.1:1"), 3)
    with pytest.raises(ServerUnavailable):
        await announcer.open()
    await announcer.close()


def test_a_position_reads_back_as_written_and_a_commit_before_the_first_event_has_no_clock() -> None:
    position = AnnouncedPosition("g1", 3, "ab", None, {"purchases": 12})
    encoded = msgspec.json.encode(position)
    assert b"clock" not in encoded
    assert msgspec.json.decode(encoded, type=AnnouncedPosition) == position
    full = AnnouncedPosition("g1", 3, "ab", 5, {})
    assert msgspec.json.decode(msgspec.json.encode(full), type=AnnouncedPosition) == full


def test_the_names_that_fence_and_share_belong_to_the_namespace_not_the_generation() -> None:
    assert transactional_id("ps", 3) == "ps.announce.3"
    assert emitter_group("ps") == "ps-emitter"


def test_an_emitter_without_addresses_says_which_flags_are_missing() -> None:
    with pytest.raises(UsageError, match="--kafka and --redis"):
        Emitter(Settings(kafka="localhost:9092", redis=None))


def test_an_outage_is_told_once_by_however_many_tasks_and_its_end_once() -> None:
    lines: list[str] = []
    outages = Outages(lines.append)
    for shard in range(16):
        outages.begin(f"Kafka at k:1 does not answer ({'a' * shard})")
    outages.begin("Redis at r:1 cannot be reached")
    outages.over()
    outages.over()
    assert lines == [
        "Kafka at k:1 does not answer (); trying again",
        "Redis at r:1 cannot be reached; trying again",
        "announcing again",
    ]


def test_an_outage_long_after_the_last_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    now = 1_000.0
    monkeypatch.setattr(reports.time, "monotonic", lambda: now)
    outages = Outages(lines.append)
    outages.begin("Redis at r:1 cannot be reached")
    now += 61
    outages.begin("Redis at r:1 cannot be reached")
    assert len(lines) == 2


def test_the_status_line_comes_when_counters_changed_and_at_the_end() -> None:
    lines: list[str] = []
    status = StatusLine(lines.append, interval_s=3_600)
    status.show(5, 1, 0)
    assert lines == []
    status.show(1_234, 2, None, last=True)
    status.show(1_234, 2, None, last=True)
    assert lines == ["announced 1,234 changes in 2 transactions"]
