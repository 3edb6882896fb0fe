"""`quantiles` on a real Redis: what it prints, pasted into the definitions, makes the parts that it told of."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
from tests import cdnow
from tests.conftest import Cli
from tests.integration.described import SHARDS, gym, put
from tests.property.shard import T0, Shard

from profilestream.core.engine import Engine
from profilestream.core.events import BUILT_IN
from profilestream.operations.quantiles import quantiles
from profilestream.settings import Settings
from profilestream.store.connection import connect_sync
from profilestream.store.keys import Keys, shard_of
from profilestream.store.profile_writes import ProfileWriter
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.schemas import schemas

SCHEMA = schemas(BUILT_IN)["quantiles.json"]


def test_what_is_printed_cuts_a_real_shops_customers_as_it_said_once_it_is_pasted(
    cli: Cli, own_settings: Settings
) -> None:
    orders = [{**raw, "type": "purchase"} for raw in cdnow.purchases()[:800]]
    shard = Shard(Engine(parse_definitions(cdnow.DEFINITIONS))).take_all(orders)
    writer = ProfileWriter(shard.engine)
    assert own_settings.redis is not None
    put(own_settings.redis, {}, {}, namespace=own_settings.namespace, text=cdnow.DEFINITIONS, clock=shard.clock)
    client = connect_sync(own_settings.redis)
    for customer_id, profile in shard.profiles.items():
        fields = writer.write(profile, True).fields
        key = Keys(own_settings.namespace, "g1").shard(shard_of(customer_id, SHARDS)).profile(customer_id)
        client.hset(key, mapping=dict(zip(fields[::2], fields[1::2], strict=True)))
    client.close()

    found = json.loads(cli("quantiles", "total_spend", "--by", "5", "--json").stdout)
    jsonschema.validate(found, SCHEMA)
    assert found["sample"]["customers"] == found["customers"] == len(shard.profiles) > 100
    sizes = {part["score"]: part["customers"] for part in found["parts"]}
    assert sorted(sizes) == [1, 2, 3, 4, 5]
    assert max(sizes.values()) < 1.2 * min(sizes.values())
    shown = cli("quantiles", "total_spend").stdout.splitlines()
    assert shown[0] == found["score"] and shown[-1] == f"all {len(shard.profiles):,} customers"

    pasted = cdnow.DEFINITIONS.replace("[traits]\n", f'[traits]\npart = "{found["score"]}"\n', 1)
    again = Shard(Engine(parse_definitions(pasted))).take_all(orders)
    assert Counter(again.values(customer_id)["part"] for customer_id in again.profiles) == sizes


def test_a_segments_members_alone_and_a_sample_can_be_cut(bare_cli: Cli, url: str) -> None:
    customers, members = gym(60, 40)
    put(url, customers, members)
    everybody = quantiles(url, "ps", "spend")
    inside = quantiles(url, "ps", "spend", 2, segment="fit")
    assert (everybody.customers, inside.customers, inside.read) == (100, 60, 60)
    assert inside.customers == sum(part.customers for part in inside.parts)
    some = quantiles(url, "ps", "spend", 2, segment="fit", sample=30)
    assert (some.customers, some.read, some.customers_exact) == (60, 30, True)
    shown = bare_cli("quantiles", "spend", "--by", "2", "--segment", "fit", "--sample", "30", "--redis", url).stdout
    assert "a sample: 30 of 60 members of fit; --sample looks at more" in shown


def test_amounts_and_durations_are_shown_as_such_and_who_has_none_is_counted(bare_cli: Cli, url: str) -> None:
    def values(n: int) -> Mapping[str, Any]:
        age = None if n < 10 else "old" if n < 13 else n
        return {"spend": n * 10_000, "gap": n * 3_600_000 * 1.5, "age": age}

    put(
        url, {f"c{n}": values(n) for n in range(100)}, {}, fields={"_valid_until": "2026-01-01T00:00:00.000Z"}, clock=T0
    )
    lines = bare_cli("quantiles", "spend", "--by", "4", "--redis", url).stdout.splitlines()
    assert lines[0] == "score(spend, 250_000, 500_000, 750_000)"
    assert [line.split() for line in lines[2:5]] == [
        ["score", "from", "to", "below", "customers", "share"],
        ["1", "2,500.00", "EUR", "25", "25%"],
        ["2", "2,500.00", "EUR", "5,000.00", "EUR", "25", "25%"],
    ]
    assert lines[-1] == "100 profiles of these wait for a worker to write what time has changed"
    gaps = json.loads(bare_cli("quantiles", "gap", "--by", "2", "--json", "--redis", url).stdout)
    jsonschema.validate(gaps, SCHEMA)
    assert (gaps["score"], gaps["breaks"]) == ("score(gap, hours(75))", [75 * 3_600_000])
    ages = json.loads(bare_cli("quantiles", "age", "--json", "--redis", url).stdout)
    jsonschema.validate(ages, SCHEMA)
    assert ages["sample"] == {"customers": 100, "absent": 10, "others": 3, "due": 100}
    assert sum(part["customers"] for part in ages["parts"]) == 87


def test_equal_values_are_never_parted_and_it_is_said(bare_cli: Cli, url: str) -> None:
    put(url, {f"c{n}": {"orders": max(0, n - 79)} for n in range(100)}, {})
    shown = bare_cli("quantiles", "orders", "--redis", url).stdout.splitlines()
    assert shown[0] == "score(orders, 1)"
    assert "5 parts were asked for; many customers have equal values, and those are never parted" in shown


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["spent"], 1, "no trait `spent` in generation g1; did you mean `spend`?"),
        (["last_at"], 2, "`last_at` is a time; score() takes numbers and durations"),
        (["channel"], 2, "`channel` is a string; score() takes numbers and durations; a number can be made of it, such "
         "as len(channel)"),
        (["vip"], 2, "`vip` is true or false; score() takes numbers and durations"),
        (["spend", "--segment", "fitt"], 1, "no segment `fitt` in generation g1; did you mean `fit`?"),
        (["orders"], 1, "all 30 customers have the same `orders`: there is nothing to cut"),
        (["gap"], 1, "of 30 customers looked at, 0 with a number in `gap`; breaks need at least 20, as those of few "
         "would tell of single customers"),
        (["spend", "--by", "1"], 2, "--by"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_said(bare_cli: Cli, url: str, words: list[str], status: int, said: str) -> None:
    put(url, {f"c{n}": {"orders": 3, "spend": n} for n in range(30)}, {})
    assert said in bare_cli("quantiles", *words, "--redis", url, expect=status).stderr
