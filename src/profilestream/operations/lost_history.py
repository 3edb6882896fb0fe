"""What a promotion would lose: history that the live generation has and the one to be promoted has not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from profilestream.core import expressions as x
from profilestream.core.definitions import Definitions
from profilestream.core.errors import ProfilestreamError
from profilestream.core.expressions import Node
from profilestream.core.unchanged import Unchanged
from profilestream.operations.reach import topics_left
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


async def check_history(settings: Settings, client: AsyncClient, wanted: Generation, live: Generation) -> None:
    """Raises HistoryLost where the log, as the generation read it, begins later than the live one's did, or where it
    does not read a topic by which events came to the live one. ServerUnavailable without Redis."""
    lost = {
        trait: f"complete since {since}"
        for trait, since in wanted.complete_since.items()
        if live.complete_since.get(trait, "") < since
    }
    own = await read_heads(client, settings.namespace, wanted)
    theirs = await read_heads(client, settings.namespace, live)
    later: dict[str, int] = {}
    for shard, head in own.items():
        if head.commit:
            for topic, start in head.starts.items():
                if topic in theirs[shard].positions and start > theirs[shard].starts.get(topic, 0):
                    later[topic] = max(start, later.get(topic, 0))
    definitions = parse_definitions(wanted.definitions, f"generation {wanted.name}")
    former = parse_definitions(live.definitions, f"generation {live.name}")
    parts = dict(_parts(definitions))
    there = parts.keys() & dict(_parts(former)).keys()  # of others the live one knows nothing
    if wanted.method == "carry" and wanted.base == live.name:
        # What was taken over knows all that the live one knows, wherever the log begins.
        unchanged = Unchanged(former, definitions)
        there = {name for name in there if any(unchanged.fresh(node) for node in parts[name])}
    for topic, start in later.items():
        types = {s.type_name for s in definitions.sources if topic in (s.topic, settings.rekeyed_topic)}  # strays: any
        for name in _fed_by(parts, types):
            lost.setdefault(name, f"topic {topic} was read from offset {start} on")
    for left in topics_left(former, definitions, sum((Counter(head.passed) for head in theirs.values()), Counter())):
        for name in _fed_by(parts, {left.type_name}):
            lost.setdefault(name, f"topic {left.topic} is not read any more")
    lost = {name: why for name, why in lost.items() if name in there}
    if lost:
        raise HistoryLost(wanted.name, lost)


def _parts(definitions: Definitions) -> Iterator[tuple[str, list[Node]]]:
    """All that may know of the past, by the name that it is told by, with its expressions."""
    for trait in definitions.traits:
        yield trait.name, [trait.node]
    for segment in definitions.segments:
        yield f"segment {segment.name}", [node for node in (segment.enter, segment.exit) if node is not None]


def _fed_by(parts: Mapping[str, Iterable[Node]], types: set[str]) -> Iterator[str]:
    """The parts that look at events of these types."""
    for name, nodes in parts.items():
        if any(types & set(aggregate.types) for node in nodes for aggregate in x.aggregates(node)):
            yield name
