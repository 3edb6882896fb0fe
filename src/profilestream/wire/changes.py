"""Segment changes on the topic `segment-changes`: a structure inside, CloudEvents 1.0 JSON on the wire.

(customer, segment, crossing) names a change: its CloudEvents `id` is "segment/customer/crossing".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from profilestream.wire.times import format_time, parse_time
from profilestream.wire.values import encode_value

CONTENT_TYPE: Final = ("content-type", b"application/cloudevents+json")
"""The header of every segment change."""

Change = Literal["entered", "exited"]
Cause = Literal["event", "time", "definition", "backfill", "repair", "merge", "erasure"]


class EventReference(msgspec.Struct, frozen=True, gc=False):
    """The original record whose event made the change."""

    topic: str
    partition: int
    offset: int
    event_id: str


class SegmentChange(msgspec.Struct, frozen=True, gc=False):
    """One customer's crossing of one segment's border.

    `crossing` counts from 1 for each customer and segment, odd when entered; `time_ms` is the shard's clock
    at the crossing; `values` are JSON-ready; `source` is "profilestream/" and the namespace; `event` is
    there when `cause` is "event".
    """

    customer_id: str
    segment: str
    change: Change
    crossing: int
    cause: Cause
    values: Mapping[str, Any]
    generation: str
    definitions: str
    time_ms: int
    source: str
    event: EventReference | None = None

    @property
    def id(self) -> str:
        """The CloudEvents id, "segment/customer/crossing"; a change that comes twice has it twice."""
        return f"{self.segment}/{self.customer_id}/{self.crossing}"

    @property
    def time(self) -> str:
        """`time_ms` as RFC 3339 in UTC, with milliseconds."""
        return format_time(self.time_ms)


def encode_change(change: SegmentChange) -> bytes:
    """The change as compact CloudEvents JSON, members in the contract's order.

    Raises ValueError for a float that is not finite, TypeError for a value that JSON cannot hold.
    """
    data: dict[str, Any] = {
        "customer_id": change.customer_id,
        "segment": change.segment,
        "change": change.change,
        "crossing": change.crossing,
        "cause": change.cause,
        "values": change.values,
        "generation": change.generation,
        "definitions": change.definitions,
    }
    event = change.event
    if event is not None:
        data["event"] = {
            "topic": event.topic,
            "partition": event.partition,
            "offset": event.offset,
            "event_id": event.event_id,
        }
    return encode_value(
        {
            "specversion": "1.0",
            "id": change.id,
            "source": change.source,
            "type": f"profilestream.segment.{change.change}",
            "subject": change.customer_id,
            "time": change.time,
            "datacontenttype": "application/json",
            "data": data,
        }
    )


class _Data(msgspec.Struct, gc=False):
    customer_id: str
    segment: str
    change: Change
    crossing: int
    cause: Cause
    values: dict[str, Any]
    generation: str
    definitions: str
    event: EventReference | None = None


class _CloudEvent(msgspec.Struct, gc=False):
    source: str
    time: str
    data: _Data


_decode: Final = msgspec.json.Decoder(_CloudEvent).decode


def decode_change(value: bytes) -> SegmentChange:
    """The inverse of `encode_change`; raises ValueError where the bytes are not a segment change."""
    try:
        envelope = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("not a segment change") from None
    data = envelope.data
    return SegmentChange(
        customer_id=data.customer_id,
        segment=data.segment,
        change=data.change,
        crossing=data.crossing,
        cause=data.cause,
        values=data.values,
        generation=data.generation,
        definitions=data.definitions,
        time_ms=parse_time(envelope.time),
        source=envelope.source,
        event=data.event,
    )


class _Claim(msgspec.Struct, gc=False):
    source: Any = None
    type: Any = None


_decode_claim: Final = msgspec.json.Decoder(_Claim).decode


def claims_to_be_a_change(value: bytes) -> bool:
    """Whether bytes that are no segment change say that they are one: a newer version's, or a damaged one."""
    try:
        claim = _decode_claim(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return (
        isinstance(claim.source, str)
        and claim.source.startswith("profilestream/")
        and isinstance(claim.type, str)
        and claim.type.startswith("profilestream.segment.")
    )
