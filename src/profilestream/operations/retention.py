"""What the log no longer has of a shard, and which traits cannot be whole because of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from profilestream.core import expressions as x
from profilestream.core.definitions import Trait
from profilestream.core.engine import Engine
from profilestream.core.times import TIME_MS_MAX

NEVER_WHOLE = TIME_MS_MAX + 1
"""As the clock from which on a trait is whole: it never is."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One topic's part of a shard's log: from which offset the generation read it, where it begins now, and the next
    offset to fold. `begins_ms` is the timestamp of the first record that is left, None where none is.

    With `made_anew` the topic is another one, under the same name: nothing of what was folded is left.
    """

    topic: str
    first_read: int
    begins: int
    position: int
    begins_ms: int | None = None
    made_anew: bool = False

    @property
    def gone(self) -> int:
        """How many offsets that were folded are no longer there."""
        return max(0, min(self.begins, self.position) - self.first_read)

    @property
    def readable(self) -> bool:
        """Whether anything is left of what was folded."""
        return not self.made_anew and max(self.begins, self.first_read) < self.position

    def beginning(self, begins_ms: int | None) -> Kept:
        """The same, with the timestamp of the first record that is left."""
        return replace(self, begins_ms=begins_ms)

    @property
    def is_whole(self) -> bool:
        """Whether the log has all that the topic ever had."""
        return not self.gone and not self.first_read


def whole_since(engine: Engine, kept: Iterable[Kept], rekeyed_topic: str, future_ms_max: int) -> dict[str, int]:
    """For each trait that the log as it is does not tell in full: the clock (ms) from which on it does.

    Traits without a window never are whole again (`NEVER_WHOLE`). Others are once nothing that was removed can be in
    their longest window: what was removed arrived before the first record that is left, and occurred at most
    `future_ms_max` later.
    """
    types_of = {source.topic: source.type_name for source in engine.definitions.sources}
    since: dict[str, int] = {}
    for part in kept:
        if part.is_whole:
            continue
        removed_ms = None if part.begins_ms is None else part.begins_ms + future_ms_max
        own = types_of.get(part.topic)
        fed = [h.bit for name, h in engine.handlers.items() if name == own or part.topic == rekeyed_topic]
        for trait in {t.name: t for bit in fed for t in engine.changed_traits(bit)}.values():
            span_ms = longest_ms(trait)
            whole = NEVER_WHOLE if removed_ms is None or span_ms is None else removed_ms + span_ms
            since[trait.name] = max(since.get(trait.name, whole), whole)
    return {t.name: since[t.name] for t in engine.definitions.traits if t.name in since}


def longest_ms(trait: Trait) -> int | None:
    """How far back a trait looks at most, in ms; None: to the first event."""
    spans = [None if a.over_ms is None else a.over_ms + a.ago_ms for a in x.aggregates(trait.node)]
    return None if None in spans else max((s for s in spans if s is not None), default=0)
