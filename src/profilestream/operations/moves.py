"""The last events that moved a segment's conditions for one customer, found by folding the customer's history again.

What a value was before an event follows only from all events before it, so the shard's log is read from its beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from profilestream.core import expressions as x
from profilestream.core import words
from profilestream.core.definitions import Definitions, Segment
from profilestream.core.expressions import Kind, Node
from profilestream.core.meaning import meaning
from profilestream.operations.history import History
from profilestream.operations.history_entries import Happened
from profilestream.operations.history_opening import open_history
from profilestream.operations.told import Crossed
from profilestream.settings import Settings

EVENTS_MAX: Final = 1_000

Progress = Callable[[int, int], None]
"""Told how many offsets of the shard's log have been read, and of how many."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A value that the conditions look at, before and after, as readers see it (None: absent).

    `name` is the trait's; of an aggregate that is written out in the condition it is what that means.
    """

    name: str
    kind: Kind
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Move:
    """What one event, or time alone (`event` None), moved when the shard's clock stood `at` (ms), and the crossings of
    the segment that it brought."""

    at: int
    event: Happened | None
    moved: tuple[Moved, ...]
    crossings: tuple[Crossed, ...]


@dataclass(frozen=True, slots=True)
class Moves:
    """The last moves of a customer, oldest first. `whole` is False where values may lack what the log no longer has;
    `gone` names the topics of which it lacks records."""

    moves: list[Move]
    whole: bool
    gone: tuple[str, ...]


async def last_moves(settings: Settings, customer_id: str, segment: str, count: int, progress: Progress) -> Moves:
    """The last `count` moves; the whole log of the customer's shard is read for them.

    Raises KeyError for an unknown segment, NotFound for an unknown customer, ServerUnavailable without Kafka or Redis,
    LogMismatch where records are removed meanwhile.
    """
    async with open_history(settings, customer_id) as history:
        found: deque[Move] = deque(maxlen=count)
        async for move in _moves(history, history.definitions.by_segment[segment], progress):
            found.append(move)
        watched = {name for name, _ in watched_values(history.definitions, history.definitions.by_segment[segment])}
        named = {n for n in watched if n in history.definitions.by_trait}
        gone = tuple(part.topic for part in history.kept if not part.is_whole)
        whole = not gone or (named == watched and not named & history.whole_since.keys())
        return Moves(list(found), whole, gone)


async def _moves(history: History, segment: Segment, progress: Progress) -> AsyncIterator[Move]:
    watched = watched_values(history.definitions, segment)
    read = history.engine.reader(tuple(node for _, node in watched), shown=True)
    values = read(history.profile, history.profile.as_of)
    async for entry in history.entries():
        progress(history.passed, history.total)
        before, values = values, read(history.profile, history.profile.as_of)
        moved = tuple(
            Moved(name, node.kind, was, now)
            for (name, node), was, now in zip(watched, before, values, strict=True)
            if not words.same(was, now)
        )
        crossings = tuple(c for c in entry.crossings if c.segment == segment.name)
        if moved or crossings:
            yield Move(entry.at, entry.event, moved, crossings)


def watched_values(definitions: Definitions, segment: Segment) -> list[tuple[str, Node]]:
    """What a segment's conditions look at, with a name: traits, and aggregates that are written out in them."""
    names = {t.node: t.name for t in reversed(definitions.traits)}
    found: dict[Node, str] = {}
    for condition in segment.conditions:
        if condition is not None:
            found |= {node: names.get(node) or meaning(node, names) for node in _values(condition, names)}
    return [(name, node) for node, name in found.items()]


def _values(node: Node, names: dict[Node, str]) -> Iterator[Node]:
    if node in names or isinstance(node, x.Aggregate):
        yield node
        return
    for child in x.children(node):
        yield from _values(child, names)
