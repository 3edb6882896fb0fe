"""Records as a definitions file's types, maps, facts and rates read them: the JSON is walked, nothing is compiled.

A record gives the fields of its type in our words (times in ms since 1970, absent ones as None), or is refused
with the reason that its dead letter must have: that of the first field at fault, in the order of the declarations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from math import floor, isfinite
from typing import Any

from profilestream.oracle.declarations import BUILT_IN, INTEGER_MAX, Declared, Table, fields_of
from profilestream.oracle.values import parse_time

TOPICS = {"purchase": "purchases"}
"""Topics of built-in types that are not called as the type is."""
CLOUDEVENTS = {"event_id": "id", "customer_id": "subject", "occurred_at": "time", "source": "source"}
DIGITS_0 = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
DIGITS_3 = "BHD IQD JOD KWD LYD OMR TND"
MINOR_DIGITS = dict.fromkeys(DIGITS_0.split(), 0) | dict.fromkeys(DIGITS_3.split(), 3) | {"CLF": 4, "UYW": 4}
UNITS_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
MISSING: Any = object()


class RefusedError(Exception):
    """The record is a dead letter; says with what reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Found:
    """What a map says of a field: where it stands, and how it is read."""

    path: tuple[str, ...] = ()
    named: bool = False
    said: Table = field(default_factory=dict)


class Reader:
    """Reads the records of one topic by a definitions file's tables."""

    def __init__(self, tables: Table, type_name: str, source: Table | None = None) -> None:
        settings = tables.get("settings", {})
        self.currency: str | None = settings.get("currency")
        self.rates: Table = settings.get("rates", {})
        self.fields = fields_of(tables, type_name)
        source = source or {}
        self.mapping = mapping_of(self.fields, source.get("map", {}), source.get("envelope") == "cloudevents")

    def read(self, record: Any) -> dict[str, Any]:
        """The fields of the event in a record's JSON; raises RefusedError."""
        if not isinstance(record, dict):
            raise RefusedError("wrong_type")
        event = _read(self.fields, self.mapping, record, self._digits(record))
        if unreadable(record):
            raise RefusedError("out_of_range")
        self._exchange(event)
        return event

    def _digits(self, record: Table) -> int | str:
        """Of whole units that the event's currency counts in minor ones; why there are none, where there are none."""
        named = [f for f in self.fields if f.name == "currency" and f.kind == "currency"]
        try:
            currency = _read(named, self.mapping, record, "").get("currency") or self.currency
        except RefusedError:
            return "unreadable"
        return MINOR_DIGITS.get(currency, 2) if currency else "absent"

    def _exchange(self, event: dict[str, Any]) -> None:
        kinds = {f.name: f.kind for f in self.fields}
        given = event.get("currency")
        if self.currency is None or kinds.get("currency") != "currency" or given in (None, self.currency):
            return
        amounts = [(event, f.name) for f in self.fields if _is_amount(f)]
        for listed in (f for f in self.fields if f.kind == "records"):
            amounts += [(one, f.name) for one in event[listed.name] or () for f in listed.members if _is_amount(f)]
        if given not in self.rates and any(_is_amount(f) for g in self.fields for f in (g, *g.members)):
            raise RefusedError("currency")
        for holder, name in amounts:
            if holder[name] is not None:
                holder[name] = converted(holder[name], given, self.currency, str(self.rates[given]))
                if abs(holder[name]) > INTEGER_MAX:
                    raise RefusedError("out_of_range")


def converted(amount_minor: int, currency: str, own: str, rate: str) -> int:
    """Minor units of one currency in those of another, half to even; a rate is between whole units."""
    shift = MINOR_DIGITS.get(own, 2) - MINOR_DIGITS.get(currency, 2)
    return round(amount_minor * Fraction(rate) * Fraction(10) ** shift)


def _is_amount(declared: Declared) -> bool:
    return declared.kind == "int" and declared.name.endswith("_minor")


