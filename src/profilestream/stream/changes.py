"""Segment changes as they are received: decoded, with the place where they stand, and which of them are meant."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec

from profilestream.core.errors import ProfilestreamError
from profilestream.store.keys import shard_of
from profilestream.wire.changes import Change, SegmentChange, claims_to_be_a_change, decode_change


class ReceivedChange(SegmentChange, frozen=True, gc=False, kw_only=True):
    """A segment change, and the topic, partition and offset at which it stands.

    (`customer_id`, `segment`, `crossing`), and so `id`, is the same whenever the change is received again. `change`
    is "entered" or "exited"; `time` is RFC 3339 UTC text and `time_ms` the same in milliseconds; `values` are the
    traits that the segment's conditions name; `event` is the record that caused it, where `cause` is "event".
    `value` is the CloudEvents JSON as it was sent.
    """

    topic: str
    partition: int
    offset: int
    value: bytes


@dataclass(frozen=True)
class ChangeFilter:
    """Which changes are meant: of each part that is given one value must fit exactly; `change` is a direction."""

    segments: Collection[str] | None = None
    customers: Collection[str] | None = None
    causes: Collection[str] | None = None
    change: Change | None = None

    def accepts(self, change: SegmentChange) -> bool:
        """Whether `change` is one of those."""
        return (
            (self.segments is None or change.segment in self.segments)
            and (self.customers is None or change.customer_id in self.customers)
            and (self.causes is None or change.cause in self.causes)
            and (self.change is None or change.change == self.change)
        )

    def partitions(self, count: int) -> list[int]:
        """Those of a topic's partitions in which such changes may stand: a customer's are in the shard's."""
        if self.customers is None:
            return list(range(count))
        return sorted({shard_of(customer_id, count) for customer_id in self.customers})


EVERY_CHANGE = ChangeFilter()


def received(record: Any) -> ReceivedChange | None:
    """The change in a record (aiokafka's) of topic `segment-changes`; None for a record that is a stranger's.

    Raises ProfilestreamError for a record that says it is a segment change and cannot be read: passing it over would
    lose a change.
    """
    value = record.value or b""
    try:
        change = decode_change(value)
    except ValueError:
        if claims_to_be_a_change(value):
            raise ProfilestreamError(
                f"{place_of(record)}: a segment change that this version cannot read; it was written by a newer "
                "version or is damaged, so update profilestream, or move the group past it"
            ) from None
        return None
    parts = msgspec.structs.astuple(change)
    return ReceivedChange(*parts, topic=record.topic, partition=record.partition, offset=record.offset, value=value)


def place_of(record: Any) -> str:
    """Topic, partition and offset, for a line to a person."""
    return f"topic {record.topic}, partition {record.partition}, offset {record.offset}"
