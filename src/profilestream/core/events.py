"""Declarations of event types: which fields an event has, of what kind, within which range.

One table, `BUILT_IN`, in the very form in which a definitions file declares its own types. Decoders,
JSON Schemas, the type checker of expressions and the documentation are all derived from it.

A field is declared by one line of text::

    declaration := kind [range] [" = " default] ["?"]
    kind        := "string" | "int" | "number" | "boolean" | "time" | "currency" | "object" | "strings" | "json"
    range       := LOW ".." HIGH | LOW ".." | ".." HIGH          (int and number only)

`?` or a default means that the field may be absent. A list of one mapping of declarations is a list of
records (a purchase's items).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

FieldText = str | Sequence[Mapping[str, str]]

KINDS: Final = ("string", "int", "number", "boolean", "time", "currency", "object", "strings", "json")
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
ID_CHARACTERS_MAX: Final = 200
EVENT_BYTES_MAX: Final = 900 * 1024
INTEGER_MAX: Final = 2**63 - 1

_DECLARATION: Final = re.compile(
    r"(?P<kind>[a-z]+)"
    r"(?:\s+(?P<low>-?\d+(?:\.\d+)?)?\.\.(?P<high>-?\d+(?:\.\d+)?)?)?"
    r"(?:\s*=\s*(?P<default>[^?]+?))?"
    r"\s*(?P<optional>\?)?\Z"
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event: its kind, whether it must be there, its inclusive range and its default."""

    name: str
    kind: str
    required: bool = True
    low: Decimal | None = None
    high: Decimal | None = None
    default: str | int | None = None
    record: tuple[Field, ...] = ()

    @property
    def attribute(self) -> str:
        """The attribute under which a decoded event holds the field (`class` is held as `class_`)."""
        import keyword

        return self.name + "_" if keyword.iskeyword(self.name) else self.name


@dataclass(frozen=True, slots=True)
class EventType:
    """An event type: its name, the topic it arrives on and its own fields (the common ones are added)."""

    name: str
    topic: str
    fields: tuple[Field, ...]
    by_name: Mapping[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {f.name: f for f in (*COMMON, *self.fields)})


def parse_field(name: str, text: FieldText) -> Field:
    """Reads one declaration.

    Raises ValueError with a sentence that says what is wrong and what would be right.
    """
    if not NAME.match(name):
        raise ValueError(f"field name `{name}` must be lower-case letters, digits and _, starting with a letter")
    if not isinstance(text, str):
        if len(text) != 1:
            raise ValueError(f"field `{name}`: a list of records is declared by one table in brackets")
        return Field(name, "records", False, record=tuple(parse_field(n, t) for n, t in text[0].items()))
    match = _DECLARATION.match(text.strip())
    if match is None or match["kind"] not in KINDS:
        raise ValueError(
            f"field `{name}`: `{text}` is not a declaration; write a kind ({', '.join(KINDS)}), "
            'perhaps a range, perhaps `?`: "int 1..5?"'
        )
    low, high = (Decimal(match[side]) if match[side] else None for side in ("low", "high"))
    if (low is not None or high is not None) and match["kind"] not in ("int", "number"):
        raise ValueError(f"field `{name}`: only int and number have a range, not {match['kind']}")
    if low is not None and high is not None and low > high:
        raise ValueError(f"field `{name}`: the range {low}..{high} is empty; put the lower bound first")
    default: str | int | None = match["default"]
    if default is not None and match["kind"] == "int":
        default = int(default)
    optional = bool(match["optional"]) or default is not None
    return Field(name, match["kind"], not optional, low, high, default)


def declare(name: str, topic: str, fields: Mapping[str, FieldText]) -> EventType:
    """An event type from declarations in text; raises ValueError as `parse_field` does."""
    return EventType(name, topic, tuple(parse_field(n, t) for n, t in fields.items()))


COMMON: Final = (
    Field("event_id", "string"),
    Field("customer_id", "string"),
    Field("occurred_at", "time"),
    Field("source", "string", required=False),
)

BUILT_IN: Final[Mapping[str, EventType]] = {
    t.name: t
    for t in (
        declare("purchase", "purchases", {
            "kind": "string = order",
            "order_id": "string?",
            "amount_minor": "int 0..",
            "currency": "currency?",
            "items": [{
                "sku": "string?",
                "category": "string?",
                "quantity": "int 1.. = 1",
                "unit_price_minor": "int 0..?",
            }],
            "channel": "string?",
        }),
        declare("browsing", "browsing", {
            "kind": "string",
            "url": "string?",
            "category": "string?",
            "sku": "string?",
            "query": "string?",
            "device": "string?",
            "referrer": "string?",
            "campaign": "string?",
        }),
        declare("support", "support", {
            "kind": "string",
            "ticket_id": "string?",
            "channel": "string?",
            "subject": "string?",
            "sentiment": "number -1..1?",
            "rating": "int 1..5?",
        }),
        declare("engagement", "engagement", {
            "kind": "string",
            "channel": "string?",
            "campaign": "string?",
            "content": "string?",
            "tone": "string?",
        }),
        declare("attributes", "attributes", {
            "set": "object?",
            "unset": "strings?",
        }),
    )
}  # fmt: skip

COMMANDS_TOPIC: Final = "commands"
COMMAND: Final = "command"
"""The type of the records of topic `commands`; each is a dead letter until commands are built."""
FACTS: Final = "attributes"
"""The type whose fields are the customer's own facts; `event` does not range over it."""
