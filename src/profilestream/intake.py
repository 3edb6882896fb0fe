"""What comes in to a shard: records up to one commit's worth, decoded, and kept, sent elsewhere or left out.

A record that nobody can read becomes a dead letter, one of another shard's customer a stray; a silent shard leaves
those to the live one (roles.py). One that was forwarded here before is a duplicate, known by the place that it had
first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from profilestream.core.engine import Handler
from profilestream.core.profile import Profile
from profilestream.roles import Role
from profilestream.store.keys import shard_of
from profilestream.store.profile_cache import ProfileCache
from profilestream.stream.outward import Outward
from profilestream.stream.slices import Inbox, Record
from profilestream.stream.sources import ELSEWHERE, Accepted
from profilestream.stream.strays import Origin
from profilestream.tools import Tools
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.events import Event


@dataclass(slots=True)
class Batch:
    """A run of records up to one position a topic, with what came of it."""

    accepted: list[tuple[Event, Handler | None, Record, Origin | None]] = field(default_factory=list)
    profiles: dict[str, Profile] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    outward: bool = False
    origins: dict[str, int] = field(default_factory=dict)
    began: dict[str, int] = field(default_factory=dict)
    records: int = 0


class Intake:
    """Takes records of one shard out of its inbox. `origins` are the greatest offsets folded of strays, by where these
    had come from; whoever folds a batch adds the batch's."""

    def __init__(
        self, shard: int, inbox: Inbox, cache: ProfileCache, tools: Tools, role: Role, origins: Mapping[str, int]
    ) -> None:
        self.origins = dict(origins)
        self._shard = shard
        self._inbox = inbox
        self._cache = cache
        self._settings = tools.settings
        self._sources = tools.sources
        self._counters = tools.counters
        self._shards = tools.generation.shards
        self._customers = tools.customers
        self._tools = tools
        self._role = role
        self._outward = Outward(tools.producer, tools.settings)

    def take(self) -> Batch:
        """Takes, decodes and routes records up to the limits of one commit."""
        batch, limits = Batch(began=dict(self._inbox.positions)), self._settings
        profiles, missing, accepted, cached = batch.profiles, batch.missing, batch.accepted, self._cache.get
        take, read, now_ms = self._inbox.take, self._sources.read, time.time_ns() // 1_000_000
        size, records, chosen, customers_max = 0, 0, self._customers, self._tools.commit_customers_max
        while len(profiles) + len(missing) < customers_max and size < limits.commit_bytes_max:
            record = take()
            if record is None:
                break
            size += len(record.value or b"")
            records += 1
            event, handler, origin = read(record, now_ms)
            if event.__class__ is Rejection:
                self._dead_letter(record, event, batch)
                continue
            if origin is not None and not self._is_new(origin, batch):
                continue
            customer_id = event.customer_id
            if chosen is not None and customer_id not in chosen:
                if shard_of(customer_id, self._shards) == self._shard:
                    accepted.append((event, None, record, origin))  # it moves the clock, and nothing else
                continue
            if customer_id not in profiles and customer_id not in missing:
                profile = cached(customer_id)
                if profile is not None:
                    profiles[customer_id] = profile
                elif shard_of(customer_id, self._shards) == self._shard:
                    missing.add(customer_id)
                else:
                    self._stray(Accepted(event, handler, record, origin), batch)
                    continue
            accepted.append((event, handler, record, origin))
        batch.records = records
        return batch

    def _dead_letter(self, record: Record, rejection: Rejection, batch: Batch) -> None:
        if self._role.is_silent or rejection is ELSEWHERE:
            return  # it was told when the live generation came to it; or it is a stray that only others read
        self._outward.dead_letter(record, rejection)
        self._counters.count_dead_letter(rejection.reason)
        batch.outward = True

    def _stray(self, found: Accepted, batch: Batch) -> None:
        if not self._role.forwards(found.record.topic):
            return  # the live generation forwards it, and is past it already
        self._outward.stray(found, self._shards)
        self._counters.count_stray()
        batch.outward = True

    async def flush(self) -> None:
        """Sends dead letters and strays, and returns when Kafka has them all; raises as the producer does."""
        await self._outward.flush()

    def _is_new(self, origin: Origin, batch: Batch) -> bool:
        """Whether a forwarded record was not folded before; its origin's greatest offset then moves on."""
        name = origin.name
        if origin.offset <= batch.origins.get(name, self.origins.get(name, -1)):
            self._counters.count_duplicates(1)
            return False
        batch.origins[name] = origin.offset
        return True
