"""Values that a file declares in place of an event's: defaults, a map's constants and words, held to their fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from profilestream.core.declarations import mapped
from profilestream.core.definitions import Definitions
from profilestream.core.events import BUILT_IN, EventType, Field
from profilestream.core.money import AMOUNT_SUFFIX, Money
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
        yield from _name_problems(event_type.by_name.values(), path)
        for field in event_type.by_name.values():
            yield from _name_problems(field.record, (*path, field.name))
            yield from _default_problems(event_type.name, field, (*path, field.name))
            if field.name == "currency":
                yield from _rate_problems(definitions.money, event_type, [field.default], (*path, field.name))
    for source in mapped(definitions.sources):
        path = ("sources", source.name, "map")
        event_type, mapping = definitions.types[source.type_name], source.mapping or {}
        yield from _map_problems(event_type.by_name, mapping, path, "")
        if "currency" in mapping:
            given = [mapping["currency"].value, *mapping["currency"].words.values()]
            yield from _rate_problems(definitions.money, event_type, given, (*path, "currency"))


def _name_problems(fields: Iterable[Field], path: tuple[str, ...]) -> Iterator[Found]:
    attributes: dict[str, str] = {}
    for field in fields:
        other = attributes.setdefault(field.attribute, field.name)
        if other != field.name:
            yield (*path, field.name), f"`{field.name}` and `{other}` are held under one name; choose another"


def _default_problems(owner: str, field: Field, path: tuple[str, ...]) -> Iterator[Found]:
    try:
        default = default_of(field, owner)
    except ValueError:
        yield path, f"the default of `{field.name}` is not what the field takes: {expected(field)}"
    else:
        if isinstance(default, list | dict):  # all events would share one
            yield path, f"the default of `{field.name}` is a list or an object; make the field optional instead"
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


def _rate_problems(
    money: Money | None, event_type: EventType, given: Iterable[Any], path: tuple[str, ...]
) -> Iterator[Found]:
    """Currencies that the file itself gives to events, and that would make a dead letter of each."""
    field = event_type.by_name["currency"]
    members = (member for outer in event_type.fields for member in (outer, *outer.record))
    amounts = any(member.kind == "int" and member.name.endswith(AMOUNT_SUFFIX) for member in members)
    if money is None or field.kind != "currency" or not amounts:
        return
    for currency in given:
        if _stands(field, currency) and not money.knows(currency):
            yield path, f"`{currency}` has no rate into {money.currency}; add it to `rates` under [settings]"


def _stands(field: Field, value: Any) -> bool:
    return next(field_faults(field, value, ""), None) is None
