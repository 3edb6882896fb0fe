"""A shard without servers: events in, profiles and changes out, the clock as the worker moves it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from profilestream.core.engine import Crossing, Engine
from profilestream.core.events import BUILT_IN
from profilestream.core.profile import Profile
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import Event, EventDecoder
from profilestream.wire.states import decode_state, encode_state

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
_DECODER = EventDecoder(BUILT_IN)


def definitions_text(
    traits: Mapping[str, str] | None = None,
    segments: Mapping[str, str | tuple[str, str] | Mapping[str, Any]] | None = None,
    streams: Mapping[str, str] | None = None,
    timezone: str = "",
) -> str:
    """The TOML of a definitions file; a segment is its `enter`, or `enter` and `exit`, or its whole table."""
    lines = [f"[settings]\ntimezone = {json.dumps(timezone)}"] if timezone else []
    for table, entries in (("streams", streams), ("traits", traits)):
        if entries:
            lines += [f"[{table}]", *(f"{name} = {_quoted(text)}" for name, text in entries.items())]
    for name, texts in (segments or {}).items():
        table: Mapping[str, Any] = (
            {"enter": texts} if isinstance(texts, str) else dict(zip(("enter", "exit"), texts, strict=True))
            if isinstance(texts, tuple) else texts
        )  # fmt: skip
        lines += [f"[segments.{name}]", *(f"{key} = {_quoted(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _quoted(text: Any) -> str:
    return json.dumps(text, ensure_ascii=False)


def engine_of(*args: Any, **kwargs: Any) -> Engine:
    """An engine for what `definitions_text` takes."""
    return Engine(parse_definitions(definitions_text(*args, **kwargs)))


class Shard:
    """One shard's profiles in memory. An event is its JSON object plus `type`, and `arrived_at` in ms if it matters."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock: int | None = None
        self.profiles: dict[str, Profile] = {}
        self.changes: dict[str, list[Crossing]] = {}
        self.duplicates = 0

    def take(self, raw: Mapping[str, Any], cause: Any = "event") -> bool:
        """Folds one event after what falls due before it; False for a duplicate."""
        return self.fold(decoded(raw), raw.get("arrived_at", 0), cause)

    def fold(self, event: Event, arrived_at: int = 0, cause: Any = "event") -> bool:
        """`take` of an event that is decoded already."""
        name = event.customer_id
        profile = self.profiles.get(name) or self.engine.new_profile(name)
        changes = self.changes.get(name, [])
        clock = event.occurred_at if self.clock is None else max(self.clock, event.occurred_at)
        handler = self.engine.handlers[event.type_name]
        if not self.engine.fold(profile, event, handler, clock, arrived_at, changes, cause):
            self.duplicates += 1
            return False
        self.profiles[name], self.changes[name] = profile, changes
        self.pass_time(clock)
        return True

    def take_all(self, events: Iterable[Mapping[str, Any]]) -> Shard:
        for n, raw in enumerate(events):
            self.take(raw, cause=n)
        return self

    def pass_time(self, clock: int) -> Shard:
        """Moves the shard's clock on, never back; every customer follows."""
        self.clock = clock if self.clock is None else max(clock, self.clock)
        for name, profile in self.profiles.items():
            self.engine.advance(profile, self.clock, self.changes[name])
        return self

    def crash(self) -> Shard:
        """Drops all profiles from memory and reads them back from their stored states."""
        for name, profile in self.profiles.items():
            self.profiles[name] = decode_state(encode_state(profile, self.engine), name, self.engine)
        return self

    def states(self) -> dict[str, bytes]:
        return {name: encode_state(profile, self.engine) for name, profile in self.profiles.items()}

    def values(self, name: str = "c") -> dict[str, Any]:
        """The traits of a customer, as readers see them."""
        return self.engine.values(self.profiles[name])

    def members(self, name: str = "c") -> list[str]:
        """The segments that a customer is in, by the memberships kept."""
        kept = self.profiles[name].members
        order = [s.name for s in self.engine.definitions.segments]
        return [segment for segment in order if segment in kept and kept[segment][0] % 2]

    def crossings(self, name: str = "c") -> list[tuple[str, int, int]]:
        """(segment, crossing, time in ms) of every change of a customer."""
        return [(c.segment, c.crossing, c.at) for c in self.changes[name]]


def decoded(raw: Mapping[str, Any]) -> Event:
    """The event in a JSON object plus `type`."""
    value = {k: v for k, v in raw.items() if k not in ("type", "arrived_at")}
    event = _DECODER.decode(raw["type"], json.dumps(value).encode())
    assert isinstance(event, Event), event
    return event
