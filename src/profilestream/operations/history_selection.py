"""Which parts of a history are meant: of which traits and segments, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from profilestream.core.definitions import Definitions
from profilestream.core.errors import NotFound
from profilestream.core.problems import suggestion
from profilestream.operations.explain import no_segment
from profilestream.operations.history_entries import Entry
from profilestream.operations.moments import parse_moment
from profilestream.store.metadata import Generation


@dataclass(frozen=True, slots=True)
class Selection:
    """What is shown of a history. Times are the shard's clock (ms), `since` included, `until` not.

    With traits or segments only entries that changed one of them, and of these entries only that.
    """

    since: int | None = None
    until: int | None = None
    traits: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()

    def of(self, entry: Entry) -> Entry | None:
        """What is meant of an entry; None for nothing. An instant at which nothing changed is nothing."""
        if (self.since is not None and entry.at < self.since) or (self.until is not None and entry.at >= self.until):
            return None
        if self.traits or self.segments:
            traits = tuple(c for c in entry.traits if c.trait in self.traits)
            crossings = tuple(c for c in entry.crossings if c.segment in self.segments)
            return replace(entry, traits=traits, crossings=crossings) if traits or crossings else None
        return entry if entry.event or entry.traits or entry.crossings else None


def parse_selection(
    generation: Generation,
    definitions: Definitions,
    clock: int,
    since: str | None = None,
    until: str | None = None,
    traits: Iterable[str] = (),
    segments: Iterable[str] = (),
) -> Selection:
    """What the options of a command say; how long ago is meant from the shard's clock (ms).

    Raises UsageError for a text that is no time, NotFound for a trait or a segment that the definitions lack.
    """
    traits, segments, zone = frozenset(traits), frozenset(segments), ZoneInfo(definitions.timezone)
    for name in sorted(traits - definitions.by_trait.keys()):
        raise NotFound(f"no trait `{name}` in generation {generation.name}{suggestion(name, definitions.by_trait)}")
    for name in sorted(segments - definitions.by_segment.keys()):
        raise no_segment(name, generation, definitions.by_segment)
    return Selection(
        None if since is None else parse_moment("--since", since, clock, zone),
        None if until is None else parse_moment("--until", until, clock, zone),
        traits,
        segments,
    )
