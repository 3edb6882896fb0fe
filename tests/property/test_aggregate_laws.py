"""The algebra of every aggregate of the language, found by reflection: a new one is tested as it is.

Variants come from what the parser takes: rows, whole numbers, other numbers, facts; each with and without `by=`.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from functools import partial, reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.shard import DAY, HOUR, MINUTE, T0, engine_of

from profilestream.core.aggregates import (
    AGGREGATES,
    KEYS_MAX,
    SPANS_MAX,
    STREAK_DAYS_MAX,
    Aggregate,
    ByKey,
    Clocked,
    Distinct,
    Streak,
    Top,
    Unmatched,
)
from profilestream.core.days import Days
from profilestream.core.engine import Engine
from profilestream.core.problems import DefinitionsError
from profilestream.wire.states import decode_state, encode_state


@dataclass(frozen=True)
class Variant:
    """An aggregate as one expression makes it, with what its items look like."""

    text: str
    name: str
    engine: Engine
    items: st.SearchStrategy[Any]
    whole: bool
    size: int

    @property
    def aggregate(self) -> Aggregate:
        return self.engine.slots.all[0].aggregate

    def of(self, items: list[Any]) -> Any:
        """The state of these items, added one by one."""
        return reduce(self.aggregate.add, copy.deepcopy(items), self.aggregate.zero())


integers = st.integers(-5, 5) | st.integers(-(2**70), 2**70)
decimals = st.floats(-1e6, 1e6).map(lambda f: round(f, 9)) | st.floats(allow_nan=False, allow_infinity=False, width=32)
json_values = st.recursive(
    st.booleans() | integers | st.text(max_size=3) | st.sampled_from((0.5, 2.0, -1e300)),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=2), below, max_size=2),
    max_leaves=4,
)


WITHIN, OVER = 2 * HOUR, DAY
arguments = (
    "support", "support.rating", "support.sentiment", "attributes.x", "attributes.x, 3", "date(support.occurred_at)",
    "attributes.x, attributes.y, within='2h', over='24h'",
)  # fmt: skip
clocks = st.builds(
    lambda n, unit, d: T0 + n * unit + d,
    st.integers(-3, 30),
    st.sampled_from((MINUTE, HOUR, DAY)),
    st.sampled_from((-1, 0, 0, 1)),
)
"""Instants near each other and on the edges of tiles, waits and days."""

dates = st.sampled_from((-4_000, *range(-3, 30))).map(lambda n: str(date(2026, 1, 1) + timedelta(days=n)))


def item_strategy(engine: Engine) -> st.SearchStrategy[Any]:
    slot = engine.slots.all[0]
    node = slot.node
    if node.function == "streak":
        return dates
    if node.function == "unmatched":
        return st.tuples(clocks, st.integers(0, 1), st.integers(0, 2) | st.just("a")).map(list)
    inner = slot.aggregate.inner if isinstance(slot.aggregate, ByKey) else slot.aggregate
    adds = node.function in ("sum", "mean")
    if node.value is None or (node.value.kind == "number" and getattr(node.value, "integral", False)):
        items: st.SearchStrategy[Any] = integers
    elif node.value.kind == "json" and not adds:
        items = json_values | st.none() if node.function == "latest" else json_values
    else:
        items = integers | decimals
    if inner.ordered:
        items = st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 1), items).map(list)
    return st.tuples(st.sampled_from("abc") | json_values, items) if node.by is not None else items


def variants() -> list[Variant]:
    found = []
    for name in AGGREGATES:
        accepted = 0
        for argument in arguments:
            for by in ("", ", by=source"):
                text = f"{name}({argument}{by})"
                try:
                    engine = engine_of({"t": text})
                except DefinitionsError:
                    continue
                node = engine.slots.all[0].node
                if node.value is not None and node.value.kind == "string" and name != "streak":
                    continue
                accepted += 1
                whole = node.value is None or bool(getattr(node.value, "integral", False))
                found.append(Variant(text, name, engine, item_strategy(engine), whole, node.size))
        assert accepted, f"no way was found to write {name}()"
    return found


VARIANTS = variants()
a_few = settings(max_examples=max(10, settings().max_examples // 5))
"""Enough, as there are many variants."""

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.text)
lists_of = st.data()


def draw_items(data: st.DataObject, variant: Variant) -> list[Any]:
    return data.draw(st.lists(variant.items, max_size=6))


def same(variant: Variant, a: Any, b: Any) -> bool:
    canonical, value = variant.aggregate.canonical, variant.aggregate.value
    if isinstance(variant.aggregate, Clocked):
        value = partial(variant.aggregate.value_at, now=T0 + 5 * HOUR)
    return bool(canonical(a) == canonical(b)) and value(a) == value(b)


@each_variant
@a_few
@given(lists_of)
def test_merge_is_associative_and_commutative_with_zero_as_neutral(variant: Variant, data: st.DataObject) -> None:
    merge, zero = variant.aggregate.merge, variant.aggregate.zero
    a, b, c = (variant.of(draw_items(data, variant)) for _ in range(3))
    assert same(variant, merge(merge(a, b), c), merge(a, merge(b, c)))
    assert same(variant, merge(a, b), merge(b, a))
    assert same(variant, merge(a, zero()), a)
    assert same(variant, merge(zero(), a), a)
    assert same(variant, variant.aggregate.merge_all([a, b, c]), merge(merge(a, b), c))


@each_variant
@a_few
@given(lists_of)
def test_adding_an_item_is_merging_the_state_of_it_alone(variant: Variant, data: st.DataObject) -> None:
    items, one = draw_items(data, variant), data.draw(variant.items)
    add, merge, zero = variant.aggregate.add, variant.aggregate.merge, variant.aggregate.zero
    alone = add(zero(), copy.deepcopy(one))
    assert same(variant, add(variant.of(items), one), merge(variant.of(items), alone))
    assert same(variant, variant.of([*items, one]), variant.of([one, *reversed(items)]))


@each_variant
@a_few
@given(lists_of)
def test_merge_leaves_its_arguments_alone_and_shares_nothing_with_them(variant: Variant, data: st.DataObject) -> None:
    a, b = (variant.of(draw_items(data, variant)) for _ in range(2))
    before = copy.deepcopy((a, b))
    merged = variant.aggregate.merge(a, b)
    assert (a, b) == before
    for item in draw_items(data, variant):
        merged = variant.aggregate.add(merged, item)
    assert (a, b) == before


@each_variant
@a_few
@given(lists_of)
def test_a_state_survives_the_wire_and_goes_on_as_before(variant: Variant, data: st.DataObject) -> None:
    items, more = draw_items(data, variant), draw_items(data, variant)
    read = through_the_wire(variant, variant.of(items))
    assert same(variant, read, variant.of(items))
    assert encoded(variant, read) == encoded(variant, variant.of(items))
    for item in more:
        read = variant.aggregate.add(read, copy.deepcopy(item))
    assert same(variant, read, variant.of([*items, *more]))
    assert same(variant, variant.aggregate.merge(through_the_wire(variant, variant.of(items)), variant.of(more)), read)


def encoded(variant: Variant, state: Any) -> bytes:
    profile = variant.engine.new_profile("c")
    profile.slots[0] = state
    profile.revision = 1  # of a state without an event only the crossings' numbers are read
    return encode_state(profile, variant.engine)


def through_the_wire(variant: Variant, state: Any) -> Any:
    return decode_state(encoded(variant, state), "c", variant.engine).slots[0]


# What each value must be, from all items at once


def exact(number: int | float) -> Fraction:
    if isinstance(number, int):
        return Fraction(number)
    with localcontext(prec=400):
        return Fraction(int((Decimal(repr(number)) * 10**9).quantize(Decimal(1), ROUND_HALF_EVEN)), 10**9)


def text_of(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return msgspec.json.encode(int(value) if whole else value, order="deterministic").decode()


def naive_sum(items: list[Any], v: Variant) -> Any:
    total = sum(map(exact, items), Fraction(0))
    return int(total) if total.denominator == 1 else float(total)


def naive_mean(items: list[Any], v: Variant) -> Any:
    return float(sum(map(exact, items), Fraction(0)) / len(items)) if items else None


def in_order(items: list[Any]) -> list[Any]:
    return sorted(items, key=lambda i: (i[0], i[1], i[2], text_of(i[3])))


def naive_top(items: list[Any], v: Variant) -> Any:
    counts = Counter(map(text_of, items))
    return [msgspec.json.decode(t) for t in sorted(counts, key=lambda t: (-counts[t], t))[: v.size]]


def naive_gap(span_ms: int, gaps: int) -> int | float:
    return span_ms // gaps if span_ms % gaps == 0 else span_ms / gaps


ORACLES: dict[str, Callable[[list[Any], Variant], Any]] = {
    "count": lambda items, v: len(items),
    "sum": naive_sum,
    "mean": naive_mean,
    "min": lambda items, v: min(items, default=None),
    "max": lambda items, v: max(items, default=None),
    "first": lambda items, v: in_order(items)[0][3] if items else None,
    "last": lambda items, v: in_order(items)[-1][3] if items else None,
    "latest": lambda items, v: in_order(items)[-1][3] if items else None,
    "mean_gap": lambda items, v: naive_gap(max(items) - min(items), len(items) - 1) if len(items) > 1 else None,
    "distinct": lambda items, v: len({text_of(i) for i in items}),
    "top": naive_top,
}


def naive_streak(items: list[Any], now: int) -> int:
    days = {date.fromisoformat(i) for i in items}
    day = date(1970, 1, 1) + timedelta(milliseconds=now)
    runs = [k for k in range(60) if all(day - timedelta(days=n) in days for n in range(k))]
    if max(runs) == 0:
        day -= timedelta(days=1)
        runs = [k for k in range(60) if all(day - timedelta(days=n) in days for n in range(k))]
    return max(runs)


def naive_unmatched(items: list[Any], now: int) -> list[Any]:
    found = []
    for text in {text_of(value) for _, _, value in items}:
        seen = [at for at, side, v in items if text_of(v) == text and not side and at // HOUR * HOUR > now - OVER]
        answers = [at for at, side, v in items if text_of(v) == text and side]
        if seen and now > max(seen) + WITHIN and not any(a <= b <= a + WITHIN for a in seen for b in answers):
            found.append((-max(seen), text))
    return [msgspec.json.decode(text) for _, text in sorted(found)]


CLOCKED: dict[str, Callable[[list[Any], int], Any]] = {"streak": naive_streak, "unmatched": naive_unmatched}


def test_every_aggregate_has_a_naive_oracle() -> None:
    assert set(ORACLES) | set(CLOCKED) == set(AGGREGATES)
    assert set(CLOCKED) == {name for name, aggregate in AGGREGATES.items() if issubclass(aggregate, Clocked)}


each_plain = pytest.mark.parametrize("variant", [v for v in VARIANTS if v.name in ORACLES], ids=lambda v: v.text)
each_clocked = pytest.mark.parametrize("variant", [v for v in VARIANTS if v.name in CLOCKED], ids=lambda v: v.text)


def draw_past(data: st.DataObject, variant: Variant, now: int) -> list[Any]:
    """Items of what had happened by a clock, as a clock is never behind what was folded."""
    items = draw_items(data, variant)
    if variant.name == "streak":
        return [i for i in items if i <= str(date(1970, 1, 1) + timedelta(milliseconds=now))]
    return [i for i in items if i[0] <= now]


@each_clocked
@given(st.data(), clocks)
def test_a_value_at_a_clock_is_what_all_items_at_once_give(variant: Variant, data: st.DataObject, now: int) -> None:
    items, aggregate = draw_past(data, variant, now), variant.aggregate
    assert isinstance(aggregate, Clocked)
    assert aggregate.value_at(variant.of(items), now) == CLOCKED[variant.name](items, now)


@each_clocked
@given(st.data(), clocks)
def test_a_value_stays_until_it_is_due_and_is_another_then(variant: Variant, data: st.DataObject, now: int) -> None:
    state, aggregate = variant.of(draw_past(data, variant, now)), variant.aggregate
    assert isinstance(aggregate, Clocked)
    value, due = aggregate.value_at(state, now), aggregate.due(state, now)
    assert due > now
    for later in (*range(now, min(due, now + 5 * DAY), 17 * MINUTE), min(due - 1, 2**42)):
        assert aggregate.value_at(state, later) == value
    assert due > 2**42 or aggregate.value_at(state, due) != value


@each_clocked
@given(st.data(), clocks, st.integers(0, 3 * DAY))
def test_what_is_let_go_at_a_clock_changes_no_value_then_or_later(
    variant: Variant, data: st.DataObject, now: int, wait: int
) -> None:
    items, aggregate = draw_past(data, variant, now), variant.aggregate
    assert isinstance(aggregate, Clocked)
    value = aggregate.value_at(variant.of(items), now + wait)
    assert aggregate.value_at(aggregate.expire(variant.of(items), now), now + wait) == value
    arrived = reduce(lambda state, item: aggregate.put(state, item, now), copy.deepcopy(items), aggregate.zero())
    assert aggregate.value_at(arrived, now + wait) == value


@each_plain
@a_few
@given(lists_of)
def test_a_value_is_what_all_items_at_once_give(variant: Variant, data: st.DataObject) -> None:
    items = draw_items(data, variant)
    oracle = ORACLES[variant.name]
    expected: Any
    if isinstance(variant.aggregate, ByKey):
        groups: dict[str, list[Any]] = {}
        for key, value in items:
            groups.setdefault(key if isinstance(key, str) else text_of(key), []).append(value)
        expected = {key: oracle(group, variant) for key, group in sorted(groups.items())}
    else:
        expected = oracle(items, variant)
    found = variant.aggregate.value(variant.of(items))
    assert found == expected
    if isinstance(expected, dict):
        assert list(found) == list(expected)


# Limits


@pytest.mark.parametrize("many", [256, 257, 1_000, 20_000, 100_000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_distinct_is_exact_to_256_and_within_five_standard_errors_beyond(many: int, seed: int) -> None:
    aggregate, values = Distinct(), [f"{seed}-{n}" for n in range(many)]
    random.Random(seed).shuffle(values)
    # States of 250 merged pairwise: adding to a full state copies it, and 100,000 copies take too long here.
    states = [reduce(aggregate.add, values[n : n + 250], aggregate.zero()) for n in range(0, many, 250)]
    while len(states) > 1:
        states = [aggregate.merge_all(states[n : n + 2]) for n in range(0, len(states), 2)]
    tolerance = 0 if many <= 256 else 5 * 1.04 / 4096**0.5 * many
    assert abs(aggregate.value(states[0]) - many) <= tolerance


def test_distinct_is_the_same_state_in_any_order_beyond_256_too() -> None:
    aggregate, values = Distinct(), list(range(400))
    forth = reduce(aggregate.add, values, aggregate.zero())
    back = reduce(aggregate.add, [*reversed(values), *values], aggregate.zero())
    halves = aggregate.merge(*(reduce(aggregate.add, v, aggregate.zero()) for v in (values[:200], values[150:])))
    assert forth == back == halves


def test_a_streak_counts_ten_years_and_is_the_same_in_any_order_beyond() -> None:
    days = [str(date(2010, 1, 1) + timedelta(days=n)) for n in range(STREAK_DAYS_MAX + 900)]
    streak = Streak(Days("UTC"))
    now = (date.fromisoformat(days[-1]) - date(1970, 1, 1)).days * DAY
    forth = reduce(streak.add, days, streak.zero())
    shuffled = random.Random(7).sample(days, len(days))
    halves = streak.merge(*(reduce(streak.add, part, streak.zero()) for part in (shuffled[:2_000], shuffled[1_500:])))
    assert forth == reduce(streak.add, shuffled, streak.zero()) == halves
    assert (streak.value_at(forth, now), len(forth[1])) == (STREAK_DAYS_MAX, (STREAK_DAYS_MAX + 7) // 8)


def test_of_one_value_the_newest_spans_are_kept_the_same_in_any_order() -> None:
    unmatched = Unmatched(MINUTE, 30 * DAY)
    items = [[T0 + n * HOUR, n % 3 == 0, "a"] for n in range(SPANS_MAX + 40)]
    forth = reduce(unmatched.add, items, unmatched.zero())
    back = reduce(unmatched.add, reversed(items), unmatched.zero())
    halves = unmatched.merge(*(reduce(unmatched.add, i, unmatched.zero()) for i in (items[:60], items[30:])))
    assert forth == back == halves
    assert [span[0] or span[2] for span in forth[0]['"a"']] == [i[0] for i in items[-SPANS_MAX:]]


def test_values_that_do_not_fit_are_counted_until_the_window_lets_them_go() -> None:
    unmatched = Unmatched(HOUR, DAY, keys_max=3)
    state = reduce(lambda s, n: unmatched.put(s, [T0 + n, 0, n], T0 + n), range(5), unmatched.zero())
    assert (unmatched.value_at(state, T0 + 2 * HOUR), unmatched.missed(state)) == ([2, 1, 0], 2)
    state = unmatched.put(state, [T0 + DAY, 0, "new"], T0 + DAY)
    assert (unmatched.value_at(state, T0 + DAY + 2 * HOUR), unmatched.missed(state)) == (["new"], 0)


@pytest.mark.parametrize("aggregate", [Top(3), ByKey(AGGREGATES["count"]())], ids=["top", "by"])
def test_a_full_map_counts_what_did_not_fit(aggregate: Aggregate) -> None:
    item: Callable[[int], Any] = (lambda n: n) if isinstance(aggregate, Top) else (lambda n: (n, None))
    state = reduce(aggregate.add, map(item, range(KEYS_MAX + 7)), aggregate.zero())
    assert (len(state[0]), state[1]) == (KEYS_MAX, 7)
    merged = aggregate.merge(state, reduce(aggregate.add, map(item, range(-3, 2)), aggregate.zero()))
    assert (len(merged[0]), merged[1]) == (KEYS_MAX, 10)
