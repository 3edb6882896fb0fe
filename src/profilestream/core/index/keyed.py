"""The group of a map: one line for each of its keys that segments ask for.

A profile keeps the positions of those keys that are not at home, which is where a key lies that the map lacks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from profilestream.core.expressions import Node
from profilestream.core.index.comparisons import ABSENT, Atom, Group, Guard
from profilestream.core.index.lines import Line, span_test
from profilestream.core.words import NEVER

NOTHING: Final[dict[str, int]] = {}
"""What a profile keeps of a map in which nothing is away from home; never written to."""


class Keyed(Group):
    """Each key of a map on a line of its own; `value` gives what a segment compares, from the key's part of the state.

    `touched` has the keys that the event at hand has fed; with time, all keys of the map may have moved.
    """

    absent = NOTHING
    stands_for_one = False

    def __init__(
        self,
        node: Node,
        place: int,
        timed: bool,
        value: Callable[[Any, list[Any], int], Any],
        home: Any,
        touched: set[str] | None,
    ) -> None:
        """`touched` None: the value depends on more than the map, so that each event moves all keys."""
        super().__init__(node, place)
        self.lines: dict[str, Line] = {}
        self.timed = timed
        self._value = value
        self._home = home
        self._touched = touched

    def ask(self, atom: Atom) -> None:
        self.lines.setdefault(atom.key, Line(self.timed)).rank[atom.constant] = 0

    def order(self) -> None:
        for line in self.lines.values():
            line.order()
            line.home = line.position(self._home)

    def own(self, atom: Atom, segment: int, guard: Guard | None) -> None:
        self.lines[atom.key].own(atom.op, atom.constant, segment, guard)

    def close(self) -> None:
        for line in self.lines.values():
            line.dependents.close()

    def test(self, atom: Atom) -> tuple[str, tuple[Any, ...]]:
        line = self.lines[atom.key]
        where = (self.place, atom.key, line.home)
        return span_test("q[{}].get({}, {})", where, atom.op, *line.span(atom.op, atom.constant))

    def tokens(self, atom: Atom) -> tuple[Any, ...] | None:
        line = self.lines[atom.key]
        low, high = line.span(atom.op, atom.constant)
        at_home = low <= line.home <= high if atom.op != "!=" else line.home not in (ABSENT, low)
        return None if at_home else (atom.key,)

    def active(self, position: Any, asked: Mapping[Any, Any]) -> Iterable[Any]:
        return position.keys() & asked.keys()  # type: ignore[no-any-return]

    @property
    def variety(self) -> int:
        return len(self.lines)

    def probe(
        self, state: Any, s: list[Any], q: list[Any], flips: list[int], now: int, suspects: set[int] | None, whole: bool
    ) -> None:
        """Brings the keys' positions up to date: of all keys, or of those that the event has touched."""
        states, lines, away = state[0], self.lines, q[self.place]
        keys: Collection[str]
        if whole or self.timed or self._touched is None:
            keys = [k for k in states if k in lines] if len(states) < len(lines) else [k for k in lines if k in states]
            if away:
                keys = {*keys, *away}
        else:
            keys = self._touched
        flip = NEVER
        for key in keys:
            line = lines.get(key)
            if line is None:
                continue
            new = line.home
            if key in states:
                value = self._value(states[key], s, now)
                if not self.timed:
                    new = line.position(value)
                elif value is not None:
                    new = bisect_right(line.constants, now - value)
                    if new < len(line.constants):
                        flip = min(flip, value + line.constants[new])
            old = away.get(key, line.home)
            if new == old:
                continue
            if suspects is not None:
                line.dependents.moved(old, new, q, suspects)
            if away is NOTHING:
                away = q[self.place] = {}
            if new == line.home:
                del away[key]
            else:
                away[key] = new
        if self.timed:
            flips[self.flip] = flip
