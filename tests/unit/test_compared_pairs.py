"""Two profiles of one customer in two generations: what differs, and why."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator

from profilestream.operations.comparison.pairs import Pair, compare_pair
from profilestream.operations.comparison.reasons import Meanings
from profilestream.operations.comparison.result import EXAMPLES_MAX, Result, result_object
from profilestream.store.metadata import Generation
from profilestream.store.snapshots import StoredProfile
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.schemas.verifications import COMPARE

LIVE = """
[traits]
orders = "count(purchase)"
spend = "sum(purchase.amount_minor)"
dearest = "max(purchase.amount_minor)"
[segments.buyer]
enter = "orders >= 2"
[segments.spender]
enter = "spend >= 100"
exit = "spend < 50"
[segments.both]
enter = "in_segment('spender') and orders > 0"
[segments.old]
enter = "orders >= 9"
"""
OTHER = """
[traits]
orders = "count( purchase )"
spend = "sum(purchase.amount_minor, over='30d')"
dearest = "max(purchase.amount_minor)"
new = "min(purchase.amount_minor)"
[segments.buyer]
enter = "orders >= 3"
[segments.spender]
enter = "dearest >= 100"
exit = "dearest < 50"
[segments.both]
enter = "in_segment('spender') and orders > 0"
[segments.fresh]
enter = "orders >= 1"
"""


def generation(name: str, text: str, **more: Any) -> Generation:
    return Generation(name, 1, text, name, "2026-01-01T00:00:00.000Z", "building", **more)


def meanings(before: str = LIVE, after: str = OTHER, **more: Any) -> Meanings:
    made = [parse_definitions(text, "d") for text in (before, after)]
    return Meanings(generation("g1", before), generation("g2", after, **more), *made)


def profile(as_of: int = 10, until: int | None = None, segments: tuple[str, ...] = (), **fields: Any) -> StoredProfile:
    given = {"_revision": 3, "_as_of": f"1970-01-01T00:00:{as_of:02d}.000Z", **fields}
    if until is not None:
        given["_valid_until"] = f"1970-01-01T00:00:{until:02d}.000Z"
    texts = {name: str(value).encode() for name, value in given.items()}
    members = {name: {"since": "1970-01-01T00:00:00.000Z", "crossing": 1} for name in segments}
    return StoredProfile("c", {**texts, "_segments": json.dumps(members).encode()}, b"", None, {})


def why(pair: Pair) -> dict[str, tuple[str, ...]]:
    return {d.name: (d.why, *d.detail) for d in pair.differences}


def test_what_differs_by_its_definition_says_what_changed() -> None:
    live = profile(orders=2, spend=9, dearest=5, segments=("buyer", "old"))
    other = profile(orders=2, spend=5, dearest=5, new=1, segments=("fresh", "spender"))
    found = compare_pair(live, other, meanings())
    assert why(found) == {
        "spend": ("definition", "expression"),
        "buyer": ("definition", "enter"),
        "spender": ("definition", "enter", "exit"),
    }
    assert [(d.live, d.other) for d in found.differences] == [(9, 5), (True, False), (False, True)]


def test_the_same_in_other_words_or_in_another_order_does_not_differ() -> None:
    live = profile(orders=2, spend='{"a":1,"b":2}')
    other = profile(orders="2", spend='{"b":2, "a":1}')
    assert compare_pair(live, other, meanings(LIVE, LIVE)).differences == []
    assert why(compare_pair(live, profile(orders="2.0", spend='{"b":2,"a":1}'), meanings(LIVE, LIVE)))


def test_the_same_meaning_on_the_same_events_has_a_reason_or_is_told_apart() -> None:
    live, same = profile(orders=2, segments=("spender",)), meanings(LIVE, LIVE)
    assert why(compare_pair(live, profile(orders=3, segments=()), same)) == {
        "orders": ("unexplained",),
        "spender": ("order",),
    }
    assert why(compare_pair(live, profile(orders=2, segments=("spender", "both")), same)) == {"both": ("order",)}
    assert why(compare_pair(live, profile(orders=2, segments=("spender", "buyer")), same)) == {
        "buyer": ("unexplained",)
    }
    fewer = profile(orders=1, segments=("spender",), _revision=2)
    assert why(compare_pair(live, fewer, same)) == {"orders": ("events",)}
    full = profile(orders=1, segments=("spender",), _missed='{"orders": 1}')
    assert why(compare_pair(live, full, same)) == {"orders": ("bounded",)}


def test_what_is_complete_from_later_on_differs_by_its_history() -> None:
    late = meanings(LIVE, LIVE, complete_since={"orders": "2026-01-01T00:00:00.000Z"})
    live, other = profile(orders=2, spend=5, segments=("buyer",)), profile(orders=1, spend=4, _revision=1)
    assert why(compare_pair(live, other, late)) == {"orders": ("history",), "spend": ("events",), "buyer": ("history",)}


def test_profiles_of_which_one_waits_for_time_to_be_written_are_not_compared() -> None:
    same = meanings(LIVE, LIVE)
    assert compare_pair(profile(10, 20, orders=1), profile(19, 30, orders=1), same).timely
    assert not compare_pair(profile(10, 20, orders=1), profile(20, 30, orders=2), same).timely
    assert not compare_pair(profile(10, None, orders=1), profile(5, 10, orders=2), same).timely


def test_the_result_counts_by_reason_and_keeps_an_example_of_each() -> None:
    found, what = Result(), meanings()
    for n in range(10):
        found.add(compare_pair(profile(orders=2, spend=n), profile(orders=2, spend=n + 1), what))
    found.add(compare_pair(profile(orders=2, dearest=1), profile(orders=2), what))
    found.add(compare_pair(profile(orders=2, dearest=1), profile(orders=2, dearest=2, _revision=9), what))
    found.add(Pair(timely=False))
    told = result_object(found, what)
    assert (told["compared"], told["differing"], told["left_out"], told["unexplained"]) == (12, 12, {"due": 1}, 1)
    spend, dearest = told["traits"]
    assert (spend["name"], spend["why"], len(spend["examples"])) == ("spend", {"definition": 10}, EXAMPLES_MAX)
    assert (dearest["why"], dearest["only_live"]) == ({"unexplained": 1, "events": 1}, 1)
    assert told["traits_only_other"] == ["new"]
    assert (told["segments_only_live"], told["segments_only_other"]) == (["old"], ["fresh"])
    rest = {"live": "g1", "other": "g2", "definitions": ["a", "b"], "complete": True, "sample": None}
    Draft202012Validator(COMPARE).validate({**rest, "shards_behind": [], "elapsed_s": 0.1, **told})
