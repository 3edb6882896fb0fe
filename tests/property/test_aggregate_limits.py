"""What aggregates hold at most: what they give beyond it, and that the order of items makes no difference there."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from functools import reduce
from typing import Any

import pytest
from tests.property.shard import DAY, HOUR, MINUTE, T0

from profilestream.core.aggregates import (
    AGGREGATES,
    KEYS_MAX,
    SPANS_MAX,
    STREAK_DAYS_MAX,
    Aggregate,
    ByKey,
    Distinct,
    Streak,
    Top,
    Unmatched,
)
from profilestream.core.days import Days


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
