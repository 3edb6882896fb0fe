"""From records to events: which type a topic carries, where a forwarded record came from, what is too far ahead."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from profilestream.core.engine import Engine, Handler
from profilestream.core.events import COMMANDS_TOPIC
from profilestream.settings import Settings
from profilestream.stream.slices import Record
from profilestream.stream.strays import Origin, parse_stray_headers
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.events import COMMAND, EventDecoder


class Accepted(NamedTuple):
    """An event with its record's place: the original's, where it was forwarded from an `origin`."""

    event: Any
    handler: Handler
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    origin: Origin | None


class Sources:
    """Reads the records of every topic that a worker consumes."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        types = engine.definitions.types
        decoder = EventDecoder(types)
        self.rekeyed_topic = settings.rekeyed_topic
        self.type_of = {t.topic: name for name, t in types.items()}
        self.type_of[COMMANDS_TOPIC] = COMMAND
        self._future_ms_max = settings.future_ms_max
        self._decode: Mapping[str, Callable[[bytes | None], Any]] = {
            name: decoder.decoder_for(name) for name in (*types, COMMAND)
        }
        self._handlers = engine.handlers
        self._by_topic = {
            topic: (self._decode[name], engine.handlers.get(name)) for topic, name in self.type_of.items()
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that is consumed."""
        return (*self.type_of, self.rekeyed_topic)

    def accept(self, record: Record) -> Accepted | Rejection:
        """The event in a record, or why there is none."""
        known = self._by_topic.get(record.topic)
        if known is None:
            return self._forwarded(record)
        decode, handler = known
        event = decode(record.value)
        if event.__class__ is Rejection:
            return event
        if self._is_ahead(event, record.timestamp):
            return _AHEAD
        assert handler is not None
        return Accepted(event, handler, record.topic, record.partition, record.offset, record.timestamp, None)

    def _forwarded(self, record: Record) -> Accepted | Rejection:
        origin = parse_stray_headers(record.headers)
        if origin is None or origin.type not in self._handlers:
            return Rejection("wrong_type", f"headers: expected those of a record forwarded to `{self.rekeyed_topic}`")
        event = self._decode[origin.type](record.value)
        if event.__class__ is Rejection:
            return event
        if self._is_ahead(event, origin.timestamp_ms):
            return _AHEAD
        handler = self._handlers[origin.type]
        return Accepted(event, handler, origin.topic, origin.partition, origin.offset, origin.timestamp_ms, origin)

    def _is_ahead(self, event: Any, timestamp_ms: int) -> bool:
        """Further ahead than allowed of the earlier of the record's timestamp and the worker's clock."""
        ahead = event.occurred_at - self._future_ms_max
        return bool(ahead > timestamp_ms or ahead > time.time_ns() // 1_000_000)


_AHEAD = Rejection("future_time", "occurred_at: expected at most 5 minutes (a setting) after the record's arrival")
