"""`plan`: what a definitions file would change in the live generation, before anything is changed.

Four questions are answered: what differs in meaning (`core/changes_between.py`), who would enter and leave
(`sweep.py`), how far back the log reaches where it is needed (`reach.py`), and what it would take (`costs.py`). Redis
and Kafka are only read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from profilestream.core.changes_between import Changes, changes_between
from profilestream.core.definitions import Definitions
from profilestream.operations.costs import Estimate, estimate
from profilestream.operations.reach import Incomplete, Reach, incomplete, passed_by, read_left, read_reach
from profilestream.operations.sweep import Crossed, Progress, Sweep, sweep
from profilestream.settings import Settings
from profilestream.store.connection import connect
from profilestream.store.metadata import Generation, read_generation, read_live
from profilestream.store.places import read_heads
from profilestream.stream.archive import Archive
from profilestream.wire.definitions import parse_definitions

Method = Literal["none", "sweep", "replay"]
"""What applying takes at least: nothing, a walk over the present profiles, or the log."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the definitions of `changes.after` would do to the live generation, as it was at `made_at_ms`.

    `reaches` are the topics that would be read, and those that are left; `incomplete` what they cannot make whole.
    """

    namespace: str
    live: Generation
    changes: Changes
    sweep: Sweep
    reaches: tuple[Reach, ...]
    incomplete: tuple[Incomplete, ...]
    estimate: Estimate
    made_at_ms: int

    @property
    def method(self) -> Method:
        if not self.changes.any:
            return "none"
        return "replay" if self.changes.needs_log else "sweep"


async def make_plan(
    settings: Settings,
    definitions: Definitions,
    crossed: Crossed = lambda customer, segment, enters: None,
    progress: Progress = lambda done, total: None,
    report: Callable[[str], None] = lambda line: None,
    archive: Archive | None = None,
    check: Callable[[Generation], None] = lambda live: None,
) -> Plan:
    """Compares definitions with the live generation's; `report` is told what takes its time. What an archive has counts
    as the log's. `check` is told first which generation is live, and may raise.

    Raises NotFound before `init`, ServerUnavailable without Kafka or Redis, StateMismatch for states that are not the
    generation's, LogMismatch where archive and log do not join.
    """
    assert settings.kafka is not None and settings.redis is not None
    live, clock, passed = await _live(settings)
    check(live)
    before = parse_definitions(live.definitions, f"generation {live.name}")
    changes = changes_between(before, definitions)
    report("looking at the log")
    reaches = await read_reach(settings, definitions, live, archive)
    report("measuring a sample")
    costs = await estimate(settings, live, before, definitions, reaches, changes.needs_log)
    reaches += await read_left(settings, before, definitions, passed)
    report("looking at profiles")
    return Plan(
        namespace=settings.namespace,
        live=live,
        changes=changes,
        sweep=sweep(settings, live, changes, crossed, progress),
        reaches=tuple(reaches),
        incomplete=tuple(incomplete(changes, reaches, settings.future_ms_max, live.complete_since, clock)),
        estimate=costs,
        made_at_ms=time.time_ns() // 1_000_000,
    )


async def _live(settings: Settings) -> tuple[Generation, int | None, Mapping[str, int]]:
    """The live generation, the earliest of its shards' clocks (ms), and how many offsets it has passed, by topic."""
    assert settings.redis is not None
    client = connect(settings.redis)
    try:
        live = await read_generation(client, settings.namespace, await read_live(client, settings.namespace))
        heads = await read_heads(client, settings.namespace, live)
        clock = min((head.clock for head in heads.values() if head.clock is not None), default=None)
        return live, clock, passed_by(heads.values())
    finally:
        await client.aclose()
