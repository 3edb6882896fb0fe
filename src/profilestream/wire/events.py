"""Bytes to events: decoding and validation in one pass of msgspec, compiled from the declarations.

Each event type becomes a `msgspec.Struct` whose annotations carry every rule that msgspec can check; what
is left (times, control characters, nulls where a default stands) is done right after. Bytes that fail any
of it go the slow way (`faults.find_fault`), which alone decides reason and detail.

Integers are JSON integers (1.0 is refused), of 64 bits; numbers are integers or finite doubles. Inside
`set` and other JSON values integers are exact up to 4,300 characters. Undeclared fields are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, cast

import msgspec
from msgspec import Meta

from profilestream.core.events import (
    COMMON,
    EVENT_BYTES_MAX,
    ID_CHARACTERS_MAX,
    EventType,
    Field,
)
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.faults import (
    CONTROL,
    EMPTY,
    NESTING_MAX,
    TOO_DEEP,
    TOO_LARGE,
    find_fault,
    integer_bounds,
    nests_too_deep,
)
from profilestream.wire.times import parse_time

COMMAND: Final = "command"
"""The type of the records of topic `commands`; each is a dead letter until commands are built."""

Decode = Callable[[bytes | None], "Event | Rejection"]

# A shorter text cannot nest too deep, whatever is in it.
_SHORT_BYTES: Final = 2 * NESTING_MAX

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


class Event(msgspec.Struct, gc=False):
    """An accepted event: an attribute for each declared field, times in ms since 1970, None where absent.

    One subclass for each event type. `type_name` is the type's name. Items are structs in the same form.
    """

    type_name: ClassVar[str]

    if TYPE_CHECKING:
        event_id: str
        customer_id: str
        occurred_at: int
        source: str | None


class EventDecoder:
    """Decodes values of records of the declared event types, and of `command`.

    Raises ValueError, naming type and field, where a type cannot be an event's: it redeclares a common
    field, uses the name `type_name`, or gives a default that its own kind refuses.
    """

    def __init__(self, types: Mapping[str, EventType]) -> None:
        self.structs: dict[str, type[Event]] = {}
        """The struct of each event type by its name."""
        self._decoders: dict[str, Decode] = {COMMAND: _decode_command}
        for name, event_type in types.items():
            struct = self.structs[name] = _event_struct(event_type)
            self._decoders[name] = _decoder(event_type, struct)

    def decode(self, type_name: str, value: bytes | None) -> Event | Rejection:
        """The event in a record's value, or why there is none; KeyError for an unknown type."""
        return self._decoders[type_name](value)

    def decoder_for(self, type_name: str) -> Decode:
        """`decode` of one type, for hot loops; KeyError for an unknown type."""
        return self._decoders[type_name]


def _decoder(event_type: EventType, struct: type[Event]) -> Decode:
    fields = tuple(event_type.by_name.values())
    read = msgspec.json.Decoder(struct).decode
    fill = _filler(fields)
    times = _time_converter([f for f in fields if f.name != "occurred_at"])

    def refuse(value: bytes | None) -> Rejection:
        fault = find_fault(fields, value)
        if fault is None:  # the two ways disagree: the record is kept apart rather than the shard stopped
            fault = Rejection("wrong_type", f"the value: expected a {event_type.name} event")
        return fault

    def decode(value: bytes | None) -> Event | Rejection:
        if not value:
            return EMPTY
        try:
            if len(value) >= _SHORT_BYTES:
                if len(value) > EVENT_BYTES_MAX:
                    return TOO_LARGE
                if nests_too_deep(value):
                    return TOO_DEEP
            if not value.isascii():
                value.decode()  # msgspec does not look into the text that it skips
            event = read(value)
            if fill is not None and b"null" in value and not fill(event):
                return refuse(value)
            customer_id = event.customer_id
            if not customer_id.isprintable() and CONTROL.search(customer_id):
                return refuse(value)
            event.occurred_at = parse_time(event.occurred_at)
            if times is not None:
                times(event)
            return event
        except (msgspec.MsgspecError, ValueError):  # ValueError: undecodable UTF-8, a time that is none
            return refuse(value)

    return decode


def _decode_command(value: bytes | None) -> Rejection:
    fault = find_fault(_COMMAND_FIELDS, value)
    return fault or Rejection("unknown_command", "kind: expected a known command; there is none yet")


_COMMAND_FIELDS: Final = (Field("kind", "string"),)


def _event_struct(event_type: EventType) -> type[Event]:
    common = {f.name for f in COMMON if f.required}
    for field in event_type.fields:
        if field.name in common:
            raise ValueError(f"type `{event_type.name}`: every event has `{field.name}`; leave it out")
    struct = _struct(event_type.name, event_type.by_name.values(), (Event,), {"type_name": event_type.name})
    return cast("type[Event]", struct)


def _struct(
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
        kind = _annotation(field, name)
        required = (attribute, kind)
        members.append(required if field.required else (attribute, kind | None, _default(field, name)))
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


def _annotation(field: Field, owner: str) -> Any:
    if field.name in ("event_id", "customer_id"):
        return _ID
    if field.kind == "records":
        return list[_struct(f"{owner}_{field.name}", field.record)]  # type: ignore[misc]
    if field.kind not in ("int", "number"):
        return _BASES[field.kind]
    low, high = integer_bounds(field)
    integer: Any = Annotated[int, Meta(ge=low, le=high)]
    if field.kind == "int":
        return integer
    least = None if field.low is None else float(field.low)
    greatest = None if field.high is None else float(field.high)
    return integer | Annotated[float, Meta(ge=least, le=greatest)]


def _default(field: Field, owner: str) -> Any:
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


Fill = Callable[[Any], bool]


def _filler(fields: Iterable[Field], owner: str = "") -> Fill | None:
    """Puts defaults where null was given; tells False where null stands in a required JSON value.

    None for fields without any of that.
    """
    defaults = [(f.attribute, _default(f, owner)) for f in fields if f.default is not None]
    needed = [f.attribute for f in fields if f.required and f.kind == "json"]
    nested = [(f.attribute, inner) for f in fields if f.record and (inner := _filler(f.record))]
    if not (defaults or needed or nested):
        return None

    def fill(record: Any) -> bool:
        for attribute, default in defaults:
            if getattr(record, attribute) is None:
                setattr(record, attribute, default)
        if any(getattr(record, attribute) is None for attribute in needed):
            return False
        return all(fill_item(item) for attribute, fill_item in nested for item in getattr(record, attribute) or ())

    return fill


def _time_converter(fields: Iterable[Field]) -> Callable[[Any], None] | None:
    """Turns the times of a record, and of its records, into ms; ValueError for a text that is no time."""
    times = [f.attribute for f in fields if f.kind == "time"]
    nested = [(f.attribute, inner) for f in fields if f.record and (inner := _time_converter(f.record))]
    if not (times or nested):
        return None

    def convert(record: Any) -> None:
        for attribute in times:
            value = getattr(record, attribute)
            if value is not None:
                setattr(record, attribute, parse_time(value))
        for attribute, convert_item in nested:
            for item in getattr(record, attribute) or ():
                convert_item(item)

    return convert
