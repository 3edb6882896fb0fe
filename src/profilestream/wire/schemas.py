"""JSON Schemas (draft 2020-12) of everything that other programs write or read as JSON.

Those of events are derived from the declarations, by the same table as the decoder. Where JSON Schema
cannot say what the decoder does, the schema is the laxer of the two: it takes 1.0 for an integer, an
integer beyond 64 bits for a number without a range, a day that does not exist, two values for one name,
text with a lone surrogate, and any length of bytes. `python -m profilestream.wire.schemas DIR` writes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from profilestream.core.events import BUILT_IN, COMMAND, COMMON, ID_CHARACTERS_MAX, EventType, Field
from profilestream.core.expressions import Kind
from profilestream.wire.changes import Cause, Change
from profilestream.wire.dead_letters import REASONS
from profilestream.wire.faults import expected, integer_bounds
from profilestream.wire.times import TIME_MS_MAX, TIME_MS_MIN, TIME_PATTERN

Schema = dict[str, Any]

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_END: Final = r"(?![\s\S])"  # the end of the text; `$` also stands before a last line feed in some engines

_STRING: Final[Schema] = {"type": "string"}
_STRINGS: Final[Schema] = {"type": "array", "items": {"type": "string"}}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_TIME: Final[Schema] = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z" + _END,
}
_NAME: Final[Schema] = {"type": "string", "pattern": "^[a-z0-9-]+" + _END}


def schemas(types: Mapping[str, EventType]) -> dict[str, Schema]:
    """The schema of each event type, and of all outputs, by file name (`purchase.json`)."""
    found = {f"{name}.json": _event_schema(event_type) for name, event_type in types.items()}
    found[f"{COMMAND}.json"] = {
        "$schema": _DRAFT,
        "title": COMMAND,
        "description": "A record of topic `commands`. No command is known yet: each is a dead letter.",
        **_record((*COMMON, Field("kind", "string"))),
    }
    for name, schema in _OUTPUTS.items():
        found[name] = {"$schema": _DRAFT, "title": name.removesuffix(".json"), **schema}
    return found


def write(directory: Path, types: Mapping[str, EventType] = BUILT_IN) -> list[Path]:
    """Writes the schemas into a folder, which is made where it is not there; other files stay.

    Returns the paths in the order of `schemas`; raises OSError where the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, schema in schemas(types).items():
        path = directory / name
        path.write_text(render(schema), encoding="utf-8")
        paths.append(path)
    return paths


def render(schema: Schema) -> str:
    """The text of a schema's file."""
    return json.dumps(schema, indent=2, ensure_ascii=True) + "\n"


def _event_schema(event_type: EventType) -> Schema:
    return {
        "$schema": _DRAFT,
        "title": event_type.name,
        "description": f"An event of type `{event_type.name}`: the value of a record of topic "
        f"`{event_type.topic}`, UTF-8. null is the same as absent; other fields are ignored.",
        **_record(event_type.by_name.values()),
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
                    {"type": "string", "pattern": f"^{TIME_PATTERN}{_END}"},
                    {"type": "integer", "minimum": TIME_MS_MIN, "maximum": TIME_MS_MAX},
                ]
            }
        case "currency":
            return {"type": "string", "pattern": "^[A-Z]{3}" + _END}
        case "strings":
            return {"type": "array", "items": _STRING}
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


def _object(optional: Iterable[str] = (), /, **properties: Any) -> Schema:
    """An object of exactly these members, all required but those named first."""
    names = [name for name in properties if name not in set(optional)]
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_CHANGE: Final = {
    "description": "The value of a record of topic `segment-changes`: a CloudEvent.",
    **_object(
        specversion={"const": "1.0"},
        id={"type": "string", "description": "segment/customer/crossing"},
        source={"type": "string", "pattern": "^profilestream/[a-z0-9-]+" + _END},
        type={"enum": [f"profilestream.segment.{change}" for change in get_args(Change)]},
        subject={"type": "string", "description": "the customer"},
        time=_TIME,
        datacontenttype={"const": "application/json"},
        data=_object(
            ("event",),
            customer_id=_STRING,
            segment=_STRING,
            change={"enum": list(get_args(Change))},
            crossing={"type": "integer", "minimum": 1, "description": "odd when entered"},
            cause={"enum": list(get_args(Cause))},
            values={"type": "object", "description": "the traits that `enter` and `exit` name"},
            generation=_NAME,
            definitions={"type": "string", "description": "fingerprint of the definitions"},
            event=_object((), topic=_STRING, partition=_COUNT, offset=_COUNT, event_id=_STRING),
        ),
    ),
}

