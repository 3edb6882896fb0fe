"""Aggregates, words and absence against answers worked out by hand from the contract's words."""

from __future__ import annotations

from typing import Any

import pytest
from tests.property.shard import DAY, HOUR, T0, Shard, definitions_text, engine_of
from tests.unit.one_customer import event, facts, order, trait

from profilestream.core.engine import Engine
from profilestream.wire.definitions import parse_definitions

# Aggregates


def test_aggregates_of_nothing_are_zero_empty_or_absent() -> None:
    search = event("browsing", T0, kind="search")
    for text, empty in {
        "count(purchase)": 0, "sum(purchase.amount_minor)": 0, "sum(purchase.amount_minor, over='30d')": 0,
        "distinct(purchase.channel)": 0, "count(purchase, by=channel)": {}, "top(purchase.channel, 3)": [],
        "mean(purchase.amount_minor)": None, "min(purchase.amount_minor)": None, "max(purchase.amount_minor)": None,
        "first(purchase.amount_minor)": None, "last(purchase.amount_minor)": None, "mean_gap(purchase)": None,
        "latest(attributes.age)": None, "count(purchase) / sum(purchase.amount_minor)": None,
    }.items():  # fmt: skip
        assert trait(text, search) == empty, text


def test_the_sum_of_a_window_that_has_become_empty_is_zero() -> None:
    text = "sum(purchase.amount_minor, over='30d')"
    assert trait(text, order(T0 + 5), until=T0 + 30 * DAY - 1) == 100
    assert trait(text, order(T0 + 5), until=T0 + 30 * DAY) == 0


def test_ago_moves_the_whole_window_back() -> None:
    text = "count(purchase, over='30d', ago='30d')"
    noon = T0 + 12 * HOUR
    counted = [trait(text, order(noon), until=at) for at in (noon + 30 * DAY - 1, noon + 30 * DAY)]
    assert counted == [0, 1]
    assert [trait(text, order(noon), until=T0 + 60 * DAY + d) for d in (-1, 0)] == [1, 0]


def test_top_goes_by_count_then_by_code_points_of_the_json_text() -> None:
    views = [event("browsing", T0, kind="product_view", sku=s) for s in ["b", "a", "b", "é", "Z", "a"]]
    assert trait("top(browsing.sku, 3)", *views) == ["a", "b", "Z"]
    hours = [order(T0 + h * HOUR) for h in (9, 10, 9, 10)]
    assert trait("top(hour(purchase.occurred_at), 2)", *hours) == [10, 9]  # as texts, "10" is less than "9"


def test_by_has_strings_themselves_and_the_json_text_of_other_values_as_keys() -> None:
    said = [facts(plan=plan) for plan in ("a", 1, True, [1, "x"], {"b": 1, "a": 2}, None, 1)]
    assert trait("count(attributes, by=plan)", *said) == {
        "1": 2, "[1,\"x\"]": 1, "a": 1, "true": 1, '{"a":2,"b":1}': 1,
    }  # fmt: skip
    at = order(T0, channel="web")
    assert trait("max(purchase.occurred_at, by=channel)", at) == {"web": "2026-01-01T00:00:00.000Z"}
    assert trait("count(purchase, by=hour(occurred_at))", at) == {"0": 1}


def test_a_key_of_an_object_is_absent_where_it_is_not_there() -> None:
    bought = order(T0, items=[{"category": "shoes", "unit_price_minor": 5}])
    spent = "sum(item.amount_minor, by=category)"
    assert trait(f"{spent}['shoes'] + 1", bought) == 6
    assert trait(f"{spent}['hats'] + 1", bought) is None
    assert trait(f"'shoes' in {spent}", bought) is True
    assert trait(f"len({spent})", bought) == 1


def test_an_items_fields_are_its_own_and_the_purchases_beside_them() -> None:
    items = [{"category": "a", "quantity": 2, "unit_price_minor": 50}, {"category": "b"}, {"sku": "s"}]
    bought = order(T0, 999, channel="web", items=items)
    engine = engine_of(
        {
            "paid": "sum(purchase.amount_minor)",
            "listed": "sum(item.amount_minor)",
            "by_event": "count(event, by=category)",
            "by_item": "count(item, by=category)",
            "web": "count(item[channel == 'web'])",
            "pieces": "sum(item.quantity)",
        }
    )
    assert Shard(engine).take_all([bought]).values() == {
        "paid": 999, "listed": 100, "by_event": {}, "by_item": {"a": 1, "b": 1}, "web": 3, "pieces": 4,
    }  # fmt: skip


