"""Segment changes as CloudEvents."""

import json

import msgspec
import pytest

from profilestream.wire.changes import (
    CONTENT_TYPE,
    EventReference,
    SegmentChange,
    decode_change,
    encode_change,
)

CHANGE = SegmentChange(
    customer_id="c42",
    segment="big_spender",
    change="entered",
    crossing=3,
    cause="event",
    values={"spend_30d": 51200, "orders": 4},
    generation="g1",
    definitions="a1b2c3",
    time_ms=1_769_851_800_000,
    source="profilestream/ps",
    event=EventReference("purchases", 3, 1881, "e1"),
)


def test_a_change_is_exactly_the_contracts_cloud_event() -> None:
    contract = """{"specversion": "1.0", "id": "big_spender/c42/3", "source": "profilestream/ps", "type": "profilestream.segment.entered",
 "subject": "c42", "time": "2026-01-31T09:30:00.000Z", "datacontenttype": "application/json",
 "data": {"customer_id": "c42", "segment": "big_spender", "change": "entered", "crossing": 3, "cause": "event",
          "values": {"spend_30d": 51200, "orders": 4}, "generation": "g1", "definitions": "a1b2c3",
          "event": {"topic": "purchases", "partition": 3, "offset": 1881, "event_id": "e1"}}}"""  # noqa: E501
    assert encode_change(CHANGE).decode() == json.dumps(json.loads(contract), separators=(",", ":"))
    assert CONTENT_TYPE == ("content-type", b"application/cloudevents+json")


def test_a_change_without_an_event_leaves_it_out() -> None:
    change = msgspec.structs.replace(CHANGE, change="exited", cause="time", event=None)
    document = json.loads(encode_change(change))
    assert document["type"] == "profilestream.segment.exited"
    assert "event" not in document["data"]


@pytest.mark.parametrize("values", [{}, {"a": 10**30}, {"é": [0.1, None, {"x": True}]}])
def test_a_change_reads_back(values: dict[str, object]) -> None:
    change = msgspec.structs.replace(CHANGE, customer_id="a/b é", values=values)
    assert decode_change(encode_change(change)) == change


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"data":' * 5000, b"[]"])
def test_bytes_that_are_no_change_raise_value_error(value: bytes) -> None:
    with pytest.raises(ValueError):
        decode_change(value)