_DIGITS: Final[Schema] = {"type": "string", "pattern": "^-?[0-9]+" + _END}
_DEAD_LETTER: Final = {
    "description": "The headers of a record of topic `dead-letters`, as UTF-8 text; (topic, partition, "
    "offset) identifies one. Key and value are those of the record that was refused.",
    "type": "object",
    "properties": {
        "reason": {"enum": list(REASONS)},
        "detail": {"type": "string", "description": "which field, what is expected; never a value"},
        "topic": _STRING,
        "partition": _DIGITS,
        "offset": _DIGITS,
        "timestamp": {**_DIGITS, "description": "the record's timestamp, ms since 1970"},
    },
    "required": ["reason", "detail", "topic", "partition", "offset", "timestamp"],
}

_PROFILE: Final = {
    "description": "Output of `profile CUSTOMER --json`.",
    **_object(
        customer_id=_STRING,
        generation=_NAME,
        shard=_COUNT,
        revision=_COUNT,
        as_of=_TIME,
        traits={"type": "object", "description": "name -> value; an absent trait is left out"},
        segments={
            "type": "object",
            "additionalProperties": _object(since=_TIME, crossing={"type": "integer", "minimum": 1}),
        },
    ),
}

_EXPLANATION: Final = _object(
    ("changes_by", "looked_until", "pacing", "events", "events_whole"),
    customer_id=_STRING,
    segment=_STRING,
    member={"type": "boolean"},
    crossing=_COUNT,
    since=_nullable(_TIME),
    conditions={
        "type": "array",
        "items": _object(
            ("part", "negated", "decides", "changes_at", "distance", "step", "currency", "given_by"),
            text=_STRING,
            holds={"type": ["boolean", "null"], "description": "null: unknown, something is absent"},
            value={"description": "the value now; null where absent"},
            threshold={"description": "the value it is held against; null where there is none"},
            part={"enum": ["enter", "exit"]},
            negated={"type": "boolean", "description": "stands under an odd number of `not`"},
            decides={
                "type": "boolean",
                "description": "among the fewest conditions that would have to turn for the membership to change",
            },
            changes_at={**_nullable(_TIME), "description": "when time alone turns it"},
            distance={
                "type": "number",
                "description": "value less threshold, in ms for times and durations; absent where it has no meaning",
            },
            step={
                **_object(by={"type": "number"}, beyond={"type": "boolean"}),
                "description": "the least change of the customer's side that turns it: by that much, or (`beyond`) by "
                "any more than that",
            },
            currency={**_STRING, "description": "of amounts, which are in its minor units"},
            given_by={**_STRINGS, "description": "events that would give what is absent, in words"},
        ),
    },
    changes_at={**_nullable(_TIME), "description": "when time alone changes the answer"},
    pacing={
        **_object(
            held_since={
                **_nullable(_TIME),
                "description": "since when the condition of the next crossing holds; null: nothing waits",
            },
            crosses_at={**_nullable(_TIME), "description": "when the crossing comes if its condition holds on"},
            cools_until={**_nullable(_TIME), "description": "no entry before; null: no cooldown now"},
            sampled={"type": ["boolean", "null"], "description": "in the sample; null: there is none"},
        ),
        "description": "only of a segment with dwell, exit_dwell, cooldown or sample",
    },
    changes_by={**_STRINGS, "description": "the conditions that time will have turned by then"},
    looked_until={
        **_nullable(_TIME),
        "description": "where the search for `changes_at` was ended by its limit; null: it was not",
    },
    events={
        "type": "array",
        "description": "with `--events`: the last that moved what the conditions look at, oldest first",
        "items": _object(
            time=_TIME,
            cause={"enum": ["event", "time"]},
            event=_nullable(_object(type=_STRING, event_id=_STRING, topic=_STRING, partition=_COUNT, offset=_COUNT)),
            values={"type": "array", "items": _object(name=_STRING, before={}, after={})},
            crossings={
                "type": "array",
                "items": _object(crossing=_COUNT, change={"enum": ["entered", "exited"]}),
            },
        ),
    },
    events_whole={"type": "boolean", "description": "false: `before` and `after` lack what the log no longer has"},
)
_EXPLAIN: Final = {"description": "Output of `explain CUSTOMER SEGMENT --json`.", **_EXPLANATION}
_EXPLAIN_CUSTOMER: Final = {
    "description": "Output of `explain CUSTOMER --json`: every segment, as of `explain`, and every trait.",
    **_object(
        customer_id=_STRING,
        generation=_NAME,
        clock={**_TIME, "description": "the shard's clock, for which all of it is said"},
        segments={"type": "array", "items": _EXPLANATION},
        traits={
            "type": "array",
            "items": _object(
                name=_STRING,
                value={"description": "null where absent"},
                text={**_STRING, "description": "its expression"},
                meaning={**_STRING, "description": "the expression in words"},
                comment={"type": ["string", "null"], "description": "the comment on its line in the definitions"},
                complete_since={
                    **_nullable(_TIME),
                    "description": "covers all events from then on; null: all there ever were or, where `lacks` names "
                    "topics, unknown",
                },
                lacks={
                    **_STRINGS,
                    "description": "topics of which earlier records were gone when they were first read",
                },
                changes_at={**_nullable(_TIME), "description": "when time alone next changes the value"},
            ),
        },
    ),
}

