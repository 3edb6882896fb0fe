"""The judges of a chaos run see what is wrong, each fault by its name; a plan of faults is its seed's."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from tests.chaos.announcements import examine
from tests.chaos.faults import KINDS, plan
from tests.chaos.story import Story
from tests.chaos.verdict import judge, read_truth
from tests.comparison import Stored, StoredProfile
from tests.oracle import format_time, shard_of

SHARDS = 2
PARTITIONS = {"purchases": SHARDS}
NOW_MS = 1_700_000_000_000
DEFINITIONS = """
[traits]
orders = "count(purchase)"

[segments.buyer]
enter = "orders >= 1"

[segments.regular]
enter = "orders >= 2"
exit = "orders >= 9"
"""


def record(offset: int, event_id: str, customer_id: str = "c1", **fields: Any) -> Any:
    value = {"event_id": event_id, "customer_id": customer_id, "occurred_at": NOW_MS, "amount_minor": 1, **fields}
    place = {"topic": "purchases", "partition": shard_of("c1", SHARDS), "offset": offset}
    return SimpleNamespace(**place, timestamp=NOW_MS, value=json.dumps(value).encode())


RECORDS = [record(0, "a"), record(1, "b"), record(2, "a"), record(3, "bad", amount_minor=-1)]
TRUTH = read_truth(DEFINITIONS, RECORDS, SHARDS, PARTITIONS)
CHANGES = [("buyer", 1, "entered"), ("regular", 1, "entered"), ("regular", 2, "exited"), ("regular", 3, "entered")]


def change(segment: str, crossing: int, direction: str) -> dict[str, Any]:
    event = {"topic": "purchases", "partition": shard_of("c1", SHARDS), "offset": 0, "event_id": "a"}
    data = {"customer_id": "c1", "segment": segment, "change": direction, "crossing": crossing, "cause": "event"}
    return {
        "id": f"{segment}/c1/{crossing}",
        "source": "profilestream/chaos",
        "subject": "c1",
        "type": f"profilestream.segment.{direction}",
        "time": format_time(NOW_MS),
        "data": {**data, "event": event, "generation": "g1", "definitions": "f"},
    }


def stored() -> Stored:
    since = format_time(NOW_MS)
    segments = {"buyer": {"since": since, "crossing": 1}, "regular": {"since": since, "crossing": 3}}
    fields = {"orders": "2", "_revision": "2", "_segments": json.dumps(segments), "_event_time": since, "_as_of": since}
    members = {"buyer": {"c1": float(NOW_MS)}, "regular": {"c1": float(NOW_MS)}}
    return Stored("g1", SHARDS, "f", {"c1": StoredProfile(shard_of("c1", SHARDS), fields)}, members)


def letter(offset: int = 3, reason: str = "out_of_range") -> Any:
    place = {"topic": "purchases", "partition": str(shard_of("c1", SHARDS)), "offset": str(offset), "reason": reason}
    return SimpleNamespace(headers=[(name, text.encode()) for name, text in place.items()])


def announced(values: list[dict[str, Any]], present: Stored) -> list[str]:
    partition = shard_of("c1", SHARDS)
    records = [SimpleNamespace(partition=partition, key=b"c1", value=json.dumps(v).encode()) for v in values]
    return examine(records, present, TRUTH.events, "chaos").wrong


def test_what_is_right_is_found_right() -> None:
    assert (TRUTH.accepted, TRUTH.duplicates, len(TRUTH.refused)) == (2, 1, 1)
    assert judge(TRUTH, stored(), [letter(), letter()], "chaos").wrong() == []
    assert announced([change(*c) for c in CHANGES], stored()) == []


def revised(revision: str) -> Callable[[dict[str, str]], None]:
    return lambda fields: fields.update(_revision=revision)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (revised("1"), "1 events lost, 0 doubled"),
        (revised("3"), "0 events lost, 1 doubled"),
        (lambda fields: fields.update(orders="3"), "trait orders: customer c1: expected 2, is 3"),
        (lambda fields: fields.update(_segments="{}"), "_segments: customer c1"),
    ],
)
def test_a_profile_that_differs_is_named(harm: Callable[[dict[str, str]], None], said: str) -> None:
    present = stored()
    harm(present.profiles["c1"].fields)  # type: ignore[arg-type]
    assert any(said in one for one in judge(TRUTH, present, [letter()], "chaos").wrong())


def test_members_are_held_to_both_conditions() -> None:
    present = stored()
    present.members["regular"].clear()  # type: ignore[attr-defined]
    assert "outside, though `enter` holds" in "".join(judge(TRUTH, present, [letter()], "chaos").wrong())


@pytest.mark.parametrize("letters", [[], [letter(reason="bad_time")], [letter(), letter(offset=0)]])
def test_a_dead_letter_that_is_missing_wrong_or_too_much_is_named(letters: list[Any]) -> None:
    assert "dead letter" in "".join(judge(TRUTH, stored(), letters, "chaos").wrong())


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([0, 1, 2], "the last of regular/c1"),
        ([0, 1, 3], "numbered [1, 3]"),
        ([0, 1, 2, 3, 3], "numbered [2, 3, 3]"),
        ([0, 2, 1, 3], "numbered [2, 1, 3]"),
        ([1, 2, 3], "the last of buyer/c1"),
    ],
)
def test_numbers_that_are_left_out_repeated_or_out_of_order_are_named(order: list[int], said: str) -> None:
    wrong = announced([change(*CHANGES[place]) for place in order], stored())
    assert any(said in one for one in wrong), wrong


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("time",), format_time(NOW_MS + 1), "their times go back"),
        (("data", "change"), "exited", "change regular/c1/1: exited"),
        (("data", "event", "offset"), 1, "names event"),
        (("data", "cause"), "time", "cause time, event"),
        (("id",), "regular/c1/7", "id is regular/c1/7, expected regular/c1/1"),
    ],
)
def test_a_change_that_says_something_wrong_is_named(path: tuple[str, ...], value: Any, said: str) -> None:
    values = [copy.deepcopy(change(*c)) for c in CHANGES]
    place: Any = values[1]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    wrong = announced(values, stored())
    assert any(said in one for one in wrong), wrong


def test_a_seed_repeats_the_plan_of_faults_and_every_kind_comes_first_once() -> None:
    faults = list(islice(plan(7), 60))
    assert faults == list(islice(plan(7), 60)) != list(islice(plan(8), 60))
    assert sorted(fault.kind for fault in faults[: len(KINDS)]) == sorted(KINDS)


def test_a_story_has_poison_of_every_sort_and_never_runs_ahead_of_the_present() -> None:
    story = Story(1, customers=20, seconds=60)
    told = [story.next() for _ in range(3_000)]
    now_ms = time.time_ns() // 1_000_000
    records = [
        SimpleNamespace(topic=t.topic, partition=0, offset=n, timestamp=now_ms, value=t.value)
        for n, t in enumerate(told)
    ]
    truth = read_truth(DEFINITIONS, records, SHARDS, {"purchases": 2, "support": 2, "browsing": 3})
    assert len(truth.refused) == sum(t.customer_id is None for t in told)
    assert len(set(truth.refused.values())) >= 7
    assert truth.duplicates == 0
