"""The schemas of what the engine writes into topics: segment changes and dead letters."""

from __future__ import annotations

from typing import Final, get_args

from profilestream.wire.changes import Cause, Change
from profilestream.wire.dead_letters import REASONS
from profilestream.wire.schemas.parts import COUNT, END, NAME, STRING, TIME, Schema, object_of

CHANGE: Final = {
    "description": "The value of a record of topic `segment-changes`: a CloudEvent.",
    **object_of(
        specversion={"const": "1.0"},
        id={"type": "string", "description": "segment/customer/crossing"},
        source={"type": "string", "pattern": "^profilestream/[a-z0-9-]+" + END},
        type={"enum": [f"profilestream.segment.{change}" for change in get_args(Change)]},
        subject={"type": "string", "description": "the customer"},
        time=TIME,
        datacontenttype={"const": "application/json"},
        data=object_of(
            ("event",),
            customer_id=STRING,
            segment=STRING,
            change={"enum": list(get_args(Change))},
            crossing={"type": "integer", "minimum": 1, "description": "odd when entered"},
            cause={"enum": list(get_args(Cause))},
            values={"type": "object", "description": "the traits that `enter` and `exit` name"},
            generation=NAME,
            definitions={"type": "string", "description": "fingerprint of the definitions"},
            event=object_of((), topic=STRING, partition=COUNT, offset=COUNT, event_id=STRING),
        ),
    ),
}

_DIGITS: Final[Schema] = {"type": "string", "pattern": "^-?[0-9]+" + END}
DEAD_LETTER: Final = {
    "description": "The headers of a record of topic `dead-letters`, as UTF-8 text; (topic, partition, "
    "offset) identifies one. Key and value are those of the record that was refused.",
    "type": "object",
    "properties": {
        "reason": {"enum": list(REASONS)},
        "detail": {"type": "string", "description": "which field, what is expected; never a value"},
        "topic": STRING,
        "partition": _DIGITS,
        "offset": _DIGITS,
        "timestamp": {**_DIGITS, "description": "the record's timestamp, ms since 1970"},
    },
    "required": ["reason", "detail", "topic", "partition", "offset", "timestamp"],
}
