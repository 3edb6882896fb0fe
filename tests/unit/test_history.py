"""A history without servers: the shard's clock, strays, what was told, what the log no longer has."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from tests.unit.one_log import (
    ASTRAY,
    DAY,
    DEFINITIONS,
    HOUR,
    MINE,
    MINUTE,
    OTHER,
    SHARDS,
    T0,
    Log,
    Record,
    crossings,
    entries,
    history_of,
    kept,
    told,
)

from profilestream.operations import history as module
from profilestream.operations.histories import entry_object, summary_object
from profilestream.operations.retention import NEVER_WHOLE
from profilestream.operations.told import Known
from profilestream.settings import Settings
from profilestream.store.keys import shard_of
from profilestream.wire.changes import SegmentChange
from profilestream.wire.schemas import schemas
from profilestream.wire.values import encode_value


def test_events_of_others_move_the_clock_at_which_a_late_event_is_folded() -> None:
    log = Log()
    log.add(MINE, 0)
    log.add(OTHER, 5 * HOUR)
    log.add(MINE, HOUR)
    found = entries(history_of(log, 5 * HOUR))
    assert [e.at - T0 for e in found if e.event] == [0, 5 * HOUR]
    assert crossings(found)[0] == ("idle", 1, 2 * HOUR + 1, "time", "folded"), "time came before the late event"


@pytest.mark.parametrize(
    "moves",
    [
        {"customer": ASTRAY},
        {"customer": OTHER, "amount_minor": "much"},
        {"customer": OTHER, "event_id": ""},
        {"customer": OTHER, "ahead": True},
    ],
    ids=["of another shard", "no event", "no id", "too far ahead"],
)
def test_what_is_not_folded_here_does_not_move_the_clock(moves: dict[str, Any]) -> None:
    log = Log()
    log.add(MINE, 0)
    log.add(OTHER, HOUR)
    more = {k: v for k, v in moves.items() if k not in ("customer", "ahead")}
    record = log.add(moves["customer"], 5 * HOUR, **more)
    if moves.get("event_id") == "":
        record.value = (record.value or b"").replace(b'"e2"', b'""')
    if moves.get("ahead"):
        record.timestamp = T0 + HOUR
    log.add(OTHER, HOUR + 1)
    log.add(MINE, MINUTE)
    found = entries(history_of(log, 9 * HOUR))
    assert [e.at - T0 for e in found if e.event] == [0, HOUR + 1]


def test_the_clock_is_the_same_however_few_records_of_others_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    for n in range(200):
        log.add((OTHER, ASTRAY, MINE if n % 20 == 0 else OTHER)[n % 3], (n * 37 % 50) * MINUTE)
    wanted = [(e.at, e.event and e.event.event_id) for e in entries(history_of(log, DAY))]
    monkeypatch.setattr(module, "CANDIDATES_MAX", 2)
    history = history_of(log, DAY)
    assert [(e.at, e.event and e.event.event_id) for e in entries(history)] == wanted
    assert len(history._candidates) < 2
    clock, clocks = 0, []
    for record in log.records:
        event = json.loads(record.value or b"")
        if shard_of(event["customer_id"], SHARDS) == 0:
            clock = max(clock, event["occurred_at"])
        if event["customer_id"] == MINE:
            clocks.append(clock)
    assert [at for at, event_id in wanted if event_id] == clocks


def test_a_record_forwarded_twice_and_an_event_sent_twice_count_once() -> None:
    log = Log()
    first = log.add(MINE, 0, event_id="a")
    stray = Log().add(MINE, MINUTE, event_id="b")
    log.forward(stray, 1, 7)
    log.forward(stray, 1, 7)
    log.records.append(Record("purchases", 9, first.value, T0 + HOUR))
    history = history_of(log, HOUR)
    found = entries(history)
    assert [(e.event.event_id, e.event.partition, e.event.offset) for e in found if e.event] == [
        ("a", 0, 0),
        ("b", 1, 7),
    ]
    assert (history.events, history.duplicates) == (2, 1)


def test_no_time_passes_by_an_event_that_came_before() -> None:
    log = Log()
    log.add(MINE, 0, event_id="a")
    log.add(MINE, 9 * HOUR, event_id="a").timestamp = T0 + HOUR * 9
    log.add(MINE, HOUR, event_id="b")
    found = entries(history_of(log, HOUR))
    assert [e.at - T0 for e in found] == [0, HOUR]


def test_the_profile_at_a_time_is_that_when_the_shards_clock_stood_there() -> None:
    log = Log()
    log.add(MINE, 0)
    log.add(OTHER, 4 * HOUR)
    log.add(MINE, HOUR)  # late: it was not known before the clock stood at four
    for until, orders in ((-1, None), (0, 1), (2 * HOUR, 1), (4 * HOUR - 1, 1), (4 * HOUR, 2), (DAY, 2)):
        history = history_of(log, 5 * HOUR)
        entries(history, until)
        assert history.values.get("orders") == orders, until
    history = history_of(log, 5 * HOUR)
    entries(history, 2 * HOUR)
    assert history.members == {}
    entries(again := history_of(log, 5 * HOUR), 2 * HOUR + 1)
    assert again.members == {"idle": (1, T0 + 2 * HOUR + 1)}


def test_nothing_is_read_behind_the_record_that_moves_the_clock_beyond_the_time_asked_for() -> None:
    log = Log()
    log.add(MINE, 0)
    log.add(OTHER, 4 * HOUR)
    log.add(OTHER, 5 * HOUR, topic="browsing")
    log.add(OTHER, 6 * HOUR)
    entries(history_of(log, 7 * HOUR), HOUR)
    assert log.given == 3, "the run that ends with it, and the first record of the next one, which ends that"


def test_time_passes_to_the_shards_clock_now_and_no_further() -> None:
    log = Log()
    log.add(MINE, 0)
    assert crossings(entries(history_of(log, 2 * HOUR))) == []
    assert crossings(entries(history_of(log, 2 * HOUR + 1))) == [("idle", 1, 2 * HOUR + 1, "time", "folded")]


def test_an_event_is_folded_at_the_clock_that_was_announced_with_it() -> None:
    """A worker on the wall clock: the customer was idle before the event arrived, which the events do not tell."""
    log = Log()
    log.add(MINE, 0)
    second = log.add(MINE, 2 * HOUR)
    changes: list[tuple[SegmentChange, Known]] = [
        (told("idle", 1, 2 * HOUR + 1), "announced"),
        (told("buyer", 1, 2 * HOUR + 700, second), "announced"),
        (told("idle", 2, 2 * HOUR + 700, second), "waiting"),
    ]
    history = history_of(log, 3 * HOUR, changes, {"idle": 2, "buyer": 1})
    found = entries(history)
    assert crossings(found) == [
        ("idle", 1, 2 * HOUR + 1, "time", "announced"),
        ("buyer", 1, 2 * HOUR + 700, "event", "announced"),
        ("idle", 2, 2 * HOUR + 700, "event", "waiting"),
    ]
    assert [e.at - T0 for e in found] == [0, 2 * HOUR + 1, 2 * HOUR + 700]
    assert history.otherwise == 0


def test_crossings_are_those_that_were_announced_even_where_the_fold_finds_others() -> None:
    """After a repair: in the refolded history the customer entered once, subscribers were told twice."""
    log = Log()
    log.add(MINE, 0)
    second = log.add(MINE, MINUTE)
    changes: list[tuple[SegmentChange, Known]] = [
        (told("buyer", 1, 30_000), "announced"),
        (told("buyer", 2, 40_000, cause="repair"), "announced"),
        (told("buyer", 3, MINUTE, second), "announced"),
    ]
    history = history_of(log, MINUTE, changes, {"buyer": 3})
    found = entries(history)
    assert [(c.crossing, c.cause) for e in found for c in e.crossings] == [(1, "time"), (2, "repair"), (3, "event")]
    assert history.members["buyer"] == (3, T0 + MINUTE)
    assert history.otherwise == 1


def test_what_was_announced_between_two_instants_has_an_entry_of_its_own() -> None:
    log = Log()
    log.add(MINE, 0)
    changes: list[tuple[SegmentChange, Known]] = [
        (told("buyer", 1, HOUR, cause="repair"), "announced"),
        (told("buyer", 2, 2 * HOUR + 1, cause="repair"), "announced"),
        (told("idle", 1, 2 * HOUR + 1), "announced"),
    ]
    found = entries(history_of(log, 3 * HOUR, changes, {"buyer": 2, "idle": 1}))
    assert [(e.at - T0, [(c.segment, c.crossing) for c in e.crossings]) for e in found] == [
        (0, []),
        (HOUR, [("buyer", 1)]),
        (2 * HOUR + 1, [("buyer", 2), ("idle", 1)]),
    ]


def test_crossings_that_the_topic_no_longer_has_come_from_the_fold() -> None:
    log = Log()
    log.add(MINE, 0)
    second = log.add(MINE, 3 * HOUR)
    changes: list[tuple[SegmentChange, Known]] = [(told("idle", 2, 3 * HOUR, second), "announced")]
    found = entries(history_of(log, 3 * HOUR, changes, {"idle": 2, "buyer": 1}))
    assert crossings(found) == [
        ("idle", 1, 2 * HOUR + 1, "time", "folded"),
        ("idle", 2, 3 * HOUR, "event", "announced"),
        ("buyer", 1, 3 * HOUR, "event", "folded"),
    ]


def test_a_crossing_announced_after_the_shard_was_looked_at_is_left_out() -> None:
    log = Log()
    log.add(MINE, 0)
    changes: list[tuple[SegmentChange, Known]] = [
        (told("idle", 1, 2 * HOUR + 1), "announced"),
        (told("idle", 2, 3 * HOUR, cause="repair"), "announced"),
    ]
    found = crossings(entries(history_of(log, 4 * HOUR, changes, {"idle": 1})))
    assert found == [("idle", 1, 2 * HOUR + 1, "time", "announced")]


def test_what_another_generation_announced_does_not_tell_this_ones_clock() -> None:
    log = Log()
    log.add(MINE, 0)
    second = log.add(MINE, HOUR)
    changes: list[tuple[SegmentChange, Known]] = [(told("buyer", 1, 2 * HOUR, second, generation="g0"), "announced")]
    found = entries(history_of(log, 3 * HOUR, changes, {"buyer": 1}))
    assert [(e.at - T0, [c.at - T0 for c in e.crossings if c.segment == "buyer"]) for e in found][:2] == [
        (0, []),
        (HOUR, [2 * HOUR]),
    ]


def test_a_crossing_whose_event_is_gone_from_the_log_comes_at_its_time() -> None:
    log = Log()
    log.add(MINE, 0)
    lost = Record("purchases", 99, None, T0)
    changes: list[tuple[SegmentChange, Known]] = [(told("buyer", 1, -DAY, lost), "announced")]
    history = history_of(log, HOUR, changes, {"buyer": 1})
    history._told.release(history._told.places)
    assert crossings(entries(history)) == [("buyer", 1, -DAY, "event", "announced")]


def test_a_topic_in_other_words_is_read_in_them() -> None:
    text = (
        DEFINITIONS
        + """
