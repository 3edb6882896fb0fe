"""The schema of the lines of `history`."""

from __future__ import annotations

from typing import Final, get_args

from profilestream.wire.changes import Cause, Change
from profilestream.wire.schemas.parts import COUNT, NAME, STRING, TIME, nullable, object_of

_CROSSED: Final = object_of(
    segment=STRING,
    change={"enum": list(get_args(Change))},
    crossing={"type": "integer", "minimum": 1},
    time=TIME,
    cause={"enum": list(get_args(Cause))},
    values={"type": "object"},
    known={"enum": ["announced", "waiting", "folded"], "description": "from the topic, the outbox, or the fold alone"},
)

HISTORY: Final = {
    "description": "A line of `history CUSTOMER --json`: entries in order of the shard's clock, a summary at the end.",
    "oneOf": [
        object_of(
            time=TIME,
            event={
                **nullable(
                    object_of(
                        type=STRING,
                        event_id=STRING,
                        occurred_at=TIME,
                        topic=STRING,
                        partition=COUNT,
                        offset=COUNT,
                    )
                ),
                "description": "null: time alone",
            },
            traits={"type": "array", "items": object_of(trait=STRING, before={}, after={})},
            crossings={"type": "array", "items": _CROSSED},
        ),
        object_of(
            customer_id=STRING,
            generation=NAME,
            shard=COUNT,
            clock={**TIME, "description": "the shard's, now"},
            events=COUNT,
            duplicates=COUNT,
            log={
                "type": "array",
                "description": "the topics of which the log does not have all",
                "items": object_of(
                    topic=STRING,
                    first_read={**COUNT, "description": "the offset from which the generation read it"},
                    begins={**COUNT, "description": "the offset at which it begins now"},
                    begins_at={**nullable(TIME), "description": "timestamp of the first record that is left"},
                    gone={**COUNT, "description": "how many offsets were folded and are gone"},
                ),
            },
            whole_since={
                "type": "object",
                "description": "trait -> clock from which on it is whole, null: never; whole ones are left out",
                "additionalProperties": nullable(TIME),
            },
            crossings_folded_otherwise={**COUNT, "description": "crossings that the fold finds other than announced"},
            differences={
                "type": ["array", "null"],
                "description": "traits' values and numbers of crossings that Redis holds otherwise; null: not compared",
                "items": object_of(name=STRING, folded={}, stored={}),
            },
        ),
    ],
}
