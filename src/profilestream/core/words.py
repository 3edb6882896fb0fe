"""The words of the language at run time: pure functions on values, None where absent.

Compiled expressions call these where Python's own operators would differ: other kinds, absence, division,
numbers beyond floats, local time.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Final
from zoneinfo import ZoneInfo

from profilestream.core.times import TIME_MS_MAX, TIME_MS_MIN, time_text

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NEVER: Final = 1 << 62
"""An instant after every other: no timer."""

INTEGER_BITS_MAX: Final = 14_000
"""Python writes integers of at most 4,300 digits."""

MISSING: Final = object()
"""What an event says of a fact that it does not mention."""


def time_json(at_ms: int) -> str:
    """The JSON text of a time."""
    return f'"{time_text(at_ms)}"'


def in_years(at_ms: Any) -> int | None:
    """A computed time, floored to the millisecond; absent outside the years 1 to 9999."""
    return math.floor(at_ms) if at_ms is not None and TIME_MS_MIN <= at_ms <= TIME_MS_MAX else None


def kind_of(value: Any) -> str:
    """The kind of a JSON value; true is not a number."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, dict) else "list"


_NUMBERS: Final = (int, float)


def finite(value: Any) -> Any:
    """The value, or absent where a float has left the numbers or an integer has more digits than can be written."""
    if value.__class__ is float:
        return value if math.isfinite(value) else None
    return None if value.__class__ is int and value.bit_length() > INTEGER_BITS_MAX else value


def plain(value: Any) -> Any:
    """A number in one form: 1.0 is 1, so that no order of arrival shows in which of the two is kept."""
    return int(value) if value.__class__ is float and value.is_integer() else value


def arithmetic(op: str, a: Any, b: Any) -> Any:
    """`a op b`; absent where a side is absent or no number, for a divisor of 0 and beyond floats."""
    if a.__class__ not in _NUMBERS or b.__class__ not in _NUMBERS:
        return None
    try:
        if op == "+":
            return finite(a + b)
        if op == "-":
            return finite(a - b)
        if op == "*":
            return finite(a * b)
        if a.__class__ is b.__class__ or (abs(a) < 2**53 and abs(b) < 2**53):
            return finite(a / b)
        return float(Fraction(a) / Fraction(b))
    except (ZeroDivisionError, OverflowError):
        return None


def equal(a: Any, b: Any) -> bool | None:
    """Equality of two values of one kind; unknown where a side is absent or the kinds differ."""
    if a is None or b is None or kind_of(a) != kind_of(b):
        return None
    return same(a, b)


def same(a: Any, b: Any) -> bool:
    """Equality of JSON values, in which true is not 1 at any depth."""
    if kind_of(a) != kind_of(b):
        return a is None and b is None
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(m, n) for m, n in zip(a, b, strict=True))
    return bool(a == b)


def unequal(a: Any, b: Any) -> bool | None:
    answer = equal(a, b)
    return None if answer is None else not answer


def ordered(op: str, a: Any, b: Any) -> bool | None:
    """`<`, `<=`, `>`, `>=` of two numbers or two strings; unknown for anything else."""
    if a is None or b is None:
        return None
    kind = kind_of(a)
    if kind not in ("number", "string") or kind != kind_of(b):
        return None
    if op == "<":
        return bool(a < b)
    if op == "<=":
        return bool(a <= b)
    return bool(a > b) if op == ">" else bool(a >= b)


def contains(item: Any, container: Any) -> bool | None:
    """Whether a list holds the item or an object has the key; unknown where a side is absent or neither."""
    if item is None or container is None:
        return None
    if isinstance(container, dict):
        return isinstance(item, str) and item in container
    if isinstance(container, list | tuple):
        return any(same(item, element) for element in container)
    return None


def truth(value: Any) -> bool | None:
    """A fact as a condition: only true is true and only false is false."""
    return value if value is True or value is False else None


def number(value: Any) -> int | float | None:
    """A fact as a number; absent when it is none."""
    return value if value.__class__ is int or value.__class__ is float else None


def text(value: Any) -> str | None:
    """A fact as a string; absent when it is none."""
    return value if value.__class__ is str else None


def token(value: Any) -> Any:
    """What may be looked up instead of a JSON value: tokens are equal where the values are the `same`. All lists and
    objects have one, which no constant of the language has."""
    if value.__class__ is str or value.__class__ is int or value.__class__ is float or value is None:
        return value
    return ("boolean", value) if value is True or value is False else ()


def length(value: Any) -> int | None:
    return len(value) if isinstance(value, str | list | dict) else None


def lower(value: Any) -> str | None:
    return value.lower() if isinstance(value, str) else None


def item(container: Any, key: str) -> Any:
    """`object['key']`; absent where there is no object or no such key."""
    return container.get(key) if isinstance(container, dict) else None


def score(value: Any, breaks: list[Any]) -> int | None:
    """1 + the number of breaks that the value reaches."""
    return None if number(value) is None else 1 + bisect_right(breaks, value)


def after(a: int | None, b: int | None) -> bool:
    """Whether a exists, and b is absent or earlier; false for facts that have no order."""
    if a.__class__ is int and b.__class__ is int:
        return b < a
    return a is not None and (b is None or ordered("<", b, a) is True)


def first_instant(
    strict: bool, coefficient: Fraction, constant: Fraction, factors: tuple[Fraction, ...], *terms: Any
) -> int | None:
    """The first instant at which `coefficient * now > sum` holds (`>=` unless strict), computed exactly.

    The sum is `constant` plus each term times its factor; the coefficient is positive. Absent where a term is.
    """
    total = constant
    for factor, term in zip(factors, terms, strict=True):
        if number(term) is None:
            return None
        total += factor * Fraction(term)
    bound = total / coefficient
    return math.floor(bound) + 1 if strict else math.ceil(bound)


def fact(event: Any, name: str) -> Any:
    """What an `attributes` event says of a fact: its value, None for unset or null, MISSING for nothing."""
    if event.unset and name in event.unset:
        return None
    return event.set.get(name, MISSING) if event.set else MISSING


def fact_value(event: Any, name: str) -> Any:
    value = fact(event, name)
    return None if value is MISSING else value


def item_amount(row: Any) -> int | None:
    """Quantity times unit price of a purchase's item; absent without a price."""
    return None if row.unit_price_minor is None else row.quantity * row.unit_price_minor


def local_words(timezone: str) -> Mapping[str, Callable[[Any], Any]]:
    """hour, weekday and date of a time in a zone; raises ZoneInfoNotFoundError or ValueError for an unknown zone."""
    zone = ZoneInfo(timezone)

    def moment(at_ms: Any) -> datetime | None:
        if number(at_ms) is None:
            return None
        try:
            return (EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)
        except OverflowError:  # the first or last hours of the calendar, over the edge in the zone's own time
            return None

    def hour(at_ms: Any) -> int | None:
        return None if (local := moment(at_ms)) is None else local.hour

    def weekday(at_ms: Any) -> int | None:
        return None if (local := moment(at_ms)) is None else local.weekday()

    def date(at_ms: Any) -> str | None:
        return None if (local := moment(at_ms)) is None else local.date().isoformat()

    return {"hour": hour, "weekday": weekday, "date": date}
