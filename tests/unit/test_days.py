"""Calendar days of a zone: which it is at a clock, and when each begins."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from profilestream.core.days import Days
from profilestream.core.times import time_text
from profilestream.core.words import EPOCH, NEVER

MINUTE_MS = 60_000


def begins(zone: str, day: str) -> str:
    return time_text(Days(zone).begins(date.fromisoformat(day).toordinal()))


@pytest.mark.parametrize(
    ("zone", "day", "at"),
    [
        ("UTC", "2026-03-01", "2026-03-01T00:00:00.000Z"),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00:00.000Z"),
        ("Europe/Berlin", "2026-03-30", "2026-03-29T22:00:00.000Z"),
        ("Europe/Berlin", "2026-10-26", "2026-10-25T23:00:00.000Z"),
        ("Asia/Kolkata", "2026-01-01", "2025-12-31T18:30:00.000Z"),
        # Midnight itself is left out here: the day begins at one o'clock.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00.000Z"),
        # A quarter past midnight is set back to a quarter past eleven: the day has begun, and goes on.
        ("America/St_Johns", "2010-11-07", "2010-11-07T02:30:00.000Z"),
        # A day that a zone leaves out begins, and ends, with the one after it.
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00.000Z"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00.000Z"),
    ],
)
def test_a_day_begins_at_the_zones_midnight_or_where_its_clocks_pass_over_it(zone: str, day: str, at: str) -> None:
    assert begins(zone, day) == at


@pytest.mark.parametrize(
    ("zone", "around"),
    [
        ("UTC", "2026-01-01"), ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"),
        ("America/New_York", "2026-11-01"), ("America/St_Johns", "2010-11-07"), ("America/Sao_Paulo", "2018-02-18"),
        ("America/Sao_Paulo", "2018-11-04"), ("Pacific/Apia", "2011-12-30"), ("Pacific/Kwajalein", "1969-09-30"),
        ("Asia/Beirut", "2026-03-29"), ("Australia/Lord_Howe", "2026-04-05"),
    ],
)  # fmt: skip
def test_the_day_at_a_clock_is_the_last_date_that_the_zone_has_come_to(zone: str, around: str) -> None:
    days, there = Days(zone), ZoneInfo(zone)
    start = int((datetime.fromisoformat(around + "T00:00+00:00") - EPOCH) / timedelta(milliseconds=1))
    newest = 0
    for at in range(start - 2 * 1_440 * MINUTE_MS, start + 3 * 1_440 * MINUTE_MS, MINUTE_MS):
        newest = max(newest, (EPOCH + timedelta(milliseconds=at)).astimezone(there).toordinal())
        # What was asked before must not matter: one that has been asked nothing says the same.
        assert days.at(at) == Days(zone).at(at) == newest, time_text(at)
        assert days.begins(newest) <= at < days.begins(newest + 1)


def test_the_calendar_ends_without_another_day() -> None:
    days = Days("Asia/Tokyo")
    last = date.max.toordinal()
    assert days.begins(last + 1) == NEVER
    assert days.at(253_402_300_799_999) == last
    assert Days("America/New_York").at(-62_135_596_800_000) == 1
