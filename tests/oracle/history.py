"""Events as the contract reads them, and the rows that a customer's streams consist of."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, TypeVar

from tests.oracle.definitions import Definitions
from tests.oracle.expressions import RowScope, evaluate
from tests.oracle.values import NANO, Time, Value, nanos, parse_time

PURCHASE = "purchase"
ATTRIBUTES = "attributes"
BUILT_IN = (PURCHASE, "browsing", "support", "engagement", ATTRIBUTES)
T = TypeVar("T")

FREE_JSON = ("set", "unset", "items")


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
    """An event from its JSON object plus `type`; None where its currency has no rate (a dead letter)."""
    kind = raw["type"]
    declared = definitions.own_types.get(kind, {})
    given = {k: v for k, v in raw.items() if v is not None and k not in ("type", "arrived_at")}
    occurred_ms = parse_time(given["occurred_at"])
    fields: dict[str, Value] = {}
    for name, value in given.items():
        if str(declared.get(name, "")).startswith("time"):
            fields[name] = Time(parse_time(value))
        elif isinstance(value, float) and name not in FREE_JSON:
            fields[name] = nanos(value) / NANO
        else:
            fields[name] = value
    for name, declaration in declared.items():
        if isinstance(declaration, str) and "=" in declaration and name not in fields:
            text = declaration.split("=", 1)[1].rstrip("? ").strip()
            fields[name] = int(text) if declaration.startswith("int") else text
    fields["occurred_at"] = Time(occurred_ms)
    items: tuple[dict[str, Value], ...] = ()
    if kind == PURCHASE:
        fields.setdefault("kind", "order")
        rate = _rate(definitions, fields.get("currency"))
        if rate is None:
            return None
        fields["amount_minor"] = _convert(fields["amount_minor"], rate)
        items = tuple(_item(item, rate) for item in fields.get("items", []))
    return Event(kind, given["event_id"], given["customer_id"], occurred_ms, index, fields, items)


def _item(raw: Mapping[str, Any], rate: Decimal) -> dict[str, Value]:
    item: dict[str, Value] = {"sku": None, "category": None, "unit_price_minor": None}
    item.update({k: v for k, v in raw.items() if v is not None})
    item.setdefault("quantity", 1)
    price = item["unit_price_minor"]
    if price is not None:
        price = item["unit_price_minor"] = _convert(price, rate)
    # An item's amount is its own: the purchase's must not show through where the price is absent.
    item["amount_minor"] = None if price is None else item["quantity"] * price
    return item


def _rate(definitions: Definitions, currency: str | None) -> Decimal | None:
    if definitions.currency is None or currency is None or currency == definitions.currency:
        return Decimal(1)
    text = definitions.rates.get(currency)
    return None if text is None else Decimal(text)


def _convert(amount: int, rate: Decimal) -> int:
    return int((Decimal(amount) * rate).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


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
