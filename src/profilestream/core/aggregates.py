"""The aggregates of the language, each a class of its own; their algebra is told in `algebra`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from profilestream.core.algebra import (
    UNITS_PER_ONE,
    Aggregate,
    Clocked,
    State,
    Value,
    json_text,
    quotient,
    scaled,
    unscaled,
)
from profilestream.core.distinct import DISTINCT_EXACT_MAX, Distinct
from profilestream.core.maps import KEYS_MAX, ByKey, Top
from profilestream.core.streak import STREAK_DAYS_MAX, Streak
from profilestream.core.unmatched import SPANS_MAX, Unmatched

__all__ = [
    "AGGREGATES", "DISTINCT_EXACT_MAX", "KEYS_MAX", "SPANS_MAX", "STREAK_DAYS_MAX", "UNITS_PER_ONE", "Aggregate",
    "ByKey", "Clocked", "Count", "Distinct", "First", "Last", "Latest", "Max", "Mean", "MeanGap", "Min", "State",
    "Streak", "Sum", "Top", "Unmatched", "Value", "scaled", "unscaled",
]  # fmt: skip


class Count(Aggregate):
    """How many rows. State: the number."""

    name = "count"
    summary = "how many rows"

    @property
    def is_plain(self) -> bool:
        return True

    def zero(self) -> int:
        return 0

    def add(self, state: int, item: Any) -> int:
        return state + 1

    def merge(self, a: int, b: int) -> int:
        return a + b

    def unmerge(self, a: int, b: int) -> int:
        return a - b

    def merge_all(self, states: Iterable[int]) -> int:
        return sum(states)

    def value(self, state: int) -> int:
        return state


class Sum(Aggregate):
    """The exact sum; 0 of nothing. State: an integer, of 1e-9 when the field is not of whole numbers."""

    name = "sum"
    summary = "the exact sum; 0 of nothing"

    def __init__(self, integral: bool = True) -> None:
        self.integral = integral

    @property
    def is_plain(self) -> bool:
        return self.integral

    def zero(self) -> int:
        return 0

    def add(self, state: int, item: int | float) -> int:
        return state + item if self.integral else state + scaled(item)  # type: ignore[return-value]

    def merge(self, a: int, b: int) -> int:
        return a + b

    def unmerge(self, a: int, b: int) -> int:
        return a - b

    def merge_all(self, states: Iterable[int]) -> int:
        return sum(states)

    def value(self, state: int) -> int | float | None:
        return state if self.integral else unscaled(state)


class Mean(Aggregate):
    """Sum over count, the nearest float to the exact quotient. State: [sum, count]."""

    name = "mean"
    summary = "the mean, correctly rounded; absent of nothing"

    def __init__(self, integral: bool = True) -> None:
        self.integral = integral

    def zero(self) -> list[int]:
        return [0, 0]

    def add(self, state: list[int], item: int | float) -> list[int]:
        state[0] += item if self.integral else scaled(item)  # type: ignore[assignment]
        state[1] += 1
        return state

    def merge(self, a: list[int], b: list[int]) -> list[int]:
        return [a[0] + b[0], a[1] + b[1]]

    def unmerge(self, a: list[int], b: list[int]) -> list[int]:
        return [a[0] - b[0], a[1] - b[1]]

    def value(self, state: list[int]) -> float | None:
        return quotient(state[0], state[1] if self.integral else state[1] * UNITS_PER_ONE)


class Min(Aggregate):
    """The least value. State: the value, or None."""

    name = "min"
    summary = "the least value"

    @property
    def is_plain(self) -> bool:
        return True

    def zero(self) -> None:
        return None

    def add(self, state: Any, item: Any) -> Any:
        return item if state is None or item < state else state

    def merge(self, a: Any, b: Any) -> Any:
        return b if a is None else a if b is None or a <= b else b

    def value(self, state: Any) -> Any:
        return state


class Max(Aggregate):
    """The greatest value. State: the value, or None."""

    name = "max"
    summary = "the greatest value"

    @property
    def is_plain(self) -> bool:
        return True

    def zero(self) -> None:
        return None

    def add(self, state: Any, item: Any) -> Any:
        return item if state is None or item > state else state

    def merge(self, a: Any, b: Any) -> Any:
        return b if a is None else a if b is None or a >= b else b

    def value(self, state: Any) -> Any:
        return state


def _later(a: list[Any], b: list[Any]) -> bool:
    """Whether b comes after a by (occurred_at, event_id, row), and by the value's text between equals."""
    if a[0] != b[0]:
        return bool(b[0] > a[0])
    if a[1] != b[1]:
        return bool(b[1] > a[1])
    if a[2] != b[2]:
        return bool(b[2] > a[2])
    return json_text(b[3]) > json_text(a[3])


class Last(Aggregate):
    """The value of the latest row by (occurred_at, event_id). State: that item, or None."""

    name = "last"
    summary = "the value of the latest row"
    ordered = True

    def zero(self) -> None:
        return None

    def add(self, state: Any, item: list[Any]) -> Any:
        return item if state is None or item[0] > state[0] or _later(state, item) else state

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return b if _later(a, b) else a

    def value(self, state: Any) -> Any:
        return None if state is None else state[3]


class First(Last):
    """The value of the earliest row by (occurred_at, event_id). State: that item, or None."""

    name = "first"
    summary = "the value of the earliest row"

    def add(self, state: Any, item: list[Any]) -> Any:
        return item if state is None or _later(item, state) else state

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return a if _later(a, b) else b


class Latest(Last):
    """`last` for a fact: an item with the value None (unset) counts, and makes the fact absent."""

    name = "latest"
    summary = "the fact as last stated; absent once unset"


class MeanGap(Aggregate):
    """Mean time between rows: (last - first) / (count - 1). State: [count, first, last] in ms; item: the time."""

    name = "mean_gap"
    summary = "the mean time between rows; absent below two"

    def zero(self) -> list[int]:
        return [0, 0, 0]

    def add(self, state: list[int], item: int) -> list[int]:
        if state[0] == 0:
            state[1] = state[2] = item
        elif item > state[2]:
            state[2] = item
        elif item < state[1]:
            state[1] = item
        state[0] += 1
        return state

    def merge(self, a: list[int], b: list[int]) -> list[int]:
        if not a[0] or not b[0]:
            return list(a if a[0] else b)
        return [a[0] + b[0], min(a[1], b[1]), max(a[2], b[2])]

    def value(self, state: list[int]) -> float | None:
        if state[0] < 2:
            return None
        span, gaps = state[2] - state[1], state[0] - 1
        # Whole milliseconds are an integer, as every other duration; only a rest makes a float.
        return quotient(span, gaps) if span % gaps else span // gaps


AGGREGATES: dict[str, type[Aggregate]] = {
    c.name: c for c in (Count, Sum, Mean, Min, Max, First, Last, Latest, MeanGap, Distinct, Top, Streak, Unmatched)
}
"""The aggregates of the language by name (`by` is a clause, not a function)."""
