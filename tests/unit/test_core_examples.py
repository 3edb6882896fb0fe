"""The core against answers worked out by hand from the contract's words and its example of a definitions file."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from tests.property.shard import DAY, HOUR, T0, Shard, definitions_text, engine_of

from profilestream.core.engine import Engine
from profilestream.wire.definitions import parse_definitions

_ids = count()


def event(type_name: str, at: Any, /, **fields: Any) -> dict[str, Any]:
    """An event of customer c with an id of its own."""
    return {"type": type_name, "event_id": f"e{next(_ids):06d}", "customer_id": "c", "occurred_at": at} | fields


def order(at: Any, amount: int = 100, **fields: Any) -> dict[str, Any]:
    return event("purchase", at, amount_minor=amount, **fields)


def facts(at: int = T0, unset: list[str] | None = None, **said: Any) -> dict[str, Any]:
    return event("attributes", at, set=said, unset=unset or [])


def trait(text: str, *events: dict[str, Any], until: int = T0, timezone: str = "") -> Any:
    """The value of one expression for customer c; None when it is absent."""
    shard = Shard(engine_of({"t": text}, timezone=timezone)).take_all(events).pass_time(until)
    return shard.values().get("t")


def crossings(
    segments: dict[str, Any], *events: dict[str, Any], until: int = T0, traits: dict[str, str] | None = None
) -> list[tuple[str, int, int]]:
    """(segment, crossing, ms after T0) of every change."""
    shard = Shard(engine_of(traits, segments)).take_all(events).pass_time(until)
    return [(name, crossing, at - T0) for name, crossing, at in shard.crossings()]


EXAMPLE = """
[settings]
timezone = "Europe/Berlin"

[streams]
order = "purchase[kind == 'order']"
view  = "browsing[kind == 'product_view']"

[traits]
orders          = "count(order)"
total_spend     = "sum(order.amount_minor)"
spend_30d       = "sum(order.amount_minor, over='30d')"
spend_trend     = "spend_30d / sum(order.amount_minor, over='30d', ago='30d')"
average_order   = "total_spend / orders"
last_order_at   = "last(order.occurred_at)"
last_cart_at    = "last(browsing[kind == 'add_to_cart'].occurred_at)"
order_gap_days  = "mean_gap(order) / days(1)"
shoes_90d       = "count(item[category == 'shoes' and kind == 'order'], over='90d')"
spend_by_category = "sum(item[kind == 'order'].amount_minor, by=category, over='1y')"
views_7d        = "count(view, over='7d')"
top_categories  = "top(view.category, 3, over='90d')"
devices         = "count(browsing, by=device)"
best_hour       = "top(hour(order.occurred_at), 1)"
active_days_30d = "distinct(date(event.occurred_at), over='30d')"
first_campaign  = "first(browsing.campaign)"
open_tickets    = "count(support[kind == 'opened']) - count(support[kind == 'closed'])"
push_clicks_30d = "count(engagement[kind == 'clicked' and channel == 'push'], over='30d')"
age             = "latest(attributes.age)"
monetary        = "score(total_spend, 2_000, 5_000, 10_000, 25_000)"

[segments.big_spender]
description = "Spends a lot now"
enter = "spend_30d >= 50_000 and orders >= 2"
exit  = "spend_30d < 40_000"

[segments.lapsing]
enter = "orders >= 2 and since(last_order_at) > days(30)"

