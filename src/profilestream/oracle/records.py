"""Records as bytes: whose event is in one, and the event; read with the standard library alone."""

from __future__ import annotations

import json
import re
from math import inf
from typing import Any

from profilestream.oracle.definitions import Definitions
from profilestream.oracle.history import Event, event_of
from profilestream.oracle.sources import RefusedError, look

VALUE_BYTES_MAX = 900 * 1024
NESTING_MAX = 200
INTEGER_CHARACTERS_MAX = 4_300
_MARKS = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


def read_json(value: bytes | None) -> Any:
    """The JSON of a record's value; raises RefusedError."""
    if not value:
        raise RefusedError("empty_value")
    if len(value) > VALUE_BYTES_MAX or _nesting(value) > NESTING_MAX:
        raise RefusedError("too_large")
    try:
        return json.loads(value.decode(), parse_constant=_refuse, parse_int=_integer)
    except (ValueError, RecursionError):
        raise RefusedError("not_json") from None


def _nesting(value: bytes) -> int:
    """How deep objects and lists nest, quotes and what is in them left out."""
    if value.count(b"[") + value.count(b"{") <= NESTING_MAX:
        return 0
    depth = deepest = 0
    quoted = False
    for match in _MARKS.finditer(value):
        mark = match[0]
        if mark == b'"':
            quoted = not quoted
        elif not quoted and mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif not quoted and mark in b"]}":
            depth -= 1
    return deepest


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= INTEGER_CHARACTERS_MAX else inf


class Records:
    """Reads the records of the topics that definitions read."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.type_of_topic = definitions.type_of_topic

    def event(self, topic: str, value: bytes | None, index: int) -> Event:
        """The event in a record's value; raises RefusedError where it is none. `index` is its place in the order."""
        kind, reader = self.definitions.source(topic)
        return event_of(kind, reader, read_json(value), index)

    def customer(self, topic: str, value: bytes | None) -> str | None:
        """Whose event a record has, if it is one: the rest of it is not looked at. None where nobody is named."""
        _, reader = self.definitions.source(topic)
        found = reader.mapping["customer_id"]
        try:
            document = read_json(value)
            named = look(document, found.path) if found.path else found.said.get("value")
        except RefusedError:
            return None
        if isinstance(named, str) and named in found.said.get("words", {}):
            named = found.said["words"][named]
        if found.named and type(named) is int:
            return str(named)
        return named if isinstance(named, str) else None


def is_ahead(event: Event, arrived_ms: int, now_ms: int, future_ms_max: int) -> bool:
    """Whether an event is a dead letter because it lies ahead of its arrival."""
    return event.occurred_ms > min(arrived_ms, now_ms) + future_ms_max
