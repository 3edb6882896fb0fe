"""Which segments look at which cuts, words or elements, and whose comparisons differ between two positions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, Final, NamedTuple


class Owners:
    """Segments by the number of the cut, word or element that they look at, two sorted lists for each direction.

    `rise` has the comparisons that become true on the way up (with the word), `fall` those on the way down
    (without it).
    """

    __slots__ = ("fall_at", "fall_by", "rise_at", "rise_by")

    def __init__(self) -> None:
        self.rise_at: Any = []
        self.rise_by: Any = ()
        self.fall_at: Any = []
        self.fall_by: Any = ()

    def close(self) -> None:
        """Puts what was added, pairs of number and segment, into order."""
        self.rise_at, self.rise_by = _unzipped(self.rise_at)
        self.fall_at, self.fall_by = _unzipped(self.fall_at)

    def across(self, old: int, new: int, suspects: set[int]) -> None:
        """Cuts on a line: those between the two positions, each with both directions."""
        if old < 0 or new < 0:
            # Absent is unknown, and an unknown comparison is as good as false: only true ones matter.
            present = old if new < 0 else new
            suspects.update(self.rise_by[: bisect_left(self.rise_at, present)])
            suspects.update(self.fall_by[bisect_left(self.fall_at, present) :])
            return
        low, high = (old, new) if old < new else (new, old)
        if self.rise_at:
            suspects.update(self.rise_by[bisect_left(self.rise_at, low) : bisect_left(self.rise_at, high)])
        if self.fall_at:
            suspects.update(self.fall_by[bisect_left(self.fall_at, low) : bisect_left(self.fall_at, high)])

    def at(self, number: int, suspects: set[int]) -> None:
        """Those who look at one word."""
        for ats, by in ((self.rise_at, self.rise_by), (self.fall_at, self.fall_by)):
            if ats and (start := bisect_left(ats, number)) < len(ats) and ats[start] == number:
                suspects.update(by[start : bisect_right(ats, number)])

    def exchanged(self, old: int, new: int, suspects: set[int]) -> None:
        """Words: the former and the new one. What asks for another word is only moved by absence."""
        if old > 0:
            self.at(old, suspects)
        if new > 0:
            self.at(new, suspects)
        if old < 0 or new < 0:
            suspects.update(self.fall_by)

    def at_one(self, old: bool, new: bool, suspects: set[int]) -> None:
        """One thing that is so or not so: everybody looks at it."""
        suspects.update(self.rise_by)
        suspects.update(self.fall_by)

    def differing(self, old: tuple[int, ...] | None, new: tuple[int, ...] | None, suspects: set[int]) -> None:
        """Elements: those in one of the two and not in the other."""
        for number in set(old or ()).symmetric_difference(new or ()):
            self.at(number, suspects)
        if old is None or new is None:
            suspects.update(self.fall_by)


def _unzipped(pairs: list[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pairs.sort()
    return tuple(at for at, _ in pairs), tuple(by for _, by in pairs)


class Sweep(NamedTuple):
    """How the positions of one kind of group are compared: `owners(those, old, new, suspects)` adds those who look at
    what differs, `reaches(numbers, old, new)` says whether anybody does, who look at these numbers."""

    owners: Callable[[Owners, Any, Any, set[int]], None]
    reaches: Callable[[tuple[int, ...], Any, Any], bool]


def _cut(numbers: tuple[int, ...], old: int, new: int) -> bool:
    if old < 0 or new < 0:
        return True
    low, high = (old, new) if old < new else (new, old)
    at = bisect_left(numbers, low)
    return at < len(numbers) and numbers[at] < high


def _always(numbers: tuple[int, ...], old: Any, new: Any) -> bool:
    return True


CUTS: Final = Sweep(Owners.across, _cut)
WORDS: Final = Sweep(Owners.exchanged, _always)
ELEMENTS: Final = Sweep(Owners.differing, _always)
ONE: Final = Sweep(Owners.at_one, _always)
