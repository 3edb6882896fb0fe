"""The schemas of events, derived from the declarations of their types by the same table as the decoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from profilestream.core.events import COMMAND, COMMON, ID_CHARACTERS_MAX, EventType, Field
from profilestream.wire.faults import expected, integer_bounds
from profilestream.wire.schemas.parts import DRAFT, END, STRING, Schema
from profilestream.wire.times import TIME_MS_MAX, TIME_MS_MIN, TIME_PATTERN


def event_schema(event_type: EventType) -> Schema:
    """The schema of a record's value, for an event of that type."""
    return {
        "$schema": DRAFT,
        "title": event_type.name,
        "description": f"An event of type `{event_type.name}`: the value of a record of topic "
        f"`{event_type.topic}`, UTF-8. null is the same as absent; other fields are ignored.",
        **_record(event_type.by_name.values()),
    }


def command_schema() -> Schema:
    """The schema of a record of topic `commands`."""
    return {
        "$schema": DRAFT,
        "title": COMMAND,
        "description": "A record of topic `commands`. No command is known yet: each is a dead letter.",
        **_record((*COMMON, Field("kind", "string"))),
    }


def _record(fields: Iterable[Field]) -> Schema:
    fields = tuple(fields)
    return {
        "type": "object",
        "properties": {f.name: _field(f) for f in fields},
        "required": [f.name for f in fields if f.required],
    }


def _field(field: Field) -> Schema:
    schema = _kind(field)
    if not field.required:
        if "type" in schema:
            schema["type"] = [schema["type"], "null"]
        elif "anyOf" in schema:
            schema["anyOf"].append({"type": "null"})
    elif field.kind == "json":
        schema = {"not": {"type": "null"}}
    if field.default is not None:
        schema["default"] = field.default
    return {"description": expected(field), **schema}


def _kind(field: Field) -> Schema:
    match field.kind:
        case "string" if field.name in ("event_id", "customer_id"):
            schema: Schema = {"type": "string", "minLength": 1, "maxLength": ID_CHARACTERS_MAX}
            if field.name == "customer_id":
                schema["not"] = {"pattern": r"[\u0000-\u001f\u007f-\u009f]"}
            return schema
        case "int":
            low, high = integer_bounds(field)
            return {"type": "integer", "minimum": low, "maximum": high}
        case "number":
            bounds = {"minimum": field.low, "maximum": field.high}
            return {"type": "number", **{side: _number(b) for side, b in bounds.items() if b is not None}}
        case "time":
            return {
                "anyOf": [
                    {"type": "string", "pattern": f"^{TIME_PATTERN}{END}"},
                    {"type": "integer", "minimum": TIME_MS_MIN, "maximum": TIME_MS_MAX},
                ]
            }
        case "currency":
            return {"type": "string", "pattern": "^[A-Z]{3}" + END}
        case "strings":
            return {"type": "array", "items": STRING}
        case "records":
            return {"type": "array", "items": _record(field.record)}
        case "object" if field.record:
            return {"type": "object", "properties": {f.name: _field(f) for f in field.record}}
        case "json":
            return {}
        case kind:
            return {"type": kind}


def _number(bound: Any) -> int | float:
    return int(bound) if bound == int(bound) else float(bound)
