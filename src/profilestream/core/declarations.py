"""What a file declares besides streams, traits and segments: event types, facts, money, and the topics of events.

Every type has a topic of its own name's sake: the one that it declares. A source without a `map` renames it
(several may), a mapped source is read besides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from profilestream.core.events import (
    BUILT_IN,
    COMMAND,
    COMMANDS_TOPIC,
    COMMON,
    FACTS,
    NAME,
    EventType,
    Field,
    FieldText,
    parse_field,
)
from profilestream.core.money import CURRENCY, RATE, Money
from profilestream.core.problems import suggestion
from profilestream.core.sources import CLOUDEVENTS, TOPIC, MapError, Source, read_mapping
from profilestream.core.vocabulary import RESERVED

Tell = Callable[[tuple[str, ...], str], None]
"""Takes note of a problem: the path of keys at which it stands, and what is wrong."""

TYPES_MAX: Final = 200
FIELDS_MAX: Final = 200
FACTS_MAX: Final = 1_000
SOURCES_MAX: Final = 500
RATES_MAX: Final = 500

_TAKEN: Final = ("item", "event", COMMAND)
_KEPT: Final = {
    "type": "it says which type a line of a file is",
    "type_name": "the decoder uses the name",
}


def read_types(tables: Mapping[str, Any], tell: Tell) -> dict[str, EventType]:
    """The built-in types and the file's own, and the facts' types within `attributes`."""
    types = dict(BUILT_IN)
    facts = _fields(("attributes",), tables.get("attributes") or {}, FACTS_MAX, "facts", tell)
    for fact in facts:
        if fact.default is not None:
            tell(("attributes", fact.name), f"`{fact.name}`: a fact has no default; it is absent until it is stated")
    if facts:
        own = types[FACTS]
        members = tuple(replace(f, required=False) for f in facts)
        fields = tuple(replace(f, record=members) if f.name == "set" else f for f in own.fields)
        types[FACTS] = EventType(own.name, own.topic, fields)
    declared: Mapping[str, Any] = tables.get("types") or {}
    if len(declared) > TYPES_MAX:
        tell(("types",), f"{len(declared):,} types; at most {TYPES_MAX}")
        return types
    for name, table in declared.items():
        if _type_name_stands(name, tell):
            fields = _own_fields(name, table["fields"], tell)
            topic = table.get("topic", name)
            if not TOPIC.match(topic) or topic in (".", ".."):
                tell(("types", name, "topic"), _no_topic(topic))
            types[name] = EventType(name, topic, fields)
    return types


def _type_name_stands(name: str, tell: Tell) -> bool:
    if name in BUILT_IN:
        tell(("types", name), f"`{name}` is built in; leave it out, or choose another name for your own type")
    elif name in _TAKEN or name in RESERVED:
        tell(("types", name), f"`{name}` is a word of the language; choose another name")
    elif not NAME.match(name):
        tell(("types", name), f"`{name}`: a name is lower-case letters, digits and _, 1 to 64, a letter first")
    else:
        return True
    return False


def _own_fields(type_name: str, table: Mapping[str, FieldText], tell: Tell) -> tuple[Field, ...]:
    path = ("types", type_name, "fields")
    common = {f.name for f in COMMON}
    for name in table:
        if name in common:
            tell((*path, name), f"every event has `{name}`; leave it out")
        elif name in _KEPT:
            tell((*path, name), f"a field cannot be named `{name}`: {_KEPT[name]}")
    sound = {name: text for name, text in table.items() if name not in common and name not in _KEPT}
    return _fields(path, sound, FIELDS_MAX, "fields", tell)


def _fields(
    path: tuple[str, ...], table: Mapping[str, FieldText], most: int, what: str, tell: Tell
) -> tuple[Field, ...]:
    if len(table) > most:
        tell(path, f"{len(table):,} {what}; at most {most:,}")
        return ()
    found = []
    for name, text in table.items():
        try:
            found.append(parse_field(name, text))
        except (ValueError, ArithmeticError) as error:
            tell((*path, name), str(error))
            # It stands there all the same, so that what reads it is not blamed.
            if NAME.match(name):
                found.append(Field(name, "json", required=False))
    return tuple(found)


def read_money(settings: Mapping[str, Any], tell: Tell) -> Money | None:
    """The currency of all amounts and the rates of others; None where amounts are taken as they are."""
    currency, rates = settings.get("currency"), settings.get("rates") or {}
    if currency is None:
        if rates:
            tell(("settings", "rates"), 'rates convert into the file\'s own currency: add currency = "EUR"')
        return None
    if not CURRENCY.match(currency):
        tell(("settings", "currency"), f"`{currency}` is no currency; write its ISO 4217 code, such as EUR")
    if len(rates) > RATES_MAX:
        tell(("settings", "rates"), f"{len(rates):,} rates; at most {RATES_MAX}")
        return None
    found = {}
    for other, rate in rates.items():
        text = str(rate)
        if not CURRENCY.match(other):
            tell(("settings", "rates", other), f"`{other}` is no currency; write its ISO 4217 code, such as USD")
        elif other == currency:
            tell(("settings", "rates", other), f"`{other}` is the file's own currency; it needs no rate")
        elif not RATE.match(text) or not Decimal(text):
            tell(
                ("settings", "rates", other),
                f'`{other}`: a rate says what 1 {other} is worth in {currency}, above 0, such as "0.92"',
            )
        else:
            found[other] = Decimal(text)
    return Money(currency, found)


def read_sources(tables: Mapping[str, Any], types: Mapping[str, EventType], tell: Tell) -> tuple[Source, ...]:
    """Every topic that is consumed, in order of the types, their own topics first."""
    declared: Mapping[str, Any] = tables.get("sources") or {}
    if len(declared) > SOURCES_MAX:
        tell(("sources",), f"{len(declared):,} sources; at most {SOURCES_MAX}")
        return ()
    named = [source for name, table in declared.items() if (source := _source(name, table, types, tell)) is not None]
    own_topics = {t.name: t.topic for t in types.values()} | {COMMAND: COMMANDS_TOPIC}
    own_types: Mapping[str, Any] = tables.get("types") or {}
    found = []
    for type_name, topic in own_topics.items():
        mine = [s for s in named if s.type_name == type_name]
        renamed = any(s.mapping is None or s.topic == topic for s in mine)
        unnamed = bool(mine) and type_name in own_types and "topic" not in own_types[type_name]
        if not renamed and not unnamed:
            found.append(Source(type_name, topic, type_name))
        found += mine
    _tell_shared_topics(found, declared, tell)
    return tuple(found)


def _source(name: str, table: Mapping[str, Any], types: Mapping[str, EventType], tell: Tell) -> Source | None:
    path = ("sources", name)
    if not NAME.match(name):
        tell(path, f"`{name}`: a name is lower-case letters, digits and _, 1 to 64, a letter first")
    topic, type_name = table["topic"], table["type"]
    if not TOPIC.match(topic) or topic in (".", ".."):
        tell((*path, "topic"), _no_topic(topic))
    envelope = table.get("envelope")
    if envelope not in (None, CLOUDEVENTS):
        tell((*path, "envelope"), f'unknown envelope `{envelope}`; there is "{CLOUDEVENTS}"')
        envelope = None
    mapped = "map" in table or envelope is not None
    if type_name == COMMAND and not mapped:
        return Source(name, topic, type_name)
    if type_name == COMMAND:
        tell(path, "commands are read in their own words; take `map` and `envelope` out")
        return None
    if type_name not in types:
        tell((*path, "type"), f"unknown type `{type_name}`{suggestion(type_name, types)}")
        return None
    if not mapped:
        return Source(name, topic, type_name)
    try:
        mapping = read_mapping(types[type_name], table.get("map") or {}, envelope)
    except MapError as error:
        for message in error.messages:
            field = re.match(r"`([^`.]+)", message)
            tell((*path, "map", field[1]) if field else (*path, "map"), message)
        return None
    return Source(name, topic, type_name, mapping)


def _tell_shared_topics(sources: list[Source], declared: Mapping[str, Any], tell: Tell) -> None:
    first: dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.topic, source)
        if other is source:
            continue
        at, beside = (source, other) if source.name in declared else (other, source)
        where = f"[sources.{beside.name}]" if beside.name in declared else f"the type `{beside.type_name}`"
        table = "sources" if at.name in declared else "types"
        tell((table, at.name, "topic"), f"topic `{source.topic}` is that of {where} already; a topic has one type")


def _no_topic(topic: str) -> str:
    return f"`{topic}` cannot name a topic: 1 to 249 letters, digits, dots, _ and -"


def mapped(sources: tuple[Source, ...]) -> Iterator[Source]:
    """The sources in other systems' words."""
    return (source for source in sources if source.mapping is not None)
