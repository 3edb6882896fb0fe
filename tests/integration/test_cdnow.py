"""Real orders from end to end, through the command line, against the oracle: every trait, member and change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import cdnow
from tests.comparison import compare, expect, read_changes, read_profiles
from tests.kafka_records import event_lines, read_arrivals, remove_topics

SHARDS = 4


def test_cdnow_is_exactly_what_the_oracle_says(
    servers: Any, cli: Any, namespace: str, topic_name: Callable[[str], str], workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    (workdir / "purchases.jsonl").write_text(event_lines(cdnow.in_order_of_time(cdnow.purchases())))

    cli("init", "--definitions", "definitions.toml", "--shards", str(SHARDS))
    cli("produce", "purchases", "purchases.jsonl")
    started = time.monotonic()
    cli("worker", "--clock", "event", "--until-caught-up", timeout_s=300)
    print(f"worker: {time.monotonic() - started:.1f} s")
    cli("emitter", "--until-caught-up", timeout_s=300)

    arrivals = asyncio.run(read_arrivals(servers.kafka, ["purchases"]))
    assert len(arrivals) == cdnow.ORDERS
    expected = expect(cdnow.DEFINITIONS, arrivals, SHARDS)
    stored = read_profiles(servers.redis, namespace)
    assert len(stored.profiles) == cdnow.CUSTOMERS
    announced = asyncio.run(read_changes(servers.kafka, topic_name("segment-changes")))
    compare(expected, stored, announced, namespace)
    assert sum(int(p.fields["total_spend"]) for p in stored.profiles.values()) == cdnow.TOTAL_CENTS

    # Nothing is left to do: another run finds the same and announces nothing.
    cli("worker", "--clock", "event", "--until-caught-up", timeout_s=300)
    cli("emitter", "--until-caught-up", timeout_s=300)
    again = asyncio.run(read_changes(servers.kafka, topic_name("segment-changes")))
    assert [(r.partition, r.offset) for r in again] == [(r.partition, r.offset) for r in announced]
    compare(expected, read_profiles(servers.redis, namespace), None, namespace)


def test_cdnow_customer_by_customer_makes_every_event_late_and_the_oracle_still_agrees(
    servers: Any, cli: Any, namespace: str, topic_name: Callable[[str], str], workdir: Path
) -> None:
    """In the file's own order each shard's clock is at its end after a few customers."""
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    (workdir / "purchases.jsonl").write_text(event_lines(cdnow.purchases()))
    cli("init", "--definitions", "definitions.toml", "--shards", str(SHARDS))
    cli("produce", "purchases", "purchases.jsonl")
    cli("worker", "--clock", "event", "--until-caught-up", timeout_s=300)
    cli("emitter", "--until-caught-up", timeout_s=300)
    expected = expect(cdnow.DEFINITIONS, asyncio.run(read_arrivals(servers.kafka, ["purchases"])), SHARDS)
    announced = asyncio.run(read_changes(servers.kafka, topic_name("segment-changes")))
    compare(expected, read_profiles(servers.redis, namespace), announced, namespace)
