"""The aggregates: each answers from all rows at once. And the scope in which traits are evaluated."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from profilestream.oracle.definitions import Definitions, UnsupportedError, duration_ms, keyword, window_of
from profilestream.oracle.expressions import RowScope, evaluate
from profilestream.oracle.history import ATTRIBUTES, History, Row
from profilestream.oracle.values import Duration, Value, exact, is_before, is_number, json_text, quotient

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Valued = list[tuple[Row, Value]]
"""Rows with the value that is aggregated; values are never absent."""


class ProfileScope:
    """One customer at one instant, in some segments: names are traits; each is evaluated once."""

    def __init__(
        self,
        definitions: Definitions,
        history: History,
        clock_ms: int,
        now_ms: int | None = None,
        members: Collection[str] = (),
    ) -> None:
        self.definitions = definitions
        self.history = history
        self.clock_ms = clock_ms
        self.now_ms = clock_ms if now_ms is None else now_ms
        self.members = members
        self._known: dict[str, Value] = {}
        self._aggregated: dict[int, Value] = {}

    def ahead(self, by_ms: int) -> ProfileScope:
        """The same windows, with `since` and `days_since` looking from a later time."""
        later = ProfileScope(self.definitions, self.history, self.clock_ms, self.now_ms + by_ms, self.members)
        later._aggregated = self._aggregated
        return later

    def name(self, name: str) -> Value:
        """The value of a trait."""
        if name not in self.definitions.traits:
            raise UnsupportedError(f"unknown name {name}")
        if name not in self._known:
            self._known[name] = evaluate(self.definitions.traits[name], self)
        return self._known[name]

    def inside(self, segment: str) -> bool:
        """Whether the customer is in a segment now."""
        return segment in self.members

    def attribute(self, node: ast.Attribute) -> Value:
        """A stream's field is no value outside an aggregate."""
        raise UnsupportedError(ast.unparse(node))

    def aggregate(self, call: ast.Call) -> Value:
        """The value of an aggregate over the rows that count at the clock."""
        if id(call) not in self._aggregated:
            self._aggregated[id(call)] = self._aggregate(call)
        return self._aggregated[id(call)]

    def _aggregate(self, call: ast.Call) -> Value:
        assert isinstance(call.func, ast.Name)
        verb, subject = call.func.id, call.args[0]
        if verb == "latest":
            return self._latest(call, subject)
        if verb == "streak":
            return self._streak(self.history.remembered(call, lambda: valued_rows(self.history, verb, subject)))
        if verb == "unmatched":
            return self._unmatched(call)
        valued = self._in_window(call, self.history.remembered(call, lambda: valued_rows(self.history, verb, subject)))
        by = keyword(call, "by")
        if by is not None:
            return self._grouped(verb, valued, by)
        if verb == "top":
            return top(valued, evaluate(call.args[1], self))
        return PLAIN[verb](valued)

    def _streak(self, valued: Valued) -> int:
        """The days in a row of which the last is today or yesterday."""
        zone = self.definitions.timezone
        days = {
            date.fromisoformat(text).toordinal()
            for row, text in valued
            if date.fromisoformat(text) <= local_date(zone, row.occurred_ms)
        }
        day = local_date(zone, self.clock_ms).toordinal()
        if day not in days:
            day -= 1
        length = 0
        while day in days:
            length, day = length + 1, day - 1
        return length

    def _unmatched(self, call: ast.Call) -> list[Value]:
        """The values of which no sighting in the window was answered and the last is old enough; that one first."""
        within = keyword(call, "within")
        assert isinstance(within, ast.Constant)
        within_ms = duration_ms(str(within.value))
        both = unmatched_sides(self.history, call)
        seen, answers = [[(json_text(v), row.occurred_ms, v) for row, v in valued] for valued in both]
        window = window_of(call)
        assert window is not None
        seen = [one for one in seen if window.counts(one[1], self.clock_ms)]
        answered = {
            text
            for text, at_ms, _ in seen
            if any(text == other and at_ms <= then_ms <= at_ms + within_ms for other, then_ms, _ in answers)
        }
        last = {text: max(at_ms for other, at_ms, _ in seen if other == text) for text, _, _ in seen}
        values = {text: value for text, _, value in seen}
        over = [text for text in last if text not in answered and self.clock_ms > last[text] + within_ms]
        return [values[text] for text in sorted(over, key=lambda text: (-last[text], text))]

    def _in_window(self, call: ast.Call, valued: Valued) -> Valued:
        window = window_of(call)
        if window is None:
            return valued
        return [(row, value) for row, value in valued if window.counts(row.occurred_ms, self.clock_ms)]

    def _grouped(self, verb: str, valued: Valued, by: ast.expr) -> dict[str, Value]:
        groups: dict[str, Valued] = {}
        for row, value in valued:
            key = evaluate(by, RowScope(self.definitions, row.fields))
            if key is not None:
                groups.setdefault(key if isinstance(key, str) else json_text(key), []).append((row, value))
        return {key: PLAIN[verb](group) for key, group in groups.items()}

    def _latest(self, call: ast.Call, subject: ast.expr) -> Value:
        assert isinstance(subject, ast.Attribute) and isinstance(subject.value, ast.Name)
        assert subject.value.id == ATTRIBUTES
        return last(self._in_window(call, self.history.facts(subject.attr)))


