"""Breaks that cut values into parts of about equal size, as `score` takes them. Pure.

Between two neighbouring values any number cuts alike, so the roundest is taken: 20,000 rather than 19,987.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Final

from profilestream.core.expressions import DAY_MS, HOUR_MS, MINUTE_MS

Number = int | float

_DURATION_MS_MAX: Final = 1_000 * 365 * DAY_MS
"""What `days(n)` may be; a longer one is written in ms."""

_UNITS: Final = (("days", DAY_MS), ("hours", HOUR_MS), ("minutes", MINUTE_MS))


def cut(values: Sequence[Number], parts: int, *, durations: bool = False) -> tuple[Number, ...]:
    """At most `parts` - 1 breaks, ascending; `values` are in order.

    Each break is where the part below it comes nearest to its share; values that are equal are never parted, so there
    are fewer breaks, and parts of unequal size, where many are. Of `durations` (ms) round means whole days, hours or
    minutes.
    """
    places: list[int] = []
    for n in range(1, parts):
        wanted = Fraction(n * len(values), parts)
        inside = values[min(floor(wanted), len(values) - 1)]
        around = (bisect_left(values, inside), bisect_right(values, inside))
        place = min(around, key=lambda p: abs(p - wanted))
        if 0 < place < len(values) and place not in places:
            places.append(place)
    return tuple(_roundest(values[p - 1], values[p], durations) for p in sorted(places))


def sizes(values: Sequence[Number], breaks: Sequence[Number]) -> list[int]:
    """How many of the values, which are in order, `score` puts into each part."""
    edges = [0, *(bisect_left(values, one) for one in breaks), len(values)]
    return [after - before for before, after in pairwise(edges)]


def break_text(number: Number, *, duration: bool = False) -> str:
    """The break as an expression has it: `20_000`, `0.25`, `days(30)`."""
    if duration and isinstance(number, int) and 0 < abs(number) <= _DURATION_MS_MAX:
        for word, length in _UNITS:
            if number % length == 0:
                return f"{word}({number // length:_})"
    return f"{number:_}" if isinstance(number, int) else repr(number)


def _roundest(low: Number, high: Number, duration: bool) -> Number:
    """The roundest number above `low` and not above `high`."""
    below, above = Decimal(repr(low)), Decimal(repr(high))
    for step in _steps(low, high, duration):
        multiple = (above / step).to_integral_value(rounding="ROUND_FLOOR") * step
        if below < multiple <= above:
            whole = int(multiple)
            found: Number = whole if whole == multiple else float(multiple)
            if low < found <= high:
                return found
    return high


def _steps(low: Number, high: Number, duration: bool) -> Iterator[Decimal]:
    """From the coarsest to the finest."""
    greatest = max(abs(Decimal(repr(low))), abs(Decimal(repr(high))), Decimal(1))
    for unit in (*(length for _, length in _UNITS if duration), 1):
        for exponent in range((greatest / unit).adjusted() + 1, -1 if unit > 1 else -16, -1):
            yield Decimal(1).scaleb(exponent) * unit
