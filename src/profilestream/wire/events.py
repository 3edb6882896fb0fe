"""Bytes to events: decoding and validation in one pass of msgspec, compiled from the declarations.

Each event type becomes a `msgspec.Struct` whose annotations carry every rule that msgspec can check; what
is left (times, control characters, nulls where a default stands) is done right after. Bytes that fail any
of it go the slow way (`faults.find_fault`), which alone decides reason and detail.

Integers are JSON integers (1.0 is refused), of 64 bits; numbers are integers or finite doubles. Inside
`set` and other JSON values integers are exact up to 4,300 characters. Undeclared fields are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import msgspec

from profilestream.core.definitions import Definitions
from profilestream.core.events import COMMAND, COMMON, EVENT_BYTES_MAX, INTEGER_MAX, EventType, Field
from profilestream.core.money import AMOUNT_SUFFIX, Money
from profilestream.core.sources import Source
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.faults import (
    CONTROL,
    EMPTY,
    NESTING_MAX,
    TOO_DEEP,
    TOO_LARGE,
    field_faults,
    find_fault,
    nests_too_deep,
)
from profilestream.wire.mapped_faults import find_mapped_fault
from profilestream.wire.mapping import mapped_struct
from profilestream.wire.scaling import scaler
from profilestream.wire.structs import default_of, struct_of
from profilestream.wire.times import parse_time

Decode = Callable[[bytes | None], "Event | Rejection"]

# A shorter text cannot nest too deep, whatever is in it.
_SHORT_BYTES: Final = 2 * NESTING_MAX


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
    """Decodes values of records of the declared event types, of `command`, and of the sources' topics.

    With `money`, amounts in another currency are converted to its own. Raises ValueError, naming type and
    field, where a type cannot be an event's: it redeclares a common field, uses the name `type_name`, or
    gives a default that its own kind refuses.
    """

    def __init__(
        self, types: Mapping[str, EventType], money: Money | None = None, sources: Iterable[Source] = ()
    ) -> None:
        self.structs: dict[str, type[Event]] = {}
        """The struct of each event type by its name."""
        self.type_of_topic: dict[str, str] = {}
        """The type of the events on each source's topic."""
        self._decoders: dict[str, Decode] = {COMMAND: _decode_command}
        self._of_topic: dict[str, Decode] = {}
        for name, event_type in types.items():
            struct = self.structs[name] = _event_struct(event_type)
            self._decoders[name] = _decoder(event_type, struct, money)
        for source in sources:
            self.type_of_topic[source.topic] = source.type_name
            decode = self._decoders[source.type_name]
            if source.mapping is not None:
                decode = _mapped_decoder(types[source.type_name], source, money)
            self._of_topic[source.topic] = decode

    @classmethod
    def of(cls, definitions: Definitions) -> EventDecoder:
        """The decoder of all that a definitions file declares."""
        return cls(definitions.types, definitions.money, definitions.sources)

    def decode(self, type_name: str, value: bytes | None) -> Event | Rejection:
        """The event in a record's value, or why there is none; KeyError for an unknown type."""
        return self._decoders[type_name](value)

    def decoder_for_topic(self, topic: str) -> Decode:
        """`decode` of the records of one source's topic, in its words; KeyError for a topic of no source."""
        return self._of_topic[topic]


def _event_struct(event_type: EventType) -> type[Event]:
    common = {f.name for f in COMMON if f.required}
    for field in event_type.fields:
        if field.name in common:
            raise ValueError(f"type `{event_type.name}`: every event has `{field.name}`; leave it out")
    struct = struct_of(event_type.name, event_type.by_name.values(), (Event,), {"type_name": event_type.name})
    return cast("type[Event]", struct)


def _decoder(event_type: EventType, struct: type[Event], money: Money | None) -> Decode:
    fields = tuple(event_type.by_name.values())

    def refuse(value: bytes | None) -> Rejection:
        return find_fault(fields, value) or _unexplained(event_type)

    return _decode_into(event_type, struct, None, _fact_checker(event_type), refuse, money)


def _mapped_decoder(event_type: EventType, source: Source, money: Money | None) -> Decode:
    assert source.mapping is not None
    mapping = source.mapping
    struct, place = mapped_struct(event_type.name, event_type.by_name, mapping, Event, {"type_name": event_type.name})

    own = None if money is None else money.currency
    # Facts are of a type without a currency, so one step is enough for both.
    finish = _fact_checker(event_type) or scaler(event_type, mapping, own)

    def refuse(value: bytes | None) -> Rejection:
        return find_mapped_fault(event_type, mapping, value, own) or _unexplained(event_type)

    return _decode_into(event_type, cast("type[Event]", struct), place, finish, refuse, money)


