"""The oracle on bytes: the same records are events as for the decoder, and a glance names the same customer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from profilestream.oracle.definitions import Definitions
from profilestream.oracle.records import NESTING_MAX, VALUE_BYTES_MAX, Records
from profilestream.oracle.sources import RefusedError
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import EventDecoder

DEFINITIONS = """
[traits]
n = "count(purchase)"
[sources.shop]
topic = "shop.orders"
type = "purchase"
map = { event_id = "id", customer_id = "user.id", occurred_at = "at" }
[sources.own]
topic = "purchases"
type = "purchase"
"""
GOOD = {"event_id": "e", "customer_id": "c", "occurred_at": 1, "amount_minor": 3}


def nested(depth: int) -> bytes:
    return (
        b'{"event_id":"e","customer_id":"c","occurred_at":1,"amount_minor":3,"x":' + b"[" * depth + b"]" * depth + b"}"
    )


VALUES: list[bytes | None] = [
    None,
    b"",
    b"x",
    b"null",
    b"[]",
    b"{}",
    b'\xff{"event_id":"e"}',
    b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
    json.dumps(GOOD).encode("utf-16"),
    json.dumps(GOOD).encode() + b" ",
    json.dumps(GOOD).encode() + b"{}",
    json.dumps({**GOOD, "x": float("nan")}).encode(),
    json.dumps(GOOD).encode()[:-1] + b',"x":1e999}',
    json.dumps(GOOD).encode()[:-1] + b',"x":' + b"9" * 5_000 + b"}",
    json.dumps(GOOD).encode()[:-1] + b',"amount_minor":' + b"9" * 5_000 + b"}",
    json.dumps(GOOD).encode()[:-1] + b',"x":"' + b"a" * VALUE_BYTES_MAX + b'"}',
    json.dumps({**GOOD, "x": "\ud800"}).encode(),
    json.dumps({**GOOD, "customer_id": "Zo\u00eb \u2603"}).encode(),
    json.dumps({**GOOD, "customer_id": "a\u0007"}).encode(),
    json.dumps({**GOOD, "customer_id": ""}).encode(),
    json.dumps({**GOOD, "customer_id": 7}).encode(),
    json.dumps({**GOOD, "occurred_at": "2026-13-01T00:00:00Z"}).encode(),
    nested(NESTING_MAX - 1),
    nested(NESTING_MAX),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_bytes_are_an_event_for_the_oracle_where_they_are_one_for_the_decoder(value: bytes | None) -> None:
    decode = EventDecoder.of(parse_definitions(DEFINITIONS, "d")).decoder_for_topic("purchases")
    records, decoded = Records(Definitions(DEFINITIONS)), decode(value)
    try:
        found: Any = records.event("purchases", value, 0)
    except RefusedError:
        found = None
    assert (found is None) == isinstance(decoded, Rejection), decoded
    if found is not None:
        assert (found.customer_id, found.occurred_ms) == (decoded.customer_id, decoded.occurred_at)
        assert records.customer("purchases", value) == found.customer_id


@pytest.mark.parametrize("user", ["c7", 7, {"x": 1}, None, "7"])
def test_a_glance_at_other_words_names_the_customer_of_the_event(user: Any) -> None:
    value = json.dumps({"id": 1, "user": {"id": user}, "at": 5, "amount_minor": 1}).encode()
    records = Records(Definitions(DEFINITIONS))
    try:
        wanted = records.event("shop.orders", value, 0).customer_id
    except RefusedError:
        wanted = None
    assert records.customer("shop.orders", value) == wanted
    assert records.type_of_topic["shop.orders"] == "purchase"
