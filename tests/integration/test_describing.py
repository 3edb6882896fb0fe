"""`describe` on a real Redis: profiles as readers find them, samples of many, a cluster, and what is refused."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
from tests import cdnow
from tests.conftest import Cli
from tests.integration.store_server import RedisProcess, make_cluster, wait_for
from tests.property.shard import T0, Shard

from profilestream.core.engine import Engine
from profilestream.core.errors import NotFound, StoreRefused
from profilestream.core.events import BUILT_IN
from profilestream.operations.describe import Persona, describe
from profilestream.settings import Settings
from profilestream.store import samples
from profilestream.store.connection import connect, connect_sync
from profilestream.store.keys import Keys, shard_of
from profilestream.store.metadata import Generation, set_live, write_generation
from profilestream.store.profile_writes import ProfileWriter
from profilestream.store.samples import Sampler
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.schemas import schemas
from profilestream.wire.times import format_time

DAY_MS = 86_400_000
SHARDS = 4
TEXT = """
[settings]
currency = "EUR"

[traits]
spend   = "sum(purchase.amount_minor)"
orders  = "count(purchase)"
last_at = "last(purchase.occurred_at)"
channel = "last(purchase.channel)"
liked   = "top(browsing.category, 3)"
by_sku  = "count(item, by=sku)"
gap     = "mean_gap(purchase)"
vip     = "orders >= 9"
age     = "latest(attributes.age)"

[segments.fit]
description = "Moves a lot"
enter = "orders >= 5"

