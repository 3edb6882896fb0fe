"""Times as text: RFC 3339 in UTC with milliseconds, from tables of days, seconds and milliseconds."""

from __future__ import annotations

from datetime import date
from typing import Final

TIME_MS_MIN: Final = -62_135_596_800_000
TIME_MS_MAX: Final = 253_402_300_799_999
"""The first and last millisecond of the years 1 to 9999."""

_DAYS_MAX: Final = 50_000
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()

_day_texts: dict[int, str] = {}
_clock_texts: dict[int, str] = {}
_MILLISECONDS: Final = tuple(f".{ms:03d}Z" for ms in range(1000))


def time_text(time_ms: int) -> str:
    """RFC 3339 UTC with milliseconds of a time in ms since 1970, e.g. "2026-01-31T09:30:00.000Z".

    Raises ValueError for years outside 1 to 9999.
    """
    seconds, ms = divmod(time_ms, 1000)
    day, second = divmod(seconds, 86_400)
    try:
        return _day_texts[day] + _clock_texts[second] + _MILLISECONDS[ms]
    except KeyError:
        pass
    if not TIME_MS_MIN <= time_ms <= TIME_MS_MAX:
        raise ValueError("a time lies in the years 1 to 9999")
    if len(_day_texts) >= _DAYS_MAX:
        _day_texts.clear()
    _day_texts[day] = date.fromordinal(day + _EPOCH_DAY).isoformat()
    minute, second_of_minute = divmod(second, 60)
    _clock_texts[second] = f"T{minute // 60:02d}:{minute % 60:02d}:{second_of_minute:02d}"
    return _day_texts[day] + _clock_texts[second] + _MILLISECONDS[ms]
