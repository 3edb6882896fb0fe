"""What two sets of definitions have in common: aggregates whose states serve both, segments that mean the same. Pure.

An aggregate is unchanged while the same rows are folded in the same way: its own text, taken apart, is the same; the
event types that it looks at are declared, mapped and converted as before; and where it asks for days or hours the zone
is the same. Then a state that was folded under the former definitions is, byte for byte, what the new ones would fold.
How many values `top` shows does not matter to its state.

A field that may be absent, and that only one of the two declares, changes nothing for what does not read it: events
that were taken stay taken. One that has to be there, or whose declaration is another, changes the type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

from profilestream.core import expressions as x
from profilestream.core.definitions import Definitions, Segment
from profilestream.core.dependence import by_dependence
from profilestream.core.events import EventType, Field
from profilestream.core.money import AMOUNT_SUFFIX

_OF_A_ZONE = frozenset(("hour", "weekday", "date"))

Standing = Literal["same", "alike", "anew", "added"]
"""Of a segment of the new definitions. `same`: conditions, pacing, and all segments that it names; `alike`: its own
conditions mean the same, but its pacing or a segment that it names is another; `anew`: its conditions mean something
else; `added`: the former definitions have no segment of this name."""


class Unchanged:
    """The new definitions held against the former ones. `segments` has the standing of each segment of the new."""

    def __init__(self, former: Definitions, new: Definitions) -> None:
        self._former = former
        self._new = new
        self._same_zone = former.timezone == new.timezone
        self._types = {name for name in new.types if _is_same_type(former, new, name)}
        aggregates = list(_all_aggregates(former))
        self._states = {_of_state(a): a for a in aggregates} | {a: a for a in aggregates}
        self.segments: Mapping[str, Standing] = self._standings()

    def state_of(self, aggregate: x.Aggregate) -> x.Aggregate | None:
        """The former definitions' aggregate whose states serve this one of the new; None where none does."""
        found = self._states.get(aggregate, self._states.get(_of_state(aggregate)))
        return found if found is not None and self._is_folded_alike(aggregate) else None

    def fresh(self, node: x.Node) -> list[x.Aggregate]:
        """The aggregates of an expression of the new definitions of which there is no state yet."""
        return [a for a in x.aggregates(node) if self.state_of(a) is None]

    def means_the_same(self, node: x.Node) -> bool:
        """Whether an expression that both definitions have gives the same values in both.

        In segments that it names may be other customers: `segments` tells.
        """
        return self._is_free_of_zone(node) and not self.fresh(node)

    def _standings(self) -> dict[str, Standing]:
        new, former = self._new.by_segment, self._former.by_segment
        found: dict[str, Standing] = {}
        for name in by_dependence({s.name: s.named_segments for s in self._new.segments}):
            segment, before = new[name], former.get(name)
            if before is None:
                found[name] = "added"
            elif not self._asks_the_same(before, segment):
                found[name] = "anew"
            elif before.pacing != segment.pacing or any(found[n] != "same" for n in segment.named_segments):
                found[name] = "alike"
            else:
                found[name] = "same"
        return {s.name: found[s.name] for s in self._new.segments}

    def _asks_the_same(self, former: Segment, new: Segment) -> bool:
        if (former.enter, former.exit) != (new.enter, new.exit):
            return False
        return all(self.means_the_same(node) for node in (new.enter, new.exit) if node is not None)

    def _is_folded_alike(self, aggregate: x.Aggregate) -> bool:
        if not all(name in self._types for name in aggregate.types):
            return False
        return self._same_zone or (
            aggregate.function != "streak" and all(self._is_free_of_zone(node) for node in _of_rows(aggregate))
        )

    def _is_free_of_zone(self, node: x.Node) -> bool:
        return self._same_zone or not any(isinstance(n, x.Call) and n.name in _OF_A_ZONE for n in x.walk(node))


def _all_aggregates(definitions: Definitions) -> Iterator[x.Aggregate]:
    for trait in definitions.traits:
        yield from x.aggregates(trait.node)
    for segment in definitions.segments:
        for node in (segment.enter, segment.exit):
            if node is not None:
                yield from x.aggregates(node)


def _of_state(aggregate: x.Aggregate) -> x.Aggregate:
    """The aggregate without what only its value depends on: equal ones have the same states."""
    return replace(aggregate, size=0) if aggregate.size else aggregate


def _of_rows(aggregate: x.Aggregate) -> Iterator[x.Node]:
    """Every expression of rows in an aggregate."""
    for stream in (aggregate.stream, aggregate.answer.stream if aggregate.answer else None):
        if stream is not None and stream.condition is not None:
            yield stream.condition
    for node in (aggregate.value, aggregate.by, aggregate.answer.value if aggregate.answer else None):
        if node is not None:
            yield node


def _is_same_type(former: Definitions, new: Definitions, name: str) -> bool:
    """Whether the same events of a type come in, with the same values in what both declare."""
    before, after = former.types.get(name), new.types[name]
    if before is None or not _agree(before.fields, after.fields):
        return False
    if former.money != new.money and _has_amounts(after):
        return False
    both = before.by_name.keys() & after.by_name.keys()
    return _wheres(former, name, both) == _wheres(new, name, both)


def _agree(former: Iterable[Field], new: Iterable[Field]) -> bool:
    """Whether fields are declared alike, but for some that may be absent and that only one side has."""
    before, after = {f.name: f for f in former}, {f.name: f for f in new}
    for name in before.keys() | after.keys():
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            alone = one or other
            if alone is not None and alone.required:
                return False
        elif replace(one, record=()) != replace(other, record=()) or not _agree(one.record, other.record):
            return False
    return True


def _has_amounts(event_type: EventType) -> bool:
    """Whether a type has amounts beside a currency, so that they may be converted, or an event refused for its own."""
    currency = event_type.by_name.get("currency")
    fields = [g for f in event_type.fields for g in (f, *f.record)]
    return currency is not None and currency.kind == "currency" and any(f.name.endswith(AMOUNT_SUFFIX) for f in fields)


def _wheres(definitions: Definitions, name: str, fields: Iterable[str]) -> dict[str, dict[str, object] | None]:
    """By topic that carries a type, where it has these fields."""
    return {
        source.topic: None if source.mapping is None else {f: source.mapping.get(f) for f in fields}
        for source in definitions.sources
        if source.type_name == name
    }
