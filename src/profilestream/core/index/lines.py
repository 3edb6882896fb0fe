"""Constants c0 < c1 < ... in order: they cut a line, on which a value has a position.

2i lies between c(i-1) and ci, 2i + 1 at ci; 2i and 2i + 1 are cuts, too. Where time passes, a position is the number of
cuts passed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Final

from profilestream.core.index.comparisons import ABSENT, Guard
from profilestream.core.index.dependents import Dependents
from profilestream.core.index.owners import CUTS

TOP: Final = 1 << 40
"""A position above every other."""


class Line:
    """Constants in order, and who looks at the cuts at them."""

    __slots__ = ("constants", "dependents", "home", "rank", "timed")

    def __init__(self, timed: bool) -> None:
        self.timed = timed
        self.constants: list[Any] = []
        self.rank: dict[Any, int] = {}
        self.dependents = Dependents(CUTS)
        self.home = ABSENT

    def order(self) -> None:
        """Once every constant is known."""
        self.constants = sorted(self.rank)
        self.rank = {constant: i for i, constant in enumerate(self.constants)}

    def position(self, value: Any) -> int:
        if value is None:
            return ABSENT
        if self.timed:
            return bisect_right(self.constants, value)
        return bisect_left(self.constants, value) + bisect_right(self.constants, value)

    def own(self, op: str, constant: Any, segment: int, guard: Guard | None) -> None:
        i, add = self.rank[constant], self.dependents.add
        below, above = (i, i) if self.timed else (2 * i, 2 * i + 1)
        if op in (">=", "=="):
            add(below, segment, True, guard)
        if op in (">", "!="):
            add(above, segment, True, guard)
        if op in ("<", "!="):
            add(below, segment, False, guard)
        if op in ("<=", "=="):
            add(above, segment, False, guard)

    def span(self, op: str, constant: Any) -> tuple[int, int]:
        """The lowest and the highest position at which the comparison is true; for != at which it is false."""
        i = self.rank[constant]
        if self.timed:
            return (i + 1, TOP) if op == ">=" else (0, i)
        at = 2 * i + 1
        return {">=": (at, TOP), ">": (at + 1, TOP), "<": (0, at - 1), "<=": (0, at)}.get(op, (at, at))


def span_test(place: str, where: tuple[Any, ...], op: str, low: int, high: int) -> tuple[str, tuple[Any, ...]]:
    """The test for a span of positions."""
    if op == "!=":
        return f"-1 != {place} != {{}}", (*where, low)
    if low == high:
        return f"{place} == {{}}", (*where, low)
    if high == TOP:
        return f"{place} >= {{}}", (*where, low)
    return f"0 <= {place} <= {{}}", (*where, high)