def _unexplained(event_type: EventType) -> Rejection:
    """The two ways disagree: the record is kept apart rather than the shard stopped."""
    return Rejection("wrong_type", f"the value: expected a {event_type.name} event")


def _decode_into(
    event_type: EventType,
    struct: type[Event],
    place: Callable[[Any], None] | None,
    finish: Callable[[Any], None] | None,
    refuse: Callable[[bytes | None], Rejection],
    money: Money | None,
) -> Decode:
    """The fast way: bytes to the struct, then what the struct cannot check or do by itself."""
    fields = tuple(event_type.by_name.values())
    read = msgspec.json.Decoder(struct).decode
    fill = _filler(fields)
    times = _time_converter([f for f in fields if f.name != "occurred_at"])
    exchange = None if money is None else _exchange(event_type, money)

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
            if place is not None:
                place(event)
            if fill is not None and b"null" in value and not fill(event):
                return refuse(value)
            customer_id = event.customer_id
            if not customer_id.isprintable() and CONTROL.search(customer_id):
                return refuse(value)
            event.occurred_at = parse_time(event.occurred_at)
            if times is not None:
                times(event)
            if finish is not None:
                finish(event)
        except (msgspec.MsgspecError, ValueError):  # ValueError: undecodable UTF-8, a time that is none
            return refuse(value)
        if exchange is not None:
            return exchange(event) or event
        return event

    return decode


def _decode_command(value: bytes | None) -> Rejection:
    fault = find_fault(_COMMAND_FIELDS, value)
    return fault or Rejection("unknown_command", "kind: expected a known command; there is none yet")


_COMMAND_FIELDS: Final = (Field("kind", "string"),)


Fill = Callable[[Any], bool]


def _filler(fields: Iterable[Field], owner: str = "") -> Fill | None:
    """Puts defaults where null was given; tells False where null stands in a required JSON value.

    None for fields without any of that.
    """
    defaults = [(f.attribute, default_of(f, owner)) for f in fields if f.default is not None]
    needed = [f.attribute for f in fields if f.required and f.kind == "json"]
    nested = [(f.attribute, inner) for f in fields if f.kind == "records" and (inner := _filler(f.record))]
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
    nested = [(f.attribute, inner) for f in fields if f.kind == "records" and (inner := _time_converter(f.record))]
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


def _fact_checker(event_type: EventType) -> Callable[[Any], None] | None:
    """Checks the typed facts in `set` and turns their times into ms; ValueError where one does not stand."""
    typed = [(f.attribute, f.record) for f in event_type.fields if f.kind == "object" and f.record]
    if not typed:
        return None

    def check(event: Any) -> None:
        for attribute, members in typed:
            given = getattr(event, attribute)
            for member in members if given else ():
                value = given.get(member.name)
                if value is None:
                    continue
                if next(field_faults(member, value, ""), None) is not None:
                    raise ValueError("a fact is not what its declaration says")
                if member.kind == "time":
                    given[member.name] = parse_time(value)

    return check


def _exchange(event_type: EventType, money: Money) -> Callable[[Any], Rejection | None] | None:
    """Turns the amounts of an event into the own currency; a rejection where that cannot be.

    Amounts are the integer fields that end in `_minor`, of the event and of its records. Without a
    `currency` they are in the own one. None for a type that has no such field beside a `currency`.
    """
    currency = event_type.by_name.get("currency")
    if currency is None or currency.kind != "currency":
        return None
    amounts = _amounts(event_type.by_name.values())
    nested = [(f.attribute, names) for f in event_type.fields if f.kind == "records" and (names := _amounts(f.record))]

    def exchange(event: Any) -> Rejection | None:
        given = event.currency
        if given is None or given == money.currency:
            return None
        if not money.knows(given):
            return _NO_RATE
        records = [(event, amounts)]
        records += [(item, names) for attribute, names in nested for item in getattr(event, attribute) or ()]
        for record, names in records:
            for name in names:
                amount = getattr(record, name)
                if amount is not None:
                    converted = money.convert(amount, given)
                    if abs(converted) > INTEGER_MAX:
                        return Rejection("out_of_range", f"{name}: expected an amount of 64 bits after conversion")
                    setattr(record, name, converted)
        return None

    return exchange if amounts or nested else None


def _amounts(fields: Iterable[Field]) -> tuple[str, ...]:
    return tuple(f.name for f in fields if f.kind == "int" and f.name.endswith(AMOUNT_SUFFIX))


_NO_RATE: Final = Rejection("currency", "currency: expected the file's own, or one that its `rates` name")
