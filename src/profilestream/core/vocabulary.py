"""The words of the language: kinds and what they combine to, units of time, functions and how they are written."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Final

from profilestream.core.expressions import DAY_MS, HOUR_MS, MINUTE_MS, Kind, Node, is_integral

TEXT_CHARACTERS_MAX: Final = 10_000
DEPTH_MAX: Final = 60
NODES_MAX: Final = 5_000
WINDOW_MS_MAX: Final = 10 * 365 * DAY_MS
TOP_SIZE_MAX: Final = 100
INTEGER_BITS_MAX: Final = 1_000

NUMERIC: Final = ("number", "time", "duration")
SCALES: Final = {"minutes": MINUTE_MS, "hours": HOUR_MS, "days": DAY_MS}
BY_ALLOWED: Final = ("count", "sum", "mean", "min", "max")
KIND_OF_FIELD: Final[Mapping[str, Kind]] = {
    "string": "string", "int": "number", "number": "number", "boolean": "boolean", "time": "time",
    "currency": "string", "object": "object", "strings": "list", "json": "json", "records": "list",
}  # fmt: skip
A: Final[Mapping[str, str]] = {
    "number": "a number", "time": "a time", "duration": "a duration", "string": "a string",
    "boolean": "true or false", "list": "a list", "object": "an object", "json": "any value",
}  # fmt: skip

USAGE: Final[Mapping[str, tuple[str, int, int]]] = {
    "since": ("since(time)", 1, 1),
    "days_since": ("days_since(time)", 1, 1),
    "after": ("after(time, other_time)", 2, 2),
    "hour": ("hour(time)", 1, 1),
    "weekday": ("weekday(time)", 1, 1),
    "date": ("date(time)", 1, 1),
    "has": ("has(x)", 1, 1),
    "default": ("default(x, y)", 2, 2),
    "len": ("len(x)", 1, 1),
    "lower": ("lower(x)", 1, 1),
    "score": ("score(x, break, break, ...)", 2, 101),
    "in_segment": ("in_segment('segment')", 1, 1),
}
"""Each function: how it is written, and its least and greatest number of arguments."""

RESERVED: Final = frozenset((*keyword.kwlist, "true", "false"))
"""Names that nothing can have. Functions, streams and traits are told apart by where they stand."""

_SPAN: Final = re.compile(r"([1-9]\d{0,6})([mhdy])\Z")
_UNIT_MS: Final = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "y": 365 * DAY_MS}
_TILES_MS: Final = tuple(m * MINUTE_MS for m in (10_080, 1_440, 360, 60, 15, 5, 1))


def tile_ms(over_ms: int) -> int:
    """The tile of a window: the largest of 7d 1d 6h 1h 15m 5m 1m that is no longer than a 24th of it."""
    return next((t for t in _TILES_MS if t <= over_ms // 24), MINUTE_MS)


def matching_tile_ms(within_ms: int, over_ms: int) -> int:
    """The tile in which `unmatched` keeps times: the window's, or the largest that is no longer than the wait."""
    return min(tile_ms(over_ms), next(t for t in _TILES_MS if t <= within_ms))


def span_ms(text: str) -> int | None:
    """Milliseconds of `'15m'`, `'24h'`, `'30d'`, `'1y'`; None for any other text."""
    match = _SPAN.match(text)
    return int(match[1]) * _UNIT_MS[match[2]] if match else None


def span_text(length_ms: int) -> str:
    """The shortest text of a span: `'1d'`."""
    unit = next(u for u in ("d", "h", "m") if length_ms % _UNIT_MS[u] == 0)
    return f"'{length_ms // _UNIT_MS[unit]}{unit}'"


def comparable(a: Kind, b: Kind) -> bool:
    """Whether two kinds are ever compared; a bare number is milliseconds beside a duration."""
    return a == b or {a, b} == {"duration", "number"}


def arithmetic_kind(op: str, a: Kind, b: Kind) -> Kind | None:
    """The kind of `a op b`, or None where that has no meaning."""
    a, b = ("number" if k == "json" else k for k in (a, b))
    pair = {a, b}
    if pair == {"number"}:
        return "number"
    if op in "+-" and pair == {"duration"}:
        return "duration"
    if op == "-" and (a, b) == ("time", "time"):
        return "duration"
    if (op == "+" and pair == {"time", "duration"}) or (op == "-" and (a, b) == ("time", "duration")):
        return "time"
    if op == "*" and pair == {"duration", "number"}:
        return "duration"
    if op == "/" and a == "duration":
        return "number" if b == "duration" else "duration" if b == "number" else None
    return None


def arithmetic_hint(op: str, a: Kind, b: Kind) -> str:
    if op in "+-" and "number" in (a, b) and ({a, b} & {"time", "duration"}):
        return "; write the number as a duration, such as days(30)"
    return ""


def aggregate_kind(name: str, value: Node | None) -> tuple[Kind, bool]:
    """The kind of an aggregate's value, and whether it is always an exact integer."""
    if name in ("count", "distinct", "streak"):
        return "number", True
    if name in ("top", "unmatched"):
        return "list", False
    if name == "mean_gap":
        return "duration", False
    assert value is not None
    if name in ("sum", "mean"):
        return ("duration" if value.kind == "duration" else "number"), name == "sum" and is_integral(value)
    return value.kind, is_integral(value)
