"""Values that a file declares in place of an event's: defaults, a map's constants and words, held to their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from profilestream.core.declarations import mapped
from profilestream.core.definitions import Definitions
from profilestream.core.events import BUILT_IN, Field
from profilestream.core.sources import Where
from profilestream.wire.faults import expected, field_faults
from profilestream.wire.structs import default_of

Found = tuple[tuple[str, ...], str]
"""The path of keys at which a problem stands, and what is wrong."""


def value_problems(definitions: Definitions) -> Iterator[Found]:
    """Every declared value that its field would refuse in an event."""
    for event_type in definitions.types.values():
        if event_type.name in BUILT_IN:
            continue
        path = ("types", event_type.name, "fields")
        attributes: dict[str, str] = {}
        for field in event_type.by_name.values():
            yield from _default_problems(event_type.name, field, (*path, field.name))
            other = attributes.setdefault(field.attribute, field.name)
            if other != field.name:
                yield (*path, field.name), f"`{field.name}` and `{other}` are held under one name; choose another"
    for source in mapped(definitions.sources):
        path = ("sources", source.name, "map")
        yield from _map_problems(definitions.types[source.type_name].by_name, source.mapping or {}, path, "")


def _default_problems(owner: str, field: Field, path: tuple[str, ...]) -> Iterator[Found]:
    try:
        default_of(field, owner)
    except ValueError:
        yield path, f"the default of `{field.name}` is not what the field takes: {expected(field)}"
    for member in field.record:
        yield from _default_problems(owner, member, path)


def _map_problems(
    fields: Mapping[str, Field], mapping: Mapping[str, Where], path: tuple[str, ...], prefix: str
) -> Iterator[Found]:
    for name, where in mapping.items():
        field = fields.get(name, Field(name, "json", required=False))
        at = path if prefix else (*path, name)
        if where.value is not None and not _stands(field, where.value):
            yield at, f"`{prefix}{name}`: the constant is not what the field takes: {expected(field)}"
        for word, ours in where.words.items():
            if not _stands(field, ours):
                yield at, f"`{prefix}{name}`: the word for `{word}` is not what the field takes: {expected(field)}"
        if where.each:
            inner = {f.name: f for f in field.record}
            yield from _map_problems(inner, where.each, at, f"{prefix}{name}.")


def _stands(field: Field, value: Any) -> bool:
    return next(field_faults(field, value, ""), None) is None
