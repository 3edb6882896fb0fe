"""Explanations: which conditions a segment has, what they come to, and when time alone changes the answer."""

from __future__ import annotations

from typing import Any

import pytest
from tests.property.shard import DAY, T0, Shard, definitions_text, engine_of

from profilestream.core.conditions import Condition
from profilestream.core.engine import Engine
from profilestream.core.explanation import at_clock, explain_segment, explain_segments
from profilestream.core.leaves import Joined, leaves, take_apart
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import encode_state

TRAITS = {
    "orders": "count(purchase)",
    "spend": "sum(purchase.amount_minor)",
    "spend_30d": "sum(purchase.amount_minor, over='30d')",
    "last_at": "last(purchase.occurred_at)",
    "seen_at": "last(browsing.occurred_at)",
    "gap": "mean_gap(purchase)",
    "channels": "top(purchase.channel, 2)",
    "repeats": "orders >= 2",
    "vip": "latest(attributes.vip)",
}


def order(n: int, at: int, amount: int) -> dict[str, Any]:
    fields = {"event_id": f"e{n}", "customer_id": "c", "occurred_at": at, "amount_minor": amount, "channel": "web"}
    return {"type": "purchase", **fields}


def shard(enter: str, leave: str | None = None, orders: int = 2) -> Shard:
    """A customer `c` with orders of 100, 200 ... a day apart, and a segment `s`."""
    found = Shard(engine_of(TRAITS, {"s": enter if leave is None else (enter, leave)}))
    return found.take_all(order(n, T0 + n * DAY, 100 * (n + 1)) for n in range(orders))


def conditions(enter: str, leave: str | None = None, clock: int = T0 + DAY) -> tuple[Condition, ...]:
    found = shard(enter, leave)
    return explain_segment(found.engine, found.profiles["c"], "s", clock).conditions


# Leaves


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("orders >= 2", ["orders >= 2"]),
        ("orders>=2 and  spend > 1_000", ["orders>=2", "spend > 1_000"]),
        ("not (repeats or (spend < 5 and has(last_at)))", ["repeats", "spend < 5", "has(last_at)"]),
        ("1 < orders <= 5 != spend", ["1 < orders", "orders <= 5", "5 != spend"]),
        ("1 < ( orders + 1 ) < ((5)) and repeats", ["1 < ( orders + 1 )", "( orders + 1 ) < ((5))", "repeats"]),
        ("(orders + 1) * 2 > (3)", ["(orders + 1) * 2 > (3)"]),
        ("'größe' in channels and orders > 1", ["'größe' in channels", "orders > 1"]),
        ("'a' not in channels or vip", ["'a' not in channels", "vip"]),
        ("after(last_at, seen_at) and default(vip, false)", ["after(last_at, seen_at)", "default(vip, false)"]),
        ("since(last_at) > days(30)", ["since(last_at) > days(30)"]),
        ("true", ["true"]),
        ("(\n  orders >\n    2\n  and repeats\n)", ["orders >\n    2", "repeats"]),
    ],
)
def test_the_leaves_of_a_condition_are_its_own_words_in_its_own_order(condition: str, expected: list[str]) -> None:
    definitions = parse_definitions(definitions_text(TRAITS, {"s": condition}))
    node = definitions.by_segment["s"].conditions[0]
    assert [leaf.text for leaf in leaves(condition, node)] == expected


def test_every_not_is_pushed_down_to_the_leaves() -> None:
    text = "not (repeats or orders > 5 and not has(last_at)) and (not 1 < orders < 3 or not not vip)"
    definitions = parse_definitions(definitions_text(TRAITS, {"s": text}))
    found, tree = take_apart(text, definitions.by_segment["s"].conditions[0])
    assert tree == Joined("and", (Joined("and", (0, Joined("or", (1, 2)))), Joined("or", (Joined("or", (3, 4)), 5))))
    assert [leaf.negated for leaf in found] == [True, True, False, True, True, False]


def test_a_leaf_under_an_odd_number_of_nots_is_negated() -> None:
    found = conditions("not (repeats or not orders > 5) and not not has(last_at)")
    assert [(c.text, c.negated, c.holds, c.helps) for c in found] == [
        ("repeats", True, True, False),
        ("orders > 5", False, False, False),
        ("has(last_at)", False, True, True),
    ]


