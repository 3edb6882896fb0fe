"""A threshold is changed as an engineer would: by a replay, promoted while events flow, and rolled back."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from tests import cdnow
from tests.comparison import compare, expect, read_changes, read_profiles
from tests.integration import shop
from tests.integration.test_worker import running, wait_until
from tests.kafka_records import event_lines, properly, read_arrivals, remove_topics, send

from profilestream import ProfileReader
from profilestream.core.errors import ServerUnavailable
from profilestream.operations import promote
from profilestream.settings import Settings

SHARDS = 4
CHANGED = cdnow.DEFINITIONS.replace("spend_90d >= 10_000 and orders >= 2", "spend_90d >= 6_000").replace(
    "[segments.splurged]", "[segments.splashed]"
)
assert CHANGED.count("splashed") == 1 and "6_000" in CHANGED


def crossings(records: list[Any]) -> dict[tuple[str, str], list[Any]]:
    """Each pair's changes in order; fails unless they are numbered 1, 2, 3, entered and exited in turn."""
    found: dict[tuple[str, str], list[Any]] = {}
    for record in records:
        data = json.loads(record.value)["data"]
        own = found.setdefault((data["customer_id"], data["segment"]), [])
        own.append(data)
        assert data["crossing"] == len(own), f"{data['segment']} of {data['customer_id']}: {own[-2:]}"
        assert data["change"] == ("entered" if len(own) % 2 else "exited")
    return found


def agree(found: dict[tuple[str, str], list[Any]], redis_url: str, namespace: str) -> None:
    """What subscribers were told last of every pair is what readers see."""
    told = {(pair, own[-1]["crossing"]) for pair, own in found.items() if len(own) % 2}
    stored = read_profiles(redis_url, namespace)
    seen = {
        ((customer_id, segment), entry["crossing"])
        for customer_id, profile in stored.profiles.items()
        for segment, entry in json.loads(profile.fields["_segments"]).items()
    }
    assert told == seen


@contextmanager
def feeding(kafka: str, events: list[dict[str, Any]]) -> Iterator[threading.Thread]:
    """Sends events while the block runs, and all that is left at its end."""
    hurry = threading.Event()

    def feed() -> None:
        for start in range(0, len(events), 50):
            asyncio.run(send(kafka, [properly("purchases", e, SHARDS) for e in events[start : start + 50]]))
            if not hurry.is_set():
                time.sleep(0.3)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield thread
    finally:
        hurry.set()
        thread.join()


