"""What a crossing becomes: a membership in Redis, and a change that waits in the outbox, ready to send."""

from __future__ import annotations

from typing import Literal

from profilestream.core.engine import Crossing
from profilestream.store.commits import Change, Membership
from profilestream.stream.sources import place
from profilestream.wire.changes import Cause, EventReference, SegmentChange, encode_change


def membership(customer_id: str, crossing: Crossing) -> Membership:
    """What a crossing does to a membership."""
    return Membership(crossing.segment, customer_id, crossing.at, crossing.crossing % 2 == 1)


class Herald:
    """Words the changes of one generation; `source` is that of every message."""

    def __init__(self, generation: str, fingerprint: str, source: str) -> None:
        self._generation = generation
        self._fingerprint = fingerprint
        self._source = source

    def change(self, customer_id: str, crossing: Crossing, cause: Cause | None = None, told: bool = True) -> Change:
        """The change for a crossing, by its event, by time alone where it has none, or by another `cause`. One that
        subscribers are not to be `told` of has no value."""
        event = None
        if crossing.event is not None:
            folded, _, record, origin = crossing.event
            topic, partition, offset, _ = place(record, origin)
            event = EventReference(topic, partition, offset, folded.event_id)
        word: Literal["entered", "exited"] = "entered" if crossing.crossing % 2 else "exited"
        if not told:
            return Change(customer_id, crossing.segment, crossing.crossing, word, b"")
        message = SegmentChange(
            customer_id=customer_id,
            segment=crossing.segment,
            change=word,
            crossing=crossing.crossing,
            cause=cause or ("time" if event is None else "event"),
            values=crossing.values,
            generation=self._generation,
            definitions=self._fingerprint,
            time_ms=crossing.at,
            source=self._source,
            event=event,
        )
        return Change(customer_id, crossing.segment, crossing.crossing, word, encode_change(message))
