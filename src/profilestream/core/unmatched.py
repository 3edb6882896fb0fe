"""Values seen in one stream that had no counterpart in another within a time: viewed and not bought."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from profilestream.core.algebra import Clocked, json_text
from profilestream.core.maps import KEYS_MAX
from profilestream.core.vocabulary import matching_tile_ms, tile_ms
from profilestream.core.words import NEVER

SPANS_MAX: Final = 64

_decode = msgspec.json.decode

_Span = list[Any]
"""[first seen, last seen, first answer, last answer] in ms, of one value in one tile; None where there was none."""


class Unmatched(Clocked):
    """The values seen in a window without an answer, those seen last first.

    State: [{the value's JSON text: spans}, {the window's tile: how many values did not fit}]. An item is
    [occurred_at, 0 for seen or 1 for an answer, value]. A sighting at t is answered by the same value from t to
    t + within. A value is unmatched when the wait of its last sighting in the window is over, and none of its sightings
    in the window was answered.

    A span is of a tile that is no longer than `within`, and all that counts of it are its first and last times: two
    times in one tile are never too far apart, and to other tiles only the nearest matter. So answers are exact, and
    `merge` takes least and greatest. Of one value the newest 64 spans are kept, so of a longer history the older part
    is forgotten, the same in any order. Of values there are at most `keys_max`: a further one is only counted, the
    one result that may depend on order.
    """

    name = "unmatched"
    summary = "the values seen without the same value in the other stream within that time, those seen last first"

    def __init__(self, within_ms: int, over_ms: int, keys_max: int = KEYS_MAX) -> None:
        self._within = within_ms
        self._over = over_ms
        self._window_tile = tile_ms(over_ms)
        self._tile = matching_tile_ms(within_ms, over_ms)
        self.keys_max = keys_max

    # The algebra

    def zero(self) -> list[Any]:
        return [{}, {}]

    def add(self, state: list[Any], item: list[Any]) -> list[Any]:
        at, side, value = item
        text = json_text(value)
        span: _Span = [None, None, at, at] if side else [at, at, None, None]
        spans = state[0].get(text)
        if spans is None:
            self._keep(state, text, [span])
        else:
            state[0][text] = self._union(spans, [span])
        return state

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        merged: list[Any] = [{text: [list(span) for span in spans] for text, spans in a[0].items()}, dict(a[1])]
        for text, spans in b[0].items():
            mine = merged[0].get(text)
            if mine is None:
                self._keep(merged, text, [list(span) for span in spans])
            else:
                merged[0][text] = self._union(mine, spans)
        for tile, count in b[1].items():
            merged[1][tile] = merged[1].get(tile, 0) + count
        return merged

    def canonical(self, state: list[Any]) -> list[Any]:
        return [dict(sorted(state[0].items())), dict(sorted(state[1].items()))]

    def missed(self, state: list[Any]) -> int:
        return sum(state[1].values())

    def _keep(self, state: list[Any], text: str, spans: list[_Span]) -> None:
        if len(state[0]) < self.keys_max:
            state[0][text] = spans
        else:
            tile = _start(spans[-1]) // self._window_tile
            state[1][tile] = state[1].get(tile, 0) + 1

    def _union(self, a: list[_Span], b: list[_Span]) -> list[_Span]:
        """The spans of both in order of time, those of one tile made one."""
        by_tile = {_start(span) // self._tile: span for span in a}
        for span in b:
            tile = _start(span) // self._tile
            mine = by_tile.get(tile)
            by_tile[tile] = list(span) if mine is None else _joined(mine, span)
        return [by_tile[tile] for tile in sorted(by_tile)[-SPANS_MAX:]]

    # Time

    def put(self, state: list[Any], item: list[Any], now: int) -> list[Any]:
        """Adds what still counts at the clock; makes room first where a value is new."""
        if not self._counts(item[0], now):
            return state
        if json_text(item[2]) not in state[0]:
            self.expire(state, now)
        return self.add(state, item)

    def value_at(self, state: list[Any], now: int) -> list[Any]:
        found = []
        for text, spans in state[0].items():
            begin, end, seen = self._unmatched(spans)
            if begin <= now < end:
                found.append((-seen, text))
        return [_decode(text) for _, text in sorted(found)]

    def due(self, state: list[Any], now: int) -> int:
        return min((self._flips(spans, now) for spans in state[0].values()), default=NEVER)

    def due_of(self, state: list[Any], item: list[Any], now: int) -> int:
        spans = state[0].get(json_text(item[2]))
        return NEVER if spans is None else self._flips(spans, now)

    def expire(self, state: list[Any], now: int) -> list[Any]:
        """Lets go what the window no longer holds."""
        values, missed = state
        for text in [text for text, spans in values.items() if not self._counts(_start(spans[0]), now)]:
            values[text] = self._alive(values[text], now)
            if not values[text]:
                del values[text]
        for tile in [tile for tile in missed if not self._counts(tile * self._window_tile, now)]:
            del missed[tile]
        return state

    def _counts(self, at: int, now: int) -> bool:
        """Whether the window holds a time: its tile began after now - over."""
        return at - at % self._window_tile > now - self._over

    def _alive(self, spans: list[_Span], now: int) -> list[_Span]:
        return [span for span in spans if self._counts(_start(span), now)]

    def _unmatched(self, spans: list[_Span]) -> tuple[int, int, int]:
        """From when on and until when (ms) the value is unmatched if nothing more comes, and when it was seen last.

        It is so once the last sighting's wait is over and the last sighting that was answered has left the window, and
        until the last one leaves. Of the sightings before an answer the nearest tells, since it leaves last.
        """
        seen, seen_in, begin = -NEVER, spans[0], -NEVER
        for span in spans:
            if span[3] is not None:
                first, _, first_answer, last_answer = span
                if first is not None and first <= last_answer:
                    begin = self._leaves(span)
                elif first_answer - seen <= self._within:
                    begin = self._leaves(seen_in)
            if span[1] is not None:
                seen, seen_in = span[1], span
        if seen == -NEVER:
            return NEVER, NEVER, seen
        return max(begin, seen + self._within + 1), self._leaves(seen_in), seen

    def _flips(self, spans: list[_Span], now: int) -> int:
        """The first instant after `now` at which time alone changes whether the value is unmatched."""
        begin, end, _ = self._unmatched(spans)
        if now < begin:
            return begin if begin < end else NEVER
        return end if now < end else NEVER

    def _leaves(self, span: _Span) -> int:
        """When the window no longer holds a span."""
        at = _start(span)
        return at - at % self._window_tile + self._over


def _start(span: _Span) -> int:
    """A time in the span, and so in its tile."""
    at: int = span[2] if span[0] is None else span[0]
    return at


def _joined(a: _Span, b: _Span) -> _Span:
    return [_least(a[0], b[0]), _greatest(a[1], b[1]), _least(a[2], b[2]), _greatest(a[3], b[3])]


def _least(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None or a <= b else b


def _greatest(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None or a >= b else b
