"""What the state of an aggregate follows from besides its own expression: its grounds.

They are the declared fields of the event types that it looks at (a value outside a declared range makes a dead letter
of the whole event), the topics that carry these types and how they are mapped, the one currency of amounts, and the
time zone where it counts in days. Two definitions whose aggregates are equal and have equal grounds fold the same log
to the same state. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from profilestream.core import expressions as x
from profilestream.core.definitions import Definitions
from profilestream.core.expressions import Node

Grounds = Mapping[str, Any]
"""What stands on which ground, by what it is called ("timezone", "fields of review"): only to be compared."""

TIMEZONE: Final = "timezone"
CURRENCY: Final = "currency"
_IN_DAYS: Final = ("hour", "weekday", "date")


def fields_of(type_name: str) -> str:
    """What the ground is called that an event type's declared fields are."""
    return f"fields of {type_name}"


def topics_of(type_name: str) -> str:
    """What the ground is called that the topics of an event type are."""
    return f"topics of {type_name}"


class Ground:
    """All grounds of one set of definitions."""

    def __init__(self, definitions: Definitions) -> None:
        self._timezone = definitions.timezone
        self._by_type = {name: dict(_of_type(definitions, name)) for name in definitions.types}

    @property
    def whole(self) -> Grounds:
        """Every ground there is."""
        found: dict[str, Any] = {TIMEZONE: self._timezone}
        for grounds in self._by_type.values():
            found |= grounds
        return found

    def of(self, aggregate: x.Aggregate) -> Grounds:
        """What an aggregate's state follows from."""
        found: dict[str, Any] = {}
        for name in aggregate.types:
            found |= self._by_type[name]
        if counts_in_days(aggregate):
            found[TIMEZONE] = self._timezone
        return found

    def of_value(self, node: Node) -> Grounds:
        """What a value follows from that is computed of aggregates; theirs are among it."""
        found: dict[str, Any] = {}
        for aggregate in x.aggregates(node):
            found |= self.of(aggregate)
        if _asks_for_the_day(node):
            found[TIMEZONE] = self._timezone
        return found


def counts_in_days(aggregate: x.Aggregate) -> bool:
    """Whether the time zone is part of what an aggregate means."""
    return aggregate.function == "streak" or any(_asks_for_the_day(node) for node in _rows(aggregate))


def differing(before: Grounds, after: Grounds) -> tuple[str, ...]:
    """What two grounds differ in, by name."""
    return tuple(name for name in {**before, **after} if before.get(name) != after.get(name))


def _of_type(definitions: Definitions, name: str) -> Iterator[tuple[str, Any]]:
    declared = definitions.types[name]
    yield fields_of(name), {f.name: f for f in declared.fields}
    yield topics_of(name), {s.topic: s.mapping for s in definitions.sources if s.type_name == name}
    if any(f.kind == "currency" for f in declared.fields):
        yield CURRENCY, definitions.money


def _rows(aggregate: x.Aggregate) -> Iterator[Node]:
    """The expressions that an aggregate reads off each of its rows."""
    nodes = [aggregate.stream.condition, aggregate.value, aggregate.by]
    if aggregate.answer is not None:
        nodes += [aggregate.answer.stream.condition, aggregate.answer.value]
    return (node for node in nodes if node is not None)


def _asks_for_the_day(node: Node) -> bool:
    return any(isinstance(n, x.Call) and n.name in _IN_DAYS for n in x.walk(node))
