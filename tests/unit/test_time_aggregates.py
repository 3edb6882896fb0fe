"""`streak` and `unmatched`: what time alone makes of them, worked out by hand."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from typing import Any

import pytest
from tests.property.shard import DAY, HOUR, MINUTE, T0, Shard, engine_of

from profilestream.core.engine import Engine
from profilestream.wire.definitions import parse_definitions

_ids = count()
SKU = "unmatched(browsing.sku, item.sku, within='2d', over='30d')"


def event(type_name: str, at: int, **fields: Any) -> dict[str, Any]:
    return {"type": type_name, "event_id": f"e{next(_ids):06d}", "customer_id": "c", "occurred_at": at} | fields


def view(at: int, sku: str = "a") -> dict[str, Any]:
    return event("browsing", at, kind="product_view", sku=sku)


def purchase(at: int, *skus: str, **fields: Any) -> dict[str, Any]:
    return event("purchase", at, amount_minor=1, items=[{"sku": sku} for sku in skus], **fields)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def story(text: str, *events: dict[str, Any], until: int, zone: str = "") -> list[tuple[int, Any]]:
    """Every value of the trait that readers see, with the instant (ms after T0) of each: by events and by time."""
    shard = Shard(engine_of({"t": text}, timezone=zone))
    seen: list[tuple[int, Any]] = []

    def look() -> None:
        value = shard.values()["t"]
        if not seen or seen[-1][1] != value:
            seen.append((shard.profiles["c"].as_of - T0, value))

    def wait(end: int) -> None:
        while shard.profiles and shard.profiles["c"].due <= end:
            shard.pass_time(shard.profiles["c"].due)
            before = len(seen)
            look()
            assert len(seen) > before, "it woke and nothing was another"

    for one in events:
        wait(max(shard.clock or 0, one["occurred_at"]))
        shard.take(one)
        look()
    wait(until)
    return seen


# Streak


def test_a_streak_grows_by_days_holds_through_the_next_day_and_ends_at_the_midnight_after_it() -> None:
    events = [view(T0 + n * DAY + 9 * HOUR) for n in range(3)] + [view(T0 + 2 * DAY + 10 * HOUR)]
    assert story("streak(date(browsing.occurred_at))", *events, until=T0 + 9 * DAY) == [
        (9 * HOUR, 1), (DAY + 9 * HOUR, 2), (2 * DAY + 9 * HOUR, 3), (4 * DAY, 0),
    ]  # fmt: skip


def test_a_day_left_out_begins_a_streak_anew() -> None:
    events = [view(T0), view(T0 + DAY), view(T0 + 3 * DAY)]
    assert [v for _, v in story("streak(date(browsing.occurred_at))", *events, until=T0 + 3 * DAY)] == [1, 2, 0, 1]


def test_a_late_event_fills_the_gap_of_a_streak() -> None:
    events = [view(T0), view(T0 + DAY), view(T0 + 3 * DAY), view(T0 + 2 * DAY)]
    assert [v for _, v in story("streak(date(browsing.occurred_at))", *events, until=T0 + 3 * DAY)] == [1, 2, 0, 1, 4]


def test_a_streak_counts_the_days_of_its_streams_rows_alone() -> None:
    text = "streak(date(purchase[channel == 'web'].occurred_at))"
    events = [purchase(T0, channel="web"), purchase(T0 + DAY, channel="shop"), view(T0 + DAY)]
    assert [v for _, v in story(text, *events, until=T0 + DAY)] == [1]


@pytest.mark.parametrize(
    ("opened", "ends"),
    [
        # The night in which clocks go forward is an hour shorter, the one in which they go back an hour longer.
        ("2026-03-27T12:00+01:00", "2026-03-29T00:00+01:00"),
        ("2026-03-28T12:00+01:00", "2026-03-30T00:00+02:00"),
        ("2026-10-24T12:00+02:00", "2026-10-26T00:00+01:00"),
        # Half past eleven at night in Berlin, and still the same day in UTC half an hour later.
        ("2026-07-01T23:59+02:00", "2026-07-03T00:00+02:00"),
        ("2026-07-02T00:00+02:00", "2026-07-04T00:00+02:00"),
    ],
)
def test_a_streak_ends_at_a_midnight_of_the_files_zone(opened: str, ends: str) -> None:
    found = story("streak(date(browsing.occurred_at))", view(ms(opened)), until=ms(ends) + DAY, zone="Europe/Berlin")
    assert found == [(ms(opened) - T0, 1), (ms(ends) - T0, 0)]


def test_a_streak_by_a_field_of_the_event_counts_no_day_after_the_events_own() -> None:
    own_type = "[types.workout]\ntopic = 'workouts'\nfields = { began = 'time?' }\n"
    engine = Engine(parse_definitions(own_type + "[traits]\nt = 'streak(date(workout.began))'"))
    for began, expected in ((T0, 1), (T0 - DAY, 1), (T0 + HOUR, 1), (T0 + DAY, 0), (T0 - 2 * DAY, 0), (None, 0)):
        profile = engine.new_profile("c")
        engine.fold(profile, Workout(T0, began), engine.handlers["workout"], T0, 0, [], None)
        assert engine.values(profile) == {"t": expected}, began


class Workout:
    def __init__(self, occurred_at: int, began: int | None) -> None:
        self.event_id, self.customer_id, self.occurred_at, self.began = "e", "c", occurred_at, began


# Unmatched


def test_a_value_shows_a_millisecond_after_its_wait_and_goes_with_its_tile() -> None:
    assert story(SKU, view(T0 + 5), until=T0 + 99 * DAY) == [(5, []), (2 * DAY + 6, ["a"]), (30 * DAY, [])]


@pytest.mark.parametrize(("after", "answered"), [(-1, False), (0, True), (2 * DAY, True), (2 * DAY + 1, False)])
def test_an_answer_counts_from_the_sighting_to_the_end_of_the_wait(after: int, answered: bool) -> None:
    events = sorted([view(T0 + 5), purchase(T0 + 5 + after, "a")], key=lambda e: e["occurred_at"])
    assert (["a"] not in [v for _, v in story(SKU, *events, until=T0 + 20 * DAY)]) is answered


def test_a_late_answer_takes_a_value_out_and_a_late_sighting_counts() -> None:
    late = purchase(T0 + DAY, "a")
    assert [v for _, v in story(SKU, view(T0), view(T0 + 5 * DAY, "b"), late, until=T0 + 6 * DAY)] == [[], ["a"], []]
    assert [v for _, v in story(SKU, view(T0 + 5 * DAY, "b"), view(T0), until=T0 + 6 * DAY)] == [[], ["a"]]


def test_seen_again_a_value_waits_again_and_one_answer_answers_for_all() -> None:
    assert story(SKU, view(T0), view(T0 + DAY), purchase(T0 + DAY + 40 * HOUR, "a"), until=T0 + 20 * DAY) == [(0, [])]
    again = story(SKU, view(T0), view(T0 + 3 * DAY), until=T0 + 20 * DAY)
    assert again == [(0, []), (2 * DAY + 1, ["a"]), (3 * DAY, []), (5 * DAY + 1, ["a"])]


def test_when_the_sighting_that_was_answered_has_left_the_window_the_others_speak() -> None:
    found = story(SKU, view(T0), purchase(T0 + HOUR, "a"), view(T0 + 10 * DAY), until=T0 + 99 * DAY)
    assert found == [(0, []), (30 * DAY, ["a"]), (40 * DAY, [])]


def test_what_was_seen_last_comes_first_then_by_the_text() -> None:
    events = [view(T0, "b"), view(T0, "a"), view(T0 + 1, "c")]
    assert story(SKU, *events, until=T0 + 3 * DAY)[-1] == (2 * DAY + 2, ["c", "a", "b"])


def test_a_wait_shorter_than_the_windows_tile_is_exact() -> None:
    text = "unmatched(browsing.sku, item.sku, within='10m', over='30d')"
    events = [view(T0), purchase(T0 + 9 * MINUTE, "a"), view(T0 + HOUR, "b"), purchase(T0 + HOUR + 11 * MINUTE, "b")]
    assert story(text, *events, until=T0 + DAY) == [(0, []), (HOUR + 10 * MINUTE + 1, ["b"])]


def test_values_of_other_kinds_are_told_apart() -> None:
    text = "unmatched(attributes.x, attributes.y, within='1h', over='24h')"
    events = [event("attributes", T0, set={"x": value}) for value in (1, True, "1", 2.0)]
    events += [event("attributes", T0 + 1, set={"y": value}) for value in (1.0, 2)]
    assert story(text, *events, until=T0 + 2 * HOUR)[-1] == (HOUR + 1, ["1", True])


def test_one_segment_is_entered_and_left_by_time_alone_at_both_instants() -> None:
    shard = Shard(engine_of({"left": SKU}, {"forgot": "'a' in left", "several": "len(left) >= 2"}))
    shard.take_all([view(T0), view(T0 + HOUR, "b")]).pass_time(T0 + 99 * DAY)
    assert [(c.segment, c.crossing, c.at - T0, c.values) for c in shard.changes["c"]] == [
        ("forgot", 1, 2 * DAY + 1, {"left": ["a"]}),
        ("several", 1, 2 * DAY + HOUR + 1, {"left": ["b", "a"]}),
        ("forgot", 2, 30 * DAY, {"left": []}),
        ("several", 2, 30 * DAY, {"left": []}),
    ]


def test_values_that_did_not_fit_are_told() -> None:
    engine = Engine(parse_definitions(f'[traits]\nt = "{SKU}"\nn = "len({SKU})"'), keys_max=2)
    shard = Shard(engine).take_all([view(T0 + n, str(n)) for n in range(5)])
    assert engine.missed(shard.profiles["c"]) == {"t": 3, "n": 3}


def test_a_value_that_is_due_again_at_once_is_an_error_and_no_loop_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of({"days_in_a_row": "streak(date(browsing.occurred_at))"})
    found = Shard(engine)
    found.take(view(T0))
    monkeypatch.setattr(engine.slots, "next_due", lambda profile, now: now)
    with pytest.raises(RuntimeError, match="time does not pass"):
        found.pass_time(T0 + 9 * DAY)
