"""The fields of event types: the contract's own table, and a definitions file's types and facts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from profilestream.oracle.values import parse_time

Table = Mapping[str, Any]

COMMON = {"event_id": "string", "customer_id": "string", "occurred_at": "time", "source": "string?"}
BUILT_IN: Mapping[str, Table] = {
    "purchase": {
        "kind": "string = order",
        "order_id": "string?",
        "amount_minor": "int 0..",
        "currency": "currency?",
        "items": [{"sku": "string?", "category": "string?", "quantity": "int 1.. = 1", "unit_price_minor": "int 0..?"}],
        "channel": "string?",
    },
    "browsing": {"kind": "string"}
    | dict.fromkeys(("url", "category", "sku", "query", "device", "referrer", "campaign"), "string?"),
    "support": {"kind": "string"}
    | dict.fromkeys(("ticket_id", "channel", "subject"), "string?")
    | {"sentiment": "number -1..1?", "rating": "int 1..5?"},
    "engagement": {"kind": "string"} | dict.fromkeys(("channel", "campaign", "content", "tone"), "string?"),
    "attributes": {"set": "object?", "unset": "strings?"},
}
INTEGER_MAX = 2**63 - 1


@dataclass(frozen=True)
class Declared:
    """A field of a type, as its declaration's text says."""

    name: str
    kind: str
    required: bool = False
    low: int | None = None
    high: int | None = None
    default: Any = None
    members: tuple[Declared, ...] = ()


def fields_of(tables: Table, type_name: str) -> tuple[Declared, ...]:
    """The fields of a type, the common ones first; typed facts stand in `set`."""
    own = BUILT_IN.get(type_name) or tables["types"][type_name]["fields"]
    found = [declared(name, text) for name, text in (COMMON | dict(own)).items()]
    if type_name == "attributes":
        facts = tuple(declared(name, text.rstrip("? ")) for name, text in tables.get("attributes", {}).items())
        found = [Declared("set", "object", members=facts) if f.name == "set" else f for f in found]
    return tuple(found)


def declared(name: str, text: str | Sequence[Table]) -> Declared:
    """One declaration: `int 1..5 = 3`, or a list of one table for records."""
    if not isinstance(text, str):
        return Declared(name, "records", members=tuple(declared(n, t) for n, t in text[0].items()))
    head, _, default = text.rstrip("? ").partition("=")
    kind, _, span = head.strip().partition(" ")
    low, _, high = span.partition("..")
    value: Any = default.strip() or None
    if value is not None and kind not in ("string", "currency", "time"):
        value = json.loads(value)
    if value is not None and kind == "time":
        value = parse_time(value)
    return Declared(
        name,
        kind,
        required=not text.endswith("?") and value is None,
        low=int(low) if low.strip() else None,
        high=int(high) if high.strip() else None,
        default=value,
    )
