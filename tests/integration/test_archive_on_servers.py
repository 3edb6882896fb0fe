"""What retention has removed is folded from an archive on real servers, as if it were in the log still."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.integration import shop
from tests.integration.test_worker import running, wait_until
from tests.kafka_records import Sending, cut_log, event_bytes, send, shard_of

from profilestream.core.errors import LogMismatch, ProfilestreamError, UsageError
from profilestream.operations import export_log as exporting
from profilestream.operations.archives import open_archive
from profilestream.operations.export_log import export_log
from profilestream.operations.promote import promote
from profilestream.operations.replay import Replay, Wish, make_generation, set_rate
from profilestream.settings import Settings
from profilestream.wire.definitions import parse_definitions

NEW_TRAIT = shop.DEFINITIONS.replace("[traits]", '[traits]\ncheapest = "min(purchase.amount_minor)"', 1)


def put_some_astray(kafka: str, events: list[dict[str, Any]]) -> None:
    """Each event into its customer's partition, every seventh into the other one."""
    sendings = []
    for number, event in enumerate(events):
        right = shard_of(event["customer_id"], shop.SHARDS)
        partition = 1 - right if number % 7 == 0 else right
        sendings.append(Sending("purchases", event_bytes(event), event["customer_id"].encode(), partition))
    asyncio.run(send(kafka, sendings))


def ends_of(client: Any, namespace: str, topic: str, generation: str = "g1") -> list[int]:
    """Up to where a generation has folded each partition of a topic."""
    heads = [client.hget(f"{namespace}:{generation}:{{{n}}}:head", "positions") for n in range(shop.SHARDS)]
    return [json.loads(head).get(topic, 0) if head else 0 for head in heads]


def test_what_retention_has_removed_is_folded_from_an_archive_by_a_replay_a_repair_and_an_apply(
    servers: Any,
    cli: Any,
    cli_environment: dict[str, str],
    own_settings: Settings,
    namespace: str,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporting, "PART_RECORDS_MAX", 30)
    client: Any = redis.Redis.from_url(servers.redis, decode_responses=True)
    rekeyed = own_settings.rekeyed_topic
    shop.open_shop(servers.kafka, cli, workdir)
    archived = shop.purchases(300)
    put_some_astray(servers.kafka, archived[:200])
    asyncio.run(export_log(own_settings, workdir / "archive", ["purchases"]))
    put_some_astray(servers.kafka, archived[200:])
    shop.catch_up(cli)
    cli("emitter", "--until-caught-up")
    asyncio.run(export_log(own_settings, workdir / "archive", ["purchases", rekeyed], format="parquet"))
    assert {path.suffix for path in (workdir / "archive" / "purchases").iterdir()} == {".gz", ".parquet"}
    for topic, left in (("purchases", 10), (rekeyed, 0)):
        for partition, end in enumerate(ends_of(client, namespace, topic)):
            asyncio.run(cut_log(servers.kafka, topic, partition, end - left))

    archive = ("--archive", "archive")

    def folded(name: str) -> list[int]:
        return ends_of(client, namespace, "purchases", name)

    wish = Wish({"from": "beginning"}, {})
    asyncio.run(make_generation(own_settings, parse_definitions(shop.DEFINITIONS), wish, print))
    given = asyncio.run(open_archive(own_settings, workdir / "archive"))
    with pytest.raises(UsageError, match="was begun without an archive"):
        asyncio.run(Replay(own_settings, "g2", print, archive=given).run())

    slow = ("--max-rate", "60", "--clock", "event")
    few = {**cli_environment, "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "5"}
    with running(few, workdir, "replay", "definitions.toml", *archive, *slow) as first:
        wait_until(lambda: sum(folded("g3")) > 20, "the replay has begun", 60)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    print("killed at", folded("g3"))
    assert sum(folded("g3")) < 200, "it was to be killed within the archive"
    start = json.loads(client.hget(f"{namespace}:g3:meta", "start"))
    assert start["offsets"] == {topic: {"0": 0, "1": 0} for topic in ("purchases", rekeyed)}
    with pytest.raises(UsageError, match="it began with archive"):
        asyncio.run(Replay(own_settings, "g3", print).run())
    with pytest.raises(ProfilestreamError, match=r"generation g3 has yet to fold topic purchases.*--archive DIR"):
        asyncio.run(promote(own_settings, "g3", print))

    later = shop.purchases(40, start=300)
    put_some_astray(servers.kafka, later)
    everything = [*archived, *later]
    with running(cli_environment, workdir, "worker", "--clock", "event"):
        with running(cli_environment, workdir, "replay", "g3", *archive, "--clock", "event"):
            asyncio.run(set_rate(own_settings, "g3", None))
            cli("replay", "g3", *archive, "--clock", "event", "--until-caught-up", timeout_s=120)
        cli("promote", "g3", "--yes", timeout_s=120)
    shop.catch_up(cli)  # the worker may have ended before it came to the last of them
    assert not [n for n in range(shop.SHARDS) if client.hget(f"{namespace}:g3:{{{n}}}:head", "starts")]
    shop.right_whatever_the_order(everything, servers.redis, namespace)

    found = json.loads(cli("verify", "--all", *archive, "--json").stdout)
    assert (found["right"], found["customers"]["checked"], found["log"]) == (True, 40, [])
    assert found["customers"]["left_out"] == {} and found["records"] >= 340
    entries = cli("history", "c7", *archive, "--json").stdout.splitlines()
    own = sum(e["customer_id"] == "c7" for e in everything)
    assert json.loads(entries[-1])["events"] == own and json.loads(entries[-1])["log"] == []

    # All of Redis is lost. What workers cannot fold again any more is in the archive.
    client.flushall()
    cli("replay", "g3", *archive, "--clock", "event", "--until-caught-up", timeout_s=120)
    shop.right_whatever_the_order(everything, servers.redis, namespace)

    (workdir / "new.toml").write_text(NEW_TRAIT)
    plan = json.loads(cli("plan", "new.toml", *archive, "--json").stdout)
    assert plan["incomplete"] == [] and plan["log"][0]["gone"] == 0
    cli("apply", "new.toml", *archive, "--yes", "--clock", "event", timeout_s=120)
    assert client.get(f"{namespace}:live") == "g4"
    assert client.hget(f"{namespace}:g4:meta", "complete_since") == "{}"
    cheapest: dict[str, int] = {}
    for event in everything:
        cheapest[event["customer_id"]] = min(event["amount_minor"], cheapest.get(event["customer_id"], 99))
    for customer, least in cheapest.items():
        key = f"{namespace}:g4:{{{shard_of(customer, shop.SHARDS)}}}:profile:{customer}"
        assert client.hget(key, "cheapest") == str(least), customer

    asyncio.run(cut_log(servers.kafka, "purchases", 0, ends_of(client, namespace, "purchases", "g3")[0]))
    with pytest.raises(LogMismatch, match="are in neither"):
        asyncio.run(make_generation(own_settings, parse_definitions(NEW_TRAIT), wish, print, given))
    with pytest.raises(UsageError, match="there is no archive in"):
        asyncio.run(open_archive(own_settings, workdir / "nowhere"))
    client.close()
