"""The schemas of what `explain` says: of a segment, and of everything about a customer."""

from __future__ import annotations

from typing import Final

from profilestream.wire.schemas.parts import COUNT, NAME, STRING, STRINGS, TIME, nullable, object_of

_EXPLANATION: Final = object_of(
    ("changes_by", "looked_until", "pacing", "events", "events_whole"),
    customer_id=STRING,
    segment=STRING,
    member={"type": "boolean"},
    crossing=COUNT,
    since=nullable(TIME),
    conditions={
        "type": "array",
        "items": object_of(
            ("part", "negated", "decides", "changes_at", "distance", "step", "currency", "given_by"),
            text=STRING,
            holds={"type": ["boolean", "null"], "description": "null: unknown, something is absent"},
            value={"description": "the value now; null where absent"},
            threshold={"description": "the value it is held against; null where there is none"},
            part={"enum": ["enter", "exit"]},
            negated={"type": "boolean", "description": "stands under an odd number of `not`"},
            decides={
                "type": "boolean",
                "description": "among the fewest conditions that would have to turn for the membership to change",
            },
            changes_at={**nullable(TIME), "description": "when time alone turns it"},
            distance={
                "type": "number",
                "description": "value less threshold, in ms for times and durations; absent where it has no meaning",
            },
            step={
                **object_of(by={"type": "number"}, beyond={"type": "boolean"}),
                "description": "the least change of the customer's side that turns it: by that much, or (`beyond`) by "
                "any more than that",
            },
            currency={**STRING, "description": "of amounts, which are in its minor units"},
            given_by={**STRINGS, "description": "events that would give what is absent, in words"},
        ),
    },
    changes_at={**nullable(TIME), "description": "when time alone changes the answer"},
    pacing={
        **object_of(
            held_since={
                **nullable(TIME),
                "description": "since when the condition of the next crossing holds; null: nothing waits",
            },
            crosses_at={**nullable(TIME), "description": "when the crossing comes if its condition holds on"},
            cools_until={**nullable(TIME), "description": "no entry before; null: no cooldown now"},
            sampled={"type": ["boolean", "null"], "description": "in the sample; null: there is none"},
        ),
        "description": "only of a segment with dwell, exit_dwell, cooldown or sample",
    },
    changes_by={**STRINGS, "description": "the conditions that time will have turned by then"},
    looked_until={
        **nullable(TIME),
        "description": "where the search for `changes_at` was ended by its limit; null: it was not",
    },
    events={
        "type": "array",
        "description": "with `--events`: the last that moved what the conditions look at, oldest first",
        "items": object_of(
            time=TIME,
            cause={"enum": ["event", "time"]},
            event=nullable(object_of(type=STRING, event_id=STRING, topic=STRING, partition=COUNT, offset=COUNT)),
            values={"type": "array", "items": object_of(name=STRING, before={}, after={})},
            crossings={
                "type": "array",
                "items": object_of(crossing=COUNT, change={"enum": ["entered", "exited"]}),
            },
        ),
    },
    events_whole={"type": "boolean", "description": "false: `before` and `after` lack what the log no longer has"},
)

EXPLAIN: Final = {"description": "Output of `explain CUSTOMER SEGMENT --json`.", **_EXPLANATION}
EXPLAIN_CUSTOMER: Final = {
    "description": "Output of `explain CUSTOMER --json`: every segment, as of `explain`, and every trait.",
    **object_of(
        customer_id=STRING,
        generation=NAME,
        clock={**TIME, "description": "the shard's clock, for which all of it is said"},
        segments={"type": "array", "items": _EXPLANATION},
        traits={
            "type": "array",
            "items": object_of(
                name=STRING,
                value={"description": "null where absent"},
                text={**STRING, "description": "its expression"},
                meaning={**STRING, "description": "the expression in words"},
                comment={"type": ["string", "null"], "description": "the comment on its line in the definitions"},
                complete_since={
                    **nullable(TIME),
                    "description": "covers all events from then on; null: all there ever were or, where `lacks` names "
                    "topics, unknown",
                },
                lacks={
                    **STRINGS,
                    "description": "topics of which earlier records were gone when they were first read",
                },
                changes_at={**nullable(TIME), "description": "when time alone next changes the value"},
            ),
        },
    ),
}
