"""What differs between two sets of definitions, by what they mean and never by how they are written. Pure.

What is unchanged is decided where profiles are carried (`core/unchanged.py`); here it is told what the rest is, and
why. Comments, blanks, the order of tables and the names of streams and sources change nothing. Of each aggregate it is
told whether the former definitions keep its state already, or only the log has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from profilestream.core import expressions as x
from profilestream.core.definitions import Definitions, Segment
from profilestream.core.dependence import by_dependence
from profilestream.core.expressions import Aggregate, Node
from profilestream.core.grounds import Ground, differing
from profilestream.core.pacing import SPANS, Pacing
from profilestream.core.unchanged import Unchanged

Kind = Literal["added", "changed", "removed", "told", "reworded"]
"""`told`: who is in a segment stays, but not all that is said of it; `reworded`: the same in other words."""


@dataclass(frozen=True, slots=True)
class TraitChange:
    """One trait's difference. `before` and `after` are its texts, None where it is not there.

    `why` names what changed. `needs` are the aggregates that the former definitions do not keep: only the log has them.
    `was` is the former name of an added trait, where a removed one meant the same.
    """

    name: str
    kind: Kind
    before: str | None
    after: str | None
    why: tuple[str, ...] = ()
    needs: tuple[Aggregate, ...] = ()
    was: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """One segment's difference. `before` and `after` are the segments, None where it is not there.

    `why` names what changed ("enter", "exit", "dwell", "sample", "currency", "segment lapsing"; of what is only told
    "description", "values"). `needs` are the aggregates without which nobody can say who is in it, by way of the
    segments that it names too.
    """

    name: str
    kind: Kind
    before: Segment | None
    after: Segment | None
    why: tuple[str, ...] = ()
    needs: tuple[Aggregate, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether anybody may enter or leave by it."""
        return self.kind in ("added", "changed", "removed")


@dataclass(frozen=True)
class Changes:
    """All that differs; traits and segments in the order of the new file, removed ones last.

    `grounds` are what the definitions rest on that differs ("timezone", "fields of review"). `kept` are the aggregates
    whose states are there already, `missing` those that only the log has, `dropped` those that nothing reads any more.
    With `reordered` the segments that both have stand in another order, in which crossings of one instant are told.
    """

    before: Definitions
    after: Definitions
    traits: tuple[TraitChange, ...]
    segments: tuple[SegmentChange, ...]
    grounds: tuple[str, ...]
    kept: tuple[Aggregate, ...]
    missing: tuple[Aggregate, ...]
    dropped: tuple[Aggregate, ...]
    reordered: bool

    @property
    def any(self) -> bool:
        """Whether anything changes for those who read profiles or hear of crossings."""
        kinds = {c.kind for c in self.traits} | {c.kind for c in self.segments}
        return self.reordered or bool(self.grounds) or bool(kinds - {"reworded"})

    @property
    def needs_log(self) -> bool:
        """Whether something has to be folded from the log."""
        return bool(self.missing)

    @cached_property
    def by_segment(self) -> Mapping[str, SegmentChange]:
        """The differences of segments by name."""
        return {c.name: c for c in self.segments}

    @cached_property
    def unchanged_segments(self) -> tuple[str, ...]:
        """The segments in which the same customers are."""
        moved = {c.name for c in self.segments if c.moves}
        return tuple(s.name for s in self.after.segments if s.name not in moved)


def changes_between(before: Definitions, after: Definitions) -> Changes:
    """What the second definitions change in the first."""
    return _Comparison(before, after).result()


