"""The parts of `verify`: who is chosen, what is held, what counts as an event, what is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from profilestream.cli.verifying import parse_shards, read_ids, shown_shards
from profilestream.core.errors import UsageError
from profilestream.operations.verification.checking import Checked, Finding, check
from profilestream.operations.verification.choosing import HASHES, Choice, Range
from profilestream.operations.verification.holding import ARRIVAL_BYTES, Held
from profilestream.operations.verification.recomputing import Arrival, Limits, recompute
from profilestream.operations.verification.tally import EXAMPLES_MAX, Tallies, tally_object
from profilestream.oracle.definitions import Definitions
from profilestream.oracle.doubts import ANY_TIME, Gaps
from profilestream.oracle.records import Records
from profilestream.store.snapshots import StoredProfile
from profilestream.wire.schemas.verifications import VERIFY

DAY = 86_400_000
IDS = [f"c{n}" for n in range(2_000)]
LIMITS = Limits(ids_max=3, ids_ms_max=DAY, keys_max=3, future_ms_max=300_000)
DEFINITIONS = """
[traits]
orders = "count(purchase)"
by_kind = "count(browsing, by=kind)"
kinds = "distinct(browsing.kind)"
recent = "count(purchase, over='24h')"
[segments.buyer]
enter = "orders >= 2"
exit = "orders >= 9"
[segments.shopper]
enter = "recent >= 1"
"""


def arrival(n: int, topic: str = "purchases", log: str | None = None, **fields: Any) -> Arrival:
    event = {"event_id": f"e{n}", "customer_id": "c", "occurred_at": n * 1_000, **fields}
    if topic == "purchases":
        event |= {"amount_minor": n}
    return Arrival(log or topic, n, topic, n * 1_000, json.dumps(event).encode())


def folded(*arrivals: Arrival, limits: Limits = LIMITS) -> Any:
    return recompute(Records(Definitions(DEFINITIONS)), "c", arrivals, limits, 1 << 50)


def test_a_sample_is_about_so_many_and_the_same_with_the_same_seed() -> None:
    choice = Choice.sample(7, 500, len(IDS))
    chosen = {c for c in IDS if choice.has(c, choice.range)}
    assert 400 < len(chosen) < 600
    assert chosen == {c for c in IDS if Choice.sample(7, 500, len(IDS)).has(c, choice.range)}
    other = Choice.sample(8, 500, len(IDS))
    assert {c for c in IDS if other.has(c, other.range)} != chosen
    assert all(Choice.sample(7, 5_000, len(IDS)).has(c, Range(0, HASHES)) for c in IDS)


def test_the_halves_of_a_range_have_everybody_once() -> None:
    choice = Choice.sample(7, 900, len(IDS))
    low, high = choice.range.halves()
    for customer_id in IDS:
        assert choice.has(customer_id, low) + choice.has(customer_id, high) == choice.has(customer_id, choice.range)


def test_what_weighs_too_much_is_put_off_and_every_customer_is_served_by_one_pass() -> None:
    choice = Choice(3)
    waiting, served, passes = [choice.range], list[str](), 0
    while waiting:
        held = Held(choice, waiting.pop(), bytes_max=200 * ARRIVAL_BYTES, customers_max=10_000)
        for n, customer_id in enumerate(IDS):
            if held.wants(customer_id):
                held.add(customer_id, Arrival("t", n, "t", 0, b""))
        assert len(held.arrivals) <= 200
        served += held.arrivals
        waiting += held.put_off
        passes += 1
    assert sorted(served) == sorted(IDS)
    assert 10 <= passes <= 40


def test_too_many_customers_are_put_off_as_well() -> None:
    held = Held(Choice(3), Choice(3).range, customers_max=100)
    for customer_id in IDS:
        if held.wants(customer_id):
            held.meet(customer_id)
    assert 0 < len(held.arrivals) <= 100
    assert held.put_off


def test_a_single_customer_that_weighs_too_much_is_left_out_alone() -> None:
    held = Held(Choice(3, ids=frozenset(["big", "small"])), Choice(3).range, bytes_max=10 * ARRIVAL_BYTES)
    for n in range(50):
        held.add("big", Arrival("t", n, "t", 0, b""))
    assert held.too_large == {"big"}
    if held.wants("small"):
        held.add("small", Arrival("t", 51, "t", 0, b""))
        assert list(held.arrivals) == ["small"]


def test_duplicates_dead_letters_and_what_is_ahead_of_its_arrival_do_not_count() -> None:
    bad = Arrival("purchases", 9, "purchases", 9_000, b"{")
    ahead = Arrival("purchases", 10, "purchases", 0, arrival(10, occurred_at=400_000).value)
    own = folded(arrival(1), arrival(2), arrival(1), bad, ahead)
    assert (own.events, own.duplicates, own.order_decides) == (2, 1, False)


def test_an_id_that_was_forgotten_comes_again_and_of_several_topics_the_order_decides() -> None:
    alone = folded(*(arrival(n) for n in (1, 2, 3, 4, 5, 1)))
    assert (alone.events, alone.order_decides) == (6, False)
    mixed = folded(*(arrival(n) for n in (1, 2, 3)), *(arrival(n, "browsing", kind="x") for n in (4, 5)), arrival(1))
    assert (mixed.events, mixed.order_decides) == (6, True)
    assert check(mixed, StoredProfile("c", {}, None, None, {}), 0, Gaps(), 3).unknown == [("profile", "", "order")]


def stored(clock: str = "1970-01-01T00:00:02.000Z", **fields: Any) -> StoredProfile:
    given = {"_revision": 2, "_as_of": clock, "_event_time": "1970-01-01T00:00:02.000Z", "_segments": "{}", **fields}
    return StoredProfile("c", {name: str(value).encode() for name, value in given.items()}, None, None, {})


def test_maps_that_may_have_been_full_and_estimates_are_not_compared_exactly() -> None:
    views = [arrival(n, "browsing", kind=f"k{n}") for n in range(1, 301)]
    limits = Limits(1_000, DAY, 300, 300_000)
    time = "1970-01-01T00:05:00.000Z"
    own = folded(*views, limits=limits)
    profile = stored(time, _revision=300, _event_time=time, orders=0, by_kind="{}", kinds=310, recent=0)
    full = check(own, profile, None, Gaps(), 299)
    assert ("trait", "by_kind", "bounded") in full.unknown
    assert [f.name for f in full.findings] == ["state"]
    far = check(own, stored(time, _revision=300, _event_time=time, orders=0, kinds=400, recent=0), None, Gaps(), 300)
    assert [(f.name, f.kind) for f in far.findings] == [
        ("by_kind", "missing"),
        ("kinds", "mismatched"),
        ("state", "missing"),
    ]


def test_what_the_log_lacks_is_said_and_windows_behind_it_are_compared() -> None:
    own = folded(arrival(2))
    gaps = Gaps({"purchase": 1_000})
    profile = stored("1970-01-03T00:00:00.000Z", orders=2, recent=7, kinds=0, by_kind="{}")
    found = check(own, profile, None, gaps, 10)
    assert ("trait", "orders", "not_in_log") in found.unknown
    assert ("segment", "buyer", "not_in_log") in found.unknown
    assert [f.name for f in found.findings] == ["recent", "state"]
    unknown = check(own, profile, None, Gaps({"purchase": ANY_TIME}), 10)
    assert ("trait", "recent", "not_in_log") in unknown.unknown
    nobody = check(folded(), profile, None, gaps, 10)
    assert nobody.unknown == [("profile", "", "not_in_log")]


@pytest.mark.parametrize(("head_clock", "named"), [(5_000, []), (4_999, ["buyer"])])
def test_who_was_announced_at_a_promotion_entered_behind_the_profile_s_clock_and_not_behind_the_shard_s(
    head_clock: int, named: list[str]
) -> None:
    own = folded(arrival(1), arrival(2))
    entered = {"buyer": {"since": "1970-01-01T00:00:05.000Z", "crossing": 1}}
    entered["shopper"] = {"since": "1970-01-01T00:00:01.000Z", "crossing": 1}
    values = {"orders": 2, "by_kind": "{}", "kinds": 0, "recent": 2}
    profile = replace(stored(**values, _segments=json.dumps(entered)), entered={"buyer": 5_000, "shopper": 1_000})
    found = check(own, profile, head_clock, Gaps(), 10).findings
    assert [f.name for f in found if f.about == "segment"] == named


def test_a_trait_that_is_complete_from_later_on_is_not_compared_before() -> None:
    profile = stored("1970-01-03T00:00:00.000Z", orders=1, recent=0, kinds=0, by_kind="{}")
    own = folded(arrival(1), arrival(2))
    since = Gaps(complete_since={"orders": 1_500, "recent": 1_500})
    found = check(own, profile, None, since, 10)
    assert [(n, r) for _, n, r in found.unknown] == [("orders", "begins_later"), ("buyer", "begins_later")]
    assert [f.name for f in found.findings] == ["state"]


def test_what_was_carried_over_is_compared_where_the_log_has_just_those_events() -> None:
    carried = Gaps({"purchase": ANY_TIME, "browsing": ANY_TIME}, more_in_log=True)
    right = stored("1970-01-03T00:00:00.000Z", orders=5, recent=0, kinds=0, by_kind="{}")
    assert [f.name for f in check(folded(arrival(1), arrival(2)), right, None, carried, 10).findings] == [
        "orders",
        "buyer",
        "state",
    ]
    for events in ([arrival(2)], [arrival(n) for n in (1, 2, 3)]):
        found = check(folded(*events), right, None, carried, 10)
        assert ("trait", "orders", "not_in_log") in found.unknown
        assert [f.name for f in found.findings] == ["state"]


def test_an_aggregate_that_stands_in_no_complete_trait_may_have_begun_with_what_was_carried() -> None:
    text = (
        DEFINITIONS
        + """
