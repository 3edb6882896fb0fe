"""What is told of each trait: the comment beside it, since when it is whole, when time alone changes it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.property.shard import DAY, T0, Shard

from profilestream.core.engine import Engine
from profilestream.core.explanation import explain_segment
from profilestream.core.outlook import next_changes
from profilestream.operations.explain_traits import ExplainedTrait, FirstReads, explain_traits
from profilestream.operations.moves import watched_values
from profilestream.wire.comments import trait_comments
from profilestream.wire.definitions import parse_definitions

TEXT = """
[traits]
orders = "count(purchase)"   # how many # in all
week   = 'count(purchase, over="7d")'
before = "count(purchase, over='7d', ago='7d')"
asked  = "last(support.occurred_at)"
ratio  = "week / orders"

[segments.vip]
enter = "orders >= 2"

[segments.loyal]
enter = "in_segment('vip') and week >= 1 and sum(purchase.amount_minor, over='30d') / orders > 5"
"""


ORDERS: list[dict[str, Any]] = [
    {"type": "purchase", "event_id": f"e{n}", "customer_id": "c", "occurred_at": T0 + n * DAY, "amount_minor": 10}
    for n in range(3)
]


def shard() -> Shard:
    """One customer with three orders, a day apart."""
    return Shard(Engine(parse_definitions(TEXT))).take_all(ORDERS)


def told(clock: int, first_reads: FirstReads | None = None) -> dict[str, ExplainedTrait]:
    found = shard()
    traits = explain_traits(found.engine, found.profiles["c"], clock, first_reads or {}, "rekeyed")
    return {one.trait.name: one for one in traits}


@pytest.mark.parametrize(
    ("line", "comment"),
    [
        ('a = "count(purchase)"  # all of them', "all of them"),
        ("a = 'count(purchase)' # x # y  ", "x # y"),
        (r'a = "last(browsing.sku) == \"#1\""', None),
        (r'a = "last(browsing.sku) == \"#1\"" # first', "first"),
        ('"a"="count(purchase)"#close', "close"),
        ('a = "count(purchase)" #', None),
    ],
)
def test_the_comment_on_a_traits_line_is_taken(line: str, comment: str | None) -> None:
    assert trait_comments(f"[traits]\n{line}\n").get("a") == comment


def test_only_comments_of_traits_count() -> None:
    traits = "[streams]\na = 'purchase' # no\n[ traits ] # no\nb = 'count(a)' # yes\n# no\n"
    text = f"{traits}[segments.c]\nenter = 'b > 1' # no"
    assert trait_comments(text) == {"b": "yes"}
    assert told(T0 + 2 * DAY)["orders"].comment == "how many # in all"


def test_a_trait_that_time_moves_says_when_it_next_changes() -> None:
    traits = told(T0 + 2 * DAY)
    # Six-hour tiles: the first order's leaves a week after its tile began.
    assert {n: t.changes_at for n, t in traits.items()} == {
        "orders": None, "week": T0 + 7 * DAY, "before": T0 + 7 * DAY, "asked": None, "ratio": T0 + 7 * DAY,
    }  # fmt: skip
    later = told(T0 + 100 * DAY)
    assert all(t.changes_at is None and t.looked_until is None for t in later.values())
    assert (later["week"].value, later["orders"].value, later["asked"].value) == (0, 3, None)


def test_the_search_for_a_change_says_where_its_limit_ended_it() -> None:
    found = shard()
    changes, looked_until = next_changes(found.engine, found.profiles["c"], steps_max=0)
    assert (changes, looked_until) == ({}, T0 + 2 * DAY)


def test_what_was_gone_before_it_was_read_counts_until_no_window_reaches_back_to_it() -> None:
    first = T0 + DAY
    traits = told(T0 + 2 * DAY, {"purchases": first})
    assert {n: (t.lacks, t.complete_since) for n, t in traits.items()} == {
        "orders": (("purchases",), first),
        "week": (("purchases",), first),
        "before": (("purchases",), first),
        "asked": ((), None),
        "ratio": (("purchases",), first),
    }
    assert told(first + 7 * DAY - 1, {"purchases": first})["week"].complete_since == first
    later = told(first + 7 * DAY, {"purchases": first})
    assert (later["week"].lacks, later["week"].complete_since) == ((), None)
    assert later["before"].complete_since == first and later["orders"].complete_since == first
    assert told(first + 14 * DAY, {"purchases": first})["before"].lacks == ()


def test_strays_may_be_events_of_any_type_and_a_time_that_nobody_knows_is_none() -> None:
    traits = told(T0 + 2 * DAY, {"rekeyed": T0, "purchases": T0 + DAY})
    assert (traits["asked"].lacks, traits["asked"].complete_since) == (("rekeyed",), T0)
    assert set(traits["orders"].lacks) == {"rekeyed", "purchases"} and traits["orders"].complete_since == T0 + DAY
    unknown = told(T0 + 2 * DAY, {"purchases": None, "rekeyed": T0})
    assert (unknown["orders"].lacks, unknown["orders"].complete_since) == (("purchases", "rekeyed"), None)


def test_an_engine_that_watches_a_segment_watches_those_that_it_names_too() -> None:
    found = shard()
    narrow = Engine(found.engine.definitions, watched=["loyal"])
    profile = narrow.revive(found.profiles["c"])
    explained = explain_segment(narrow, profile, "loyal", T0 + 2 * DAY)
    assert explained.member
    first = explained.enter[0]
    assert (first.text, first.segment) == ("in_segment('vip')", "vip")
    assert explained.changes_at == T0 + 9 * DAY and explained.because == ("week >= 1",)


def test_what_the_conditions_look_at_is_named_as_the_file_names_it_or_in_words() -> None:
    definitions = parse_definitions(TEXT)
    names = [name for name, _ in watched_values(definitions, definitions.by_segment["loyal"])]
    assert names == ["week", "sum of amount_minor of purchase events, in the last 30 days", "orders"]


def test_what_time_does_to_a_named_segment_is_seen_by_an_engine_that_watches_the_one_that_names_it() -> None:
    text = TEXT.replace('"orders >= 2"', '"week >= 3"').replace("in_segment('vip') and week >= 1", "in_segment('vip')")
    engine = Engine(parse_definitions(text), watched=["loyal"])
    profile = engine.revive(Shard(Engine(parse_definitions(text))).take_all(ORDERS).profiles["c"])
    explained = explain_segment(engine, profile, "loyal", T0 + 2 * DAY)
    assert explained.changes_at == T0 + 7 * DAY and explained.because == ("in_segment('vip')",)