# Values


@pytest.mark.parametrize(
    ("condition", "holds", "value", "threshold", "distance"),
    [
        ("orders >= 2", True, 2, 2, 0),
        ("spend > 1_000", False, 300, 1_000, -700),
        ("1_000 > spend", True, 1_000, 300, 700),
        ("spend / orders == 150", True, 150.0, 150, 0),
        ("last_at > first(purchase.occurred_at)", True, "2026-01-02T00:00:00.000Z", "2026-01-01T00:00:00.000Z", DAY),
        ("since(last_at) > days(30)", False, 6 * 3_600_000, 30 * DAY, 6 * 3_600_000 - 30 * DAY),
        ("days_since(last_at) >= 0", True, 0, 0, 0),
        ("gap == days(1)", True, DAY, DAY, 0),
        ("'web' in channels", True, "web", ["web"], None),
        ("last(purchase.channel) in ('web', 'shop')", True, "web", ["web", "shop"], None),
        ("has(last_at)", True, "2026-01-02T00:00:00.000Z", None, None),
        ("has(seen_at)", False, None, None, None),
        ("after(last_at, seen_at)", True, "2026-01-02T00:00:00.000Z", None, None),
        ("repeats", True, True, None, None),
        ("vip", None, None, None, None),
        ("default(vip, false)", False, False, None, None),
        ("vip == 'gold'", None, None, "gold", None),
        ("seen_at < last_at", None, None, "2026-01-02T00:00:00.000Z", None),
        ("true", True, True, None, None),
    ],
)
def test_a_condition_has_its_truth_and_both_sides_as_readers_see_them(
    condition: str, holds: bool | None, value: Any, threshold: Any, distance: int | None
) -> None:
    (found,) = conditions(condition, clock=T0 + DAY + 6 * 3_600_000)
    assert (found.holds, found.value, found.threshold, found.distance) == (holds, value, threshold, distance)


def test_which_sides_are_the_customers_is_known() -> None:
    found = conditions("1 < orders < 5 and spend > orders and repeats")
    assert [c.varies for c in found] == [(False, True), (True, False), (True, True), (True, False)]


# Membership and time


def test_enter_comes_before_exit_and_a_member_has_since_and_crossing() -> None:
    found = shard("orders >= 2 and spend > 0", "since(last_at) > days(30)")
    explained = explain_segment(found.engine, found.profiles["c"], "s", T0 + 5 * DAY)
    assert [c.text for c in explained.conditions] == ["orders >= 2", "spend > 0", "since(last_at) > days(30)"]
    assert [c.text for c in explained.exit] == ["since(last_at) > days(30)"]
    assert (explained.member, explained.crossing, explained.since) == (True, 1, T0 + DAY)
    assert (explained.enters, explained.leaves) == (True, False)
    assert explained.changes_at == T0 + DAY + 30 * DAY + 1


def test_without_exit_a_member_leaves_when_enter_no_longer_holds() -> None:
    found = shard("spend_30d >= 300")
    explained = explain_segment(found.engine, found.profiles["c"], "s", T0 + 2 * DAY)
    assert (explained.enters, explained.leaves, explained.exit) == (True, False, ())
    assert explained.changes_at == T0 + 30 * DAY  # the first order's tile is too old then


def test_what_is_due_by_the_clock_has_happened_and_the_profile_is_left_alone() -> None:
    found = shard("since(last_at) <= days(3)")
    profile = found.profiles["c"]
    before = encode_state(profile, found.engine), profile.due
    explained = explain_segment(found.engine, profile, "s", T0 + 10 * DAY)
    assert (explained.member, explained.crossing, explained.since) == (False, 2, None)
    assert explained.crossed_at == T0 + DAY + 3 * DAY + 1
    assert explained.conditions[0].value == 9 * DAY
    assert (encode_state(profile, found.engine), profile.due) == before


def test_a_profile_that_is_ahead_of_the_clock_given_is_explained_at_its_own() -> None:
    found = shard("orders >= 1")
    assert explain_segment(found.engine, found.profiles["c"], "s", 0).at == T0 + DAY


