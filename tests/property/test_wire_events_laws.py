"""The decoder against a naive validator, and the JSON Schemas against the decoder, for arbitrary JSON.

The validator below knows the contract's table by itself: nothing of it is taken from the declarations.
"""

import json
import re
from datetime import datetime
from typing import Any

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from profilestream.core.events import BUILT_IN
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.events import Event, EventDecoder
from profilestream.wire.schemas import schemas

DECODER = EventDecoder(BUILT_IN)
SCHEMAS = {name: jsonschema.Draft202012Validator(schemas(BUILT_IN)[f"{name}.json"]) for name in BUILT_IN}

# name -> (kind, required, low, high), in the contract's order
Table = dict[str, tuple[Any, bool, float | None, float | None]]


def optional(*names: str) -> Table:
    return {name: (str, False, None, None) for name in names}


COMMON: Table = {
    "event_id": ("event_id", True, None, None),
    "customer_id": ("customer_id", True, None, None),
    "occurred_at": ("time", True, None, None),
    **optional("source"),
}
KIND: Table = {"kind": (str, True, None, None)}
ITEM: Table = {
    **optional("sku", "category"),
    "quantity": (int, False, 1, 2**63 - 1),
    "unit_price_minor": (int, False, 0, 2**63 - 1),
}
TABLES: dict[str, Table] = {
    "purchase": {
        **COMMON,
        **optional("kind", "order_id"),
        "amount_minor": (int, True, 0, 2**63 - 1),
        "currency": ("currency", False, None, None),
        "items": ("items", False, None, None),
        **optional("channel"),
    },
    "browsing": {**COMMON, **KIND, **optional("url", "category", "sku", "query", "device", "referrer", "campaign")},
    "support": {
        **COMMON,
        **KIND,
        **optional("ticket_id", "channel", "subject"),
        "sentiment": ("number", False, -1, 1),
        "rating": (int, False, 1, 5),
    },
    "engagement": {**COMMON, **KIND, **optional("channel", "campaign", "content", "tone")},
    "attributes": {**COMMON, "set": (dict, False, None, None), "unset": ("strings", False, None, None)},
}


def surrogates(value: Any) -> bool:
    return any(0xD800 <= ord(character) <= 0xDFFF for character in json.dumps(value, ensure_ascii=False))


def fault(table: Table, record: dict[str, Any]) -> str | None:
    for name, (kind, required, low, high) in table.items():
        value = record.get(name)
        if value is None:
            if required:
                return "missing_field"
            continue
        found = field_fault(kind, low, high, value)
        if found:
            return found
    return None


def field_fault(kind: Any, low: float | None, high: float | None, value: Any) -> str | None:
    match kind:
        case "event_id" | "customer_id":
            if type(value) is not str:
                return "wrong_type"
            if value == "":
                return "empty_id"
            controls = kind == "customer_id" and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value)
            return "out_of_range" if len(value) > 200 or controls or surrogates(value) else None
        case "time":
            if type(value) not in (str, int):
                return "wrong_type"
            return None if is_time(value) else "bad_time"
        case "currency":
            if type(value) is not str:
                return "wrong_type"
            return None if re.fullmatch("[A-Z]{3}", value) else "currency"
        case "strings":
            if type(value) is not list:
                return "wrong_type"
            for item in value:
                if type(item) is not str:
                    return "wrong_type"
                if surrogates(item):
                    return "out_of_range"
            return None
        case "items":
            if type(value) is not list:
                return "wrong_type"
            for item in value:
                if type(item) is not dict:
                    return "wrong_type"
                if found := fault(ITEM, item):
                    return found
            return None
    if type(value) not in ((int, float) if kind == "number" else (kind,)):
        return "wrong_type"
    if low is not None and high is not None and not low <= value <= high:
        return "out_of_range"
    return "out_of_range" if kind in (str, dict) and surrogates(value) else None


def is_time(value: str | int) -> bool:
    if isinstance(value, int):
        return -62_135_596_800_000 <= value <= 253_402_300_799_999
    if not re.fullmatch(r"[0-9-]{10}[Tt ][0-9:]{8}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})", value):
        return False
    try:
        datetime.fromisoformat(re.sub(r"\.[0-9]+", "", value).upper())
    except ValueError:
        return False
    return True


def as_read(record: dict[str, Any]) -> dict[str, Any]:
    """The record as JSON text says it: two surrogates in a row are one character."""
    read: dict[str, Any] = json.loads(json.dumps(record))
    return read


