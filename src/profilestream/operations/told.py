"""One customer's crossings as subscribers were told them, and as they wait to be told.

What was announced is the truth for crossings: their numbers, times and causes. The fold of the log fills in those of
which topic `segment-changes` no longer has the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from profilestream.core.engine import Crossing
from profilestream.settings import Settings
from profilestream.stream.changes import received
from profilestream.stream.reading import read_to_end
from profilestream.wire.changes import Cause, SegmentChange, decode_change

TOLD_MAX: Final = 200_000
"""The crossings of one customer that are held; of more, the newest."""

Known = Literal["announced", "waiting", "folded"]
PlaceOf = tuple[str, int, int]
"""Topic, partition and offset of an event's record."""


@dataclass(frozen=True, slots=True)
class Crossed:
    """One crossing. `known` says from where: from topic `segment-changes` (announced), from the outbox (waiting to be
    announced), or from folding the log alone. `at` is the shard's clock (ms)."""

    segment: str
    crossing: int
    at: int
    cause: Cause
    values: Mapping[str, Any]
    known: Known

    @property
    def change(self) -> str:
        """`entered` or `exited`."""
        return "entered" if self.crossing % 2 else "exited"


class Told:
    """A customer's crossings that were told or are about to be, each handed out once, at its place or time."""

    def __init__(
        self, changes: Iterable[tuple[SegmentChange, Known]], generation: str, numbers: Mapping[str, int]
    ) -> None:
        """`changes` in the order in which they were told; a crossing that comes twice counts once.

        `numbers` has the last crossing of each segment that the shard knows of: what is told since is left out.
        """
        self._numbers = numbers
        self._first: dict[str, int] = {}
        self._times: dict[tuple[str, int], int] = {}
        self._clocks: dict[PlaceOf, int] = {}
        self._at_place: dict[PlaceOf, list[tuple[int, Crossed]]] = {}
        self._by_time: list[tuple[int, int, Crossed]] = []  # the latest first: the earliest is taken from the end
        for n, (change, known) in enumerate(changes):
            key = change.segment, change.crossing
            if key in self._times or change.crossing > numbers.get(change.segment, 0):
                continue
            self._times[key] = change.time_ms
            self._first[change.segment] = min(change.crossing, self._first.get(change.segment, change.crossing))
            crossed = Crossed(change.segment, change.crossing, change.time_ms, change.cause, dict(change.values), known)
            if change.event is None:
                self._by_time.append((change.time_ms, n, crossed))
                continue
            place = change.event.topic, change.event.partition, change.event.offset
            self._at_place.setdefault(place, []).append((n, crossed))
            if change.generation == generation:
                self._clocks[place] = max(change.time_ms, self._clocks.get(place, change.time_ms))
        self._by_time.sort(reverse=True, key=_when)

    def release(self, places: Iterable[PlaceOf]) -> None:
        """The records of these places are no longer there: what they brought comes by time."""
        for place in places:
            self._by_time += [(crossed.at, n, crossed) for n, crossed in self._at_place.pop(place)]
            self._clocks.pop(place, None)
        self._by_time.sort(reverse=True, key=_when)

    @property
    def places(self) -> list[PlaceOf]:
        """The records that caused crossings which were not handed out yet."""
        return list(self._at_place)

    def clock(self, place: PlaceOf, clock: int) -> int:
        """Where the shard's clock stood when the record was folded: as computed, or later by what was told of it.

        A clock that follows the wall clock leaves no other trace in the log.
        """
        return max(clock, self._clocks.get(place, clock))

    def until(self, clock: int) -> list[Crossed]:
        """What time alone or a repair brought up to and at the clock (ms), in order of time."""
        found = []
        while self._by_time and self._by_time[-1][0] <= clock:
            found.append(self._by_time.pop()[2])
        return found

    def at_place(self, place: PlaceOf) -> list[Crossed]:
        """What the event of that record brought."""
        return [crossed for _, crossed in self._at_place.pop(place, [])]

    def fill_in(self, crossings: Iterable[Crossing], cause: Cause) -> list[Crossed]:
        """Those crossings of the fold that lie before, or behind, all that is told of their segment."""
        return [
            Crossed(c.segment, c.crossing, c.at, cause, c.values, "folded")
            for c in crossings
            if c.segment not in self._first
            or not self._first[c.segment] <= c.crossing <= self._numbers.get(c.segment, 0)
        ]

    def differs(self, crossing: Crossing) -> bool:
        """Whether the fold found a crossing that was told otherwise: at another time, or not at all."""
        first = self._first.get(crossing.segment)
        if first is None or not first <= crossing.crossing <= self._numbers.get(crossing.segment, 0):
            return False
        return self._times.get((crossing.segment, crossing.crossing)) != crossing.at


def _when(timed: tuple[int, int, Crossed]) -> tuple[int, int]:
    """By time, and at one time in the order in which they were told."""
    return timed[:2]


async def read_announced(settings: Settings, customer_id: str, shard: int) -> list[SegmentChange]:
    """The changes of a customer that stand in topic `segment-changes`, in order; the newest `TOLD_MAX`.

    Nothing where there is no such topic. Raises ServerUnavailable; ProfilestreamError for one that cannot be read.
    """
    assert settings.kafka is not None
    wanted = customer_id.encode()
    found: list[SegmentChange] = []
    async for record in read_to_end(settings.kafka, settings.changes_topic, {shard: 0}):
        if record.key == wanted:
            change = received(record)
            if change is not None and change.customer_id == customer_id and change.source == settings.source:
                found.append(change)
                if len(found) >= 2 * TOLD_MAX:
                    del found[:TOLD_MAX]
    return found[-TOLD_MAX:]


def read_waiting(value: bytes) -> SegmentChange | None:
    """A change of the outbox; None for what a newer version wrote."""
    try:
        return decode_change(value)
    except ValueError:
        return None
