"""Why bytes are no event: the slow way, taken only after the decoder refused them.

It reads the bytes again with the standard library and walks the declarations in their order, so that the
first field at fault is named with an exact reason. It says nothing of values, nor of undeclared names.

Order of reasons: `empty_value`; `too_large` (bytes, then nesting); `not_json`; not an object
(`wrong_type`); then field by field as declared, the common fields first. In a field: absent or null
(`missing_field`), wrong JSON type (`wrong_type`), then its own rule (`empty_id`, `bad_time`, `currency`,
`out_of_range`). Where an object names a field twice, each of its values must stand.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from profilestream.core.events import EVENT_BYTES_MAX, ID_CHARACTERS_MAX, INTEGER_MAX, Field
from profilestream.wire.dead_letters import Reason, Rejection
from profilestream.wire.times import parse_time

NESTING_MAX: Final = 200
"""Deepest nesting of objects and lists; a bound that does not depend on the caller's own stack."""
INTEGER_MIN: Final = -INTEGER_MAX - 1
INTEGER_CHARACTERS_MAX: Final = 4300
"""Longest text of an integer inside an object or a JSON value, its sign included (msgspec's limit)."""
CURRENCY: Final = re.compile(r"[A-Z]{3}\Z")
CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
"""Unicode category Cc, all of it."""

EMPTY: Final = Rejection("empty_value", "the value is absent or has no bytes")
TOO_LARGE: Final = Rejection("too_large", f"the value: expected at most {EVENT_BYTES_MAX} bytes")
TOO_DEEP: Final = Rejection("too_large", f"the value: expected at most {NESTING_MAX} levels of nesting")
NOT_JSON: Final = Rejection("not_json", "the value: expected one JSON object in UTF-8")
NOT_OBJECT: Final = Rejection("wrong_type", "the value: expected an object")

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BEYOND: Final = 10**INTEGER_CHARACTERS_MAX
_MARKS: Final = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


class Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, repeated names and all."""


def find_fault(fields: Iterable[Field], value: bytes | None) -> Rejection | None:
    """The first fault of a record's value against the declarations of its type; None where there is none."""
    document = document_of(value)
    if isinstance(document, Rejection):
        return document
    return next(_object_faults(fields, document, ""), None) or surrogate_fault(document)


def document_of(value: bytes | None) -> Object | Rejection:
    """A record's value as pairs of names and values; why not, where it is no JSON object of an event's size."""
    if not value:
        return EMPTY
    if len(value) > EVENT_BYTES_MAX:
        return TOO_LARGE
    if nests_too_deep(value):
        return TOO_DEEP
    try:
        document = json.loads(value.decode(), object_pairs_hook=Object, parse_int=_integer, parse_constant=_refuse)
    except ValueError:
        return NOT_JSON
    return document if isinstance(document, Object) else NOT_OBJECT


def nests_too_deep(value: bytes) -> bool:
    """Whether objects and lists nest deeper than `NESTING_MAX`; linear in the bytes, JSON or not."""
    if value.count(b"[") + value.count(b"{") <= NESTING_MAX:
        return False
    depth, in_string = 0, False
    for match in _MARKS.finditer(value):
        mark = match[0]
        if mark == b'"':
            in_string = not in_string
        elif not in_string:
            if mark in b"[{":
                depth += 1
                if depth > NESTING_MAX:
                    return True
            elif mark in b"]}":
                depth -= 1
    return False


def expected(field: Field) -> str:
    """What a field's value must be, in words."""
    match field.kind:
        case "string" if field.name == "customer_id":
            return f"a string of 1 to {ID_CHARACTERS_MAX} characters, none of them a control character"
        case "string" if field.name == "event_id":
            return f"a string of 1 to {ID_CHARACTERS_MAX} characters"
        case "int" | "number" as kind:
            noun = "an integer" if kind == "int" else "a number"
            if field.low is not None and field.high is not None:
                return f"{noun} from {field.low} to {field.high}"
            if field.low is not None:
                return f"{noun} of at least {field.low}"
            return f"{noun} of at most {field.high}" if field.high is not None else f"{noun} of 64 bits"
        case kind:
            return _EXPECTED[kind]


_EXPECTED: Final = {
    "string": "a string",
    "boolean": "true or false",
    "time": "an RFC 3339 time with offset, or an integer of milliseconds since 1970",
    "currency": "three capital letters (ISO 4217)",
    "object": "an object",
    "strings": "a list of strings",
    "json": "a JSON value",
    "records": "a list of objects",
}


def _refuse(constant: str) -> None:
    raise ValueError("NaN and infinities are not JSON")


def _integer(text: str) -> int:
    return int(text) if len(text) <= INTEGER_CHARACTERS_MAX else _BEYOND


