"""Times as text: RFC 3339 or epoch milliseconds in, whole milliseconds inside, RFC 3339 UTC out.

Both directions are on the way of every event, so the parts of a time that come again (a day, a second of
the day, what follows the seconds) are kept in caches of bounded size. Only the slow path fills them, and
only with parts that stand in every combination, so a hit needs no check.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from profilestream.core.times import TIME_MS_MAX, TIME_MS_MIN
from profilestream.core.times import time_text as format_time

DAY_MS: Final = 86_400_000
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()

TIME_PATTERN: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
"""The form of a time as a regular expression, which leaves open whether the day exists."""

_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))",
)
_REST: Final = re.compile(r"(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))")

_DAYS_MAX: Final = 20_000
_CLOCKS_MAX: Final = 100_000
_RESTS_MAX: Final = 20_000
_REST_CHARACTERS_MAX: Final = 10

__all__ = ["DAY_MS", "TIME_MS_MAX", "TIME_MS_MIN", "TIME_PATTERN", "format_time", "parse_time"]

_days: dict[str, int] = {}  # "2026-01-31" -> ms; not the first and last days, so that no sum leaves the range
_clocks: dict[str, int] = {}  # "T09:30:00" -> ms; no leap second
_rests: dict[str, int] = {}  # ".123Z" or "+02:00" -> ms to add


def parse_time(value: str | int) -> int:
    """Milliseconds since 1970 of an RFC 3339 time with offset, or of an integer that says them already.

    Floored to the millisecond, before 1970 too. `t`, `z` and a blank for `T` are accepted, as RFC 3339
    allows. The leap second 23:59:60 UTC is the second after it. Raises ValueError for anything else and
    for years outside 1 to 9999; the text of the error holds nothing of the value.
    """
    if value.__class__ is int:
        if TIME_MS_MIN <= value <= TIME_MS_MAX:
            return value
        raise ValueError("a time lies in the years 1 to 9999")
    try:
        return _days[value[:10]] + _clocks[value[10:19]] + _rests[value[19:]]  # type: ignore[index]
    except KeyError:
        return _parse_text(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError("a time is a string or an integer") from None


def _parse_text(text: str) -> int:
    day, clock, rest = _days.get(text[:10]), _clocks.get(text[10:19]), text[19:]
    if day is not None and clock is not None:  # a rest that did not come lately: only this part is read
        after = _rests.get(_without_microseconds(rest))
        if after is not None:
            return day + clock + after
        match = _REST.fullmatch(rest)
        if match is not None:
            return day + clock + _rest_ms(rest, *match.groups())
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time with offset")
    year, month, day_of_month, hour, minute, second = map(int, match.groups()[:6])
    day = (date(year, month, day_of_month).toordinal() - _EPOCH_DAY) * DAY_MS
    clock = ((hour * 60 + minute) * 60 + second) * 1000
    after = _rest_ms(rest, *match.groups()[6:])
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError("hours go to 23, minutes and seconds to 59")
    if second == 60:
        if (day + clock + after) % DAY_MS >= 1000:
            raise ValueError("a leap second stands at 23:59:60 UTC")
    else:
        _keep(_clocks, text[10:19], clock, _CLOCKS_MAX)
    if TIME_MS_MIN + DAY_MS <= day < TIME_MS_MAX - 2 * DAY_MS:
        _keep(_days, text[:10], day, _DAYS_MAX)
    if not TIME_MS_MIN <= day + clock + after <= TIME_MS_MAX:
        raise ValueError("a time lies in the years 1 to 9999")
    return day + clock + after


def _without_microseconds(rest: str) -> str:
    """ ".123456Z" -> ".123Z", which is as much after flooring and comes again far more often."""
    fraction = rest[1:7]
    return rest[:4] + rest[7:] if len(fraction) == 6 and fraction.isascii() and fraction.isdigit() else rest


def _rest_ms(text: str, fraction: str | None, sign: str | None, hours: str | None, minutes: str | None) -> int:
    """What is added to date and time of day: the floored fraction less the offset."""
    rest = int((fraction or "")[:3].ljust(3, "0"))
    if sign and hours and minutes:
        if hours > "23" or minutes > "59":
            raise ValueError("an offset goes from -23:59 to +23:59")
        offset = (int(hours) * 60 + int(minutes)) * 60_000
        rest += offset if sign == "-" else -offset
    key = _without_microseconds(text)
    if len(key) <= _REST_CHARACTERS_MAX:
        _keep(_rests, key, rest, _RESTS_MAX)
    return rest


def _keep(cache: dict[str, int], key: str, value: int, entries_max: int) -> None:
    if len(cache) >= entries_max:
        cache.clear()
    cache[key] = value
