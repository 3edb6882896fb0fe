"""Moments as a person writes them: a time, how long ago, a day on the calendar. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from profilestream.core.errors import UsageError
from profilestream.core.vocabulary import span_ms
from profilestream.core.words import EPOCH
from profilestream.wire.times import parse_time

_LOCAL: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,3}))?)?(?: ([A-Za-z]{2,5}|[+-][0-9]{2,4}))?)?"
)


def parse_moment(option: str, text: str, now_ms: int, zone: ZoneInfo | None = None) -> int:
    """The moment (ms) that an option's text says: RFC 3339, ms since 1970, or how long before `now_ms` (`2h`, `7d`).

    With a zone also `2026-01-31` (the day's beginning there) and `2026-01-31 10:00`, with seconds or not, and with the
    zone's abbreviation behind it, as times are shown. Raises UsageError, which names the option, for any other text,
    for a time that the zone's clocks skip, and for one that they show twice where nothing tells which.
    """
    ago_ms = span_ms(text)
    if ago_ms is not None:
        return now_ms - ago_ms
    try:
        return parse_time(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError:
        pass
    match = _LOCAL.fullmatch(text) if zone is not None else None
    if match is not None and zone is not None:
        try:
            return _local(option, text, match, zone)
        except (ValueError, OverflowError):
            pass  # a day or an hour that no calendar has
    local = "" if zone is None else f"2026-01-31 10:30 or 2026-01-31 ({zone.key}), "
    raise UsageError(
        f"{option} {text}: expected a time as 2026-01-31T09:30:00Z, {local}in ms since 1970, or how long ago as "
        "2h or 7d"
    )


def _local(option: str, text: str, match: re.Match[str], zone: ZoneInfo) -> int:
    year, month, day, hour, minute, second, fraction, name = match.groups()
    written = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
    written += timedelta(milliseconds=int((fraction or "").ljust(3, "0")))
    if name is not None and name.upper() == "UTC":
        return _ms(written.replace(tzinfo=UTC))
    either = [written.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    shown = [one for one in either if one.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == written]
    if hour is None:
        return _ms(either[0])  # of a day that does not begin at midnight the first instant after
    if name is not None:
        shown = [one for one in shown if one.tzname() == name]
        if not shown:
            raise ValueError(name)
    if not shown:
        raise UsageError(f"{option} {text}: the clocks of {zone.key} skip this time; give it in UTC, with a Z")
    moments = sorted({_ms(one) for one in shown})
    if len(moments) > 1:
        names = " or ".join(str(one.tzname()) for one in shown)
        raise UsageError(f"{option} {text}: the clocks of {zone.key} show this time twice; write {names} behind it")
    return moments[0]


def _ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)
