"""What all shards of one generation share in a process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from faust.types import TP

from profilestream.carrying import Former
from profilestream.core.engine import Engine
from profilestream.pace import Pace
from profilestream.roles import Role
from profilestream.settings import Settings
from profilestream.store.metadata import Generation
from profilestream.stream.announced import AnnouncedLog
from profilestream.stream.archive import Archive
from profilestream.stream.counters import Counters
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.reports import Troubles
from profilestream.stream.slices import waiting_bytes_part
from profilestream.stream.sources import Sources
from profilestream.stream.topic_ids import TopicIds
from profilestream.stream.turns import Turns


@dataclass
class Tools:
    """One of each: the settings, the engine, the way out, and what is said and counted.

    `report` gets a line for a person, `troubles` what stands in the way of which part. `reassert` writes into Redis
    which generation is live, where that was lost. `forwarded_by_others` says up to where other generations have
    forwarded partitions that belong to no shard; `pace` holds a replay to its rate; `former` gives the generation
    whose profiles are taken over; `archive` has records that the log no longer has.
    """

    settings: Settings
    generation: Generation
    role: Role
    engine: Engine
    sources: Sources
    producer: ForwardingProducer
    counters: Counters
    announced: AnnouncedLog
    reassert: Callable[[], Awaitable[None]]
    report: Callable[[str], None]
    troubles: Troubles
    topic_ids: TopicIds
    forwarded_by_others: Callable[[Iterable[TP]], Awaitable[dict[TP, int]]]
    pace: Pace | None = None
    former: Callable[[], Awaitable[Former]] | None = None
    archive: Archive | None = None

    def __post_init__(self) -> None:
        self._restart = asyncio.Lock()
        self.turns = Turns(self.settings.passing_time_at_once_max)
        only = self.generation.only
        self.shards = frozenset(only["shards"]) if "shards" in only else frozenset(range(self.generation.shards))
        self.customers = frozenset(only["customers"]) if "customers" in only else None
        self.waiting_bytes_max = waiting_bytes_part(self.settings, self.generation.shards, len(self.sources.topics))

    @property
    def commit_customers_max(self) -> int:
        """How many customers one commit may have: fewer while a replay is held to a rate."""
        customers_max = self.settings.commit_customers_max
        return customers_max if self.pace is None or not self.role.is_silent else self.pace.slice(customers_max)

    async def keep_pace(self, count: int) -> None:
        """Waits until so many more records, or profiles, may be written; a live generation is held to no rate."""
        if self.pace is not None and self.role.is_silent:
            await self.pace.take(count)

    async def revive_producer(self) -> None:
        """Begins a failed producer anew, once for all who found it failed."""
        async with self._restart:
            if self.producer.failed:
                await self.producer.restart()