def sources_of(tables: Table) -> dict[str, tuple[str, Table | None]]:
    """Topic -> its type and, where it is in other words, its table. (Commands are left out.)"""
    types = {name: TOPICS.get(name, name) for name in BUILT_IN}
    types |= {name: table.get("topic", name) for name, table in tables.get("types", {}).items()}
    found: dict[str, tuple[str, Table | None]] = {}
    for name, topic in types.items():
        mine = [s for s in tables.get("sources", {}).values() if s["type"] == name]
        plain = [s for s in mine if "map" not in s and "envelope" not in s]
        unnamed = bool(mine) and "topic" not in tables.get("types", {}).get(name, {"topic": topic})
        if not plain and not unnamed:
            found[topic] = (name, None)
        found |= {s["topic"]: (name, None if s in plain else s) for s in mine}
    return found


# Maps


def mapping_of(fields: Sequence[Declared], said: Table, envelope: bool = False) -> dict[str, Found]:
    """Where each field stands: as the map says, else under its own name, in our words."""
    found = {}
    for one in fields:
        if one.name in said:
            found[one.name] = _found(said[one.name])
        elif envelope:
            found[one.name] = Found((CLOUDEVENTS[one.name],) if one.name in CLOUDEVENTS else ("data", one.name))
        else:
            found[one.name] = Found((one.name,))
    return found


def _found(said: Any) -> Found:
    if said is False:
        return Found(named=True)
    table = {"path": said} if isinstance(said, str) else said
    keys = [quoted or plain for quoted, plain in re.findall(r"'([^']+)'|([^.']+)", table.get("path", ""))]
    return Found(tuple(keys), True, table)


# Values


def _read(fields: Sequence[Declared], mapping: Mapping[str, Found], record: Table, digits: int | str) -> dict[str, Any]:
    event: dict[str, Any] = {}
    for one in fields:
        found = mapping[one.name]
        if one.kind == "object" and "each" in found.said:
            event[one.name] = _put_together(one, found, record)
            continue
        value = found.said.get("value") if not found.path else look(record, found.path)
        if value is None or value is MISSING:
            if one.required:
                raise RefusedError("missing_field")
            event[one.name] = one.default
        else:
            event[one.name] = _taken(one, found, value, digits)
    return event


def _put_together(one: Declared, found: Found, record: Table) -> dict[str, Any]:
    members = {m.name: m for m in one.members}
    together = {}
    for name, said in found.said["each"].items():
        inner = _found(said)
        value = look(record, found.path + inner.path) if inner.path else inner.said["value"]
        if value is not MISSING:
            member = members.get(name, Declared(name, "json"))
            together[name] = None if value is None else _taken(member, inner, value, "")
    return together


def look(record: Any, path: Sequence[str]) -> Any:
    """What stands at a path; MISSING where nothing does, also below a null."""
    for key in path:
        if record is None or record is MISSING:
            return MISSING
        if not isinstance(record, dict):
            raise RefusedError("wrong_type")
        record = record.get(key, MISSING)
    return record


def _taken(one: Declared, found: Found, value: Any, digits: int | str) -> Any:
    if isinstance(value, str) and value in found.said.get("words", {}):
        value = found.said["words"][value]
    elif found.named and found.path:
        value = _kindly(one, found.said, value, digits)
    if one.kind == "records" and "each" in found.said and isinstance(value, list):
        inner = mapping_of(one.members, found.said["each"])
        return [_read(one.members, inner, _object(item), digits) for item in value]
    return _strictly(one, value)


def _object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise RefusedError("wrong_type")
    return value