_SHARE: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}
_SHARES: Final = _object(members=_SHARE, everybody=_SHARE)
_RANGE: Final = _nullable(
    _object(
        low={"type": ["number", "null"], "description": "25th percentile; null: of too few"},
        median={"type": "number"},
        high={"type": ["number", "null"], "description": "75th percentile; null: of too few"},
    )
)
_DESCRIBE: Final = {
    "description": "Output of `describe SEGMENT --json`. A share is a part of all customers of its sample, those "
    "without the trait included; what would tell of 1 to 4 customers is rounded or left out.",
    **_object(
        segment=_STRING,
        generation=_NAME,
        description=_STRING,
        enter=_STRING,
        exit={"type": ["string", "null"]},
        pacing={
            **_nullable(
                _object(
                    dwell_ms=_COUNT,
                    exit_dwell_ms=_COUNT,
                    cooldown_ms=_COUNT,
                    sample=_nullable({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
                )
            ),
            "description": "what holds crossings back; null: nothing does",
        },
        members={"type": "integer", "minimum": 20},
        customers={"type": "integer", "minimum": 20, "description": "everybody; an estimate unless customers_exact"},
        customers_exact={"type": "boolean"},
        share={**_SHARE, "description": "members / customers"},
        sample={
            **_object(
                members=_COUNT,
                everybody=_COUNT,
                due={**_COUNT, "description": "of both: what time alone has changed is not written yet"},
            ),
            "description": "how many profiles were read",
        },
        member_for_ms={**_RANGE, "description": "for how long members have been in the segment"},
        traits={
            "type": "array",
            "description": "all traits, or those asked for, the most telling first",
            "items": _object(
                name=_STRING,
                kind={"enum": list(get_args(Kind))},
                shape={"enum": ["number", "string", "boolean", "list", "object"], "description": "what values are"},
                currency={
                    "type": ["string", "null"],
                    "description": "of amounts, which are in its minor units; null: no amount, or no one currency",
                },
                telling={**_SHARE, "description": "size of Cliff's delta, or the greatest difference of shares"},
                absent={**_SHARES, "description": "who lacks the trait"},
                members={**_RANGE, "description": "of numbers; durations in ms, times in ms before the clock"},
                everybody=_RANGE,
                values={
                    "type": "array",
                    "description": "values, elements of lists, keys of objects that 5 members have, the most frequent "
                    "first",
                    "items": _object(value={}, members=_SHARE, everybody=_SHARE),
                },
                others={
                    **_nullable(
                        _object(
                            values={**_COUNT, "description": "how many more values members have, at least"},
                            members=_nullable(_SHARE),
                            everybody=_nullable(_SHARE),
                        )
                    ),
                    "description": "who has another value; null where a customer may have several",
                },
            ),
        },
    ),
}

_CROSSED: Final = _object(
    segment=_STRING,
    change={"enum": list(get_args(Change))},
    crossing={"type": "integer", "minimum": 1},
    time=_TIME,
    cause={"enum": list(get_args(Cause))},
    values={"type": "object"},
    known={"enum": ["announced", "waiting", "folded"], "description": "from the topic, the outbox, or the fold alone"},
)

_HISTORY: Final = {
    "description": "A line of `history CUSTOMER --json`: entries in order of the shard's clock, a summary at the end.",
    "oneOf": [
        _object(
            time=_TIME,
            event={
                **_nullable(
                    _object(
                        type=_STRING,
                        event_id=_STRING,
                        occurred_at=_TIME,
                        topic=_STRING,
                        partition=_COUNT,
                        offset=_COUNT,
                    )
                ),
                "description": "null: time alone",
            },
            traits={"type": "array", "items": _object(trait=_STRING, before={}, after={})},
            crossings={"type": "array", "items": _CROSSED},
        ),
        _object(
            customer_id=_STRING,
            generation=_NAME,
            shard=_COUNT,
            clock={**_TIME, "description": "the shard's, now"},
            events=_COUNT,
            duplicates=_COUNT,
            log={
                "type": "array",
                "description": "the topics of which the log does not have all",
                "items": _object(
                    topic=_STRING,
                    first_read={**_COUNT, "description": "the offset from which the generation read it"},
                    begins={**_COUNT, "description": "the offset at which it begins now"},
                    begins_at={**_nullable(_TIME), "description": "timestamp of the first record that is left"},
                    gone={**_COUNT, "description": "how many offsets were folded and are gone"},
                ),
            },
            whole_since={
                "type": "object",
                "description": "trait -> clock from which on it is whole, null: never; whole ones are left out",
                "additionalProperties": _nullable(_TIME),
            },
            crossings_folded_otherwise={**_COUNT, "description": "crossings that the fold finds other than announced"},
            differences={
                "type": ["array", "null"],
                "description": "traits' values and numbers of crossings that Redis holds otherwise; null: not compared",
                "items": _object(name=_STRING, folded={}, stored={}),
            },
        ),
    ],
}

_END_OF_PART: Final = {"type": ["number", "null"], "description": "null: without an end; durations in ms"}
_QUANTILES: Final = {
    "description": "Output of `quantiles TRAIT --json`. A share is a part of those who have a number.",
    **_object(
        trait=_STRING,
        kind={"enum": ["number", "duration", "json"]},
        generation=_NAME,
        segment={"type": ["string", "null"], "description": "null: everybody"},
        by={"type": "integer", "minimum": 2, "maximum": 101, "description": "how many parts were asked for"},
        score={"type": "string", "description": "the expression to paste"},
        breaks={"type": "array", "items": {"type": "number"}, "minItems": 1, "description": "durations in ms"},
        parts={
            "type": "array",
            "items": _object(
                **{"from": _END_OF_PART},
                score={"type": "integer", "minimum": 1},
                below=_END_OF_PART,
                customers=_COUNT,
                share=_SHARE,
            ),
        },
        customers={**_COUNT, "description": "how many there are; an estimate unless customers_exact"},
        customers_exact={"type": "boolean"},
        sample=_object(
            customers={**_COUNT, "description": "how many profiles were read"},
            absent={**_COUNT, "description": "of these without a value"},
            others={**_COUNT, "description": "of these with a value that is no number"},
            due={**_COUNT, "description": "of these: what time alone has changed is not written yet"},
        ),
        currency={"type": ["string", "null"], "description": "of amounts, which are in its minor units"},
    ),
}

_OUTPUTS: Final[Mapping[str, Schema]] = {
    "segment-change.json": _CHANGE,
    "dead-letter.json": _DEAD_LETTER,
    "profile.json": _PROFILE,
    "explain.json": _EXPLAIN,
    "explain-customer.json": _EXPLAIN_CUSTOMER,
    "segments.json": {
        "description": "Output of `segments --json`.",
        "type": "array",
        "items": _object(
            ("entered_1h", "left_1h", "entered_1d", "left_1d", "as_of"),
            name=_STRING,
            description={"type": ["string", "null"]},
            members=_COUNT,
            entered_1h={**_COUNT, "description": "crossings in the hour that ends at as_of"},
            left_1h=_COUNT,
            entered_1d={**_COUNT, "description": "crossings in the day that ends at as_of"},
            left_1d=_COUNT,
            as_of={**_nullable(_TIME), "description": "the newest of all shards' clocks; null before the first event"},
        ),
    },
    "members.json": {
        "description": "Output of `members SEGMENT --json`.",
        "type": "array",
        "items": _object(customer_id=_STRING, since=_TIME),
    },
    "describe.json": _DESCRIBE,
    "history.json": _HISTORY,
    "quantiles.json": _QUANTILES,
}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m profilestream.wire.schemas DIR")
    write(Path(sys.argv[1]))