def test_mean_gap_is_the_span_by_one_less_than_the_count() -> None:
    assert trait("mean_gap(purchase)", order(T0)) is None
    assert trait("mean_gap(purchase)", order(T0 + 10), order(T0), order(T0 + 1)) == 5
    assert repr(trait("mean_gap(purchase)", order(T0 + 10), order(T0))) == "10"
    assert repr(trait("mean_gap(purchase)", order(T0 + 5), order(T0), order(T0 + 1))) == "2.5"
    assert trait("mean_gap(purchase) / days(1)", order(T0 + 3 * DAY), order(T0)) == 3.0


def test_first_and_last_go_by_time_then_by_event_id_in_any_order_of_arrival() -> None:
    tied = [order(T0, n) | {"event_id": name} for n, name in enumerate(("b", "a", "c"))]
    for events in (tied, tied[::-1], [tied[2], tied[0], tied[1]]):
        assert trait("first(purchase.amount_minor)", *events) == 1
        assert trait("last(purchase.amount_minor)", *events) == 2
    early = [order(T0, 1, channel="x"), order(T0 - 1, 3)]
    assert trait("first(purchase.channel)", *early) == "x"  # what is absent is skipped


def test_latest_is_the_last_said_and_unset_or_null_takes_the_fact_away() -> None:
    age = "latest(attributes.age)"
    assert trait(age, facts(age=1), facts(T0 - 1, age=2)) == 1
    assert trait(age, facts(age=1), facts(T0 + 1, unset=["age"])) is None
    assert trait(age, facts(age=1), facts(T0 + 1, age=None)) is None
    assert trait(age, facts(T0 + 1, unset=["age"], age=9, other=1)) is None
    assert trait(age, facts(T0 + 1, unset=["age"]), facts(T0, age=1)) is None
    assert trait(age, facts(T0 + 1, unset=["age"]), facts(T0 + 2, age=3)) == 3


def test_integers_stay_exact_and_other_numbers_add_up_in_any_order() -> None:
    big = 2**62 + 1
    assert trait("sum(purchase.amount_minor)", order(T0, big), order(T0, big), order(T0, big)) == 3 * big
    moods = [event("support", T0, kind="rated", sentiment=s) for s in (0.1, 0.2, -0.3)]
    assert trait("sum(support.sentiment)", *moods) == 0
    assert trait("sum(support.sentiment)", *moods[:2]) == 0.3
    assert trait("mean(support.sentiment)", *moods[:2]) == 0.15
    assert trait("mean(purchase.amount_minor)", order(T0, 1), order(T0, 0), order(T0, 0)) == 1 / 3
    assert isinstance(trait("count(purchase) + 2 * 3", order(T0)), int)
    assert isinstance(trait("count(purchase) / 1", order(T0)), float)