[sources.shop]
topic = "shop"
type = "purchase"
map = { event_id = "id", customer_id = "user.id", occurred_at = "created", amount_minor = "cents" }
"""
    )
    log = Log()
    for n, (customer, hour) in enumerate(((MINE, 1), (OTHER, 2), (ASTRAY, 3), (MINE, 0))):
        value = {"id": f"s{n}", "user": {"id": customer}, "created": T0 + hour * HOUR, "cents": 5}
        log.records.append(Record("shop", n, json.dumps(value).encode(), T0 + 3 * HOUR))
    history = history_of(log, 3 * HOUR, text=text)
    assert [e.at - T0 for e in entries(history) if e.event] == [HOUR, 2 * HOUR]
    assert history.values["orders"] == 2


def test_what_redis_holds_otherwise_is_named() -> None:
    log = Log()
    log.add(MINE, 0)
    history = history_of(log, HOUR, numbers={"buyer": 1})
    entries(history)
    found = {d.name: (d.folded, d.stored) for d in history.differences()}
    assert found["orders"] == (1, 0)
    assert found["buyer"] == (0, 1)
    assert "views" not in found


# What the log no longer has


def test_a_trait_is_whole_once_nothing_that_was_removed_can_be_in_its_window() -> None:
    five_minutes = Settings().future_ms_max
    history = history_of(Log(), 0, kept=[kept("purchases", begins=40), kept("browsing")])
    assert history.whole_since == {
        "orders": NEVER_WHOLE,
        "spend_1d": T0 + DAY + five_minutes,
        "last_at": NEVER_WHOLE,
    }
    assert [part.gone for part in history.kept] == [40, 0]


def test_a_log_that_was_first_read_where_it_begins_lost_nothing_but_was_never_whole() -> None:
    history = history_of(Log(), 0, kept=[kept("browsing", first_read=40, begins=40)])
    assert [part.gone for part in history.kept] == [0]
    assert history.whole_since == {"views": NEVER_WHOLE}


def test_every_type_may_have_been_among_the_forwarded_records_that_are_gone() -> None:
    history = history_of(Log(), 0, kept=[kept("rekeyed", begins=1)])
    assert history.whole_since.keys() == {"orders", "spend_1d", "views", "last_at"}


def test_of_a_topic_of_which_nothing_is_left_no_window_is_ever_known_to_be_whole() -> None:
    history = history_of(Log(), 0, kept=[kept("purchases", begins=100, ms=None)])
    assert set(history.whole_since.values()) == {NEVER_WHOLE}
    assert history.kept[0].gone == 100


def test_what_is_gone_is_what_was_folded_even_where_the_log_begins_later() -> None:
    assert kept("purchases", first_read=10, begins=250, position=100).gone == 90


# The public form


def test_entries_and_summary_stand_before_their_schema() -> None:
    validator = jsonschema.Draft202012Validator(schemas({})["history.json"])
    log = Log()
    log.add(MINE, 0)
    history = history_of(log, 3 * HOUR, kept=[kept("purchases", begins=1, ms=None), kept("browsing", first_read=4)])
    lines = [entry_object(entry) for entry in entries(history)]
    assert [line["event"] is None for line in lines] == [False, True]
    lines += [summary_object(history, history.differences()), summary_object(history, None)]
    for line in lines:
        validator.validate(json.loads(encode_value(line)))
        for member in line:
            assert not validator.is_valid({key: value for key, value in line.items() if key != member}), member
