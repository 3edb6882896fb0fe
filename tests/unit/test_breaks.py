"""Breaks for `score`: parts of about equal size, equal values together, round numbers."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.shard import definitions_text

from profilestream.core import expressions as x
from profilestream.core import words
from profilestream.operations.breaks import Number, break_text, cut, sizes
from profilestream.wire.definitions import parse_definitions

numbers = (
    st.integers(-20, 20) | st.integers(-(10**17), 10**17) | st.floats(-1e9, 1e9) | st.sampled_from((0.1, 0.25, 1.5))
)
values = st.lists(numbers, min_size=1, max_size=60).map(sorted)


def scores(found: list[Number], breaks: tuple[Number, ...]) -> list[int]:
    """How many the engine's own score() puts into each part."""
    counts = Counter(words.score(value, list(breaks)) for value in found)
    return [counts[n + 1] for n in range(len(breaks) + 1)]


@pytest.mark.parametrize(
    ("found", "parts", "breaks"),
    [
        ([1, 2, 3, 4], 2, (3,)),
        (list(range(100)), 5, (20, 40, 60, 80)),
        # Nothing lies between 3 and 987, so that the roundest number there cuts as well as any.
        ([1, 2, 3, 987, 988, 989], 2, (900,)),
        ([19_950, 20_100], 2, (20_000,)),
        ([-7.3, -2.1], 2, (-3,)),
        ([-5, 3], 2, (0,)),
        ([0.123, 0.137], 2, (0.13,)),
        # Equal values stay together, where the parts come nearest to what was asked for.
        ([0] * 7 + [1, 2, 3], 5, (1, 2)),
        ([0] * 50 + [1] * 50, 5, (1,)),
        ([1] * 10, 5, ()),
        ([1], 5, ()),
    ],
)
def test_breaks_cut_where_the_parts_come_nearest_to_their_shares(
    found: list[Number], parts: int, breaks: tuple[Number, ...]
) -> None:
    assert cut(found, parts) == breaks
    assert sizes(found, breaks) == scores(found, breaks)


def test_breaks_of_durations_are_whole_days_hours_or_minutes_where_they_can_be() -> None:
    day, hour, minute = x.DAY_MS, x.HOUR_MS, x.MINUTE_MS
    for low, high, text in (
        (9.7 * day, 41 * day, "days(40)"), (26 * day, 28 * day + 5, "days(28)"), (2 * hour, 7 * hour, "hours(7)"),
        (minute, 5 * minute + 3, "minutes(5)"), (1_000, 1_400, "1_400"), (0.5, 0.75, "0.7"),
    ):  # fmt: skip
        (found,) = cut([low, high], 2, durations=True)
        assert break_text(found, duration=True) == text
    assert break_text(day) == "86_400_000"


@given(values, st.integers(2, 9), st.booleans())
def test_each_break_is_as_near_to_its_share_as_equal_values_allow_and_the_engine_cuts_alike(
    found: list[Number], parts: int, durations: bool
) -> None:
    breaks = cut(found, parts, durations=durations)
    assert list(breaks) == sorted(set(breaks)) and len(breaks) < parts
    counts = scores(found, breaks)
    assert sizes(found, breaks) == counts and all(counts)
    ends = {0, len(found)}
    possible = ends | {n for n in range(1, len(found)) if found[n - 1] != found[n]}
    chosen = ends | {sum(counts[: n + 1]) for n in range(len(breaks))}
    for n in range(1, parts):
        wanted = n * len(found) / parts
        assert min(abs(p - wanted) for p in chosen) == min(abs(p - wanted) for p in possible)


@given(values, st.integers(2, 9), st.booleans())
def test_what_is_printed_is_read_back_as_the_same_breaks(found: list[Number], parts: int, durations: bool) -> None:
    breaks = cut(found, parts, durations=durations)
    if breaks:
        texts = ", ".join(break_text(one, duration=durations) for one in breaks)
        definitions = parse_definitions(definitions_text({"t": "mean_gap(purchase)", "s": f"score(t, {texts})"}))
        node = definitions.by_trait["s"].node
        assert isinstance(node, x.Call)
        assert [a.value for a in node.args[1:] if isinstance(a, x.Literal)] == list(breaks)


def test_many_values_without_ties_make_parts_that_differ_by_one() -> None:
    found: list[Number] = sorted(random.Random(5).sample(range(10**9), 10_003))
    counts = sizes(found, cut(found, 7))
    assert len(counts) == 7 and max(counts) - min(counts) <= 1