def test_windows_that_empty_without_crossing_are_passed_over_on_the_way_to_the_change() -> None:
    traits = {f"n{w}": f"count(purchase, over='{w}')" for w in ("15m", "1h", "24h", "7d", "30d", "90d")}
    shard = Shard(engine_of(traits, {"s": "n90d >= 1", "t": "n15m >= 1"})).take_all([order(0, T0, 1)])
    s, t = explain_segments(shard.engine, shard.profiles["c"], T0)
    assert (s.segment, t.segment) == ("s", "t")
    assert T0 + 86 * DAY < (s.changes_at or 0) <= T0 + 90 * DAY
    assert T0 < (t.changes_at or 0) <= T0 + 900_000
    assert explain_segment(shard.engine, shard.profiles["c"], "s", T0) == s


def test_what_only_an_event_can_change_has_no_instant() -> None:
    explained = explain_segment((found := shard("orders >= 2")).engine, found.profiles["c"], "s", T0 + DAY)
    assert (explained.changes_at, explained.looked_until) == (None, None)


def test_the_search_has_a_limit_and_says_how_far_it_went() -> None:
    found = shard("spend_30d < 0", orders=20)
    (explained,) = explain_segments(found.engine, found.profiles["c"], T0 + 19 * DAY, steps_max=3)
    assert explained.changes_at is None
    assert explained.looked_until is not None and explained.looked_until > T0 + 19 * DAY


def test_a_customer_who_never_crossed_has_crossing_0() -> None:
    explained = explain_segment((found := shard("spend < 0")).engine, found.profiles["c"], "s", T0)
    assert (explained.member, explained.crossing, explained.since, explained.crossed_at) == (False, 0, None, None)


def test_an_unknown_segment_is_a_key_error_and_no_segments_are_no_explanations() -> None:
    found = shard("spend < 0")
    with pytest.raises(KeyError):
        explain_segment(found.engine, found.profiles["c"], "other", T0)
    bare = Shard(engine_of(TRAITS)).take_all([order(0, T0, 1)])
    assert explain_segments(bare.engine, bare.profiles["c"], T0) == []


def test_traits_are_read_at_the_clock_too() -> None:
    found = shard("spend < 0")
    later = at_clock(found.engine, found.profiles["c"], T0 + 40 * DAY)
    assert found.engine.values(later)["spend_30d"] == 0
    assert found.values()["spend_30d"] == 300


def test_an_amount_knows_its_currency_and_a_count_has_none() -> None:
    text = definitions_text(TRAITS, {"s": "spend >= 1_000 and 5 < orders and spend / orders > 10"})
    engine = Engine(parse_definitions(f'[settings]\ncurrency = "EUR"\n{text}'))
    found = Shard(engine).take_all([order(0, T0, 100)])
    explained = explain_segment(engine, found.profiles["c"], "s", T0)
    assert [c.currency for c in explained.conditions] == ["EUR", None, "EUR"]
    assert all(c.currency is None for c in conditions("spend >= 1_000 and 5 < orders"))


def test_an_exit_that_waits_for_its_dwell_hangs_on_no_condition() -> None:
    text = '[traits]\norders = "count(purchase)"\n[segments.s]\nenter = "orders >= 1"\nexit = "orders >= 2"\n'
    engine = Engine(parse_definitions(f'{text}exit_dwell = "10m"\n'))
    found = Shard(engine).take_all([order(0, T0, 100), order(1, T0 + DAY, 100)])
    explained = explain_segment(engine, found.profiles["c"], "s", T0 + DAY)
    assert explained.member and explained.leaves and not any(c.decides for c in explained.conditions)
    assert (explained.changes_at, explained.because) == (T0 + DAY + 600_000, ())


def test_windows_that_the_segment_does_not_read_cost_the_search_no_steps() -> None:
    traits = {"near": "count(browsing, over='15m')", "far": "count(purchase, over='30d')"}
    views = [
        {"type": "browsing", "event_id": f"v{n}", "customer_id": "c", "occurred_at": T0 + n * 60_000, "kind": "view"}
        for n in range(10)
    ]
    found = Shard(engine_of(traits, {"s": "far >= 1"})).take_all([order(0, T0, 1), *views])
    (explained,) = explain_segments(found.engine, found.profiles["c"], found.clock or 0, ["s"], steps_max=1)
    assert (explained.changes_at, explained.looked_until) == (T0 + 30 * DAY, None)
