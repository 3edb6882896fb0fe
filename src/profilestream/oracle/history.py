"""Events as the contract reads them, and the rows that a customer's streams consist of."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from profilestream.oracle.declarations import Declared
from profilestream.oracle.definitions import Definitions
from profilestream.oracle.expressions import RowScope, evaluate
from profilestream.oracle.sources import Reader, RefusedError
from profilestream.oracle.values import NANO, Time, Value, nanos

PURCHASE = "purchase"
ATTRIBUTES = "attributes"
BUILT_IN = (PURCHASE, "browsing", "support", "engagement", ATTRIBUTES)
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One row of a stream: an event, or one item of a purchase."""

    fields: Mapping[str, Value]
    occurred_ms: int
    order: tuple[int, str, int, int]
    """(occurred_at, event_id, arrival, item): `first` and `last` go by the first two."""


@dataclass(frozen=True)
class Event:
    """An accepted event: `index` is its place among everything that arrived."""

    type: str
    event_id: str
    customer_id: str
    occurred_ms: int
    index: int
    fields: Mapping[str, Value]
    items: tuple[Mapping[str, Value], ...] = ()

    def row(self) -> Row:
        """The event as a row of its own type's stream."""
        return Row(self.fields, self.occurred_ms, (self.occurred_ms, self.event_id, self.index, 0))

    def item_rows(self) -> list[Row]:
        """One row for each item, with the purchase's fields and its own."""
        return [
            Row({**self.fields, **item}, self.occurred_ms, (self.occurred_ms, self.event_id, self.index, i))
            for i, item in enumerate(self.items)
        ]


def read_event(definitions: Definitions, raw: Mapping[str, Any], index: int) -> Event | None:
    """An event from its JSON object plus `type`, or from `record`, the JSON of another system's `topic`.

    None where it is a dead letter.
    """
    if "record" in raw:
        kind, reader = definitions.source(raw["topic"])
        given = raw["record"]
    else:
        kind, reader = raw["type"], definitions.reader(raw["type"])
        given = {k: v for k, v in raw.items() if k not in ("type", "arrived_at")}
    try:
        return event_of(kind, reader, given, index)
    except RefusedError:
        return None


def event_of(kind: str, reader: Reader, given: Any, index: int) -> Event:
    """The event of a type in a record's JSON; raises RefusedError for a dead letter."""
    read = reader.read(given)
    fields = {f.name: _value(f, read[f.name]) for f in reader.fields if read[f.name] is not None}
    items = tuple(_item(item) for item in read.get("items") or ()) if kind == PURCHASE else ()
    return Event(kind, read["event_id"], read["customer_id"], read["occurred_at"], index, fields, items)


def _value(declared: Declared, read: Any) -> Value:
    """A field's value, which is not absent, as expressions see it."""
    if declared.kind == "time":
        return Time(read)
    if declared.kind == "number" and isinstance(read, float):
        return nanos(read) / NANO
    if declared.kind == "object":
        return {**read, **{m.name: _value(m, read[m.name]) for m in declared.members if read.get(m.name) is not None}}
    return read


def _item(read: Mapping[str, Any]) -> dict[str, Value]:
    price = read["unit_price_minor"]
    # An item's amount is its own: the purchase's must not show through where the price is absent.
    return {**read, "amount_minor": None if price is None else read["quantity"] * price}


@dataclass
class History:
    """All accepted events of one customer, in order of arrival."""

    definitions: Definitions
    events: list[Event] = field(default_factory=list)
    _remembered: dict[int, Any] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Takes one more event; what was read from those before is forgotten."""
        self.events.append(event)
        self._remembered.clear()

    def remembered(self, node: ast.expr, read: Callable[[], T]) -> T:
        """What `read` gives for a node of the definitions, read once until the next event."""
        if id(node) not in self._remembered:
            self._remembered[id(node)] = read()
        found: T = self._remembered[id(node)]
        return found

    def rows(self, stream: ast.expr) -> list[Row]:
        """Every row of a stream that its conditions hold for."""
        base, conditions = self.definitions.stream(stream)
        return [
            row
            for row in self._base_rows(base)
            if all(evaluate(c, RowScope(self.definitions, row.fields)) is True for c in conditions)
        ]

    def _base_rows(self, base: str) -> list[Row]:
        if base == "item":
            return [row for e in self.events if e.type == PURCHASE for row in e.item_rows()]
        if base == "event":
            return [e.row() for e in self.events if e.type != ATTRIBUTES]
        return [e.row() for e in self.events if e.type == base]

    def facts(self, name: str) -> list[tuple[Row, Value]]:
        """Each event that says something about a fact, with what it says; None takes the fact away."""
        said: list[tuple[Row, Value]] = []
        for event in self.events:
            if event.type != ATTRIBUTES:
                continue
            if name in event.fields.get("unset", []):
                said.append((event.row(), None))
            elif name in event.fields.get("set", {}):
                said.append((event.row(), event.fields["set"][name]))
        return said
