"""What a history consists of: entries, each an event or an instant, and what Redis holds otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from profilestream.core.chronicle import TraitChange
from profilestream.operations.told import Crossed


@dataclass(frozen=True, slots=True)
class Happened:
    """An event: its type, id and time (ms), the place of the record in which it was read first, and when that came."""

    type: str
    event_id: str
    occurred_at: int
    topic: str
    partition: int
    offset: int
    arrived_at: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What one event, or time alone (`event` None), brought when the shard's clock stood `at` (ms)."""

    at: int
    event: Happened | None
    traits: tuple[TraitChange, ...]
    crossings: tuple[Crossed, ...]


class Difference(NamedTuple):
    """What Redis holds otherwise than the fold of the log: a trait's value, or the number of a last crossing."""

    name: str
    folded: Any
    stored: Any