[segments.few]
enter = "orders >= 100"
"""
Values = Mapping[str, Any]


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    server = RedisProcess(Path(tmp_path_factory.mktemp("redis")))
    yield server
    server.kill()


@pytest.fixture
def url(module_server: RedisProcess) -> str:
    """An empty server."""
    module_server.client.flushall()
    return module_server.url


def put(
    url: str,
    customers: Mapping[str, Values],
    members: Mapping[str, Mapping[str, int]],
    *,
    namespace: str = "ps",
    text: str = TEXT,
    clock: int | None = T0,
    fields: Values | None = None,
) -> None:
    """Writes a live generation in the layout that readers are told: traits, and since when (ms) members are in."""
    generation = Generation("g1", SHARDS, text, "f", "2026-01-31T09:30:00.000Z", "live")

    async def prepare() -> None:
        client = connect(url)
        await write_generation(client, namespace, generation)
        await set_live(client, namespace, "g1")
        await client.aclose()

    asyncio.run(prepare())
    shards = [Keys(namespace, "g1").shard(number) for number in range(SHARDS)]
    client = connect_sync(url)
    pipeline = client.pipeline(transaction=False)
    common = {"_revision": "1", "_as_of": format_time(T0 - 1), "_segments": "{}", **(fields or {})}
    for customer_id, values in customers.items():
        texts = {name: json.dumps(value) for name, value in values.items() if value is not None}
        shard = shards[shard_of(customer_id, SHARDS)]
        pipeline.hset(shard.profile(customer_id), mapping={**common, **texts})
        pipeline.set(shard.state(customer_id), b"private")
    for segment, found in members.items():
        for customer_id, since in found.items():
            pipeline.zadd(shards[shard_of(customer_id, SHARDS)].segment(segment), {customer_id: since})
    for shard in shards:
        if clock is not None:
            pipeline.hset(shard.head, "clock", clock)
    pipeline.execute()
    client.close()


def gym(members: int, others: int) -> tuple[dict[str, Values], dict[str, dict[str, int]]]:
    """Members who buy much, today, by app, and like yoga; others who do not, and whom little is known of."""
    customers: dict[str, Values] = {}
    for n in range(members):
        customers[f"fit-{n:04}"] = {
            "spend": 10_000 + n, "orders": 10, "last_at": format_time(T0 - DAY_MS), "liked": ["yoga", "run"],
            "by_sku": {"mat": 1}, "gap": 2 * DAY_MS, "vip": True, "age": 30,
            "channel": "app" if n % 10 else f"own-{n}",
        }  # fmt: skip
    for n in range(others):
        customers[f"other-{n:04}"] = {
            "spend": 100, "orders": 1, "last_at": format_time(T0 - 9 * DAY_MS), "channel": "web", "liked": ["news"],
            "vip": False, "age": None if n % 2 else 60,
        }  # fmt: skip
    since = {f"fit-{n:04}": T0 - 3 * DAY_MS for n in range(members)}
    return customers, {"fit": since, "few": {f"fit-{n:04}": T0 for n in range(min(members, 19))}}


def traits_of(found: Mapping[str, Any]) -> dict[str, Any]:
    return {one["name"]: one for one in found["traits"]}


# The command


def test_a_persona_is_what_the_profiles_hold(bare_cli: Cli, url: str) -> None:
    put(url, *gym(100, 300))
    found = json.loads(bare_cli("describe", "fit", "--json", "--redis", url).stdout)
    jsonschema.validate(found, schemas(BUILT_IN)["describe.json"])
    assert (found["members"], found["customers"], found["customers_exact"], found["share"]) == (100, 400, True, 0.25)
    assert found["sample"] == {"members": 100, "everybody": 400, "due": 0}
    assert found["member_for_ms"] == {"low": 3 * DAY_MS, "median": 3 * DAY_MS, "high": 3 * DAY_MS}
    traits = traits_of(found)
    assert list(traits) == sorted(traits, key=lambda name: -traits[name]["telling"])
    assert traits["spend"]["members"] == {"low": 10_024.75, "median": 10_049.5, "high": 10_074.25}
    assert (traits["spend"]["everybody"]["median"], traits["spend"]["currency"]) == (100, "EUR")
    assert traits["last_at"]["members"]["median"] == DAY_MS and traits["last_at"]["everybody"]["high"] == 9 * DAY_MS
    assert traits["liked"]["values"] == [
        {"value": "run", "members": 1, "everybody": 0.25},
        {"value": "yoga", "members": 1, "everybody": 0.25},
    ]
    assert traits["by_sku"]["values"] == [{"value": "mat", "members": 1, "everybody": 0.25}]
    assert traits["by_sku"]["absent"] == {"members": 0, "everybody": 0.75}
    assert traits["vip"]["values"] == [{"value": True, "members": 1, "everybody": 0.25}]
    assert (traits["age"]["kind"], traits["age"]["members"]["median"]) == ("json", 30)
    assert traits["age"]["absent"] == {"members": 0, "everybody": 0.375}
    assert traits["channel"]["values"] == [{"value": "app", "members": 0.9, "everybody": 0.225}]
    assert traits["channel"]["others"] == {"values": 10, "members": 0.1, "everybody": 0.775}


def test_neither_form_names_a_customer_or_a_value_of_few(bare_cli: Cli, url: str) -> None:
    put(url, *gym(100, 300))
    for form in ((), ("--json",)):
        shown = bare_cli("describe", "fit", "--redis", url, "--all", *form).stdout
        assert "fit-" not in shown and "other-" not in shown and "own-" not in shown


def test_a_person_sees_a_table_of_the_traits_asked_for(bare_cli: Cli, url: str) -> None:
    put(url, *gym(100, 300))
    words = ("describe", "fit", "--redis", url, "--trait", "spend", "--trait", "age")
    lines = [" ".join(line.split()) for line in bare_cli(*words).stdout.splitlines()]
    assert lines[:2] == ["fit: 100 members, 25% of 400 customers", "Moves a lot"]
    assert "since 3 d (3 d to 3 d) in the segment" in lines
    table = [line for line in lines if line.startswith(("trait", "spend", "age", "orders"))]
    assert table == [
        "trait members everybody times telling",
        "spend median 100.50 EUR (100.25 EUR to 100.74 EUR) 1.00 EUR (1.00 EUR to 25.75 EUR) x 100 0.75",
        "age median 30 (30 to 30) 60 (30 to 60) x 0.5 0.38",
    ]
    assert lines[-1] == "all 100 members beside all 400 customers, members among them"


def test_a_segment_of_nineteen_is_refused_and_one_of_twenty_is_not(bare_cli: Cli, url: str) -> None:
    customers, members = gym(20, 40)
    put(url, customers, members)
    for form in ((), ("--json",)):
        done = bare_cli("describe", "few", "--redis", url, *form, expect=1)
        assert done.stdout == ""
        assert done.stderr.startswith("`few` has 19 members; a persona needs at least 20")
        assert "fit-" not in done.stderr
    assert "fit: 20 members, 33% of 60 customers" in bare_cli("describe", "fit", "--redis", url).stdout


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("fitt",), 1, "no segment `fitt` in generation g1; did you mean `fit`?"),
        (("fit", "--trait", "spent"), 1, "no trait `spent` in generation g1; did you mean `spend`?"),
        (("fit", "--sample", "5"), 2, "--sample"),
        (("fit", "--namespace", "other"), 1, "namespace `other` has no live generation"),
    ],
)
def test_what_is_not_there_is_said(bare_cli: Cli, url: str, words: tuple[str, ...], status: int, said: str) -> None:
    put(url, *gym(20, 40))
    done = bare_cli("describe", *words, "--redis", url, expect=status)
    assert done.stdout == "" and said in done.stderr


def test_without_redis_it_says_so(bare_cli: Cli) -> None:
    assert "--redis" in bare_cli("describe", "fit", expect=2).stderr
    done = bare_cli("describe", "fit", "--redis", "redis://127.0.0.1:1", expect=1)
    assert done.stderr == "Redis at 127.0.0.1:1 cannot be reached; check that it runs and its address\n"


def test_the_orders_of_a_real_shop_come_out_as_a_plain_computation_has_them(cli: Cli, own_settings: Settings) -> None:
    definitions = parse_definitions(cdnow.DEFINITIONS)
    engine = Engine(definitions)
    shard = Shard(engine)
    # Every customer is advanced with the clock, so some orders of each are enough.
    shard.take_all({**raw, "type": "purchase"} for raw in cdnow.in_order_of_time(cdnow.purchases())[:400])
    writer = ProfileWriter(engine)
    assert own_settings.redis is not None
    members = {c: shard.profiles[c].members["active"][1] for c in shard.profiles if "active" in shard.members(c)}
    put(own_settings.redis, {}, {"active": members}, namespace=own_settings.namespace, text=cdnow.DEFINITIONS,
        clock=shard.clock)  # fmt: skip
    client = connect_sync(own_settings.redis)
    for customer_id, profile in shard.profiles.items():
        fields = writer.write(profile, True).fields
        key = Keys(own_settings.namespace, "g1").shard(shard_of(customer_id, SHARDS)).profile(customer_id)
        client.hset(key, mapping=dict(zip(fields[::2], fields[1::2], strict=True)))
    client.close()

    found = json.loads(cli("describe", "active", "--json").stdout)
    assert found["members"] == len(members) > 20 and found["customers"] == len(shard.profiles)
    for side, customers in (("members", list(members)), ("everybody", list(shard.profiles))):
        spends = [shard.values(c)["total_spend"] for c in customers]
        low, median, high = statistics.quantiles(spends, n=4, method="inclusive")
        expected = pytest.approx({"low": low, "median": median, "high": high})
        assert traits_of(found)["total_spend"][side] == expected
        ages = [shard.clock - at for c in customers if (at := _ms(shard.values(c)["last_order_at"])) is not None]
        assert traits_of(found)["last_order_at"][side]["median"] == pytest.approx(statistics.median(ages))


def _ms(at: Any) -> int | None:
    from profilestream.wire.times import parse_time

    return None if at is None else parse_time(at)


# Values as of now


def test_a_time_counts_from_its_shards_clock_and_what_waits_for_a_worker_is_counted(url: str) -> None:
    customers, members = gym(30, 30)
    put(url, customers, members, clock=T0 + DAY_MS, fields={"_valid_until": format_time(T0 + DAY_MS)})
    found = describe(url, "ps", "fit")
    assert found.due == 30 + 60
    assert _ranged(found, "last_at") == 2 * DAY_MS
    put(url, {}, {}, clock=T0 + DAY_MS - 1)
    assert describe(url, "ps", "fit").due == 0


def test_before_a_shard_has_a_clock_its_profiles_own_ones_count(url: str) -> None:
    put(url, *gym(30, 30), clock=None)
    assert _ranged(describe(url, "ps", "fit"), "last_at") == DAY_MS - 1


def _ranged(found: Persona, trait: str) -> float:
    side = next(one for one in found.traits if one.name == trait).members
    assert side is not None
    return side.median


# Samples


def settle(client: redis.Redis) -> None:
    """Waits while Redis, after so many writes, still moves keys into a larger table, which changes a walk's pages."""

    def pages() -> list[int]:
        cursor, found = -1, []
        while cursor:
            cursor, page = client.scan(max(cursor, 0), count=100)
            found.append(hash(tuple(page)))
        return found

    def same_again() -> bool:
        earlier = pages()
        time.sleep(0.3)
        return pages() == earlier

    wait_for(same_again)


