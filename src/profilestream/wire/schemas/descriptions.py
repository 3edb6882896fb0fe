"""The schemas of what `describe` and `quantiles` tell of many customers."""

from __future__ import annotations

from typing import Final, get_args

from profilestream.core.expressions import Kind
from profilestream.wire.schemas.parts import COUNT, NAME, SHARE, STRING, nullable, object_of

_SHARES: Final = object_of(members=SHARE, everybody=SHARE)
_RANGE: Final = nullable(
    object_of(
        low={"type": ["number", "null"], "description": "25th percentile; null: of too few"},
        median={"type": "number"},
        high={"type": ["number", "null"], "description": "75th percentile; null: of too few"},
    )
)

DESCRIBE: Final = {
    "description": "Output of `describe SEGMENT --json`. A share is a part of all customers of its sample, those "
    "without the trait included; what would tell of 1 to 4 customers is rounded or left out.",
    **object_of(
        segment=STRING,
        generation=NAME,
        description=STRING,
        enter=STRING,
        exit={"type": ["string", "null"]},
        pacing={
            **nullable(
                object_of(
                    dwell_ms=COUNT,
                    exit_dwell_ms=COUNT,
                    cooldown_ms=COUNT,
                    sample=nullable({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
                )
            ),
            "description": "what holds crossings back; null: nothing does",
        },
        members={"type": "integer", "minimum": 20},
        customers={"type": "integer", "minimum": 20, "description": "everybody; an estimate unless customers_exact"},
        customers_exact={"type": "boolean"},
        share={**SHARE, "description": "members / customers"},
        sample={
            **object_of(
                members=COUNT,
                everybody=COUNT,
                due={**COUNT, "description": "of both: what time alone has changed is not written yet"},
            ),
            "description": "how many profiles were read",
        },
        member_for_ms={**_RANGE, "description": "for how long members have been in the segment"},
        traits={
            "type": "array",
            "description": "all traits, or those asked for, the most telling first",
            "items": object_of(
                name=STRING,
                kind={"enum": list(get_args(Kind))},
                shape={"enum": ["number", "string", "boolean", "list", "object"], "description": "what values are"},
                currency={
                    "type": ["string", "null"],
                    "description": "of amounts, which are in its minor units; null: no amount, or no one currency",
                },
                telling={**SHARE, "description": "size of Cliff's delta, or the greatest difference of shares"},
                absent={**_SHARES, "description": "who lacks the trait"},
                members={**_RANGE, "description": "of numbers; durations in ms, times in ms before the clock"},
                everybody=_RANGE,
                values={
                    "type": "array",
                    "description": "values, elements of lists, keys of objects that 5 members have, the most frequent "
                    "first",
                    "items": object_of(value={}, members=SHARE, everybody=SHARE),
                },
                others={
                    **nullable(
                        object_of(
                            values={**COUNT, "description": "how many more values members have, at least"},
                            members=nullable(SHARE),
                            everybody=nullable(SHARE),
                        )
                    ),
                    "description": "who has another value; null where a customer may have several",
                },
            ),
        },
    ),
}

_END_OF_PART: Final = {"type": ["number", "null"], "description": "null: without an end; durations in ms"}
QUANTILES: Final = {
    "description": "Output of `quantiles TRAIT --json`. A share is a part of those who have a number.",
    **object_of(
        trait=STRING,
        kind={"enum": ["number", "duration", "json"]},
        generation=NAME,
        segment={"type": ["string", "null"], "description": "null: everybody"},
        by={"type": "integer", "minimum": 2, "maximum": 101, "description": "how many parts were asked for"},
        score={"type": "string", "description": "the expression to paste"},
        breaks={"type": "array", "items": {"type": "number"}, "minItems": 1, "description": "durations in ms"},
        parts={
            "type": "array",
            "items": object_of(
                **{"from": _END_OF_PART},
                score={"type": "integer", "minimum": 1},
                below=_END_OF_PART,
                customers=COUNT,
                share=SHARE,
            ),
        },
        customers={**COUNT, "description": "how many there are; an estimate unless customers_exact"},
        customers_exact={"type": "boolean"},
        sample=object_of(
            customers={**COUNT, "description": "how many profiles were read"},
            absent={**COUNT, "description": "of these without a value"},
            others={**COUNT, "description": "of these with a value that is no number"},
            due={**COUNT, "description": "of these: what time alone has changed is not written yet"},
        ),
        currency={"type": ["string", "null"], "description": "of amounts, which are in its minor units"},
    ),
}
