"""Times as text, for all times."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from profilestream.wire.times import TIME_MS_MAX, TIME_MS_MIN, format_time, parse_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.integers(TIME_MS_MIN, TIME_MS_MAX))
def test_what_is_written_reads_back(time_ms: int) -> None:
    assert parse_time(format_time(time_ms)) == time_ms


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=OFFSETS),
    st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"]),
)
def test_any_form_that_datetime_writes_is_read_as_floored_milliseconds(moment: datetime, precision: str) -> None:
    text = moment.isoformat(timespec=precision)
    assert parse_time(text) == (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1)


@given(st.text(alphabet="0123456789-:.TtZz +", max_size=40) | st.text(max_size=30))
def test_any_text_is_a_time_in_range_or_a_value_error(text: str) -> None:
    try:
        time_ms = parse_time(text)
    except ValueError:
        return
    assert TIME_MS_MIN <= time_ms <= TIME_MS_MAX
