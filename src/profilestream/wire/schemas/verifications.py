"""The schemas of what `verify`, `compare` and `generations` tell."""

from __future__ import annotations

from typing import Any, Final

from profilestream.wire.schemas.parts import COUNT, NAME, STRING, TIME, nullable, object_of

_WHY: Final = ["definition", "history", "events", "bounded", "order", "unexplained"]
_REASONS: Final = {"type": "object", "additionalProperties": COUNT, "description": "reason -> how many customers"}


def _tally(*values: str) -> dict[str, Any]:
    return object_of(
        name=STRING,
        mismatched=COUNT,
        missing={**COUNT, "description": "Redis lacks it"},
        extra={**COUNT, "description": "Redis has it, and should not"},
        not_compared=_REASONS,
        examples={
            "type": "array",
            "maxItems": 5,
            "items": object_of(
                customer_id=STRING,
                kind={"enum": ["mismatched", "missing", "extra"]},
                **{value: {} for value in values},
                note=STRING,
            ),
        },
    )


_TALLIES: Final = {"type": "array", "items": _tally("stored", "recomputed")}

VERIFY: Final = {
    "description": "Output of `verify --json`: profiles recomputed from the log, and what Redis has otherwise. Traits, "
    "segments and fields of which all was compared and nothing differs are left out.",
    **object_of(
        generation=NAME,
        definitions={**STRING, "description": "their fingerprint"},
        right={"type": "boolean", "description": "nothing of what was compared differs"},
        complete={"type": "boolean", "description": "false: interrupted"},
        shards={"type": "array", "items": COUNT},
        shards_done={"type": "array", "items": COUNT},
        seed={**COUNT, "description": "with it the same customers are the sample again"},
        sample={**nullable(COUNT), "description": "null: all customers, or those named"},
        named={**nullable(COUNT), "description": "how many customers were named; null: none"},
        customers=object_of(
            total=COUNT,
            checked=COUNT,
            differing=COUNT,
            due={**COUNT, "description": "time has something to change that is not written yet"},
            left_out=_REASONS,
        ),
        profiles={**_tally("stored", "recomputed"), "description": "whole profiles; the name is empty"},
        traits=_TALLIES,
        segments=_TALLIES,
        fields={**_TALLIES, "description": "what a profile says of itself: _revision, _as_of ..."},
        log={
            "type": "array",
            "description": "where the log no longer has what was folded",
            "items": object_of(shard=COUNT, topic=STRING, begins=COUNT, begins_at=nullable(TIME), gone=COUNT),
        },
        records={**COUNT, "description": "read from the log"},
        elapsed_s={"type": "number", "minimum": 0},
    ),
}

_NAMES: Final = {"type": "array", "items": STRING}


def _compared(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "array",
        "description": "those that differ, in the order of the definitions",
        "items": object_of(
            name=STRING,
            differing=COUNT,
            only_live={**COUNT, "description": "only the live generation has a value, or the member"},
            only_other=COUNT,
            why={"type": "object", "propertyNames": {"enum": _WHY}, "additionalProperties": COUNT},
            changed={**_NAMES, "description": "what differs in the definitions"},
            examples={
                "type": "array",
                "items": object_of(customer_id=STRING, live=value, other=value, why={"enum": _WHY}),
            },
        ),
    }


COMPARE: Final = {
    "description": "Output of `compare --json`: what a generation says otherwise than the live one.",
    **object_of(
        live=NAME,
        other=NAME,
        definitions={"type": "array", "items": STRING, "description": "the fingerprints of both"},
        complete={"type": "boolean", "description": "false: interrupted"},
        sample={**nullable(COUNT), "description": "about how many customers; null: all"},
        shards_behind={"type": "array", "items": COUNT, "description": "one generation stays behind the other in them"},
        compared=COUNT,
        differing=COUNT,
        only_live={**COUNT, "description": "customers without a profile in the other generation"},
        only_other=COUNT,
        left_out={**_REASONS, "description": "`moving`: had events; `behind`: other positions; `due`: other clocks"},
        unexplained={**COUNT, "description": "differences for which there is no reason"},
        traits=_compared({}),
        segments=_compared({"type": "boolean"}),
        traits_only_live=_NAMES,
        traits_only_other=_NAMES,
        segments_only_live=_NAMES,
        segments_only_other=_NAMES,
        elapsed_s={"type": "number", "minimum": 0},
    ),
}

GENERATIONS: Final = {
    "description": "Output of `generations --json`: the live one first, then the newest.",
    "type": "array",
    "items": object_of(
        name=NAME,
        state={"enum": ["live", "building", "kept", "dropping", "rebuilding"]},
        turn={**COUNT, "description": "with which it was made live last; 0: never"},
        shards={"type": "integer", "minimum": 1},
        customers=COUNT,
        lag={**nullable(COUNT), "description": "records not folded yet; null: not known"},
        clock={**nullable(TIME), "description": "the newest of all shards'"},
        shards_in_repair={**COUNT, "description": "silent: not reconciled with what was announced"},
        definitions={**STRING, "description": "their fingerprint"},
        created_at=TIME,
        age_ms=COUNT,
        base={**nullable(NAME), "description": "the live generation that it was planned against"},
        method={"enum": ["replay", "carry"]},
        start={"type": "object", "description": "where a replay began"},
        only={"type": "object", "description": "what a trial is limited to; {}: nothing"},
        late_topics={
            "type": "array",
            "items": STRING,
            "description": "topics of which the log did not reach back to its beginning when they were first read",
        },
        complete_since={
            "type": "object",
            "additionalProperties": STRING,
            "description": "trait -> since when it is complete; others are from the beginning",
        },
        kept_until={**nullable(STRING), "description": "of a kept one: how long it stays in step"},
    ),
}
