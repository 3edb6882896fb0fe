"""What schemas are put together from: the draft, texts, counts, times, names; objects and what may be null."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

Schema = dict[str, Any]

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
END: Final = r"(?![\s\S])"  # the end of the text; `$` also stands before a last line feed in some engines

STRING: Final[Schema] = {"type": "string"}
STRINGS: Final[Schema] = {"type": "array", "items": {"type": "string"}}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SHARE: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}
TIME: Final[Schema] = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z" + END,
}

NAME: Final[Schema] = {"type": "string", "pattern": "^[a-z0-9-]+" + END}


def object_of(optional: Iterable[str] = (), /, **properties: Any) -> Schema:
    """An object of exactly these members, all required but those named first."""
    names = [name for name in properties if name not in set(optional)]
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def nullable(schema: Schema) -> Schema:
    """What may also be null."""
    return {"anyOf": [schema, {"type": "null"}]}
