"""The calendar days of a time zone as numbers (`date.toordinal`), and the instants at which they begin."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from profilestream.core.words import EPOCH, NEVER

_EPOCH_THERE: Final = EPOCH.replace(tzinfo=None)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DAY_MAX: Final = datetime.max.toordinal()
_DAYS_KNOWN_MAX: Final = 4_096


class Days:
    """Which day it is in a zone at a clock, and when a day begins there.

    A day begins at the first instant at which the zone's date is that day or a later one, and lasts until the next
    begins. So a clock's day never goes back, not even where the zone's clocks go back over midnight.
    """

    def __init__(self, timezone: str) -> None:
        """Raises ZoneInfoNotFoundError or ValueError for an unknown zone."""
        self._zone = ZoneInfo(timezone)
        self._last = (0, 0, 0)
        self.begins = lru_cache(maxsize=_DAYS_KNOWN_MAX)(self._begins)

    def at(self, now: int) -> int:
        """The day that it is at a clock (ms)."""
        begin, end, day = self._last
        if begin <= now < end:
            return day
        try:
            day = (EPOCH + now * _MILLISECOND).astimezone(self._zone).toordinal()
        except OverflowError:  # the first or last hours of the calendar
            day = 1 if now < 0 else _DAY_MAX
        while self.begins(day + 1) <= now:
            day += 1
        self._last = self.begins(day), self.begins(day + 1), day
        return day

    def _begins(self, day: int) -> int:
        """When a day begins (ms); NEVER for one beyond the year 9999."""
        if day > _DAY_MAX:
            return NEVER
        midnight = datetime.fromordinal(day)
        first, second = sorted(self._instants(midnight))
        if first == second or self._there(first) >= midnight:
            return first
        # No clock shows this midnight: the day begins where the zone's clocks are set forward, between the two.
        while second - first > 1:
            middle = (first + second) // 2
            first, second = (first, middle) if self._there(middle) >= midnight else (middle, second)
        return second

    def _instants(self, there: datetime) -> tuple[int, int]:
        """The instants (ms) that a local time may mean, by the offset before and after a change of the clocks."""
        before, after = (there.replace(tzinfo=self._zone, fold=fold).utcoffset() for fold in (0, 1))
        assert before is not None and after is not None
        return (there - _EPOCH_THERE - before) // _MILLISECOND, (there - _EPOCH_THERE - after) // _MILLISECOND

    def _there(self, at: int) -> datetime:
        return (EPOCH + at * _MILLISECOND).astimezone(self._zone).replace(tzinfo=None)