def valued_rows(history: History, verb: str, subject: ast.expr) -> Valued:
    """Every row of an aggregate's stream with the value that is aggregated."""
    if verb in ("count", "mean_gap"):
        return [(row, True) for row in history.rows(subject)]
    rows = history.rows(history.definitions.once("stream", subject, lambda: _stream_of(subject)))
    valued = [(row, evaluate(subject, RowScope(history.definitions, row.fields))) for row in rows]
    return [(row, value) for row, value in valued if value is not None]


def _stream_of(subject: ast.expr) -> ast.expr:
    """The one stream whose fields an aggregate's argument names."""
    streams = {ast.dump(n.value): n.value for n in ast.walk(subject) if isinstance(n, ast.Attribute)}
    if len(streams) != 1:
        raise UnsupportedError(f"not one stream: {ast.unparse(subject)}")
    return next(iter(streams.values()))


def unmatched_sides(history: History, call: ast.Call) -> list[Valued]:
    """Of `unmatched` all sightings, and all answers."""
    return [history.remembered(a, partial(valued_rows, history, "unmatched", a)) for a in call.args]


def local_date(zone: ZoneInfo, at_ms: int) -> date:
    """The date that a zone has at an instant."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone).date()


def next_midnight_ms(zone: ZoneInfo, at_ms: int) -> int:
    """When the next day begins in a zone whose clocks are never changed at midnight."""
    tomorrow = datetime.combine(local_date(zone, at_ms) + timedelta(days=1), time(), zone)
    return (tomorrow.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


def total(valued: Valued) -> int | float:
    """The exact sum, written as an integer when every value was one."""
    numbers: list[int] | list[float] = [value for _, value in valued if is_number(value)]
    if all(isinstance(n, int) for n in numbers):
        return sum(numbers)
    return float(sum((exact(n) for n in numbers), Fraction(0)))


def mean(valued: Valued) -> float | None:
    """The exact sum by the count, correctly rounded."""
    numbers = [exact(value) for _, value in valued if is_number(value)]
    return float(sum(numbers, Fraction(0)) / len(numbers)) if numbers else None


def least(valued: Valued) -> Value:
    """The least value."""
    result: Value = None
    for _, value in valued:
        if result is None or is_before(value, result):
            result = value
    return result


def greatest(valued: Valued) -> Value:
    """The greatest value."""
    result: Value = None
    for _, value in valued:
        if result is None or is_before(result, value):
            result = value
    return result


def first(valued: Valued) -> Value:
    """The value of the least (occurred_at, event_id)."""
    return min(valued, key=lambda rv: rv[0].order)[1] if valued else None


def last(valued: Valued) -> Value:
    """The value of the greatest (occurred_at, event_id)."""
    return max(valued, key=lambda rv: rv[0].order)[1] if valued else None


def distinct(valued: Valued) -> int:
    """How many different values there are, by their JSON text; exact, also where the engine may estimate."""
    return len({json_text(value) for _, value in valued})


def top(valued: Valued, k: int) -> list[Value]:
    """The k most frequent values; ties go by the code points of the JSON text."""
    counts = Counter(json_text(value) for _, value in valued)
    values = {json_text(value): value for _, value in valued}
    return [values[text] for text in sorted(counts, key=lambda text: (-counts[text], text))[:k]]


def mean_gap(valued: Valued) -> Duration | None:
    """(last - first) / (count - 1) in milliseconds: a quotient, so a float unless it is whole."""
    times_ms = [row.occurred_ms for row, _ in valued]
    if len(times_ms) < 2:
        return None
    gap_ms = quotient(max(times_ms) - min(times_ms), len(times_ms) - 1)
    assert gap_ms is not None
    return Duration(int(gap_ms) if gap_ms.is_integer() else gap_ms)


PLAIN: dict[str, Callable[[Valued], Any]] = {
    "count": len,
    "sum": total,
    "mean": mean,
    "min": least,
    "max": greatest,
    "first": first,
    "last": last,
    "distinct": distinct,
    "mean_gap": mean_gap,
}
