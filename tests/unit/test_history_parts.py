"""The parts of `history`: which entries are meant, times as people write them, a glance, the merge of topics."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from profilestream.core.chronicle import TraitChange
from profilestream.core.errors import NotFound, UsageError
from profilestream.operations.history_entries import Entry, Happened
from profilestream.operations.history_selection import Selection, parse_selection
from profilestream.operations.moments import parse_moment
from profilestream.operations.told import Crossed
from profilestream.store.metadata import Generation
from profilestream.stream.shard_log import _next_run, _Waiting
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.glances import glance_of

BERLIN = ZoneInfo("Europe/Berlin")
DEFINITIONS = parse_definitions("[traits]\norders = 'count(purchase)'\n[segments.buyer]\nenter = 'orders >= 2'\n")
GENERATION = Generation("g1", 2, "", "f", "2026-01-01T00:00:00.000Z", "live")

# Which entries are meant

EVENT = Happened("purchase", "e1", 50, "purchases", 0, 7, 50)
ORDERS = TraitChange("orders", 1, 2)
SPEND = TraitChange("spend", 10, 30)
ENTERED = Crossed("buyer", 1, 50, "event", {}, "announced")
WHOLE = Entry(50, EVENT, (ORDERS, SPEND), (ENTERED,))


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (Selection(), WHOLE),
        (Selection(since=50, until=51), WHOLE),
        (Selection(since=51), None),
        (Selection(until=50), None),
        (Selection(traits=frozenset(["orders"])), Entry(50, EVENT, (ORDERS,), ())),
        (Selection(segments=frozenset(["buyer"])), Entry(50, EVENT, (), (ENTERED,))),
        (
            Selection(traits=frozenset(["orders"]), segments=frozenset(["buyer"])),
            Entry(50, EVENT, (ORDERS,), (ENTERED,)),
        ),
        (Selection(traits=frozenset(["age"])), None),
    ],
)
def test_a_selection_takes_of_an_entry_what_is_meant(selection: Selection, wanted: Entry | None) -> None:
    assert selection.of(WHOLE) == wanted


def test_an_instant_at_which_nothing_changed_is_left_out_and_an_event_is_not() -> None:
    assert Selection().of(Entry(50, None, (), ())) is None
    assert Selection().of(Entry(50, EVENT, (), ())) is not None


def test_unknown_traits_and_segments_are_named_with_what_may_be_meant() -> None:
    with pytest.raises(NotFound, match="no trait `order` in generation g1; did you mean `orders`"):
        parse_selection(GENERATION, DEFINITIONS, 0, traits=["order"])
    with pytest.raises(NotFound, match=r"no segment `buyers`.*`buyer`"):
        parse_selection(GENERATION, DEFINITIONS, 0, segments=["buyers"])


def test_how_long_ago_is_meant_from_the_shards_clock() -> None:
    assert parse_selection(GENERATION, DEFINITIONS, 10_000_000, since="2h").since == 10_000_000 - 7_200_000


# Times as people write them


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-01-31T09:30:00Z", "2026-01-31T09:30:00Z"),
        ("2026-01-31T09:30:00.250+02:00", "2026-01-31T07:30:00.250Z"),
        ("1769851800000", "2026-01-31T09:30:00Z"),
        ("2026-01-31", "2026-01-30T23:00:00Z"),
        ("2026-07-31", "2026-07-30T22:00:00Z"),
        ("2026-01-31 10:30", "2026-01-31T09:30:00Z"),
        ("2026-01-31T10:30:05", "2026-01-31T09:30:05Z"),
        ("2026-01-31 10:30:00.5", "2026-01-31T09:30:00.500Z"),
        ("2026-01-31 10:30:00 CET", "2026-01-31T09:30:00Z"),
        ("2026-01-31 10:30:00 UTC", "2026-01-31T10:30:00Z"),
        ("2026-10-25 02:30 CEST", "2026-10-25T00:30:00Z"),
        ("2026-10-25 02:30:00 CET", "2026-10-25T01:30:00Z"),
    ],
)
def test_a_time_is_read_as_it_is_written_and_as_it_is_shown(text: str, wanted: str) -> None:
    assert parse_moment("--at", text, 0, BERLIN) == parse_moment("--at", wanted, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2026-03-29 02:30", "skip this time"),
        ("2026-10-25 02:30", "twice; write CEST or CET behind it"),
        ("2026-01-31 10:30 CEST", "expected a time"),
        ("2026-02-30", "expected a time"),
        ("2026-01-31 25:00", "expected a time"),
        ("9999-12-31 23:59 EST", "expected a time"),
        ("yesterday", "2026-01-31 10:30 or 2026-01-31 .Europe/Berlin."),
        ("", "expected a time"),
    ],
)
def test_what_is_no_time_or_not_one_is_said(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"--at {text}.*{says}"):
        parse_moment("--at", text, 0, BERLIN)


def test_a_day_that_does_not_begin_at_midnight_begins_with_its_first_instant() -> None:
    sao_paulo = ZoneInfo("America/Sao_Paulo")  # 2018-11-04 began at 01:00
    assert parse_moment("--at", "2018-11-04", 0, sao_paulo) == parse_moment("--at", "2018-11-04T03:00:00Z", 0)


def test_without_a_zone_a_time_has_an_offset() -> None:
    with pytest.raises(UsageError, match="--since 2026-01-31: expected a time as 2026-01-31T09:30:00Z, in ms"):
        parse_moment("--since", "2026-01-31", 0)


# A glance


def test_a_glance_sees_what_decoding_sees_however_it_is_written() -> None:
    (source,) = (s for s in DEFINITIONS.sources if s.topic == "purchases")
    glance = glance_of(source)
    assert glance is not None
    value = {"amount_minor": 5, "customer_id": "c-ü42", "occurred_at": "2026-01-31T09:30:00Z", "items": [{"sku": "a"}]}
    wanted = ("c-ü42", 1_769_851_800_000)
    assert glance(json.dumps(value).encode()) == glance(json.dumps(value, ensure_ascii=False).encode()) == wanted
    assert glance(rb'{"customer_id": "\u0063-\u00fc42", "occurred_at": 1769851800000}') == wanted
    for bad in (
        None,
        b"",
        b"{",
        b'{"customer_id": 7, "occurred_at": 1}',
        b'{"customer_id": "c", "occurred_at": "noon"}',
    ):
        assert glance(bad) is None
    assert glance(b'{"customer_id": "c", "occurred_at": 1, "x": ' + b"[" * 100_000) is None


# The merge of topics


@dataclass
class Record:
    topic: str
    offset: int
    timestamp: int


@pytest.mark.parametrize("seed", range(20))
def test_topics_are_merged_by_timestamp_and_within_one_timestamp_in_their_order(seed: int) -> None:
    chance = random.Random(seed)
    topics = [_Waiting(n, f"t{n}") for n in range(chance.randint(1, 4))]
    for waiting in topics:
        # A topic's own timestamps may go back: its records keep their order all the same.
        waiting.records = [Record(waiting.topic, n, chance.randrange(12)) for n in range(chance.randint(1, 15))]
    queues = [list(w.records) for w in topics]
    wanted = []
    while any(queues):
        queue = min((q for q in queues if q), key=lambda q: q[0].timestamp)
        wanted.append(queue.pop(0))
    found: list[Any] = []
    while ready := [w for w in topics if w.records]:
        found += _next_run(ready)
    assert found == wanted