def test_of_many_only_a_sample_is_read_and_it_is_the_same_the_next_time(
    url: str, module_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "KEYS_LOOKED_AT_MIN", 500)
    put(url, *gym(3_000, 6_000))
    settle(module_server.client)
    before = module_server.client.info("commandstats").get("cmdstat_hmget", {}).get("calls", 0)
    first = describe(url, "ps", "fit", 200)
    calls = module_server.client.info("commandstats")["cmdstat_hmget"]["calls"] - before
    assert (first.members, first.members_read, first.everybody_read) == (3_000, 200, 200)
    assert calls == 400
    assert not first.customers_exact and 7_000 < first.customers < 11_000
    # A quarter of the spends lies below the 25th percentile of all; of a sample of 200 nearly so.
    side = next(one for one in first.traits if one.name == "spend").members
    assert side is not None and 10_400 < (side.low or 0) < 11_100 and 11_100 < side.median < 11_900
    yoga = next(one for one in first.traits if one.name == "liked").named[0].shares
    assert yoga.members == 1 and 0.2 < yoga.everybody < 0.47
    assert describe(url, "ps", "fit", 200) == first


def test_members_come_from_every_shard_by_its_part(url: str) -> None:
    customers, members = gym(1_000, 0)
    put(url, customers, members)
    client = connect_sync(url)
    sampler = Sampler(client, "ps", Generation("g1", SHARDS, TEXT, "f", "", "live"))
    counts = sampler.count_members("fit")
    assert counts == [sum(shard_of(c, SHARDS) == n for c in customers) for n in range(SHARDS)]
    found = sampler.members("fit", counts, 100)
    taken = [sum(profile.shard == n for profile, _ in found.entered) for n in range(SHARDS)]
    assert found.total == 1_000 and sum(taken) == len({profile for profile, _ in found.entered}) == 100
    assert all(abs(part - count / 10) < 1 for part, count in zip(taken, counts, strict=True))
    client.close()


