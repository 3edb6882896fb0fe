"""A shard as its commits leave it in Redis, without servers: records cut into commits, time passed in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.property.shard import decoded

from profilestream.core.engine import Crossing, Engine
from profilestream.core.profile import Profile
from profilestream.store.profile_writes import ProfileWriter
from profilestream.wire.states import profile_of

Stored = tuple[bytes, dict[str, Any], int | None, int | None]
"""A customer's state, readable fields, timer and urgent timer."""


class Committed:
    """One shard. What it writes goes to `stored`; profiles stay at hand until `forget`."""

    def __init__(self, engine: Engine) -> None:
        self.clock = 0
        self.stored: dict[str, Stored] = {}
        self.crossings: dict[str, list[Crossing]] = {}
        self._engine = engine
        self._writer = ProfileWriter(engine)
        self._cached: dict[str, Profile] = {}

    def fold(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Folds records, and commits what they changed."""
        changed: dict[str, int] = {}
        for raw in events:
            event = decoded(raw)
            name = event.customer_id
            mine = self.crossings.setdefault(name, [])
            before = len(mine)
            clock = max(self.clock, event.occurred_at)
            handler = self._engine.handlers[event.type_name]
            if self._engine.fold(self._at_hand(name), event, handler, clock, raw.get("arrived_at", 0), mine, "event"):
                self.clock = clock
                changed[name] = changed.get(name, 0) + len(mine) - before
        for name, crossed in changed.items():
            self._commit(name, crossed > 0)

    def due(self) -> list[str]:
        """Who is due at the clock, the earliest first."""
        found = [(at, name) for name, (_, _, at, _) in self.stored.items() if at is not None and at <= self.clock]
        return [name for _, name in sorted(found)]

    def first_due(self) -> int | None:
        """When somebody is due first."""
        return min((at for _, _, at, _ in self.stored.values() if at is not None), default=None)

    def pass_all(self, instants_max: int = 10**6) -> Committed:
        """Lets all pass that is due at the clock, so many instants of one customer in each commit."""
        while due := self.due():
            self.pass_time(due, instants_max)
        return self

    def pass_time(self, customers: Iterable[str], instants_max: int) -> None:
        """Lets time pass for customers up to the clock, so many instants of each, in one commit."""
        for name in customers:
            mine = self.crossings[name]
            before = len(mine)
            if self._writer.pass_time(self._at_hand(name), self.clock, mine, instants_max):
                self._commit(name, len(mine) > before)

    def forget(self) -> None:
        """Nothing is at hand: whoever is next is read back."""
        self._cached.clear()

    def _at_hand(self, name: str) -> Profile:
        if name not in self._cached:
            state = self.stored[name][0] if name in self.stored else None
            self._cached[name] = profile_of(name, state, self._engine)
        return self._cached[name]

    def _commit(self, name: str, crossed: bool) -> None:
        write = self._writer.write(self._cached[name], crossed)
        _, fields, due, urgent = self.stored.get(name, (b"", {}, None, None))
        if write.rewrite:
            fields = {}
        fields = {k: v for k, v in fields.items() if k not in write.removed}
        fields |= zip(write.fields[::2], write.fields[1::2], strict=True)
        due = write.due if write.due_changed else due
        urgent = write.urgent if write.urgent_changed else urgent
        self.stored[name] = (write.state, fields, due, urgent)


def text(value: Any) -> str:
    """A field's value as Redis has it."""
    return value.decode() if isinstance(value, bytes) else str(value)
