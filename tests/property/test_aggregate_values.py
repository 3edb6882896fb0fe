"""The value of every aggregate of the language is what a naive look at all its items at once gives, at any clock."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.aggregates import OVER, VARIANTS, WITHIN, Variant, a_few, clocks, draw_items, lists_of
from tests.property.shard import DAY, HOUR, MINUTE

from profilestream.core.aggregates import AGGREGATES, ByKey, Clocked


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