def test_replies_of_many_traits_come_in_small_batches(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "VALUES_A_BATCH_MAX", 50)
    put(url, *gym(40, 20))
    sizes: list[int] = []
    ask = Sampler._ask

    def watched(self: Sampler, commands: Any) -> Any:
        sizes.extend(len(commands) for command in commands[:1] if command.method == "hmget")
        return ask(self, commands)

    monkeypatch.setattr(Sampler, "_ask", watched)
    assert describe(url, "ps", "fit").members_read == 40
    # Nine traits and two fields more: four profiles are below 50 values.
    assert sizes == [4] * 10 + [4] * 15
    sizes.clear()
    assert describe(url, "ps", "fit", traits=["age", "vip"]).members_read == 40
    assert sizes == [12, 12, 12, 4, 12, 12, 12, 12, 12]


def test_other_namespaces_generations_and_programs_are_nobody(url: str, module_server: RedisProcess) -> None:
    customers, members = gym(50, 50)
    put(url, customers, members)
    put(url, {f"x{n}": {"spend": 1} for n in range(200)}, {}, namespace="ps-2")
    for n in range(200):
        module_server.client.hset(f"ps:g2:{{0}}:profile:x{n}", mapping={"spend": "1"})
        module_server.client.set(f"x:ps:g1:{{0}}:profile:{n}", "1")
    found = describe(url, "ps", "fit")
    assert (found.customers, found.customers_exact, found.everybody_read) == (100, True, 100)


def test_customers_that_a_walk_does_not_meet_are_not_made_up(
    url: str, module_server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(url, *gym(20, 5))
    pipeline = module_server.client.pipeline(transaction=False)
    for n in range(50_000):
        pipeline.set(f"other:{n}", "1")
    pipeline.execute()
    monkeypatch.setattr(samples, "KEYS_LOOKED_AT_MAX", 100)
    monkeypatch.setattr(samples, "KEYS_LOOKED_AT_A_CUSTOMER", 1)
    with pytest.raises(StoreRefused, match="so many other keys"):
        describe(url, "ps", "fit", 100)


def test_profiles_that_go_meanwhile_are_left_out_and_too_few_are_refused(url: str, module_server: RedisProcess) -> None:
    customers, members = gym(25, 25)
    put(url, customers, members)
    gone = [Keys("ps", "g1").shard(shard_of(c, SHARDS)).profile(c) for c in list(customers)[:5]]
    module_server.client.delete(*gone)
    found = describe(url, "ps", "fit")
    assert (found.members, found.members_read, found.customers) == (25, 20, 45)
    module_server.client.delete(Keys("ps", "g1").shard(shard_of("fit-0010", SHARDS)).profile("fit-0010"))
    with pytest.raises(NotFound, match="19 members"):
        describe(url, "ps", "fit")


def test_of_a_cluster_every_server_that_has_shards_is_walked(tmp_path: Path) -> None:
    nodes = make_cluster(tmp_path)
    try:
        url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
        put(url, *gym(100, 200))
        holding = [node for node in nodes if redis.Redis(port=node.port).dbsize() > 2]
        assert len(holding) == 2, "both servers have shards"
        found = describe(url, "ps", "fit")
        assert (found.members, found.members_read) == (100, 100)
        assert (found.customers, found.customers_exact, found.everybody_read) == (300, True, 300)
        some = describe(url, "ps", "fit", 40)
        assert (some.members_read, some.everybody_read) == (40, 40)
    finally:
        for node in nodes:
            node.kill()