def _object_faults(fields: Iterable[Field], pairs: Object, path: str) -> Iterator[Rejection]:
    for field in fields:
        given = [value for name, value in pairs if name == field.name]
        for value in given or [None]:
            if value is None:
                if field.required:
                    yield Rejection("missing_field", f"{path}{field.name}: required, {expected(field)}")
            else:
                yield from field_faults(field, value, path + field.name)


def field_faults(field: Field, value: Any, path: str) -> Iterator[Rejection]:
    """What is wrong with a field's value, which is not null; `path` names the field."""
    wrong_type = Rejection("wrong_type", f"{path}: expected {expected(field)}")
    if not _has_type(field.kind, value):
        yield wrong_type
        return
    reason: Reason | None = None
    match field.kind:
        case "string":
            reason = _string_fault(field, value)
        case "time" if not _is_time(value):
            reason = "bad_time"
        case "currency" if not CURRENCY.match(value):
            reason = "currency"
        case "int" | "number" if not in_range(field, value):
            reason = "out_of_range"
        case "json" | "object" if _unreadable(value):
            yield Rejection("out_of_range", f"{path}: expected Unicode text and numbers of a double's range")
        case "object":
            members = dict(value)
            for member in field.record:
                if members.get(member.name) is not None:
                    yield from field_faults(member, members[member.name], f"{path}.{member.name}")
        case "strings":
            for index, item in enumerate(value):
                if not isinstance(item, str):
                    yield Rejection("wrong_type", f"{path}[{index}]: expected a string")
                elif _SURROGATE.search(item):
                    yield Rejection("out_of_range", f"{path}[{index}]: expected Unicode text")
        case "records":
            for index, item in enumerate(value):
                if isinstance(item, Object):
                    yield from _object_faults(field.record, item, f"{path}[{index}].")
                else:
                    yield Rejection("wrong_type", f"{path}[{index}]: expected an object")
    if reason is not None:
        yield Rejection(reason, wrong_type.detail)


def _has_type(kind: str, value: Any) -> bool:
    """Strict: true is not 1, and 1.0 is a number but no integer."""
    match kind:
        case "string" | "currency":
            return isinstance(value, str)
        case "int":
            return type(value) is int
        case "number":
            return type(value) in (int, float)
        case "boolean":
            return isinstance(value, bool)
        case "time":
            return type(value) is int or isinstance(value, str)
        case "object":
            return isinstance(value, Object | dict)
        case "strings" | "records":
            return type(value) is list
    return True


def _string_fault(field: Field, text: str) -> Reason | None:
    if field.name in ("event_id", "customer_id"):
        if not text:
            return "empty_id"
        if len(text) > ID_CHARACTERS_MAX or (field.name == "customer_id" and CONTROL.search(text)):
            return "out_of_range"
    return "out_of_range" if _SURROGATE.search(text) else None


def _is_time(value: str | int) -> bool:
    try:
        parse_time(value)
    except ValueError:
        return False
    return True


def in_range(field: Field, value: int | float) -> bool:
    """Whether a number lies in its field's range, and in that of 64 bits or of a finite double."""
    if isinstance(value, int):
        low, high = integer_bounds(field)
        return low <= value <= high
    return (
        math.isfinite(value)
        and (field.low is None or value >= float(field.low))
        and (field.high is None or value <= float(field.high))
    )


def integer_bounds(field: Field) -> tuple[int, int]:
    """Least and greatest integer that a field of kind int or number takes, never beyond 64 bits."""
    low = INTEGER_MIN if field.low is None else max(math.ceil(field.low), INTEGER_MIN)
    high = INTEGER_MAX if field.high is None else min(math.floor(field.high), INTEGER_MAX)
    return low, high


def _unreadable(value: Any) -> bool:
    """Whether a JSON value holds a number or text that cannot be kept: 1e999, a lone surrogate."""
    if isinstance(value, str):
        return _SURROGATE.search(value) is not None
    if isinstance(value, float):
        return not math.isfinite(value)
    if type(value) is int:
        return value >= _BEYOND
    if isinstance(value, Object):
        return any(_SURROGATE.search(name) or _unreadable(item) for name, item in value)
    return isinstance(value, list) and any(map(_unreadable, value))


def surrogate_fault(document: Object) -> Rejection | None:
    """Lone surrogates in undeclared places: the decoder reads no text that UTF-8 cannot hold."""
    pending: list[Any] = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            if _SURROGATE.search(value):
                return Rejection("out_of_range", "an undeclared field: expected Unicode text")
        elif isinstance(value, Object):
            for pair in value:
                pending.extend(pair)
        elif isinstance(value, list):
            pending.extend(value)
    return None