[segments.abandoned_cart]
enter = "after(last_cart_at, last_order_at) and since(last_cart_at) > hours(2)"
"""


def test_the_contracts_example_gives_what_it_says() -> None:
    shard = Shard(Engine(parse_definitions(EXAMPLE)))
    shoes = {"category": "shoes", "quantity": 2, "unit_price_minor": 15_000}
    shard.take_all(
        [
            event("browsing", T0, kind="product_view", category="shoes", device="phone", campaign="spring"),
            event("browsing", T0 + HOUR, kind="add_to_cart", device="phone", campaign="summer"),
            order("2026-01-01T10:00:00Z", 30_000, items=[shoes]),
            order("2026-01-02T10:00:00Z", 30_000, kind="refund", items=[shoes]),
            order("2026-01-03T10:00:00Z", 30_000, items=[shoes, {"category": "socks"}]),
            event("support", T0 + 3 * DAY, kind="opened"),
            event("engagement", T0 + 3 * DAY, kind="clicked", channel="push"),
            facts(T0 + 3 * DAY, age=44),
        ]
    )
    assert shard.values() == {
        "orders": 2, "total_spend": 60_000, "spend_30d": 60_000, "average_order": 30_000.0,
        "last_order_at": "2026-01-03T10:00:00.000Z", "last_cart_at": "2026-01-01T01:00:00.000Z",
        "order_gap_days": 2.0, "shoes_90d": 2, "spend_by_category": {"shoes": 60_000}, "views_7d": 1,
        "top_categories": ["shoes"], "devices": {"phone": 2}, "best_hour": [11], "active_days_30d": 4,
        "first_campaign": "spring", "open_tickets": 1, "push_clicks_30d": 1, "age": 44, "monetary": 5,
    }  # fmt: skip
    second = 2 * DAY + 10 * HOUR
    assert [(s, n, at - T0) for s, n, at in shard.pass_time(T0 + 40 * DAY).crossings()] == [
        ("abandoned_cart", 1, 3 * HOUR + 1),
        ("abandoned_cart", 2, 10 * HOUR),
        ("big_spender", 1, second),
        ("big_spender", 2, 30 * DAY),
        ("lapsing", 1, second + 30 * DAY + 1),
    ]
    assert shard.changes["c"][2].values == {"spend_30d": 60_000, "orders": 2}
    assert shard.values()["spend_30d"] == 0
    # The window 30 days back holds both orders now, and there is nothing in the present one.
    assert shard.values()["spend_trend"] == 0.0


def test_two_orders_make_a_big_spender() -> None:
    shard = Shard(Engine(parse_definitions(EXAMPLE)))
    shard.take_all([order("2026-01-01T10:00:00Z", 30_000), order("2026-01-02T10:00:00Z", 30_000)])
    shard.pass_time(T0 + 2 * DAY)
    assert shard.values()["orders"] == 2 and shard.members() == ["big_spender"]


# Segments and time


def test_since_more_than_30_days_first_holds_at_30_days_and_one_millisecond() -> None:
    traits = {"at": "last(purchase.occurred_at)"}
    segments = {"more": "since(at) > days(30)", "reached": "since(at) >= days(30)", "days": "days_since(at) >= 30"}
    at = 30 * DAY
    assert crossings(segments, order(T0), until=T0 + at - 1, traits=traits) == []
    reached = [("reached", 1, at), ("days", 1, at)]
    assert crossings(segments, order(T0), until=T0 + at, traits=traits) == reached
    assert crossings(segments, order(T0), until=T0 + at + 1, traits=traits) == [*reached, ("more", 1, at + 1)]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("since(at) < days(2)", [(0, 2 * DAY)]),
        ("since(at) <= days(2)", [(0, 2 * DAY + 1)]),
        ("since(at) == days(2)", [(2 * DAY, 2 * DAY + 1)]),
        ("since(at) != days(2)", [(0, 2 * DAY), (2 * DAY + 1, None)]),
        ("days(1) < since(at) <= days(2)", [(DAY + 1, 2 * DAY + 1)]),
        ("days_since(at) == 2", [(2 * DAY, 3 * DAY)]),
        ("days_since(at) > 1.5", [(2 * DAY, None)]),
        ("days_since(at) == 1.5", []),
        ("since(at) / 2 > hours(1)", [(2 * HOUR + 1, None)]),
        ("since(at) * 3 >= hours(1)", [(20 * 60_000, None)]),
        ("since(at) * 7 > hours(1)", [(514_286, None)]),
        ("hours(5) - since(at) > hours(2)", [(0, 3 * HOUR)]),
        ("since(at) > -days(1)", [(0, None)]),
        ("since(at + days(1)) >= hours(0)", [(DAY, None)]),
        ("not since(at) < hours(1)", [(HOUR, None)]),
        ("since(at) > hours(1) and since(at) < hours(2)", [(HOUR + 1, 2 * HOUR)]),
    ],
)
def test_a_condition_in_time_holds_from_its_first_millisecond_to_its_last(
    condition: str, holds: list[tuple[int, int | None]]
) -> None:
    edges = [edge for span in holds for edge in span if edge is not None]
    expected = [("s", n, at) for n, at in enumerate(edges, 1)]
    found = crossings({"s": condition}, order(T0), until=T0 + 9 * DAY, traits={"at": "last(purchase.occurred_at)"})
    assert found == expected


def test_hysteresis_keeps_a_member_until_exit_holds() -> None:
    traits = {"open": "count(support[kind == 'opened']) - count(support[kind == 'closed'])"}
    kinds = ["opened", "opened", "opened", "closed", "closed", "opened", "opened"]
    events = [event("support", T0 + n, kind=kind) for n, kind in enumerate(kinds)]
    assert crossings({"busy": ("open >= 3", "open < 2")}, *events, traits=traits) == [
        ("busy", 1, 2), ("busy", 2, 4), ("busy", 3, 6),
    ]  # fmt: skip


def test_nobody_enters_while_exit_holds_and_unknown_exit_does_not_hold() -> None:
    segments = {"s": ("count(purchase) >= 1", "count(purchase) < 3"), "u": ("count(purchase) >= 1", "t > 1")}
    events = [order(T0), order(T0 + 1), order(T0 + 2)]
    assert crossings(segments, *events, traits={"t": "latest(attributes.t)"}) == [("u", 1, 0), ("s", 1, 2)]


def test_changes_of_one_instant_are_in_the_files_order_with_the_traits_that_the_conditions_name() -> None:
    traits = {
        "n": "count(purchase)", "at": "last(purchase.occurred_at)", "plan": "latest(attributes.plan)",
        "channel": "last(purchase.channel)", "count": "count(event)",
    }  # fmt: skip
    segments = {
        "z": "n >= 1 and not has(plan)",
        "a": ("count(purchase[channel == 'web']) >= 1", "at < at"),
    }
    shard = Shard(engine_of(traits, segments)).take_all([order(T0, channel="web")])
    assert [(c.segment, c.values) for c in shard.changes["c"]] == [
        ("z", {"n": 1}),
        ("a", {"at": "2026-01-01T00:00:00.000Z"}),
    ]


def test_what_is_due_at_an_events_own_time_happens_before_it() -> None:
    found = crossings(
        {"quiet": "since(at) >= days(1)"}, order(T0), order(T0 + DAY), traits={"at": "last(purchase.occurred_at)"}
    )
    assert found == [("quiet", 1, DAY), ("quiet", 2, DAY)]


def test_another_customers_event_moves_the_shards_clock() -> None:
    other = event("browsing", T0 + 9 * DAY, kind="search") | {"customer_id": "other"}
    found = crossings({"q": "since(at) > days(2)"}, order(T0), other, traits={"at": "last(purchase.occurred_at)"})
    assert found == [("q", 1, 2 * DAY + 1)]


def test_a_late_event_is_folded_at_the_present_clock() -> None:
    assert crossings({"two": "count(purchase) >= 2"}, order(T0), order(T0 - 5 * DAY)) == [("two", 1, 0)]


def test_a_late_event_older_than_the_window_changes_nothing_but_what_has_no_window() -> None:
    events = [order(T0, 1), order(T0 - 31 * DAY, 2), order(T0 - 29 * DAY, 4)]
    assert trait("sum(purchase.amount_minor, over='30d')", *events) == 5
    assert trait("sum(purchase.amount_minor)", *events) == 7
    assert trait("first(purchase.amount_minor)", *events) == 2


def test_a_condition_that_holds_of_nothing_holds_from_the_first_event_on() -> None:
    search = event("browsing", T0 + 5, kind="search")
    segments = {"none": "count(purchase) == 0", "unknown": "min(purchase.amount_minor) > 1"}
    assert crossings(segments, search) == [("none", 1, 5)]


# Profiles


def test_the_revision_counts_events_folded_and_not_duplicates_or_time() -> None:
    shard = Shard(engine_of({"n": "count(purchase, over='1h')"}, {"s": "n >= 1"}))
    first = order(T0)
    assert shard.take(first) and not shard.take(first)
    assert shard.take(order(T0 - DAY))
    profile = shard.pass_time(T0 + DAY).profiles["c"]
    assert (profile.revision, profile.event_time, shard.duplicates) == (2, T0, 1)
    assert profile.as_of == T0 + HOUR


def test_an_id_is_one_of_its_type_among_the_last_256_within_24_hours_of_arrival() -> None:
    first = order(T0)
    same_id = event("browsing", T0, kind="search") | {"event_id": first["event_id"]}
    assert trait("count(event)", first, first, same_id) == 2
    assert trait("count(purchase)", first, *(order(T0) for _ in range(255)), first) == 256
    assert trait("count(purchase)", first, *(order(T0) for _ in range(256)), first) == 258
    assert trait("count(purchase)", first, first | {"arrived_at": DAY - 1}) == 1
    assert trait("count(purchase)", first, first | {"arrived_at": DAY + 1}) == 2


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
