"""The core against answers worked out by hand from the contract's words and its example of a definitions file."""

from __future__ import annotations

import pytest
from tests.property.shard import DAY, HOUR, T0, Shard, engine_of
from tests.unit.one_customer import crossings, event, facts, order, trait

from profilestream.core.engine import Engine
from profilestream.wire.definitions import parse_definitions

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
