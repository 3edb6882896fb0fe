"""`verify` on real servers: what a worker wrote is right, what is altered in Redis is found, and nothing else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import redis
from jsonschema import Draft202012Validator
from tests import cdnow
from tests.integration import shop
from tests.kafka_records import cut_log, event_lines, remove_topics
from tests.oracle import shard_of

from profilestream.operations.verify import Asked, open_verification
from profilestream.settings import Settings
from profilestream.wire.schemas.verifications import VERIFY

SHARDS = 4


def verified(cli: Any, *words: str, expect: int = 0) -> dict[str, Any]:
    """What `verify --json` says."""
    found: dict[str, Any] = json.loads(cli("verify", "--json", *words, expect=expect, timeout_s=300).stdout)
    Draft202012Validator(VERIFY).validate(found)
    return found


def test_cdnow_is_what_the_log_says_and_each_alteration_is_found(
    servers: Any, cli: Any, namespace: str, workdir: Path
) -> None:
    asyncio.run(remove_topics(servers.kafka))
    (workdir / "definitions.toml").write_text(cdnow.DEFINITIONS)
    (workdir / "purchases.jsonl").write_text(event_lines(cdnow.in_order_of_time(cdnow.purchases())))
    cli("init", "definitions.toml", "--shards", str(SHARDS))
    cli("produce", "purchases", "purchases.jsonl")
    cli("worker", "--clock", "event", "--until-caught-up", timeout_s=300)

    found = verified(cli, "--all")
    assert (found["right"], found["complete"], found["records"]) == (True, True, cdnow.ORDERS)
    assert found["customers"]["checked"] == cdnow.CUSTOMERS
    assert found["customers"]["left_out"] == {}
    assert found["log"] == []
    _a_sample(cli)
    _alterations(cli, servers.redis, namespace, workdir)
    _a_log_that_was_cut(cli, servers)


def _a_sample(cli: Any) -> None:
    some = verified(cli, "--sample", "150", "--seed", "5")
    assert 100 < some["customers"]["checked"] < 200
    shown = cli("verify", "--sample", "150", "--seed", "5", "--shards", "0,2-3").stdout
    assert "everything compared is what the log says" in shown
    assert "no generation `g9`" in cli("verify", "--generation", "g9", expect=1).stderr
    assert "none 4" in cli("verify", "--shards", "4", expect=2).stderr


def _alterations(cli: Any, url: str, namespace: str, workdir: Path) -> None:
    client: Any = redis.Redis.from_url(url, decode_responses=True)

    def key(customer_id: str, what: str = "profile:") -> str:
        return f"{namespace}:g1:{{{shard_of(customer_id, SHARDS)}}}:{what}{customer_id}"

    with client:
        client.hset(key("17"), "total_spend", "1")
        client.hdel(key("18"), "orders")
        client.hset(key("19"), "smallest_order", "{")
        client.delete(key("20"), key("20", "state:"))
        nobody = next(name for name in (f"nobody{n}" for n in range(99)) if shard_of(name, SHARDS) == shard_of("21", 4))
        client.copy(key("21"), key(nobody))
        members = f"{namespace}:g1:{{{shard_of('22', SHARDS)}}}:segment:careful"
        client.zadd(members, {"22": 5}) if client.zscore(members, "22") is None else client.zrem(members, "22")
    (workdir / "ids.txt").write_text("\n".join([*map(str, range(1, 101)), nobody, "stranger"]))
    found = verified(cli, "--customers", "ids.txt", expect=1)
    assert (found["customers"]["checked"], found["customers"]["differing"]) == (101, 6)
    assert found["customers"]["left_out"] == {"unknown": 1}
    assert (found["profiles"]["missing"], found["profiles"]["extra"]) == (1, 1)
    assert {one["customer_id"] for one in found["profiles"]["examples"]} == {"20", nobody}
    counts = {t["name"]: (t["mismatched"], t["missing"], t["extra"]) for t in found["traits"]}
    assert counts == {"orders": (0, 1, 0), "total_spend": (1, 0, 0), "smallest_order": (1, 0, 0)}
    differing = [s for s in found["segments"] if s["mismatched"] or s["missing"] or s["extra"]]
    assert [(s["name"], s["examples"][0]["customer_id"]) for s in differing] == [("careful", "22")]
    assert all("sorted set" in s["examples"][0]["note"] for s in differing)
    assert [f for f in found["fields"] if f["examples"]] == []
    told = cli("verify", "--customers", "ids.txt", expect=1)
    assert "trait total_spend: customer 17: Redis 1, the log " in told.stdout
    assert "6 customers of 101 differ" in told.stderr


def _a_log_that_was_cut(cli: Any, servers: Any) -> None:
    """What is left is compared where it is whole; nothing of what was altered can be told any more."""
    for shard in range(SHARDS):
        asyncio.run(cut_log(servers.kafka, "purchases", shard, 700))
    found = verified(cli, "--customers", "ids.txt")
    assert {part["topic"]: part["gone"] for part in found["log"]} == {"purchases": 700}
    unknown = {t["name"]: t["not_compared"] for t in found["traits"]}
    assert unknown["total_spend"]["not_in_log"] > 10
    assert found["customers"]["left_out"]["not_in_log"] > 10
    assert "records that were folded are gone" in cli("verify", "--customers", "ids.txt").stdout


async def _verify_while_it_folds(settings: Settings) -> int:
    """Verifies again and again beside a worker; gives how often it found the shop half folded."""
    said: list[str] = []
    half = 0
    async with shop.worker_here(settings, said):
        for _ in range(200):
            async with open_verification(settings, Asked(sample=None)) as verification:
                await verification.run()
            result = verification.result()
            assert verification.tallies.is_right, result
            assert verification.tallies.left_out.total() == 0
            half += 0 < result["records"] < 4_000
            if result["records"] >= 4_000:
                return half
    raise AssertionError("the worker does not come to an end")


def test_what_a_worker_is_folding_is_right_at_every_instant(
    servers: Any, cli: Any, own_settings: Settings, workdir: Path
) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    shop.put(servers.kafka, shop.purchases(4_000))
    slowly = own_settings.model_copy(update={"commit_customers_max": 3, "commits_in_flight_max": 1})
    assert asyncio.run(_verify_while_it_folds(slowly)) > 0