[segments.viewer]
enter = "count(browsing) >= 1"
[segments.payer]
enter = "count(purchase) >= 1"
"""
    )
    own = recompute(Records(Definitions(text)), "c", [arrival(1), arrival(2)], LIMITS, 1 << 50)
    profile = stored("1970-01-03T00:00:00.000Z", orders=2, recent=0, kinds=0, by_kind="{}")
    carried = Gaps({"purchase": ANY_TIME, "browsing": ANY_TIME}, more_in_log=True, others_since=5_000)
    found = check(own, profile, None, carried, 10)
    assert ("segment", "viewer", "begins_later") in found.unknown
    assert {f.name for f in found.findings} == {"buyer", "payer", "state"}
    late = check(own, profile, None, Gaps(carried.types, {"orders": 1_500}, True, 5_000), 10)
    assert ("segment", "payer", "begins_later") in late.unknown


def test_a_profile_of_nobody_is_extra() -> None:
    (finding,) = check(folded(), stored(), None, Gaps(), 10).findings
    assert (finding.about, finding.kind) == ("profile", "extra")


def test_tallies_count_each_customer_and_keep_a_few_examples() -> None:
    tallies = Tallies()
    for n in range(10):
        tallies.add(Checked([Finding("trait", "orders", "mismatched", f"c{n}", 1, 2)], [("trait", "b", "bounded")]))
    tallies.add(Checked(unknown=[("profile", "", "not_in_log")]))
    tallies.add(Checked(due=True))
    assert (tallies.checked, tallies.differing, tallies.due, tallies.is_right) == (11, 10, 1, False)
    assert tallies.left_out == {"not_in_log": 1}
    names = tallies.named("trait", ["b", "orders", "c"])
    assert [name for name, _ in names] == ["b", "orders"]
    told = tally_object(*names[1])
    assert (told["mismatched"], len(told["examples"])) == (10, EXAMPLES_MAX)
    Draft202012Validator(VERIFY["properties"]["traits"]["items"]).validate(told)


@pytest.mark.parametrize(("text", "shards"), [("0", [0]), ("0,3-5", [0, 3, 4, 5]), ("2-2, 7", [2, 7])])
def test_shards_are_read_as_they_are_shown(text: str, shards: list[int]) -> None:
    assert parse_shards(text) == shards
    assert parse_shards(shown_shards(shards)) == shards


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-1", "1,,2"])
def test_what_names_no_shards_is_wrong_use(text: str) -> None:
    with pytest.raises(UsageError, match="0,3-5"):
        parse_shards(text)


def test_a_file_of_customers_has_an_id_a_line(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("c1\n\nZoë\nc1\n", encoding="utf-8")
    assert read_ids(path) == {"c1", "Zoë"}
    path.write_text("\n")
    with pytest.raises(UsageError, match="no id"):
        read_ids(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_ids(tmp_path / "none")
