"""From records to events: which type a topic carries, where a forwarded record came from, what is too far ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from profilestream.core.engine import Engine, Handler
from profilestream.settings import Settings
from profilestream.stream.slices import Record
from profilestream.stream.strays import Origin, parse_stray_headers
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.events import EventDecoder

Found = tuple[Any, Any, Origin | None]
"""What is in a record: an event and its Handler (or a Rejection and None), and where it was forwarded from."""


class Accepted(NamedTuple):
    """An event with its record; `origin` is where the record was forwarded from, if it was."""

    event: Any
    handler: Handler
    record: Record
    origin: Origin | None


def place(record: Record, origin: Origin | None) -> tuple[str, int, int, int]:
    """Topic, partition, offset and timestamp (ms) of the original record."""
    if origin is not None:
        return origin.topic, origin.partition, origin.offset, origin.timestamp_ms
    return record.topic, record.partition, record.offset, record.timestamp


class Sources:
    """Reads the records of every topic that a worker consumes."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        decoder = EventDecoder.of(engine.definitions)
        self.rekeyed_topic = settings.rekeyed_topic
        self.type_of: Mapping[str, str] = decoder.type_of_topic
        self._future_ms_max = settings.future_ms_max
        self._by_topic: Mapping[str, tuple[Callable[[bytes | None], Any], Handler | None]] = {
            topic: (decoder.decoder_for_topic(topic), engine.handlers.get(name)) for topic, name in self.type_of.items()
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that is consumed."""
        return (*self.type_of, self.rekeyed_topic)

    def read(self, record: Record, now_ms: int) -> Found:
        """The event in a record, or why there is none. `now_ms` is the worker's clock."""
        known = self._by_topic.get(record.topic)
        if known is None:
            return self._forwarded(record, now_ms)
        decode, handler = known
        event = decode(record.value)
        if event.__class__ is not Rejection:
            timestamp = record.timestamp
            if event.occurred_at > (timestamp if timestamp < now_ms else now_ms) + self._future_ms_max:
                return _AHEAD, None, None
        return event, handler, None

    def _forwarded(self, record: Record, now_ms: int) -> Found:
        origin = parse_stray_headers(record.headers)
        if origin is None:
            expected = f"headers: expected those of a record forwarded to `{self.rekeyed_topic}`"
            return Rejection("wrong_type", expected), None, None
        known = self._by_topic.get(origin.topic)
        if known is None:
            return ELSEWHERE, None, None
        if origin.type != self.type_of[origin.topic]:
            origin = origin._replace(type=self.type_of[origin.topic])  # forwarded under other definitions
        decode, handler = known
        event = decode(record.value)
        latest_ms = min(origin.timestamp_ms, now_ms) + self._future_ms_max
        if event.__class__ is not Rejection and event.occurred_at > latest_ms:
            return _AHEAD, None, None
        return event, handler, origin


ELSEWHERE = Rejection("wrong_type", "the topic of the original record: one that is read by these definitions")
"""A stray of a topic that only other definitions read, before a promotion or after: it is nobody's dead letter."""

_AHEAD = Rejection("future_time", "occurred_at: expected at most 5 minutes (a setting) after the record's arrival")