class _Comparison:
    def __init__(self, before: Definitions, after: Definitions) -> None:
        self.before, self.after = before, after
        self.ground_before, self.ground_after = Ground(before), Ground(after)
        self.unchanged = Unchanged(before, after)
        self.wanted = list(all_aggregates(after))
        self.states = {a: self.unchanged.state_of(a) for a in self.wanted}

    def result(self) -> Changes:
        read = set(self.states.values())
        return Changes(
            before=self.before,
            after=self.after,
            traits=tuple(self._traits()),
            segments=tuple(self._segments()),
            grounds=differing(self.ground_before.whole, self.ground_after.whole),
            kept=tuple(a for a in self.wanted if self.states[a] is not None),
            missing=tuple(a for a in self.wanted if self.states[a] is None),
            dropped=tuple(a for a in all_aggregates(self.before) if a not in read),
            reordered=self._reordered(),
        )

    def _needs(self, *nodes: Node | None) -> tuple[Aggregate, ...]:
        read = (a for node in nodes if node is not None for a in x.aggregates(node))
        return tuple(dict.fromkeys(a for a in read if self.states[a] is None))

    def _difference(self, before: Node, after: Node) -> tuple[str, ...]:
        """Why two expressions differ in meaning; nothing where they do not."""
        if before != after:
            return ("expression",)
        if self.unchanged.means_the_same(after):
            return ()
        return differing(self.ground_before.of_value(before), self.ground_after.of_value(after))

    # Traits

    def _traits(self) -> Iterator[TraitChange]:
        former = self.before.by_trait
        removed = [t for t in self.before.traits if t.name not in self.after.by_trait]
        nameless = removed.copy()
        for trait in self.after.traits:
            other = former.get(trait.name)
            needs = self._needs(trait.node)
            if other is None:
                was = next((t for t in nameless if not self._difference(t.node, trait.node)), None)
                if was is not None:
                    nameless.remove(was)
                name = None if was is None else was.name
                yield TraitChange(trait.name, "added", None, trait.text, needs=needs, was=name)
            elif why := self._difference(other.node, trait.node):
                yield TraitChange(trait.name, "changed", other.text, trait.text, why, needs)
            elif other.text != trait.text:
                yield TraitChange(trait.name, "reworded", other.text, trait.text)
        for trait in removed:
            yield TraitChange(trait.name, "removed", trait.text, None)

    # Segments

    def _segments(self) -> Iterator[SegmentChange]:
        found: dict[str, SegmentChange] = {}
        needs: dict[str, tuple[Aggregate, ...]] = {}
        # Whoever names another segment changes with it, so that one is looked at first.
        for name in by_dependence({s.name: s.named_segments for s in self.after.segments}):
            after, before = self.after.by_segment[name], self.before.by_segment.get(name)
            own = self._needs(after.enter, after.exit)
            needs[name] = tuple(dict.fromkeys((*own, *(a for n in after.named_segments for a in needs[n]))))
            if before is None:
                found[name] = SegmentChange(name, "added", None, after, needs=needs[name])
            elif (change := self._segment(before, after, needs[name], found)) is not None:
                found[name] = change
        yield from (found[s.name] for s in self.after.segments if s.name in found)
        for segment in self.before.segments:
            if segment.name not in self.after.by_segment:
                yield SegmentChange(segment.name, "removed", segment, None)

    def _segment(
        self, before: Segment, after: Segment, needs: tuple[Aggregate, ...], found: Mapping[str, SegmentChange]
    ) -> SegmentChange | None:
        conditions = [*self._conditions(before, after)]
        conditions += [f"segment {n}" for n in after.named_segments if n in found and found[n].moves]
        pacing = [*_paces(before, after)]
        why = tuple(dict.fromkeys(conditions + pacing))
        if self.unchanged.segments[after.name] != "same":
            return SegmentChange(after.name, "changed", before, after, why, needs)
        told = tuple(self._told(before, after))
        if told:
            return SegmentChange(after.name, "told", before, after, told)
        if before.texts != after.texts:
            return SegmentChange(after.name, "reworded", before, after)
        return None

    def _conditions(self, before: Segment, after: Segment) -> Iterator[str]:
        for word, one, other in (("enter", before.enter, after.enter), ("exit", before.exit, after.exit)):
            if one is None or other is None:
                yield from [word] if one is not other else []
            elif why := self._difference(one, other):
                yield from (word if reason == "expression" else reason for reason in why)

    def _told(self, before: Segment, after: Segment) -> Iterator[str]:
        """What subscribers and people are told of a segment in which the same customers are."""
        if before.description != after.description:
            yield "description"
        traits = {n: (self.before.by_trait[n], self.after.by_trait.get(n)) for n in before.named_traits}
        if set(before.named_traits) != set(after.named_traits) or any(
            other is None or self._difference(one.node, other.node) for one, other in traits.values()
        ):
            yield "values"

    def _reordered(self) -> bool:
        ours = [s.name for s in self.before.segments if s.name in self.after.by_segment]
        return ours != [s.name for s in self.after.segments if s.name in self.before.by_segment]


def all_aggregates(definitions: Definitions) -> Iterable[Aggregate]:
    """Every aggregate of which a profile keeps the state, each once, in the order of the slots."""
    nodes = [t.node for t in definitions.traits]
    for segment in definitions.segments:
        nodes += [segment.enter] if segment.exit is None else [segment.enter, segment.exit]
    return dict.fromkeys(a for node in nodes for a in x.aggregates(node))


def _paces(before: Segment, after: Segment) -> Iterator[str]:
    """The keys of what holds crossings back that differ."""
    one, other = before.pacing or Pacing(), after.pacing or Pacing()
    yield from (key for key in SPANS if getattr(one, f"{key}_ms") != getattr(other, f"{key}_ms"))
    if one.sample != other.sample:
        yield "sample"
