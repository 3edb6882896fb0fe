"""A fact may be any JSON, a number any size or form: none of them ever stops a fold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from profilestream.core.engine import Crossing, Engine
from profilestream.store.profile_writes import ProfileWriter
from profilestream.wire.definitions import parse_definitions

DEFINITIONS = """
[traits]
born = "latest(attributes.born)"

[segments.grown]
enter = "since(born) > days(1)"

[segments.whole]
enter = "days_since(born) >= 2 or 2 * since(born) > days(3)"
"""


@pytest.mark.parametrize("fact", ["1990-01-01", True, [1], {"a": 1}, 1.5, 10, None])
def test_a_fact_that_is_no_time_leaves_a_condition_unknown(fact: Any) -> None:
    engine = Engine(parse_definitions(DEFINITIONS))
    profile = engine.new_profile("c")
    crossings: list[Crossing] = []
    at = 10 * 86_400_000
    event = SimpleNamespace(event_id="e", customer_id="c", occurred_at=at, source=None, set={"born": fact}, unset=None)
    assert engine.fold(profile, event, engine.handlers["attributes"], at, at, crossings, None)
    engine.advance(profile, at * 2, crossings)
    entered = [c.segment for c in crossings]
    assert entered == (["grown", "whole"] if type(fact) in (int, float) else [])
    assert sorted(engine.evaluate(profile, at * 2)) == sorted(entered)


def test_integers_beyond_what_can_be_written_are_absent() -> None:
    traits = 'n = "latest(attributes.n)"\ntotal = "sum(attributes.n)"\nproduct = "total * total * total"\n'
    engine = Engine(parse_definitions(f"[traits]\n{traits}"))
    profile = engine.new_profile("c")
    huge = 10**4_200
    event = SimpleNamespace(event_id="e", customer_id="c", occurred_at=1, source=None, set={"n": huge}, unset=None)
    assert engine.fold(profile, event, engine.handlers["attributes"], 1, 1, [], None)
    assert engine.values(profile) == {"n": huge, "total": huge}
    write = ProfileWriter(engine).write(profile, False)
    assert "product" not in write.fields


def test_a_whole_float_and_an_integer_are_one_number_in_any_order() -> None:
    engine = Engine(parse_definitions('[traits]\nbest = "max(support.sentiment)"\n'))
    states = set()
    for order in ((1, 1.0), (1.0, 1)):
        profile = engine.new_profile("c")
        for number, sentiment in enumerate(order):
            event = SimpleNamespace(event_id=f"e{number}", occurred_at=1, kind="rated", sentiment=sentiment)
            engine.fold(profile, event, engine.handlers["support"], 1, 1, [], None)
        states.add(repr(profile.slots))
    assert states == {"[1]"}
