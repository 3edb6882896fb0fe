"""The schema of a plan: what `plan --json` prints, and `plan --out` saves."""

from __future__ import annotations

from typing import Final

from profilestream.wire.schemas.parts import COUNT, NAME, STRING, STRINGS, TIME, nullable, object_of

_TEXT: Final = {"type": ["string", "null"]}
_COUNT: Final = nullable(COUNT)
_FINGERPRINT: Final = {"type": "string", "pattern": "^[0-9a-f]+$"}
_RATE: Final = {"type": ["number", "null"], "minimum": 0}
_SEGMENT: Final = nullable(
    object_of(
        ("dwell", "exit_dwell", "cooldown", "sample"),
        description=STRING,
        enter=STRING,
        exit=_TEXT,
        dwell=STRING,
        exit_dwell=STRING,
        cooldown=STRING,
        sample=STRING,
    )
)
_NEEDS: Final = {**STRINGS, "description": "in words, what profiles do not hold yet: only the log has it"}

PLAN: Final = {
    "description": "Output of `plan FILE --json`, and the file that `plan --out` writes, which has no `crossings`.",
    **object_of(
        ("crossings",),
        format={"const": 1},
        namespace=NAME,
        made_at=TIME,
        live={
            **object_of(generation=NAME, fingerprint=_FINGERPRINT, shards={"type": "integer", "minimum": 1}),
            "description": "what the plan begins from; it is stale when another is live",
        },
        definitions={
            **object_of(fingerprint=_FINGERPRINT, text=STRING),
            "description": "the new file: its text, and the fingerprint of what that means",
        },
        changes={"type": "boolean", "description": "whether anything changes for readers or subscribers"},
        method={
            "enum": ["none", "sweep", "replay"],
            "description": "what it takes at least: nothing, a walk over profiles, or the log",
        },
        settings={
            **STRINGS,
            "description": 'what definitions rest on that differs: "timezone", "currency", "fields of review"',
        },
        reordered={"type": "boolean", "description": "crossings of one instant come in another order of segments"},
        traits={
            "type": "array",
            "description": "what differs, in the order of the new file; removed ones last",
            "items": object_of(
                name=STRING,
                change={"enum": ["added", "changed", "removed", "reworded"]},
                before=_TEXT,
                after=_TEXT,
                why=STRINGS,
                needs=_NEEDS,
                was={"type": ["string", "null"], "description": "the name of a removed trait of the same meaning"},
            ),
        },
        segments={
            "type": "array",
            "description": "what differs, in the order of the new file; removed ones last",
            "items": object_of(
                name=STRING,
                change={
                    "enum": ["added", "changed", "removed", "told", "reworded"],
                    "description": "told: the same customers, but not all that is said of them",
                },
                before=_SEGMENT,
                after=_SEGMENT,
                why=STRINGS,
                needs=_NEEDS,
                members={**_COUNT, "description": "now; null where nobody moves"},
                entering={**_COUNT, "description": "how many would enter at once; null: the log is needed"},
                leaving={**_COUNT, "description": "how many would leave at once; null: the log is needed"},
                waiting={**_COUNT, "description": "how many would wait for a dwell or a cooldown"},
                enter_examples=STRINGS,
                leave_examples=STRINGS,
            ),
        },
        customers={**_COUNT, "description": "whose profiles were looked at; null where no segment moves"},
        look_seconds={**_RATE, "description": "how long that took; a walk that writes takes longer"},
        as_of={
            "type": "object",
            "additionalProperties": TIME,
            "description": "the clock of each shard at which its customers were looked at",
        },
        log={
            "type": "array",
            "description": "the topics that a replay would read, then those that are left",
            "items": object_of(
                topic=STRING,
                type={"type": ["string", "null"], "description": "null: forwarded records, of any type"},
                records=COUNT,
                gone={**COUNT, "description": "offsets that the topic had before its beginning"},
                begins_at={**nullable(TIME), "description": "when the first record that is left arrived"},
                limited={"type": "boolean", "description": "more will go: by age, size or compaction"},
                compacted={"type": "boolean", "description": "nobody knows what has gone"},
                made_anew={"type": "boolean", "description": "not the topic that the live generation was folded from"},
                missing={"type": "boolean"},
                left={
                    "type": "boolean",
                    "description": "events of this type come by it no more; gone: what was folded of it",
                },
            ),
        },
        incomplete={
            "type": "array",
            "description": "what differs and cannot know all of the past",
            "items": object_of(
                name=STRING,
                what={"enum": ["trait", "segment"]},
                complete_since={**nullable(TIME), "description": "null: never"},
                lost={"type": "boolean", "description": "the live generation has of it what the log no longer has"},
                inherited={
                    "type": "boolean",
                    "description": "made of what is incomplete in the live generation already",
                },
            ),
        },
        estimate={
            **object_of(
                records={**COUNT, "description": "to fold; 0 where the log is not needed"},
                records_per_s=_RATE,
                seconds={**_RATE, "description": "of one process, without the time of Redis and Kafka"},
                customers=COUNT,
                live_bytes={**_COUNT, "description": "what the live profiles take in Redis"},
                new_bytes={**_COUNT, "description": "what the new ones would take beside them"},
                free_bytes={**_COUNT, "description": "what Redis has left below maxmemory; null: no limit"},
            ),
            "description": "measured on samples; null: could not be measured",
        },
        crossings={
            "type": "array",
            "description": "everybody who would enter or leave, in no order",
            "items": object_of(customer_id=STRING, segment=STRING, change={"enum": ["entered", "exited"]}),
        },
    ),
}
