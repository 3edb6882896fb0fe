"""Laws of explanations, for arbitrary definitions, events and clocks."""

from __future__ import annotations

import ast
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.property.generated import definition_texts, event_lists, offsets
from tests.property.shard import Shard

from profilestream.core.conditions import Condition
from profilestream.core.engine import Crossing, Engine
from profilestream.core.explanation import at_clock, explain_segments
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import encode_state

Truth = bool | None


def truth_of(text: str, conditions: list[Condition]) -> Truth:
    """The truth of a condition put together from its leaves, three-valued; takes the leaves that it uses."""

    def of(tree: ast.expr) -> Truth:
        match tree:
            case ast.BoolOp():
                return joined([of(value) for value in tree.values], isinstance(tree.op, ast.Or))
            case ast.UnaryOp(op=ast.Not()):
                inner = of(tree.operand)
                return None if inner is None else not inner
            case ast.Compare():
                return joined([conditions.pop(0).holds for _ in tree.ops], False)
        return conditions.pop(0).holds

    return of(ast.parse(text.strip(), mode="eval").body)


def joined(truths: list[Truth], decisive: bool) -> Truth:
    if decisive in truths:
        return decisive
    return None if None in truths else not decisive


@given(definition_texts(), event_lists(), offsets)
def test_the_leaves_together_say_what_the_engine_says_of_the_whole(
    text: str, events: list[dict[str, Any]], wait: int
) -> None:
    definitions = parse_definitions(text)
    engine = Engine(definitions)
    shard = Shard(engine).take_all(events)
    clock = (shard.clock or 0) + wait
    present = at_clock(engine, shard.profiles["c"], clock)
    expected = set(engine.evaluate(present, clock))
    for found in explain_segments(engine, shard.profiles["c"], clock):
        segment = definitions.by_segment[found.segment]
        enter, leave = segment.texts
        left = list(found.conditions)
        assert (truth_of(enter, left) is True) is found.enters
        if leave is not None:
            assert (truth_of(leave, left) is True) is found.leaves
        assert left == []
        assert found.member is (found.segment in expected)
        for condition in found.conditions:
            assert condition.text in enter or condition.text in (leave or "")


@given(definition_texts(), event_lists(max_size=6), offsets)
def test_the_membership_changes_by_time_alone_first_at_the_instant_named(
    text: str, events: list[dict[str, Any]], wait: int
) -> None:
    engine = Engine(parse_definitions(text))
    shard = Shard(engine).take_all(events)
    profile = shard.profiles["c"]
    clock = (shard.clock or 0) + wait
    state = encode_state(profile, engine)
    explained = explain_segments(engine, profile, clock)
    assert encode_state(profile, engine) == state
    present = at_clock(engine, profile, clock)
    crossings: list[Crossing] = []
    engine.advance(present, clock + 10**12, crossings)
    for found in explained:
        first = next((c.at for c in crossings if c.segment == found.segment), None)
        assert found.changes_at == first or (first is None and (found.changes_at or 0) > clock + 10**12)


@given(definition_texts(), event_lists(max_size=6), st.integers(0, 10))
def test_one_segment_alone_is_explained_as_among_all(text: str, events: list[dict[str, Any]], which: int) -> None:
    engine = Engine(parse_definitions(text))
    shard = Shard(engine).take_all(events)
    explained = explain_segments(engine, shard.profiles["c"], shard.clock or 0)
    one = explained[which % len(explained)]
    assert explain_segments(engine, shard.profiles["c"], shard.clock or 0, [one.segment]) == [one]
