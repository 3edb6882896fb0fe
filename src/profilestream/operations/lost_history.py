"""What a promotion would lose: history that the live generation has and the one to be promoted has not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from profilestream.core import expressions as x
from profilestream.core.definitions import Definitions
from profilestream.core.errors import ProfilestreamError
from profilestream.core.expressions import Aggregate
from profilestream.core.unchanged import Unchanged
from profilestream.operations.reach import passed_by, read_left, whole_from
from profilestream.settings import Settings
from profilestream.store.connection import AsyncClient
from profilestream.store.metadata import Generation
from profilestream.store.places import read_heads
from profilestream.wire.definitions import parse_definitions


class HistoryLost(ProfilestreamError):
    """A promotion would lose history that the live generation has; `lost` says of which traits and segments, and
    what is left."""

    def __init__(self, name: str, lost: Mapping[str, str]) -> None:
        self.lost = lost
        shown = "; ".join(f"{part}: {since}" for part, since in sorted(lost.items()))
        super().__init__(
            f"generation {name} does not know all that the live one knows ({shown}); "
            "promote it all the same with --allow-history-loss"
        )


class Lost(NamedTuple):
    """What would be lost: why, by trait and "segment NAME"; `left` are the traits of which a topic is read no more."""

    why: Mapping[str, str] = {}
    left: frozenset[str] = frozenset()


async def find_lost(settings: Settings, client: AsyncClient, wanted: Generation, live: Generation) -> Lost:
    """What the live generation knows and another does not: the log, as that read it, begins later, or it does not read
    a topic by which events came to the live one. Raises ServerUnavailable."""
    own = await read_heads(client, settings.namespace, wanted)
    theirs = await read_heads(client, settings.namespace, live)
    definitions = parse_definitions(wanted.definitions, f"generation {wanted.name}")
    former = parse_definitions(live.definitions, f"generation {live.name}")
    parts = dict(_parts(definitions))
    there = parts.keys() & dict(_parts(former)).keys()  # of others the live one knows nothing
    if wanted.method == "carry" and wanted.base == live.name:
        # What was taken over knows all that the live one knows, wherever the log begins.
        unchanged = Unchanged(former, definitions)
        parts = {name: [a for a in read if unchanged.state_of(a) is None] for name, read in parts.items()}
        there = {name for name in there if parts[name]}
    why = {
        trait: f"complete since {since}"
        for trait, since in wanted.complete_since.items()
        if live.complete_since.get(trait, "") < since
    }
    later: dict[str, int] = {}
    for shard, head in own.items():
        if head.commit:
            for topic, start in head.starts.items():
                if topic in theirs[shard].positions and start > theirs[shard].starts.get(topic, 0):
                    later[topic] = max(start, later.get(topic, 0))
    for topic, start in later.items():
        types = {s.type_name for s in definitions.sources if topic in (s.topic, settings.rekeyed_topic)}  # strays: any
        for name, read in parts.items():
            if any(types & set(aggregate.types) for aggregate in read):
                why.setdefault(name, f"topic {topic} was read from offset {start} on")
    clock = min((head.clock for head in own.values() if head.clock is not None), default=0)
    left: set[str] = set()
    for reach in await read_left(settings, former, definitions, passed_by(theirs.values())):
        for name, read in parts.items():
            if any(at > clock for at in whole_from(read, [reach], settings.future_ms_max).values()):
                left.add(name)
                why.setdefault(name, f"topic {reach.topic} is not read any more")
    return Lost(
        {name: reason for name, reason in why.items() if name in there},
        frozenset(left & there & definitions.by_trait.keys()),
    )


def _parts(definitions: Definitions) -> Iterator[tuple[str, list[Aggregate]]]:
    """All that may know of the past, by the name that it is told by, with the aggregates that it reads."""
    for trait in definitions.traits:
        yield trait.name, list(x.aggregates(trait.node))
    for segment in definitions.segments:
        nodes = [node for node in (segment.enter, segment.exit) if node is not None]
        yield f"segment {segment.name}", [aggregate for node in nodes for aggregate in x.aggregates(node)]
