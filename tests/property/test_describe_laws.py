"""Laws of personas, for arbitrary samples: nothing of fewer than five customers, whatever they have."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilestream.operations.personas import (
    CUSTOMERS_NAMED_MIN,
    VALUES_DIFFERENT,
    VALUES_FREQUENT,
    Column,
    Contrast,
    cliffs_delta,
    contrast,
    middle,
    quantile,
    share,
)
from profilestream.store.samples import _ranks, in_proportion

words = st.sampled_from(("yoga", "run", "sleep", "news", "", "é", "1", "true"))
numbers = st.one_of(st.integers(-5, 5), st.integers(-(2**60), 2**60), st.floats(-1e9, 1e9, allow_nan=False))
values: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), numbers, words, st.lists(words, max_size=4), st.dictionaries(words, numbers, max_size=3)
)
columns = st.one_of(
    st.lists(values, min_size=20, max_size=120),
    st.lists(words | st.none(), min_size=20, max_size=120),
    st.lists(numbers | st.none(), min_size=20, max_size=120),
    st.lists(st.lists(words, max_size=4), min_size=20, max_size=120),
)
"""What 20 or more customers have for a trait of any kind, or of one."""


def compared(members: list[Any], everybody: list[Any]) -> Contrast:
    ours, all_ = Column(), Column()
    for value in members:
        ours.add(value)
    all_.look_for(ours)
    for value in everybody:
        all_.add(value)
    return contrast("t", "json", ours, all_)


def entries(value: Any) -> set[str]:
    """What a customer with this value has, as JSON texts."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return set()
    return {json.dumps(v) for v in (value if isinstance(value, list | dict) else [value])}


@given(columns, columns)
def test_whatever_is_named_five_members_have(members: list[Any], everybody: list[Any]) -> None:
    found = compared(members, everybody)
    of_shape = {"string": str, "boolean": bool, "list": list, "object": dict, "number": (int, float)}[found.shape]
    held = Counter(entry for value in members if isinstance(value, of_shape) for entry in entries(value))
    assert len(found.named) <= VALUES_FREQUENT + VALUES_DIFFERENT
    for named in found.named:
        count = held[json.dumps(named.value)]
        if found.shape != "boolean":
            assert count >= CUSTOMERS_NAMED_MIN
        assert named.shares.members == share(count, len(members))
    if found.shape in ("list", "object", "string"):
        unnamed = held.keys() - {json.dumps(named.value) for named in found.named}
        assert (found.others.values if found.others else 0) == len(unnamed)


@given(columns, columns)
def test_every_share_is_one_and_tells_of_five_customers_or_of_none(members: list[Any], everybody: list[Any]) -> None:
    found = compared(members, everybody)
    shares = [found.absent, *(named.shares for named in found.named)]
    shares += [found.others.shares] if found.others and found.others.shares else []
    for one in shares:
        for part, of in ((one.members, len(members)), (one.everybody, len(everybody))):
            assert 0 <= part <= 1
            count = round(part * of)
            assert min(count, of - count) not in range(1, CUSTOMERS_NAMED_MIN)
    assert 0 <= found.telling <= 1


@given(columns)
def test_of_a_sample_beside_itself_nothing_tells(values: list[Any]) -> None:
    assert compared(values, values).telling == 0


@given(columns, columns, st.randoms(use_true_random=False))
def test_the_order_of_customers_says_nothing(members: list[Any], everybody: list[Any], random: Any) -> None:
    before = compared(members, everybody)
    random.shuffle(members)
    random.shuffle(everybody)
    after = compared(members, everybody)
    if len({type(v) for v in members if v is not None}) <= 1:  # of a mixture, the first of the most frequent is shown
        assert after == before


@given(st.lists(numbers, max_size=40), st.lists(numbers, max_size=40))
def test_cliffs_delta_is_the_count_over_all_pairs(xs: list[float], ys: list[float]) -> None:
    pairs = [(x > y) - (x < y) for x in xs for y in ys]
    found = cliffs_delta(sorted(xs), sorted(ys))
    assert found == (sum(pairs) / len(pairs) if pairs else 0)
    assert found == -cliffs_delta(sorted(ys), sorted(xs))


@given(st.lists(numbers, min_size=1, max_size=60))
def test_a_range_ascends_and_has_five_customers_beyond_each_number(values: list[float]) -> None:
    found = middle(sorted(values))
    if found is None:
        assert len(values) < 2 * CUSTOMERS_NAMED_MIN
        return
    given_ = [number for number in (found.low, found.median, found.high) if number is not None]
    assert given_ == sorted(given_)
    for number in given_:
        # One part in 2**40: between two floats, rounding may leave the number a hair beyond either.
        slack = abs(number) * 2**-40
        assert sum(v <= number + slack for v in values) >= CUSTOMERS_NAMED_MIN
        assert sum(v >= number - slack for v in values) >= CUSTOMERS_NAMED_MIN


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=60), st.sampled_from((0.0, 0.25, 0.5, 0.75, 1.0)))
def test_a_quantile_is_where_the_line_through_the_ordered_numbers_stands(values: list[int], q: float) -> None:
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    before = int(place)
    after = min(before + 1, len(ordered) - 1)
    expected = ordered[before] + (place - before) * (ordered[after] - ordered[before])
    assert quantile(ordered, q) == pytest.approx(expected)


sizes = st.lists(st.integers(0, 500), min_size=1, max_size=20)


@given(sizes, st.integers(0, 2_000))
def test_a_sample_is_divided_whole_and_by_size(sizes: list[int], count_max: int) -> None:
    parts = in_proportion(sizes, count_max)
    assert sum(parts) == min(sum(sizes), count_max)
    for size, part in zip(sizes, parts, strict=True):
        assert 0 <= part <= size
        if sum(sizes) > count_max:
            assert abs(part - size * count_max / sum(sizes)) < 1


@given(st.integers(0, 5_000), st.data())
def test_ranks_are_as_many_as_asked_each_once_and_the_same_again(size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, size))
    ranges = list(_ranks("big/0", size, count))
    ranks = [rank for first, last in ranges for rank in range(first, min(last, size - 1) + 1)]
    assert len(ranks) == len(set(ranks)) == count
    assert all(0 <= rank < size for rank in ranks)
    assert ranges == list(_ranks("big/0", size, count))
