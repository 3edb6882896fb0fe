"""The schemas of what is read as it is stored: a profile, the segments, a segment's members."""

from __future__ import annotations

from typing import Final

from profilestream.wire.schemas.parts import COUNT, NAME, STRING, TIME, nullable, object_of

PROFILE: Final = {
    "description": "Output of `profile CUSTOMER --json`.",
    **object_of(
        customer_id=STRING,
        generation=NAME,
        shard=COUNT,
        revision=COUNT,
        as_of=TIME,
        traits={"type": "object", "description": "name -> value; an absent trait is left out"},
        segments={
            "type": "object",
            "additionalProperties": object_of(since=TIME, crossing={"type": "integer", "minimum": 1}),
        },
    ),
}

SEGMENTS: Final = {
    "description": "Output of `segments --json`.",
    "type": "array",
    "items": object_of(
        ("entered_1h", "left_1h", "entered_1d", "left_1d", "as_of"),
        name=STRING,
        description={"type": ["string", "null"]},
        members=COUNT,
        entered_1h={**COUNT, "description": "crossings in the hour that ends at as_of"},
        left_1h=COUNT,
        entered_1d={**COUNT, "description": "crossings in the day that ends at as_of"},
        left_1d=COUNT,
        as_of={**nullable(TIME), "description": "the newest of all shards' clocks; null before the first event"},
    ),
}

MEMBERS: Final = {
    "description": "Output of `members SEGMENT --json`.",
    "type": "array",
    "items": object_of(customer_id=STRING, since=TIME),
}
