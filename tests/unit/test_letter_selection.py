"""Which dead letters the options of a command mean."""

from __future__ import annotations

import pytest

from profilestream.core.errors import UsageError
from profilestream.operations.letter_selection import EVERY_LETTER, OFFSET_MAX, Range, parse_range, parse_selection
from profilestream.wire.dead_letters import DeadLetter

NOW_MS = 1_769_851_800_000  # 2026-01-31T09:30:00Z
HOUR_MS = 3_600_000


def letter(reason="not_json", topic="purchases", partition=3, offset=1881, timestamp_ms=NOW_MS) -> DeadLetter:
    return DeadLetter(reason, "the value: expected JSON", topic, partition, offset, timestamp_ms)


def accepts(given: DeadLetter, **options: object) -> bool:
    return parse_selection(now_ms=NOW_MS, **options).accepts(given)  # type: ignore[arg-type]


def test_nothing_said_is_everything() -> None:
    assert parse_selection() == EVERY_LETTER
    assert EVERY_LETTER.is_everything and EVERY_LETTER.accepts(letter())
    assert not parse_selection(until="1h").is_everything


def test_within_a_part_any_fits_and_between_parts_all_must() -> None:
    options = {"reasons": ["not_json", "currency"], "topics": ["purchases"]}
    assert accepts(letter(), **options)
    assert accepts(letter("currency"), **options)
    assert not accepts(letter("bad_time"), **options)
    assert not accepts(letter(topic="support"), **options)


@pytest.mark.parametrize("since", ["2026-01-31T09:30:00Z", "2026-01-31T10:30:00+01:00", str(NOW_MS)])
def test_a_time_includes_its_own_instant_as_a_beginning_and_not_as_an_end(since: str) -> None:
    assert accepts(letter(), since=since)
    assert not accepts(letter(timestamp_ms=NOW_MS - 1), since=since)
    assert accepts(letter(timestamp_ms=NOW_MS - 1), until=since)
    assert not accepts(letter(), until=since)


def test_a_span_is_how_long_ago() -> None:
    assert accepts(letter(timestamp_ms=NOW_MS - 2 * HOUR_MS), since="2h")
    assert not accepts(letter(timestamp_ms=NOW_MS - 2 * HOUR_MS - 1), since="2h")
    assert accepts(letter(timestamp_ms=NOW_MS - 24 * HOUR_MS - 1), until="1d")


def test_positions_are_a_partition_a_record_or_a_range_with_both_ends() -> None:
    assert parse_range("shop.orders-v2:3") == Range("shop.orders-v2", 3, 0, OFFSET_MAX)
    assert parse_range("purchases:3:1881") == Range("purchases", 3, 1881, 1881)
    positions = ["purchases:3:1880-1881", "support:0"]
    assert accepts(letter(), positions=positions)
    assert accepts(letter(offset=1880), positions=positions)
    assert not accepts(letter(offset=1882), positions=positions)
    assert not accepts(letter(partition=4), positions=positions)
    assert accepts(letter(topic="support", partition=0, offset=7), positions=positions)


@pytest.mark.parametrize(
    "text", ["purchases", "purchases:", "purchases:x", "a b:1", "p:1:5-", "p:1:5-4", ":1:2", "p:1:2:3"]
)
def test_a_position_that_is_none_names_the_option_and_the_form(text: str) -> None:
    with pytest.raises(UsageError, match=r"--position .*(TOPIC:PARTITION|smaller offset first)"):
        parse_range(text)


@pytest.mark.parametrize("when", ["yesterday", "", "2026-01-31", "-5", "9" * 30])
def test_a_time_that_is_none_names_its_option(when: str) -> None:
    with pytest.raises(UsageError, match=r"--until .*expected a time"):
        parse_selection(until=when)


def test_an_unknown_reason_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean `bad_time`"):
        parse_selection(reasons=["badtime"])


def test_too_many_positions_are_refused() -> None:
    with pytest.raises(UsageError, match="give ranges"):
        parse_selection(positions=["p:1"] * 10_001)
