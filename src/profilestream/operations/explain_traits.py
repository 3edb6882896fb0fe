"""What `explain CUSTOMER` tells of each trait: what it means, since when it is whole, when time alone changes it.

A trait is a fold over the log, so it lacks what was gone from a topic before that was first read. The shard's head
knows from which offset each topic was read, where that was not 0; when that was, only Kafka knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from profilestream.core import expressions as x
from profilestream.core.definitions import Definitions, Trait
from profilestream.core.engine import Engine
from profilestream.core.errors import ProfilestreamError
from profilestream.core.explanation import at_clock
from profilestream.core.meaning import meaning
from profilestream.core.outlook import next_changes
from profilestream.core.profile import Profile
from profilestream.settings import Settings
from profilestream.stream.reading import read_to_end
from profilestream.wire.comments import trait_comments

KAFKA_S_MAX: Final = 5.0

FirstReads = Mapping[str, int | None]
"""Topic that was not read from its beginning -> from when on (ms) this shard has all of its events; None: unknown."""


@dataclass(frozen=True, slots=True)
class ExplainedTrait:
    """One trait of a customer.

    `value` is as readers see it, None where absent. `meaning` is its expression in words, `comment` what its author
    wrote beside it ("" for nothing). `lacks` are the topics of which records were gone before they were first read, as
    far as they could still count. The trait covers all events from `complete_since` (ms) on; None: all there ever were,
    or, where `lacks` names topics, nobody knows. `changes_at` (ms) is when time alone next changes the value; None:
    never, or not before `looked_until`.
    """

    trait: Trait
    value: Any
    meaning: str
    comment: str
    lacks: tuple[str, ...]
    complete_since: int | None
    changes_at: int | None
    looked_until: int | None


def explain_traits(
    engine: Engine, profile: Profile, clock: int, first_reads: FirstReads, rekeyed: str
) -> list[ExplainedTrait]:
    """Every trait of a customer at a clock (ms), in the file's order.

    The engine need not watch any segment. `first_reads` has the topics that were not read from their beginning;
    `rekeyed` is the topic of strays, which may carry events of any type.
    """
    definitions = engine.definitions
    present = at_clock(engine, profile, clock)
    values = engine.values(present)
    changes, looked_until = next_changes(engine, present)
    moving = {t.name for t in definitions.traits if engine.moves(t.node)}
    comments = trait_comments(definitions.text)
    names = {t.node: t.name for t in reversed(definitions.traits)}
    found = []
    for trait in definitions.traits:
        lacks, since = _coverage(trait.node, definitions, clock, first_reads, rekeyed)
        at = changes.get(trait.name)
        found.append(
            ExplainedTrait(
                trait=trait,
                value=values.get(trait.name),
                meaning=meaning(trait.node, names),
                comment=comments.get(trait.name, ""),
                lacks=lacks,
                complete_since=since,
                changes_at=at,
                looked_until=looked_until if at is None and trait.name in moving else None,
            )
        )
    return found


def _coverage(
    node: x.Node, definitions: Definitions, clock: int, first_reads: FirstReads, rekeyed: str
) -> tuple[tuple[str, ...], int | None]:
    """The topics of which something that still counts was never read, and from when on all was; None if unknown."""
    lacks: dict[str, None] = {}
    since: int | None = None
    known = True
    for aggregate in x.aggregates(node):
        for topic in _topics(aggregate.types, definitions, rekeyed):
            if topic not in first_reads:
                continue
            first = first_reads[topic]
            if first is not None and aggregate.over_ms is not None:
                oldest_that_counts = clock - aggregate.ago_ms - aggregate.over_ms
                if oldest_that_counts >= first:
                    continue
            lacks[topic] = None
            known = known and first is not None
            since = first if since is None or (first is not None and first > since) else since
    return tuple(lacks), since if known else None


def _topics(types: Collection[str], definitions: Definitions, rekeyed: str) -> Iterator[str]:
    yield from (source.topic for source in definitions.sources if source.type_name in types)
    yield rekeyed


async def read_first_reads(settings: Settings, shard: int, starts: Mapping[str, int]) -> FirstReads:
    """From when on this shard has every event of a topic, by `starts` (topic -> offset of the first record it read).

    What came before that record occurred at most `future_ms_max` later than it was written. Where the record is gone by
    now it is the first that is left, which is later. None where Kafka does not say.
    """
    assert settings.kafka is not None
    found: dict[str, int | None] = dict.fromkeys(starts)
    try:
        async with asyncio.timeout(KAFKA_S_MAX):
            for topic, offset in starts.items():
                records = read_to_end(settings.kafka, topic, {shard: offset})
                async with aclosing(records):  # type: ignore[type-var]
                    async for record in records:
                        found[topic] = record.timestamp + settings.future_ms_max
                        break
    except (ProfilestreamError, TimeoutError):
        pass  # it says less then, and says so
    return found