# Words and absence


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("u > 1", None), ("not u > 1", None), ("u == u", None), ("u + 1 > 0", None), ("-u < 0", None),
        ("u > 1 and n > 2", False), ("u > 1 and n < 2", None), ("u > 1 or n < 2", True), ("u > 1 or n > 2", None),
        ("not (u > 1 and n > 2)", True), ("u != 1", None), ("u in [1]", None), ("u not in [1]", None),
        ("n / 0 > 0", None), ("n / zero > 0", None), ("0 / n == 0", True),
        ("word > 1", None), ("word != 1", None), ("word == 'a'", True), ("word < 'b'", True),
        ("yes == 1", None), ("yes != 1", None), ("yes == True", True), ("yes", True), ("not yes", False),
        ("yes in [1]", False), ("yes in [True]", True), ("one in [True]", False), ("one in [1]", True),
        ("one == 1.0", True), ("one", None), ("word", None), ("n > yes", None),
        ("word in ['a', 'b']", True), ("word not in ['a', 'b']", False), ("'x' in tags", True), ("'k' in box", True),
        ("box['k'] == 5", True), ("box['none'] == 5", None), ("has(box['none'])", False), ("tags == box", None),
        ("1 < n + 1 < 3", True), ("1 < n + 1 < 2", False), ("n < u < 0", None), ("n > u > 0", None),
        ("has(u)", False), ("has(word)", True), ("default(u, 7) == 7", True), ("default(word, 7) == 7", None),
        ("len(tags) == 2", True), ("len(word) == 1", True), ("len(yes) == 1", None), ("lower(shout) == 'hey'", True),
        ("score(n, 1, 20) == 2", True), ("score(n - 1, 1, 20) == 1", True), ("has(score(u, 1))", False),
        ("score(n * 20, 1, 20) == 3", True),
        ("after(at, never)", True), ("after(never, at)", False), ("after(at, at)", False),
        ("after(never, never)", False),
        ("at + days(1) > at", True), ("at - at == days(0)", True), ("days(1) == hours(24)", True),
        ("at + days(1) - hours(24) == at", True), ("never > at", None),
    ],
)  # fmt: skip
def test_absence_is_unknown_and_only_what_is_true_holds(condition: str, expected: Any) -> None:
    names = ("u", "word", "yes", "one", "tags", "shout", "box")
    traits = {name: f"latest(attributes.{name})" for name in names} | {
        "n": "count(attributes)", "zero": "count(purchase)",
        "at": "last(attributes.occurred_at)", "never": "last(purchase.occurred_at)",
    }  # fmt: skip
    engine = engine_of(traits | {"t": f"not not ({condition})"}, {"s": condition, "not_s": f"not ({condition})"})
    said = facts(word="a", yes=True, one=1, tags=["x", "y"], shout="HEY", box={"k": 5})
    shard = Shard(engine).take_all([said])
    assert shard.values().get("t") is expected
    assert shard.members() == {True: ["s"], False: ["not_s"], None: []}[expected]


def test_a_stream_holds_the_rows_for_which_its_condition_is_true() -> None:
    events = [order(T0, channel="web"), order(T0), order(T0, channel="app")]
    assert trait("count(purchase[channel != 'web'])", *events) == 1
    assert trait("count(purchase[not channel == 'web'])", *events) == 1
    assert trait("count(purchase[channel == 'web' or amount_minor > 1])", *events) == 3
    assert trait("count(purchase[channel == 'web'][amount_minor > 1])", *events) == 1


def test_event_ranges_over_every_type_but_facts() -> None:
    events = [order(T0), event("support", T0 + DAY, kind="opened"), facts(a=1), event("browsing", T0, kind="x")]
    assert trait("count(event)", *events) == 3
    assert trait("distinct(date(event.occurred_at))", *events) == 2
    assert trait("count(event, by=kind)", *events) == {"opened": 1, "order": 1, "x": 1}


@pytest.mark.parametrize(
    ("zone", "at", "hour", "weekday", "date"),
    [
        ("", "2026-07-05T22:30:00Z", 22, 6, "2026-07-05"),
        ("Europe/Berlin", "2026-07-05T22:30:00Z", 0, 0, "2026-07-06"),
        ("Europe/Berlin", "2026-01-05T22:30:00Z", 23, 0, "2026-01-05"),
        ("America/New_York", "2026-01-01T04:59:59.999Z", 23, 2, "2025-12-31"),
        ("Asia/Kathmandu", "2026-01-01T00:14:59Z", 5, 3, "2026-01-01"),
        ("Europe/Berlin", "1969-12-31T23:30:00Z", 0, 3, "1970-01-01"),
    ],
)
def test_hour_weekday_and_date_are_of_the_time_zone_and_monday_is_0(
    zone: str, at: str, hour: int, weekday: int, date: str
) -> None:
    found = [trait(f"{w}(last(purchase.occurred_at))", order(at), timezone=zone) for w in ("hour", "weekday", "date")]
    assert found == [hour, weekday, date]


def test_a_time_outside_the_years_1_to_9999_is_absent_in_its_zone_or_altogether() -> None:
    first = order("0001-01-01T00:00:00Z")
    assert trait("date(last(purchase.occurred_at))", first, timezone="America/New_York") is None
    assert trait("date(last(purchase.occurred_at))", first, timezone="Europe/Berlin") == "0001-01-01"
    assert trait("last(purchase.occurred_at) + days(365000) * 9", order(T0)) is None
    assert trait("last(purchase.occurred_at) + mean_gap(purchase) / 7", order(T0), order(T0 + 1)) == (
        "2026-01-01T00:00:00.001Z"
    )


def test_definitions_without_traits_or_segments_stand() -> None:
    assert Shard(Engine(parse_definitions(definitions_text()))).take_all([order(T0)]).values() == {}
