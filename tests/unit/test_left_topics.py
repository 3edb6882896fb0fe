"""Topics by which a type of events comes no more: which they are, until when they had any, and what goes with them."""

from __future__ import annotations

import json
import time
from typing import Any

import jsonschema
import pytest
from tests.property.shard import DAY, T0
from tests.unit.test_planning import BEFORE, SCHEMA, plan_of, reach_of, shown

from profilestream.operations import reach
from profilestream.operations.plan_files import plan_object
from profilestream.operations.reach import Reach
from profilestream.settings import Settings
from profilestream.store.commits import Head
from profilestream.stream.topics import Admin
from profilestream.wire.definitions import parse_definitions

MOVED = BEFORE + '[sources.views]\ntopic = "views"\ntype = "browsing"\n'


class Newest:
    """In the place of Kafka: topic `empty` has no record."""

    def __init__(self, kafka: str) -> None:
        pass

    async def __aenter__(self) -> Newest:
        return self

    async def __aexit__(self, *error: Any) -> None:
        pass

    async def last_timestamp(self, topic: str) -> int | None:
        return None if topic == "empty" else T0 + DAY


@pytest.mark.parametrize(
    ("before", "after", "passed", "expected"),
    [
        (BEFORE, MOVED, {"browsing": 70, "purchases": 9}, [("browsing", "browsing", 70)]),
        (BEFORE, MOVED, {"browsing": 0}, []),  # nothing ever came by it
        (BEFORE, MOVED, {}, []),
        (MOVED, BEFORE, {"views": 3}, [("views", "browsing", 3)]),
        (BEFORE, MOVED + '[sources.own]\ntopic = "browsing"\ntype = "browsing"\n', {"browsing": 70}, []),
    ],
)
async def test_a_topic_by_which_a_type_comes_no_more_is_left_where_anything_was_read_of_it(
    before: str,
    after: str,
    passed: dict[str, int],
    expected: list[tuple[str, str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "Admin", Newest)
    found = await reach.read_left(Settings(), parse_definitions(before), parse_definitions(after), passed)
    assert [(one.topic, one.type_name, one.gone) for one in found] == expected
    assert all(one.left and not one.is_whole and one.gone_ms == T0 + DAY for one in found)


async def test_a_topic_that_is_left_and_empty_may_have_had_its_last_record_just_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "Admin", Newest)
    began_ms = time.time_ns() // 1_000_000
    before = parse_definitions(MOVED.replace('"views"', '"empty"'))
    (one,) = await reach.read_left(Settings(), before, parse_definitions(BEFORE), {"empty": 5})
    assert one.gone_ms is not None and one.gone_ms >= began_ms


def test_of_a_topic_that_is_forwarded_whole_shards_have_passed_what_came_to_them() -> None:
    heads = [
        Head(positions={"purchases": 10, "rekeyed": 7}, starts={"purchases": 4}, origins={"browsing:views:0": 5}),
        Head(positions={"purchases": 3}, origins={"browsing:views:0": 8, "browsing:views:1": 0, "x:purchases:0": 2}),
    ]
    assert reach.passed_by(heads) == {"purchases": 9, "rekeyed": 7, "views": 10}


def test_what_came_by_a_topic_that_is_left_is_lost_and_windows_are_whole_in_time() -> None:
    traits = 'views_7d = "count(browsing, over=\'7d\')"\nviews = "count(browsing)"\n'
    text = BEFORE.replace("[segments", traits + "[segments", 1)
    moved = text + MOVED.removeprefix(BEFORE)
    left = Reach("browsing", "browsing", gone=70, gone_ms=T0, left=True)
    plan = plan_of(moved, reaches=(reach_of("views", "browsing"), left), before=text)
    assert {one.name: (one.since, one.lost) for one in plan.incomplete if one.is_trait} == {
        "views_7d": (T0 + 300_000 + 7 * DAY, True),
        "views": (None, True),
    }
    assert "is left: its 70 records of browsing would not be folded again" in shown(plan)
    jsonschema.validate(json.loads(json.dumps(plan_object(plan))), SCHEMA)


async def test_the_newest_record_is_found_while_others_still_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer that still sends to the former topic, a record a question, must not keep the search from its end."""
    stamps = [T0, T0 + DAY, T0 + 400 * DAY]

    async def first(topic: str) -> dict[int, int]:
        return {0: stamps[0]}

    async def ends(topic: str) -> dict[int, int]:
        return {0: len(stamps), 1: 0}

    async def at(topic: str, at_ms: int) -> dict[int, int]:
        stamps.append(stamps[-1] + 1)
        assert len(stamps) < 200, "it does not end"
        return {0: next((n for n, stamp in enumerate(stamps) if stamp >= at_ms), len(stamps)), 1: 0}

    admin = Admin("127.0.0.1:1")
    for name, answer in (("first_timestamps", first), ("end_offsets", ends), ("offsets_at", at)):
        monkeypatch.setattr(admin, name, answer)
    found = await admin.last_timestamp("browsing")
    assert found is not None and T0 + 400 * DAY < found <= T0 + 400 * DAY + 1_000
