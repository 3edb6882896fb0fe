"""A real worker lets customers in at the end of a dwell and of a cooldown by time alone, and says so."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.comparison import compare, expect, read_changes, read_profiles
from tests.conftest import Cli
from tests.integration.test_worker import running, wait_until
from tests.kafka_records import event_lines, read_arrivals, remove_topics

DEFINITIONS = """
[traits]
open = "count(support[kind == 'opened']) - count(support[kind == 'closed'])"

[segments.welcomed]
enter = "in_segment('patient') or in_segment('returning')"

[segments.patient]
enter = "open >= 2"
dwell = "1m"

[segments.returning]
enter    = "open == 1"
cooldown = "1m"

[segments.lingering]
enter      = "open > 0"
exit_dwell = "2h"

[segments.half]
enter  = "in_segment('lingering')"
sample = 0.5
"""


def ticket(number: int, at: Any, kind: str = "opened", customer: str = "c") -> dict[str, Any]:
    return {"event_id": f"t{number}", "customer_id": customer, "occurred_at": at, "kind": kind}


def begin(cli: Cli, kafka: str, workdir: Path) -> None:
    asyncio.run(remove_topics(kafka))
    (workdir / "definitions.toml").write_text(DEFINITIONS)
    cli("init", "--definitions", "definitions.toml", "--shards", "1")


def produce(cli: Cli, workdir: Path, events: list[dict[str, Any]]) -> None:
    (workdir / "events.jsonl").write_text(event_lines(events))
    cli("produce", "support", "events.jsonl")


def test_what_waits_is_kept_from_one_worker_to_the_next_and_crosses_at_its_own_time(
    servers: Any, cli: Cli, namespace: str, topic_name: Callable[[str], str], workdir: Path
) -> None:
    begin(cli, servers.kafka, workdir)

    def fold(events: list[dict[str, Any]]) -> None:
        produce(cli, workdir, events)
        cli("worker", "--clock", "event", "--until-caught-up")

    def pacing(segment: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(cli("explain", "c", segment, "--json").stdout)["pacing"]
        return found

    fold([ticket(1, "2026-03-01T10:00:00Z"), ticket(2, "2026-03-01T10:00:10Z")])
    assert pacing("patient") == {
        "held_since": "2026-03-01T10:00:10.000Z", "crosses_at": "2026-03-01T10:01:10.000Z",
        "cools_until": None, "sampled": None,
    }  # fmt: skip
    # `returning` was left at 10:00:10, so that it is closed until 10:01:10.
    fold([ticket(3, "2026-03-01T10:00:20Z", "closed")])
    assert pacing("returning") == {
        "held_since": "2026-03-01T10:00:20.000Z", "crosses_at": "2026-03-01T10:01:10.000Z",
        "cools_until": "2026-03-01T10:01:10.000Z", "sampled": None,
    }  # fmt: skip
    assert pacing("patient")["held_since"] is None
    fold([ticket(4, "2026-03-01T10:05:00Z"), ticket(5, "2026-03-01T10:07:00Z", "closed")])
    fold([ticket(6, "2026-03-01T10:08:00Z", "closed")])
    fold([ticket(7, "2026-03-02T00:00:00Z", customer="somebody else")])
    cli("emitter", "--until-caught-up")

    announced = asyncio.run(read_changes(servers.kafka, topic_name("segment-changes")))
    told = [
        (v["data"]["segment"], v["data"]["crossing"], v["data"]["cause"], v["time"][11:19])
        for v in map(_value, announced)
        if v["subject"] == "c" and v["data"]["segment"] != "half"
    ]
    assert told == [
        ("welcomed", 1, "event", "10:00:00"),
        ("returning", 1, "event", "10:00:00"),
        ("lingering", 1, "event", "10:00:00"),
        ("welcomed", 2, "event", "10:00:10"),
        ("returning", 2, "event", "10:00:10"),
        ("welcomed", 3, "time", "10:01:10"),
        ("returning", 3, "time", "10:01:10"),
        ("welcomed", 4, "event", "10:05:00"),
        ("returning", 4, "event", "10:05:00"),
        ("welcomed", 5, "time", "10:06:00"),
        ("patient", 1, "time", "10:06:00"),
        # At 10:07 `patient` is left and `returning` entered, whose cooldown is over: `welcomed` does not notice.
        ("patient", 2, "event", "10:07:00"),
        ("returning", 5, "event", "10:07:00"),
        ("welcomed", 6, "event", "10:08:00"),
        ("returning", 6, "event", "10:08:00"),
        ("lingering", 2, "time", "12:08:00"),
    ]
    arrivals = asyncio.run(read_arrivals(servers.kafka, ["support"]))
    compare(expect(DEFINITIONS, arrivals, 1), read_profiles(servers.redis, namespace), announced, namespace)


def test_by_the_wall_clock_a_dwell_and_a_cooldown_end_with_nothing_happening(
    servers: Any,
    cli: Cli,
    cli_environment: Mapping[str, str],
    topic_name: Callable[[str], str],
    workdir: Path,
) -> None:
    begin(cli, servers.kafka, workdir)
    held_ms = time.time_ns() // 1_000_000 - 48_000
    events = [
        ticket(1, held_ms - 3_000, customer="d"), ticket(2, held_ms - 2_000, "closed", "d"),
        ticket(3, held_ms - 1_000, customer="d"), ticket(4, held_ms), ticket(5, held_ms),
    ]  # fmt: skip
    produce(cli, workdir, events)

    def changes() -> dict[tuple[str, str, int], Any]:
        records = asyncio.run(read_changes(servers.kafka, topic_name("segment-changes")))
        found = [(record, _value(record)) for record in records]
        return {(v["subject"], v["data"]["segment"], v["data"]["crossing"]): (r, v) for r, v in found}

    wanted = {("c", "patient", 1): held_ms + 60_000, ("d", "returning", 3): held_ms - 2_000 + 60_000}
    with running(cli_environment, workdir, "worker"), running(cli_environment, workdir, "emitter"):
        wait_until(lambda: wanted.keys() <= changes().keys(), "a dwell and a cooldown are over", timeout_s=120)
    found = changes()
    for name, at_ms in wanted.items():
        record, value = found[name]
        assert (value["data"]["cause"], _ms(value["time"])) == ("time", at_ms)
        assert record.timestamp >= at_ms, "announced before it was so"
        print(f"{name[1]}: on Kafka {record.timestamp - at_ms} ms after the instant")
    assert ("d", "welcomed", 3) in found and ("c", "welcomed", 3) in found


def _value(record: Any) -> Any:
    return json.loads(record.value)


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