def test_a_threshold_is_changed_by_a_replay_promoted_under_load_and_rolled_back(
    servers: Any,
    cli: Any,
    cli_environment: dict[str, str],
    namespace: str,
    topic_name: Callable[[str], str],
    workdir: Path,
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    (workdir / "changed.toml").write_text(CHANGED)
    events = cdnow.in_order_of_time(cdnow.purchases())
    (workdir / "first.jsonl").write_text(event_lines(events[:4_000]))
    cli("init", "--definitions", "definitions.toml", "--shards", str(SHARDS))
    cli("produce", "purchases", "first.jsonl")
    client: Any = redis.Redis.from_url(servers.redis, decode_responses=True)

    def repairs(generation: str) -> int:
        return sum(client.hexists(f"{namespace}:{generation}:{{{n}}}:head", "repair") for n in range(SHARDS))

    def level(ahead: str, behind: str) -> bool:
        heads = [
            [client.hget(f"{namespace}:{g}:{{{n}}}:head", "positions") for n in range(SHARDS)] for g in (ahead, behind)
        ]
        return heads[0] == heads[1]

    with (
        ProfileReader(servers.redis, namespace) as reader,
        running(cli_environment, workdir, "worker", "--clock", "event"),
        running(cli_environment, workdir, "emitter"),
    ):
        said = cli("replay", "changed.toml", "--clock", "event", "--until-caught-up", timeout_s=120).stdout
        assert "made generation g2, beside g1" in said and "g2 has caught up" in said
        assert repairs("g2") == SHARDS
        with feeding(servers.kafka, events[4_000:]):
            with running(cli_environment, workdir, "replay", "g2", "--clock", "event") as replay:
                time.sleep(1)
                assert reader.generation().name == "g1"
                said = cli("promote", "g2", "--yes", timeout_s=120).stdout
                promoted_s = time.monotonic()
                assert "generation g2 is live, in turn 2; g1 is kept until" in said, said
                assert "4 shards reconciled in" in said, said
                wait_until(lambda: reader.generation().name == "g2", "readers switch", 2)
                # Workers have it, so the replay ends by itself.
                wait_until(lambda: replay.poll() is not None, "the replay ends", 60)
                assert replay.returncode == 0
            print(f"replay ended {time.monotonic() - promoted_s:.1f} s after the promotion")
            assert repairs("g1") == SHARDS and repairs("g2") == 0
        wait_until(lambda: level("g2", "g1"), "the former one is kept in step", 60)
        cli("worker", "--clock", "event", "--until-caught-up", timeout_s=120)
        cli("emitter", "--until-caught-up", timeout_s=60)

        arrivals = asyncio.run(read_arrivals(servers.kafka, ["purchases"]))
        expected = expect(CHANGED, arrivals, SHARDS)
        compare(expected, read_profiles(servers.redis, namespace), None, namespace, order_matters=False)
        told = crossings(asyncio.run(read_changes(servers.kafka, topic_name("segment-changes"))))
        agree(told, servers.redis, namespace)
        causes = {data["cause"] for own in told.values() for data in own}
        assert causes == {"event", "time", "backfill"}
        assert not [own for (_, segment), own in told.items() if segment == "splurged" and len(own) % 2]

        said = cli("rollback", "--yes", timeout_s=120).stdout
        assert "generation g1 is live, in turn 3" in said, said
        wait_until(lambda: reader.generation().name == "g1", "readers switch back", 2)
        cli("emitter", "--until-caught-up", timeout_s=60)
        compare(
            expect(cdnow.DEFINITIONS, arrivals, SHARDS),
            read_profiles(servers.redis, namespace), None, namespace, order_matters=False,
        )  # fmt: skip
        back = crossings(asyncio.run(read_changes(servers.kafka, topic_name("segment-changes"))))
        agree(back, servers.redis, namespace)
        assert {d["cause"] for pair, own in back.items() for d in own[len(told.get(pair, ())) :]} == {"definition"}
    client.close()


def kept_of(client: Any, namespace: str, generation: str) -> dict[str, Any]:
    """All that a generation keeps of its customers, by key: states, profiles, members, timers."""
    prefix, found = f"{namespace}:{generation}:", {}
    for key in client.scan_iter(prefix + "*", count=1_000):
        name = key.decode("latin-1").removeprefix(prefix)
        kind = name.split(":")[1] if ":" in name else ""
        if kind == "state":
            found[name] = client.get(key)
        elif kind == "profile":
            found[name] = client.hgetall(key)
        elif kind in ("segment", "timers", "urgent"):
            found[name] = client.zrange(key, 0, -1, withscores=True)
    return found


def test_a_replay_that_is_killed_goes_on_where_it_was_and_two_processes_share_it_to_the_same_bytes(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    events = cdnow.in_order_of_time(cdnow.purchases())
    (workdir / "events.jsonl").write_text(event_lines(events))
    cli("init", "--definitions", "definitions.toml", "--shards", str(SHARDS))
    cli("produce", "purchases", "events.jsonl")
    cli("worker", "--clock", "event", "--until-caught-up", timeout_s=120)
    environment = {**cli_environment, "PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "20"}
    client: Any = redis.Redis.from_url(servers.redis)

    def folded() -> int:
        heads = [client.hget(f"{namespace}:g2:{{{n}}}:head", "positions") for n in range(SHARDS)]
        return sum(json.loads(head).get("purchases", 0) for head in heads if head)

    with running(environment, workdir, "replay", "definitions.toml", "--max-rate", "400", "--clock", "event") as first:
        wait_until(lambda: folded() > 300, "the replay has begun", 60)
        first.send_signal(signal.SIGKILL)
        first.wait(10)
    there = folded()
    assert 300 < there < len(events)
    with running(environment, workdir, "replay", "g2", "--clock", "event"):
        assert "g2 reads as many" in cli("replay", "g2", "--set-rate", "none").stdout
        assert "g7" in cli("replay", "g7", "--set-rate", "9", expect=1).stderr
        cli("replay", "g2", "--clock", "event", "--until-caught-up", timeout_s=120)
        live = kept_of(client, namespace, "g1")
        assert len(live) > 2 * cdnow.CUSTOMERS
        wait_until(lambda: folded() == len(events), "both are done", 60)
        wait_until(lambda: kept_of(client, namespace, "g2") == live, "g2 is g1 to the byte", 60)
    assert client.get(f"{namespace}:live") == b"g1"
    client.close()


async def test_a_promotion_that_is_broken_off_before_redis_knows_is_completed_by_a_worker(
    servers: Any,
    cli: Any,
    cli_environment: dict[str, str],
    own_settings: Settings,
    namespace: str,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await asyncio.to_thread(shop.open_shop, servers.kafka, cli, workdir)
    await asyncio.to_thread(shop.put, servers.kafka, shop.purchases(50))
    await asyncio.to_thread(shop.catch_up, cli)
    await asyncio.to_thread(cli, "replay", "definitions.toml", "--clock", "event", "--until-caught-up")

    async def lost(*_: Any) -> None:
        raise ServerUnavailable("Redis is gone")

    with monkeypatch.context() as patch:
        patch.setattr(promote, "write_generation", lost)
        with pytest.raises(ServerUnavailable):
            await promote.promote(own_settings, "g2", print)
    with ProfileReader(servers.redis, namespace) as reader:
        assert reader.generation().name == "g1"
        with running(cli_environment, workdir, "worker", "--clock", "event"):
            await asyncio.to_thread(wait_until, lambda: reader.generation().name == "g2", "Redis is true again", 60)
    said: list[str] = []
    done = await promote.promote(own_settings, "g2", said.append)  # and again, by the command
    assert (done.live.name, done.live.turn, done.former) == ("g2", 2, None)
    assert said == ["generation g2 is live, in turn 2"]


def test_history_is_not_lost_unasked_and_who_is_not_known_any_more_leaves_with_the_numbers_going_on(
    servers: Any,
    cli: Any,
    cli_environment: dict[str, str],
    topic_name: Callable[[str], str],
    workdir: Path,
) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    shop.put(servers.kafka, shop.purchases(120))
    shop.catch_up(cli)
    cli("emitter", "--until-caught-up")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    cli("replay", "definitions.toml", "--from", soon, "--clock", "event", "--until-caught-up")
    refused = cli("promote", "g2", "--yes", expect=1)
    assert "does not know all that the live one knows" in refused.stderr and "orders: " in refused.stderr
    with running(cli_environment, workdir, "worker", "--clock", "event"):
        cli("promote", "g2", "--yes", "--allow-history-loss", timeout_s=120)
        cli("emitter", "--until-caught-up")
        told = crossings(asyncio.run(read_changes(servers.kafka, topic_name("segment-changes"))))
        assert len(told) == 40 and all([d["change"] for d in own] == ["entered", "exited"] for own in told.values())
        shop.put(servers.kafka, shop.purchases(120, start=1_000))
        cli("worker", "--clock", "event", "--until-caught-up")
        cli("emitter", "--until-caught-up")
    again = crossings(asyncio.run(read_changes(servers.kafka, topic_name("segment-changes"))))
    assert again.keys() == told.keys() and {len(own) for own in again.values()} == {3}
