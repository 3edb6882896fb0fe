"""Times as text, against datetime where it knows the answer."""

import pytest

from profilestream.core import times as core_times
from profilestream.wire import times
from profilestream.wire.times import TIME_MS_MAX, TIME_MS_MIN, format_time, parse_time

HALF_PAST_NINE = 1_769_851_800_000


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("2026-01-31T09:30:00Z", HALF_PAST_NINE),
        ("2026-01-31t09:30:00z", HALF_PAST_NINE),
        ("2026-01-31 09:30:00Z", HALF_PAST_NINE),
        ("2026-01-31T11:30:00+02:00", HALF_PAST_NINE),
        ("2026-01-31T04:00:00-05:30", HALF_PAST_NINE),
        ("2026-01-31T09:30:00-00:00", HALF_PAST_NINE),
        ("2026-01-31T09:30:00.1Z", HALF_PAST_NINE + 100),
        ("2026-01-31T09:30:00.123Z", HALF_PAST_NINE + 123),
        ("2026-01-31T09:30:00.123999+00:00", HALF_PAST_NINE + 123),
        ("2026-01-31T09:30:00.000" + "9" * 5000 + "Z", HALF_PAST_NINE),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("1969-12-31T23:59:59Z", -1000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2017-01-01T01:59:60.5+02:00", 1_483_228_800_500),
        ("0001-01-01T00:00:00Z", TIME_MS_MIN),
        ("9999-12-31T23:59:59.999Z", TIME_MS_MAX),
        (0, 0),
        (-1, -1),
        (TIME_MS_MAX, TIME_MS_MAX),
    ],
)
def test_a_time_is_read_to_the_millisecond_below(text: str | int, time_ms: int) -> None:
    assert [parse_time(text), parse_time(text)] == [time_ms, time_ms]  # the second time from the caches


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T09:30:00",
        "2026-01-31T09:30Z",
        "2026-01-31T09:30:00.Z",
        "2026-01-31T09:30:00,5Z",
        "2026-01-31T09:30:00+0200",
        "2026-01-31T09:30:00+24:00",
        "2026-01-31T09:30:00+02:60",
        "2026-01-31T24:00:00Z",
        "2026-01-31T09:60:00Z",
        "2026-01-31T09:30:61Z",
        "2026-01-31T09:30:60Z",
        "2026-02-29T09:30:00Z",
        "2026-13-01T09:30:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2026-01-31T09:30:00Z\n",
        " 2026-01-31T09:30:00Z",
        "2026-01-31T09:30:00.1+0123452:00",
        "٢٠٢٦-01-31T09:30:00Z",
        "2026-01-31T09:30:00.١٢٣Z",
        "1769851800000",
        "\ud800",
        TIME_MS_MAX + 1,
        TIME_MS_MIN - 1,
        10**400,
        True,
        1.5,
        None,
        ["2026-01-31T09:30:00Z"],
    ],
)
def test_what_is_no_time_raises_value_error_with_warm_caches_too(text: object) -> None:
    for warm in ("2026-01-31T09:30:00.1+02:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        parse_time(warm)
    for _ in range(2):
        with pytest.raises(ValueError) as raised:
            parse_time(text)  # type: ignore[arg-type]
        assert not (isinstance(text, str) and len(text) > 5) or text not in str(raised.value)


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    assert format_time(HALF_PAST_NINE) == "2026-01-31T09:30:00.000Z"
    assert format_time(-1) == "1969-12-31T23:59:59.999Z"
    assert format_time(TIME_MS_MIN) == "0001-01-01T00:00:00.000Z"
    assert format_time(TIME_MS_MAX) == "9999-12-31T23:59:59.999Z"


@pytest.mark.parametrize("time_ms", [TIME_MS_MIN - 1, TIME_MS_MAX + 1])
def test_a_time_outside_years_1_to_9999_cannot_be_written(time_ms: int) -> None:
    for _ in range(2):
        with pytest.raises(ValueError):
            format_time(time_ms)


def test_the_caches_stop_growing_at_their_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_DAYS_MAX", "_CLOCKS_MAX", "_RESTS_MAX"):
        monkeypatch.setattr(times, limit, 7)
    monkeypatch.setattr(core_times, "_DAYS_MAX", 7)
    for cache in (times._days, times._clocks, times._rests, core_times._day_texts):
        cache.clear()
    for n in range(50):
        time_ms = n * (times.DAY_MS + 61_001)
        assert parse_time(format_time(time_ms)) == time_ms
    for cache in (times._days, times._clocks, times._rests, core_times._day_texts):
        assert 1 <= len(cache) <= 7
