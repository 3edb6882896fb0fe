"""Days in a row up to the clock."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from profilestream.core.algebra import Clocked
from profilestream.core.days import Days
from profilestream.core.words import NEVER

STREAK_DAYS_MAX: Final = 3_650


class Streak(Clocked):
    """How many days in a row, the last of them today or yesterday. State: [newest day, days before it]; item: a date.

    The newest day is a number (`date.toordinal`), 0 without one. Of the other part, the bytes of a whole number, bit k
    stands for the day k days before the newest. It reaches back ten years: a longer streak counts 3,650. What is kept
    depends on the set of days alone, so late days fill gaps in any order.
    """

    name = "streak"
    summary = "how many days in a row, the last of them today or yesterday; 0 once a day has passed without"
    _kept = (1 << STREAK_DAYS_MAX) - 1

    def __init__(self, days: Days) -> None:
        self._days = days

    def zero(self) -> list[Any]:
        return [0, b""]

    def add(self, state: list[Any], item: str) -> list[Any]:
        day = date.fromisoformat(item).toordinal()
        # Most items are of a day that has one already.
        return state if day == state[0] else self.merge(state, [day, b"\1"])

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        newer, older = (a, b) if a[0] >= b[0] else (b, a)
        if not older[0] or newer[0] - older[0] >= STREAK_DAYS_MAX:
            return list(newer)
        earlier = int.from_bytes(older[1], "big") << (newer[0] - older[0])
        days = (int.from_bytes(newer[1], "big") | earlier) & self._kept
        return [newer[0], days.to_bytes((days.bit_length() + 7) // 8, "big")]

    def value_at(self, state: list[Any], now: int) -> int:
        return self._length(state) if state[0] >= self._days.at(now) - 1 else 0

    def due(self, state: list[Any], now: int) -> int:
        """The midnight after a whole day without: the beginning of the second day after the newest."""
        return self._days.begins(state[0] + 2) if state[0] >= self._days.at(now) - 1 and state[0] else NEVER

    def _length(self, state: list[Any]) -> int:
        """The number of ones at the end."""
        days = int.from_bytes(state[1], "big")
        return (~days & (days + 1)).bit_length() - 1
