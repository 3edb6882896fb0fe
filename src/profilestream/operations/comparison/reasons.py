"""Why a trait or a segment may differ between two generations, as far as definitions and records tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from profilestream.core import expressions as x
from profilestream.core.changes_between import SegmentChange, TraitChange, changes_between
from profilestream.core.definitions import Definitions, Segment
from profilestream.store.metadata import Generation

Why = Literal["definition", "history", "events", "bounded", "order", "unexplained"]
"""`definition`: it means something else now. `history`: one generation knows less of the past. `events`: one has folded
events that the other has not. `bounded`: a map was full, and what it kept depends on the order. `order`: how topics
came together and where clocks stood decides who is in. `unexplained`: the same meaning and the same events, and yet
another value; one of the two is wrong, and `verify` tells which."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What both definitions say of a trait or segment that both have: whether it differs, why, and what else decides.

    `begins_later`: it rests on what is not complete in one of the generations. `by_the_way`: the way there decides.
    """

    changed: tuple[str, ...] = ()
    begins_later: bool = False
    by_the_way: bool = False


class Meanings:
    """Traits and segments of two generations. `only_live` and `only_other` have the names that just one of them has."""

    def __init__(self, live: Generation, other: Generation, before: Definitions, after: Definitions) -> None:
        found = changes_between(before, after)
        self.order = ([t.name for t in after.traits], [s.name for s in after.segments])
        self.only_live = _of_kind(found.traits, "removed"), _of_kind(found.segments, "removed")
        self.only_other = _of_kind(found.traits, "added"), _of_kind(found.segments, "added")
        late = {*live.complete_since, *other.complete_since}
        changed_traits = {c.name: c for c in found.traits if c.kind == "changed"}
        late_aggregates = {a for t in after.traits if t.name in late for a in x.aggregates(t.node)}
        self.traits: Mapping[str, Meaning] = {
            t.name: Meaning(
                changed_traits[t.name].why if t.name in changed_traits else (),
                any(a in late_aggregates for a in x.aggregates(t.node)),
            )
            for t in after.traits
            if t.name in before.by_trait
        }
        moved = {c.name: c for c in found.segments if c.kind == "changed"}
        self.segments: Mapping[str, Meaning] = {
            s.name: Meaning(
                moved[s.name].why if s.name in moved else (),
                any(a in late_aggregates for node in _nodes(s) for a in x.aggregates(node)),
                _by_the_way(after, s),
            )
            for s in after.segments
            if s.name in before.by_segment
        }


def _of_kind(changes: tuple[TraitChange, ...] | tuple[SegmentChange, ...], kind: str) -> list[str]:
    return [c.name for c in changes if c.kind == kind]


def _nodes(segment: Segment) -> list[x.Node]:
    return [segment.enter] if segment.exit is None else [segment.enter, segment.exit]


def _by_the_way(definitions: Definitions, segment: Segment) -> bool:
    """Whether more than the present values decides who is in: a way out of its own, waiting, or a segment like that."""
    if segment.exit is not None or segment.pacing is not None:
        return True
    return any(_by_the_way(definitions, definitions.by_segment[name]) for name in segment.named_segments)
