"""The same records give the same bytes in Redis, however the replays slice them, and whoever folded them before."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import redis
from tests import cdnow
from tests.integration.test_promoting import SHARDS, kept_of
from tests.integration.test_worker import running, wait_until
from tests.kafka_records import properly, remove_topics, send

ODD = {
    "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "3",
    "PROFILESTREAM_COMMIT_BYTES_MAX": "1024",
    "PROFILESTREAM_COMMITS_IN_FLIGHT_MAX": "1",
    "PROFILESTREAM_CACHED_PROFILES_MAX": "1000",
    "PROFILESTREAM_TIMERS_PAGE_MAX": "2",
}


def test_two_replays_under_other_settings_and_by_several_processes_have_the_same_bytes(
    servers: Any,
    cli: Any,
    cli_environment: dict[str, str],
    namespace: str,
    workdir: Path,
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    cli("init", "--definitions", "definitions.toml", "--shards", str(SHARDS))
    chance = random.Random(5)
    events = cdnow.in_order_of_time(cdnow.purchases())[:1_500]
    for event in chance.sample(events, 150):  # late, and twice
        events.insert(chance.randrange(len(events)), event)
    sent = [properly("purchases", event, SHARDS) for event in events]
    asyncio.run(send(servers.kafka, sent))
    cli("worker", "--clock", "event", "--until-caught-up", timeout_s=120)
    client: Any = redis.Redis.from_url(servers.redis)
    replay = ("replay", "definitions.toml", "--clock", "event")

    cli(*replay, "--until-caught-up", timeout_s=120)
    plain = kept_of(client, namespace, "g2")
    assert len(plain) > 1_000
    with running({**cli_environment, **ODD}, workdir, *replay):
        wait_until(lambda: client.exists(f"{namespace}:g3:meta"), "the second one is made")
        cli("replay", "g3", "--clock", "event", "--until-caught-up", timeout_s=120)
    odd = kept_of(client, namespace, "g3")
    different = [name for name in plain.keys() | odd.keys() if plain.get(name) != odd.get(name)]
    assert not different, [(name, plain.get(name), odd.get(name)) for name in different[:3]]
    client.close()
