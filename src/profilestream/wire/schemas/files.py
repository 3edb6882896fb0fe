"""All schemas by the name of their file, and the folder of them that is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from profilestream.core.events import BUILT_IN, COMMAND, EventType
from profilestream.wire.schemas.archives import EXPORT_LOG
from profilestream.wire.schemas.descriptions import DESCRIBE, QUANTILES
from profilestream.wire.schemas.events import command_schema, event_schema
from profilestream.wire.schemas.explanations import EXPLAIN, EXPLAIN_CUSTOMER
from profilestream.wire.schemas.histories import HISTORY
from profilestream.wire.schemas.messages import CHANGE, DEAD_LETTER
from profilestream.wire.schemas.parts import DRAFT, Schema
from profilestream.wire.schemas.plans import PLAN
from profilestream.wire.schemas.profiles import MEMBERS, PROFILE, SEGMENTS
from profilestream.wire.schemas.verifications import COMPARE, GENERATIONS, VERIFY


def schemas(types: Mapping[str, EventType]) -> dict[str, Schema]:
    """The schema of each event type, and of all outputs, by file name (`purchase.json`)."""
    found = {f"{name}.json": event_schema(event_type) for name, event_type in types.items()}
    found[f"{COMMAND}.json"] = command_schema()
    for name, schema in _OUTPUTS.items():
        found[name] = {"$schema": DRAFT, "title": name.removesuffix(".json"), **schema}
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


_OUTPUTS: Final[Mapping[str, Schema]] = {
    "segment-change.json": CHANGE,
    "dead-letter.json": DEAD_LETTER,
    "profile.json": PROFILE,
    "explain.json": EXPLAIN,
    "explain-customer.json": EXPLAIN_CUSTOMER,
    "segments.json": SEGMENTS,
    "members.json": MEMBERS,
    "describe.json": DESCRIBE,
    "history.json": HISTORY,
    "quantiles.json": QUANTILES,
    "verify.json": VERIFY,
    "export-log.json": EXPORT_LOG,
    "plan.json": PLAN,
    "generations.json": GENERATIONS,
    "compare.json": COMPARE,
}