def _kindly(one: Declared, said: Table, value: Any, digits: int | str) -> Any:
    """What a field that the map names may be besides what it must be."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = value if isinstance(value, str) and value.isascii() else ""
    match one.kind:
        case "string" if type(value) is int:
            if len(str(value)) > (200 if one.name in ("event_id", "customer_id") else 2_000):
                raise RefusedError("out_of_range")
            return str(value)
        case "int" if "decimals" in said and (number or re.fullmatch(r"[+-]?\d{1,30}(\.\d{0,30})?", text)):
            return _scaled(one, Decimal(str(value)), digits if said["decimals"] == "currency" else said["decimals"])
        case "int" | "number" if "decimals" not in said and re.fullmatch(r"[+-]?\d{1,30}", text):
            return int(text)
        case "number" if re.fullmatch(r"[+-]?\d{1,30}(\.\d{0,30})?([eE][+-]?\d{1,3})?", text):
            return float(text)
        case "time" if "unit" in said and (number or re.fullmatch(r"[+-]?\d{1,30}(\.\d{0,30})?", text)):
            return floor(Fraction(Decimal(str(value))) * UNITS_US[said["unit"]] / 1000)
        case "currency" if text:
            return text.upper()
    return value


def _scaled(one: Declared, amount: Decimal, digits: int | str) -> int:
    if digits == "absent":
        raise RefusedError("currency")
    if isinstance(digits, str):  # the currency will be refused: any number that the field takes does
        return next((bound for bound in (one.low, one.high) if bound is not None), 0)
    return round(Fraction(amount) * Fraction(10) ** digits)


def _strictly(one: Declared, value: Any) -> Any:
    types = {
        "string": (str,), "currency": (str,), "int": (int,), "number": (int, float), "boolean": (bool,),
        "time": (int, str), "object": (dict,), "strings": (list,), "records": (list,),
    }  # fmt: skip
    if one.kind != "json" and type(value) not in types[one.kind]:
        raise RefusedError("wrong_type")
    match one.kind:
        case "string" if one.name in ("event_id", "customer_id"):
            _id(one.name, value)
        case "currency" if not re.fullmatch("[A-Z]{3}", value):
            raise RefusedError("currency")
        case "time":
            return _time(value)
        case "int" | "number" if not _in_range(one, value):
            raise RefusedError("out_of_range")
        case "strings" if not all(isinstance(item, str) for item in value):
            raise RefusedError("wrong_type")
        case "records":
            inner = mapping_of(one.members, {})
            return [_read(one.members, inner, _object(item), "") for item in value]
    if one.kind in ("string", "json", "object", "strings") and (unreadable(value) or _is_beyond(value)):
        raise RefusedError("out_of_range")
    if one.kind == "object":
        facts = {m.name: _strictly(m, value[m.name]) for m in one.members if value.get(m.name) is not None}
        return {**value, **facts}
    return value


def _id(name: str, text: str) -> None:
    if not text:
        raise RefusedError("empty_id")
    if len(text) > 200 or (name == "customer_id" and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)):
        raise RefusedError("out_of_range")


def _time(value: int | str) -> int:
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9-]{10}[Tt ][0-9:]{8}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})", value):
            raise RefusedError("bad_time")
        try:
            datetime.fromisoformat(re.sub(r"\.[0-9]+", "", value).upper())
        except ValueError:
            raise RefusedError("bad_time") from None
        value = parse_time(value)
    if not -62_135_596_800_000 <= value <= 253_402_300_799_999:
        raise RefusedError("bad_time")
    return value


def _in_range(one: Declared, value: int | float) -> bool:
    if isinstance(value, int) and not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
        return False
    return isfinite(value) and (one.low is None or one.low <= value) and (one.high is None or value <= one.high)


def unreadable(value: Any) -> bool:
    """Whether a value holds text that UTF-8 cannot hold."""
    return any(0xD800 <= ord(character) <= 0xDFFF for character in json.dumps(value, ensure_ascii=False))


def _is_beyond(value: Any) -> bool:
    """Whether a JSON value holds a number beyond a double's range."""
    if isinstance(value, dict | list):
        return any(_is_beyond(one) for one in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and not isfinite(value)
