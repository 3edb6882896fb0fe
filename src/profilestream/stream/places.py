"""A set of records' places, of which there may be millions: about eight bytes each."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final

from profilestream.core.errors import ProfilestreamError

PLACES_MAX: Final = 20_000_000
_LOOSE_MIN: Final = 4_096


class Places:
    """Triples of topic, partition and offset. Grows to `PLACES_MAX`; beyond, `add` raises ProfilestreamError."""

    def __init__(self) -> None:
        self._sorted: dict[tuple[str, int], array[int]] = {}
        self._loose: dict[tuple[str, int], set[int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, place: tuple[str, int, int]) -> bool:
        partition, offset = place[:2], place[2]
        if offset in self._loose.get(partition, ()):
            return True
        offsets = self._sorted.get(partition)
        if offsets is None:
            return False
        at = bisect_left(offsets, offset)
        return at < len(offsets) and offsets[at] == offset

    def add(self, place: tuple[str, int, int]) -> bool:
        """Whether it was not there before."""
        if place in self:
            return False
        if self._count >= PLACES_MAX:
            raise ProfilestreamError(
                f"more than {PLACES_MAX:,} dead letters; select fewer, and give the topic a retention that lets old "
                "ones go"
            )
        loose = self._loose.setdefault(place[:2], set())
        loose.add(place[2])
        self._count += 1
        tidy = self._sorted.get(place[:2])
        if len(loose) >= max(_LOOSE_MIN, len(tidy or ()) // 8):
            self._sorted[place[:2]] = array("q", sorted([*(tidy or ()), *loose]))
            loose.clear()
        return True
