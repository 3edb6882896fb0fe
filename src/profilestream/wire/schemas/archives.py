"""The schema of what `export-log` tells."""

from __future__ import annotations

from typing import Final

from profilestream.wire.schemas.parts import COUNT, STRING, object_of

EXPORT_LOG: Final = {
    "description": "Output of `export-log --json`: what this run copied; partitions with nothing new are left out.",
    **object_of(
        directory=STRING,
        records=COUNT,
        partitions={
            "type": "array",
            "items": object_of(
                topic=STRING,
                partition=COUNT,
                begin={**COUNT, "description": "the first offset copied"},
                end={**COUNT, "description": "the offset behind the last one copied"},
            ),
        },
    ),
}