TEXTS = st.text(st.characters(), max_size=8) | st.sampled_from(
    ["", "EUR", "eur", "order", "a\n", "\ud800", "x" * 200, "x" * 201, "\x85"]
)
TIMES = st.sampled_from(
    ["2026-01-31T09:30:00Z", "2026-02-30T09:30:00Z", "2026-01-31 09:30:00.5+02:00", "2026-01-31T09:30:00", 0, 10**16]
)
NUMBERS = st.integers() | st.integers(-2, 7) | st.floats(-2, 2) | st.sampled_from([2**63 - 1, 2**63, -(2**64), 1.0])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | TIMES,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXTS, v, max_size=3),
    max_leaves=6,
)


def records(table: Table) -> st.SearchStrategy[dict[str, Any]]:
    """Records of which most fields stand, and each may be anything."""
    likely: dict[Any, st.SearchStrategy[Any]] = {
        "time": TIMES,
        "items": st.deferred(lambda: st.lists(records(ITEM), max_size=3)),
        "strings": st.lists(TEXTS, max_size=3),
        "number": NUMBERS,
        int: st.integers(0, 6),
        dict: st.dictionaries(TEXTS, JSON, max_size=3),
    }
    good: dict[Any, st.SearchStrategy[Any]] = {
        "time": st.sampled_from(["2026-01-31T09:30:00Z", 0]),
        "event_id": st.just("e"),
        "customer_id": st.just("c"),
        "currency": st.just("EUR"),
        int: st.integers(1, 5),
        "number": st.floats(-1, 1),
        str: st.just("x"),
    }
    fields = {}
    for name, (kind, _, _, _) in table.items():
        usual = good.get(kind, likely.get(kind, TEXTS))
        unusual = st.one_of(likely.get(kind, TEXTS), JSON)
        fields[name] = st.integers(0, 11).flatmap(lambda n, u=usual, o=unusual: o if n == 0 else u)
    required = {name: strategy for name, strategy in fields.items() if table[name][1]}
    others = {name: strategy for name, strategy in fields.items() if not table[name][1]}
    plain = st.fixed_dictionaries(required, optional={**others, "unknown": JSON})
    return st.tuples(plain, st.sets(st.sampled_from(sorted(fields)), max_size=1), st.integers(0, 9)).map(
        lambda drawn: as_read({k: v for k, v in drawn[0].items() if drawn[2] or k not in drawn[1]})
    )


TYPED = st.sampled_from(sorted(TABLES)).flatmap(lambda name: st.tuples(st.just(name), records(TABLES[name])))


@settings(max_examples=300, deadline=None)
@given(TYPED)
def test_the_decoder_accepts_what_a_naive_validator_accepts_and_refuses_with_its_reason(
    drawn: tuple[str, dict[str, Any]],
) -> None:
    type_name, record = drawn
    found = fault(TABLES[type_name], record)
    if found is None and surrogates(record):
        found = "out_of_range"
    for ascii_only in (True, False):
        text = json.dumps(record, ensure_ascii=ascii_only)
        if not ascii_only and surrogates(record):
            continue  # no UTF-8 for it
        event = DECODER.decode(type_name, text.encode())
        assert (event.reason if isinstance(event, Rejection) else None) == found
        if isinstance(event, Event):
            assert event.customer_id == record["customer_id"]


@settings(max_examples=300, deadline=None)
@given(TYPED)
def test_a_schema_accepts_what_the_decoder_accepts_but_for_the_documented_differences(
    drawn: tuple[str, dict[str, Any]],
) -> None:
    type_name, record = drawn
    event = DECODER.decode(type_name, json.dumps(record).encode())
    stands = SCHEMAS[type_name].is_valid(record)
    if isinstance(event, Event):
        assert stands
    elif stands:
        assert surrogates(record) or event.reason == "bad_time" or "integer" in event.detail


@settings(deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda v: json.dumps(v).encode()), st.sampled_from(sorted(TABLES)))
def test_any_bytes_are_an_event_or_a_rejection(value: bytes, type_name: str) -> None:
    assert isinstance(DECODER.decode(type_name, value), Event | Rejection)


@settings(deadline=None)
@given(TYPED.map(lambda drawn: json.dumps(drawn[1]).encode()), st.data())
def test_a_damaged_event_is_an_event_or_a_rejection(value: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(value) - 1))
    damaged = value[:at] + data.draw(st.binary(max_size=2)) + value[at + 1 :]
    for type_name in TABLES:
        event = DECODER.decode(type_name, damaged)
        assert isinstance(event, Event | Rejection)
        if isinstance(event, Event):
            json.loads(damaged.decode())
        else:
            assert "expected an" not in event.detail or not event.detail.endswith(" event")
