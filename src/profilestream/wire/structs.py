"""Structs of msgspec from declarations: the annotations carry every rule that msgspec can check by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from profilestream.core.events import ID_CHARACTERS_MAX, Field
from profilestream.wire.faults import find_fault, integer_bounds
from profilestream.wire.times import parse_time

_BASES: Final[Mapping[str, Any]] = {
    "string": str,
    "boolean": bool,
    "time": int | str,
    "currency": Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")],
    "object": dict[str, Any],
    "strings": list[str],
    "json": Any,
}
_ID: Final = Annotated[str, Meta(min_length=1, max_length=ID_CHARACTERS_MAX)]


def struct_of(
    name: str,
    fields: Iterable[Field],
    bases: tuple[type[msgspec.Struct], ...] = (),
    namespace: Mapping[str, Any] | None = None,
) -> type[msgspec.Struct]:
    members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    renamed: dict[str, str] = {}
    taken = set(namespace or ())
    for field in fields:
        attribute = field.attribute
        if attribute in taken:
            raise ValueError(f"type `{name}`: the field name `{field.name}` is taken; choose another")
        taken.add(attribute)
        if attribute != field.name:
            renamed[attribute] = field.name
        kind = annotation(field, name)
        required = (attribute, kind)
        members.append(required if field.required else (attribute, kind | None, default_of(field, name)))
    return msgspec.defstruct(
        "".join(part.capitalize() for part in name.split("_")),
        members,
        bases=bases or None,
        namespace=dict(namespace or {}),
        module=__name__,
        rename=renamed or None,
        kw_only=True,
        gc=False,  # what JSON gives has no cycles
    )


def annotation(field: Field, owner: str) -> Any:
    if field.kind == "string" and field.name in ("event_id", "customer_id"):
        return _ID
    if field.kind == "records":
        return list[struct_of(f"{owner}_{field.name}", field.record)]  # type: ignore[misc]
    if field.kind not in ("int", "number"):
        return _BASES[field.kind]
    low, high = integer_bounds(field)
    integer: Any = Annotated[int, Meta(ge=low, le=high)]
    if field.kind == "int":
        return integer
    least = None if field.low is None else float(field.low)
    greatest = None if field.high is None else float(field.high)
    return integer | Annotated[float, Meta(ge=least, le=greatest)]


def default_of(field: Field, owner: str) -> Any:
    """The default as a decoded event holds it; raises ValueError where the field's own rules refuse it."""
    if field.default is None:
        return None
    if field.kind in ("string", "currency", "time") or isinstance(field.default, int):
        text = msgspec.json.encode(field.default)
    else:
        text = field.default.encode()  # a number, true or false as they stand in JSON
    if find_fault((field,), b'{"%s":%s}' % (field.name.encode(), text)) is not None:
        raise ValueError(f"type `{owner}`: the default of `{field.name}` is not what the field takes")
    value = msgspec.json.decode(text)
    return parse_time(value) if field.kind == "time" else value
