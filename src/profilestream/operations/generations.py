"""`generations`: every generation there is, how large it is, how far it has come, and since when it is complete."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profilestream.core.errors import NotFound
from profilestream.operations.sizes import count_customers
from profilestream.operations.status import Status, status_of
from profilestream.settings import Settings
from profilestream.store.connection import connect
from profilestream.store.metadata import Generation
from profilestream.stream.generations import Generations, read_all
from profilestream.wire.times import format_time, parse_time


@dataclass(frozen=True, slots=True)
class Listed:
    """One generation; `status` tells of its shards. `state` is "live" for the live one, whatever its record says."""

    generation: Generation
    state: str
    customers: int
    status: Status
    now_ms: int

    @property
    def age_ms(self) -> int:
        """Since it was made."""
        return max(0, self.now_ms - parse_time(self.generation.created_at))

    @property
    def lag(self) -> int | None:
        """Records that it has not folded yet; None where that is not known."""
        found = self.status.lag_by_topic
        return None if found is None else sum(found.values())

    @property
    def in_repair(self) -> int:
        """Shards that are silent: not yet reconciled with what was announced."""
        return sum(shard.head.repair for shard in self.status.shards)

    @property
    def late_topics(self) -> list[str]:
        """The topics of which the log did not begin at 0 when they were first read."""
        return sorted({topic for shard in self.status.shards for topic in shard.head.starts})


async def list_generations(settings: Settings) -> list[Listed]:
    """Every generation of the namespace, the live one first, then the newest.

    Raises NotFound before `init`, ServerUnavailable without Kafka or Redis.
    """
    assert settings.kafka is not None and settings.redis is not None
    known = await read_all(settings.kafka, settings.generations_topic, settings.namespace)
    if not known.by_name:
        raise NotFound(f"namespace `{settings.namespace}` has no generation; run `profilestream init` first")
    client = connect(settings.redis)
    found = []
    try:
        for generation in in_order(known):
            status = await status_of(client, settings, generation)
            size = await count_customers(client, settings.namespace, generation)
            now_ms = time.time_ns() // 1_000_000
            found.append(Listed(generation, state_of(known, generation), size, status, now_ms))
    finally:
        await client.aclose()
    return found


def in_order(known: Generations) -> list[Generation]:
    """The live one first, then the newest."""
    newest = sorted(known.by_name.values(), key=lambda g: (g.created_at, g.name), reverse=True)
    return sorted(newest, key=lambda g: g.name != known.live_name)


def state_of(known: Generations, generation: Generation) -> str:
    """What a generation is; who is live is said by one record for all."""
    if generation.name == known.live_name:
        return "live"
    return "kept" if generation.state == "live" else generation.state


def listed_object(one: Listed) -> dict[str, Any]:
    """One generation, ready for JSON."""
    generation, clocks = one.generation, one.status.clocks
    return {
        "name": generation.name,
        "state": one.state,
        "turn": generation.turn,
        "shards": generation.shards,
        "customers": one.customers,
        "lag": one.lag,
        "clock": format_time(clocks[-1]) if clocks else None,
        "shards_in_repair": one.in_repair,
        "definitions": generation.fingerprint,
        "created_at": generation.created_at,
        "age_ms": one.age_ms,
        "base": generation.base or None,
        "method": generation.method,
        "start": dict(generation.start),
        "only": dict(generation.only),
        "late_topics": one.late_topics,
        "complete_since": dict(generation.complete_since),
        "kept_until": generation.kept_until or None,
    }


def problems(listed: Sequence[Listed]) -> list[str]:
    """Why no lag is known, each reason once."""
    return sorted({one.status.kafka_problem for one in listed if one.status.kafka_problem})
