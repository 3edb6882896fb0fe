"""A fact may be any JSON: one that is no time must never stop a fold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from profilestream.core.engine import Crossing, Engine
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
