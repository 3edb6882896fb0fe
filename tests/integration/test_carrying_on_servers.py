"""Definitions change where the log is short: what the live generation knows is taken over, killed on the way or not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import redis
from tests import cdnow
from tests.comparison import compare, expect, read_changes, read_profiles
from tests.integration.test_promoting import CHANGED, SHARDS, agree, crossings
from tests.integration.test_worker import running, wait_until
from tests.kafka_records import cut_log, event_lines, read_arrivals, remove_topics

from profilestream.carrying import FROM_LIVE
from profilestream.operations.replay import Wish, make_generation
from profilestream.settings import Settings
from profilestream.wire.definitions import parse_definitions


@pytest.mark.parametrize("start", [FROM_LIVE, "beginning"])
def test_a_changed_threshold_loses_no_history_where_the_log_is_gone(
    servers: Any,
    cli: Any,
    cli_environment: dict[str, str],
    own_settings: Settings,
    namespace: str,
    topic_name: Callable[[str], str],
    workdir: Path,
    start: Literal["live", "beginning"],
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    events = cdnow.in_order_of_time(cdnow.purchases())[:2_000]
    (workdir / "first.jsonl").write_text(event_lines(events[:1_400]))
    (workdir / "second.jsonl").write_text(event_lines(events[1_400:]))
    cli("init", "--definitions", "definitions.toml", "--shards", str(SHARDS))
    cli("produce", "purchases", "first.jsonl")
    cli("worker", "--clock", "event", "--until-caught-up", timeout_s=120)
    cli("emitter", "--until-caught-up", timeout_s=60)
    arrivals = asyncio.run(read_arrivals(servers.kafka, ["purchases"]))
    ends = {p: 1 + max(a.offset for a in arrivals if a.partition == p) for p in range(SHARDS)}
    for partition, end in ends.items():
        asyncio.run(cut_log(servers.kafka, "purchases", partition, end - 50))

    wish = Wish({"from": start}, {}, "carry")
    made = asyncio.run(make_generation(own_settings, parse_definitions(CHANGED), wish, lambda line: None))
    assert "folded nothing yet" in cli("promote", made.name, "--yes", expect=1).stderr
    client: Any = redis.Redis.from_url(servers.redis, decode_responses=True)

    def carried() -> list[str | None]:
        return [client.hget(f"{namespace}:{made.name}:{{{n}}}:head", "carried") for n in range(SHARDS)]

    few = {**cli_environment, "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "5"}
    with running(few, workdir, "replay", made.name, "--clock", "event") as first:
        wait_until(lambda: any(c and len(c) > len("after ") for c in carried()), "some are carried", 60)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    print("killed at", carried())
    cli("produce", "purchases", "second.jsonl")
    with running(cli_environment, workdir, "worker", "--clock", "event"):
        cli("replay", made.name, "--clock", "event", "--until-caught-up", timeout_s=120)
        assert carried() == ["done"] * SHARDS
        said = cli("promote", made.name, "--yes", timeout_s=120).stdout
        assert f"generation {made.name} is live, in turn 2" in said, said
    cli("worker", "--clock", "event", "--until-caught-up", timeout_s=120)
    cli("emitter", "--until-caught-up", timeout_s=60)
    later = asyncio.run(read_arrivals(servers.kafka, ["purchases"]))
    everything = [*arrivals, *(a for a in later if a.offset >= ends[a.partition])]
    compare(
        expect(CHANGED, everything, SHARDS),
        read_profiles(servers.redis, namespace),
        None,
        namespace,
        order_matters=False,
    )
    told = crossings(asyncio.run(read_changes(servers.kafka, topic_name("segment-changes"))))
    agree(told, servers.redis, namespace)
    assert {data["cause"] for own in told.values() for data in own} == {"event", "time", "backfill"}
    client.close()
    if start == "beginning":
        # The generation that is live now knows more than the log from which it was begun.
        cli("replay", "definitions.toml", "--clock", "event", "--until-caught-up", timeout_s=120)
        refused = cli("promote", "g3", "--yes", expect=1).stderr
        assert "does not know all that the live one knows" in refused and "orders: topic purchases" in refused
