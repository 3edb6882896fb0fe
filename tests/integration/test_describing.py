"""`describe` on a real Redis: profiles as readers find them, times as of now, and what is refused."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
from tests import cdnow
from tests.conftest import Cli
from tests.integration.described import DAY_MS, SHARDS, gym, put
from tests.property.shard import T0, Shard

from profilestream.core.engine import Engine
from profilestream.core.events import BUILT_IN
from profilestream.operations.describe import Persona, describe
from profilestream.settings import Settings
from profilestream.store.connection import connect_sync
from profilestream.store.keys import Keys, shard_of
from profilestream.store.profile_writes import ProfileWriter
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.schemas import schemas
from profilestream.wire.times import format_time


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
