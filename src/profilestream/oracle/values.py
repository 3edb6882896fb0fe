"""The kinds of value, SQL's NULL (here `None`), and how values are compared, computed and written.

A number is an `int` (exact) or a `float`; true and false are never numbers. `Time` and `Duration` are kinds
of their own, so that a time against a number is a comparison of different kinds: unknown.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

Value = Any
"""None (absent), bool, int, float, str, list, dict, `Time` or `Duration`."""

NANO = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Time:
    """A point in time, milliseconds since the epoch."""

    ms: int


@dataclass(frozen=True, order=True)
class Duration:
    """A length of time in milliseconds; a fraction of one only where a mean or a quotient gave it."""

    ms: int | float


def parse_time(value: str | int) -> int:
    """RFC 3339 with an offset, or integer epoch milliseconds, floored to the millisecond."""
    if isinstance(value, int):
        return value
    text = value.strip().upper().replace(" ", "T")
    # Python keeps microseconds only: cut the digits beyond, they are floored away in any case.
    if "." in text:
        head, tail = text.split(".", 1)
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        text = f"{head}.{digits[:6]:0<6}{tail[len(digits) :]}"
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def format_time(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-01-31T09:30:00.000Z`."""
    seconds, rest = divmod(ms, 1000)
    moment = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None)
    return moment.isoformat() + f".{rest:03d}Z"


def nanos(number: float) -> int:
    """A number as a whole count of 1e-9, rounded half to even from its decimal text."""
    return int((Decimal(repr(number)) * NANO).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def exact(number: int | float) -> Fraction:
    """A field's value as it is held in sums: integers exactly, others as a count of 1e-9."""
    return Fraction(number) if isinstance(number, int) else Fraction(nanos(number), NANO)


def is_number(value: Value) -> bool:
    """Whether `value` is a number; true is not 1."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def same_kind(a: Value, b: Value) -> bool:
    """Whether two present values may be compared at all."""
    if is_number(a) or is_number(b):
        return is_number(a) and is_number(b)
    return type(a) is type(b)


def equals(a: Value, b: Value) -> bool | None:
    """`a == b`: unknown (None) when one is absent or their kinds differ."""
    if a is None or b is None or not same_kind(a, b):
        return None
    if isinstance(a, list | dict):
        return canonical(a) == canonical(b)
    return bool(a == b)


def is_before(a: Value, b: Value) -> bool | None:
    """`a < b`: unknown when one is absent, their kinds differ or the kind has no order."""
    if a is None or b is None or not same_kind(a, b) or isinstance(a, bool | list | dict):
        return None
    return bool(a < b)


def negation(a: bool | None) -> bool | None:
    """Three-valued `not`."""
    return None if a is None else not a


def conjunction(parts: list[bool | None]) -> bool | None:
    """Three-valued `and`: false wins over unknown."""
    return False if False in parts else None if None in parts else True


def disjunction(parts: list[bool | None]) -> bool | None:
    """Three-valued `or`: true wins over unknown."""
    return True if True in parts else None if None in parts else False


def contains(container: Value, wanted: Value) -> bool | None:
    """`wanted in container`, read as `wanted == first or wanted == second or ...`."""
    if wanted is None or not isinstance(container, list | dict):
        return None
    return disjunction([equals(wanted, one) for one in container])


def quotient(a: int | float, b: int | float) -> float | None:
    """`a / b`, correctly rounded from the exact quotient; absent when `b` is zero."""
    if b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a / b  # Python's own is correctly rounded for integers of any size
    return float(Fraction(a) / Fraction(b))


def arithmetic(sign: str, a: Value, b: Value) -> Value:
    """`+ - * /` on numbers, times and durations; absent when a side is, or when the kinds do not fit."""
    if a is None or b is None:
        return None
    if is_number(a) and is_number(b):
        return _of_numbers(sign, a, b)
    if isinstance(a, Time) and isinstance(b, Time) and sign == "-":
        return Duration(a.ms - b.ms)
    if isinstance(a, Time) and isinstance(b, Duration) and sign in "+-":
        return Time(int(a.ms + b.ms if sign == "+" else a.ms - b.ms))
    if isinstance(a, Duration) and isinstance(b, Time) and sign == "+":
        return Time(int(a.ms + b.ms))
    if isinstance(a, Duration) and isinstance(b, Duration):
        ms = _of_numbers(sign, a.ms, b.ms) if sign in "+-/" else None
        return ms if ms is None or sign == "/" else Duration(ms)
    if isinstance(a, Duration) and is_number(b) and sign in "*/":
        ms = _of_numbers(sign, a.ms, b)
        return None if ms is None else Duration(ms)
    if is_number(a) and isinstance(b, Duration) and sign == "*":
        return Duration(a * b.ms)
    return None


def _of_numbers(sign: str, a: int | float, b: int | float) -> int | float | None:
    if sign == "/":
        return quotient(a, b)
    result = a + b if sign == "+" else a - b if sign == "-" else a * b
    return None if isinstance(result, float) and not math.isfinite(result) else result


def readable(value: Value) -> Any:
    """A value as the JSON of a profile holds it."""
    if isinstance(value, Time):
        return format_time(value.ms)
    if isinstance(value, Duration):
        return value.ms
    if isinstance(value, list):
        return [readable(v) for v in value]
    if isinstance(value, dict):
        return {k: readable(v) for k, v in value.items()}
    return value


def json_text(value: Value) -> str:
    """A value's JSON text: orders the ties of `top` and is the key of a `by=` for all but strings."""
    return json.dumps(readable(value), ensure_ascii=False, separators=(",", ":"))


def canonical(value: Value) -> str:
    """JSON text that is the same for equal objects, whatever the order of their keys."""
    return json.dumps(readable(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
