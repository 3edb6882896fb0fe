"""One log of a few records without a Kafka, and the history of a customer that is told from it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from profilestream.core.engine import Engine
from profilestream.operations.history import History
from profilestream.operations.history_entries import Entry
from profilestream.operations.retention import Kept
from profilestream.operations.told import Known, Told
from profilestream.settings import Settings
from profilestream.store.commits import Head
from profilestream.store.keys import shard_of
from profilestream.store.metadata import Generation
from profilestream.store.standing import Standing
from profilestream.stream.strays import stray_headers
from profilestream.wire.changes import Cause, EventReference, SegmentChange
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import encode_state

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
SHARDS = 2
DEFINITIONS = """
[traits]
orders = "count(purchase)"
spend_1d = "sum(purchase.amount_minor, over='1d')"
views = "count(browsing)"
last_at = "last(purchase.occurred_at)"

[segments.buyer]
enter = "orders >= 2"

[segments.idle]
enter = "since(last_at) > hours(2)"
"""


@dataclass
class Record:
    """What a history reads of a record."""

    topic: str
    offset: int
    value: bytes | None
    timestamp: int
    partition: int = 0
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def of_shard(shard: int, start: str) -> str:
    """A customer id of a shard, beginning with `start`."""
    return next(name for n in count() if shard_of(name := f"{start}{n}", SHARDS) == shard)


MINE, OTHER, ASTRAY = of_shard(0, "mine"), of_shard(0, "other"), of_shard(1, "astray")


@dataclass
class Log:
    """Records in the order in which they are read."""

    records: list[Record] = field(default_factory=list)
    given: int = 0

    def add(self, customer: str, at: int, topic: str = "purchases", event_id: str | None = None, **more: Any) -> Record:
        """An event at `at` (ms after T0), arriving then."""
        event: dict[str, Any] = {
            "event_id": event_id or f"e{len(self.records)}",
            "customer_id": customer,
            "occurred_at": T0 + at,
        }
        event |= {"amount_minor": 100} if topic == "purchases" else {"kind": "page_view"}
        record = Record(topic, len(self.records), json.dumps(event | more).encode(), T0 + at)
        self.records.append(record)
        return record

    def forward(self, record: Record, partition: int, offset: int) -> None:
        """The record again, as a shard forwards it that read it there."""
        type_name = {"purchases": "purchase", "browsing": "browsing"}[record.topic]
        headers = stray_headers(type_name, record.topic, partition, offset, record.timestamp)
        self.records.append(Record("rekeyed", len(self.records), record.value, record.timestamp, headers=headers))

    @property
    def passed(self) -> int:
        return len(self.records)

    total = passed

    async def runs(self) -> AsyncIterator[list[Record]]:
        """Runs of one topic."""
        run: list[Record] = []
        for record in self.records:
            self.given += 1
            if run and run[0].topic != record.topic:
                yield run
                run = []
            run.append(record)
        if run:
            yield run


def history_of(
    log: Log,
    clock: int,
    changes: Iterable[tuple[SegmentChange, Known]] = (),
    numbers: dict[str, int] | None = None,
    text: str = DEFINITIONS,
    kept: Iterable[Kept] = (),
) -> History:
    """The history of MINE, with the shard's clock at `clock` (ms after T0) now."""
    engine = Engine(parse_definitions(text))
    stored = engine.new_profile(MINE)
    stored.members = {name: [number, T0] for name, number in sorted((numbers or {}).items())}
    generation = Generation("g1", SHARDS, text, engine.definitions.fingerprint, "2026-01-01T00:00:00.000Z", "live")
    standing = Standing(Head(clock=T0 + clock), encode_state(stored, engine), True)
    told = Told(changes, "g1", numbers or {})
    return History(MINE, generation, engine, Settings(), standing, told, log, list(kept))  # type: ignore[arg-type]


def entries(history: History, until: int | None = None) -> list[Entry]:
    async def read() -> list[Entry]:
        return [entry async for entry in history.entries(None if until is None else T0 + until)]

    return asyncio.run(read())


def told(
    segment: str,
    crossing: int,
    at: int,
    record: Record | None = None,
    cause: Cause | None = None,
    generation: str = "g1",
) -> SegmentChange:
    """A change as it was announced, by an event's record or by time."""
    event = None if record is None else EventReference(record.topic, record.partition, record.offset, "e")
    how: Cause = cause or ("time" if event is None else "event")
    word: Any = "entered" if crossing % 2 else "exited"
    return SegmentChange(MINE, segment, word, crossing, how, {}, generation, "d", T0 + at, "profilestream/ps", event)


def crossings(found: Iterable[Entry]) -> list[tuple[str, int, int, str, str]]:
    return [(c.segment, c.crossing, c.at - T0, c.cause, c.known) for e in found for c in e.crossings]


def kept(topic: str, first_read: int = 0, begins: int = 0, position: int = 100, ms: int | None = T0) -> Kept:
    return Kept(topic, first_read, begins, position, ms)
