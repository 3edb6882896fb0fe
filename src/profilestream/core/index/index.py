"""The index itself: the groups of all segments' comparisons, and what is asked of them for a profile.

Every condition is a tree of comparisons (`shapes.py`). Comparisons of one expression share a group (`groups.py`), in
which a profile has a position; after an event only the segments are looked at that look at what lies between the old
and the new one. `reading.py` makes the groups from the conditions, `probes.py` the functions that move positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from profilestream.core.expressions import Node
from profilestream.core.index.keyed import Keyed
from profilestream.core.index.probes import Probe, compile_probes
from profilestream.core.index.reading import Reading
from profilestream.core.index.shapes import Shapes, Test, own
from profilestream.core.slots import Slots


class Index:
    """The groups of all segments, the probes that keep a profile's positions in them, and the conditions' truth there.

    An engine folds one event at a time: `touched` has, by slot, the keys of maps that the event at hand has fed, and is
    emptied by `forget`. `inside` are the groups of the segments that others name, which turn when these are crossed.
    """

    def __init__(self, segments: Iterable[tuple[Node, Node | None]], slots: Slots, local: Mapping[str, Any]) -> None:
        reading = Reading(slots, local)
        conditions = [
            (reading.condition(enter), None if leave is None else reading.condition(leave)) for enter, leave in segments
        ]
        self.touched = reading.touched
        self.inside = reading.inside
        self.groups = reading.groups
        self.flips = 0
        for group in self.groups:
            group.order()
        self._shapes = Shapes()
        self._tests: list[tuple[Test, Test | None]] = []
        for number, (enter, leave) in enumerate(conditions):
            own(enter, number)
            if leave is not None:
                own(leave, number)
            self._tests.append((self._shapes.test(enter), None if leave is None else self._shapes.test(leave)))
        for group in self.groups:
            group.close()
            if group.timed:
                group.flip = self.flips
                self.flips += 1
        self._maps = [g.place for g in self.groups if isinstance(g, Keyed)]
        self._compiled = compile_probes(self.groups, slots, local)

    def holds(self, number: int, places: list[Any]) -> tuple[bool, bool]:
        """Whether a segment's `enter` and its `exit` are true at a profile's positions; without an `exit`, that `enter`
        is not true stands for it."""
        enter, leave = self._tests[number]
        entered = enter.shape.holds(places, enter.arguments)
        return entered, not entered if leave is None else leave.shape.holds(places, leave.arguments)

    @property
    def shapes(self) -> int:
        """How many shapes the conditions have."""
        return len(self._shapes)

    def forget(self) -> None:
        """The event at hand is done with."""
        for keys in self.touched.values():
            keys.clear()

    def nowhere(self) -> list[Any]:
        """Positions of which nothing is known: every expression absent."""
        return [g.absent for g in self.groups]

    def copied(self, positions: list[Any]) -> list[Any]:
        """Positions that a probe may move without moving these."""
        copy = positions.copy()
        for place in self._maps:
            if copy[place]:
                copy[place] = copy[place].copy()
        return copy

    def probe(self, concerns: Callable[[frozenset[str], bool], bool]) -> Probe:
        """A function that brings up to date the positions of the groups that `concerns` names, by the event types that
        move them and whether time alone does."""
        probes = [p for (types, clock), several in self._compiled.items() if concerns(types, clock) for p in several]
        if len(probes) == 1:
            return probes[0]

        def each(
            s: list[Any], q: list[Any], flips: list[int], now: int, suspects: set[int] | None, whole: bool
        ) -> None:
            for probe in probes:
                probe(s, q, flips, now, suspects, whole)

        return each
