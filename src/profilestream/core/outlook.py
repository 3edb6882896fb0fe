"""What time alone will do: a copy of a profile is carried from one due instant to the next, as the engine does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from profilestream.core import linear, words
from profilestream.core.engine import CLOCK, Crossing, Engine
from profilestream.core.expressions import Node
from profilestream.core.leaves import Leaf
from profilestream.core.profile import Profile
from profilestream.core.times import TIME_MS_MAX

STEPS_MAX: Final = 10_000
"""How many due instants are looked at."""


@dataclass(slots=True)
class Outlook:
    """What time alone does to some memberships and their leaves.

    `changes` has the first instant (ms) at which a membership changes, by segment; `because` the numbers of the leaves
    that are otherwise then than they are now; `turns` the first instant at which a leaf turns, by segment and number.
    What is in none does not change, if `looked_until` is None; else the search was ended at that instant by its limit.
    """

    changes: dict[str, int] = field(default_factory=dict)
    because: dict[str, tuple[int, ...]] = field(default_factory=dict)
    turns: dict[tuple[str, int], int] = field(default_factory=dict)
    looked_until: int | None = None


def look_ahead(
    engine: Engine,
    profile: Profile,
    names: Sequence[str],
    leaves: Mapping[str, Sequence[Leaf]],
    steps_max: int = STEPS_MAX,
) -> Outlook:
    """The outlook of the named segments; `leaves` has the leaves to watch of some of them. The profile stays."""
    ahead, found = engine.ahead(profile, engine.conditions(names)), Outlook()
    watched = _Watched(engine, ahead, leaves)
    wanted, crossings = set(names), list[Crossing]()
    for _ in range(steps_max):
        if ahead.due > TIME_MS_MAX or (len(found.changes) == len(wanted) and not watched.waits):
            return found
        now = ahead.due
        engine.advance(ahead, now, crossings)
        watched.look(ahead, now, found.turns)
        for crossing in crossings:
            name = crossing.segment
            if name in wanted and name not in found.changes:
                found.changes[name] = crossing.at
                found.because[name] = watched.turned(name)
        crossings.clear()
    found.looked_until = None if ahead.due > TIME_MS_MAX else ahead.as_of
    return found


def next_changes(engine: Engine, profile: Profile, steps_max: int = STEPS_MAX) -> tuple[dict[str, int], int | None]:
    """When each trait next changes with no event (ms), and where the search was ended by its limit.

    A trait that is not in it does not change, or not before that limit. The engine need not watch any segment.
    """
    traits, changes = engine.changed_traits(CLOCK), dict[str, int]()
    nodes = tuple(t.node for t in traits)
    ahead, read = engine.ahead(profile, nodes), engine.reader(nodes)
    before = read(ahead, ahead.as_of)
    for _ in range(steps_max):
        if ahead.due > TIME_MS_MAX or len(changes) == len(traits):
            return changes, None
        engine.advance(ahead, ahead.due, [])
        for trait, was, value in zip(traits, before, read(ahead, ahead.as_of), strict=True):
            if trait.name not in changes and not words.same(was, value):
                changes[trait.name] = ahead.as_of
    return changes, None if ahead.due > TIME_MS_MAX else ahead.as_of


class _Watched:
    """The leaves that time can turn, and what they came to last."""

    def __init__(self, engine: Engine, profile: Profile, leaves: Mapping[str, Sequence[Leaf]]) -> None:
        self._places: list[tuple[str, int]] = []
        nodes: list[Node] = []
        for name, found in leaves.items():
            for number, leaf in enumerate(found):
                if engine.moves(leaf.node):
                    self._places.append((name, number))
                    nodes.append(linear.normalise(leaf.node))
        self._read = engine.reader(tuple(nodes))
        self._before = self._now = self._truths(profile, profile.as_of)
        self.waits = len(nodes)

    def look(self, profile: Profile, now: int, turns: dict[tuple[str, int], int]) -> None:
        """Adds the leaves that have turned for the first time."""
        if not self._places:
            return
        self._now = self._truths(profile, now)
        for place, before, truth in zip(self._places, self._before, self._now, strict=True):
            if before is not truth and place not in turns:
                turns[place] = now
                self.waits -= 1

    def turned(self, name: str) -> tuple[int, ...]:
        """The leaves of a segment that are otherwise now than they were in the beginning."""
        places = zip(self._places, self._before, self._now, strict=True)
        return tuple(place[1] for place, before, truth in places if place[0] == name and before is not truth)

    def _truths(self, profile: Profile, now: int) -> tuple[Any, ...]:
        return tuple(words.truth(value) for value in self._read(profile, now))
