"""Laws of what an answer hangs on: steps that turn a comparison, ways to another answer, what time alone will turn."""

from __future__ import annotations

import itertools
import operator
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.property.generated import definition_texts, event_lists, offsets
from tests.property.shard import Shard

from profilestream.core import linear, words
from profilestream.core.definitions import Segment
from profilestream.core.engine import Engine
from profilestream.core.explanation import Explanation, at_clock, explain_segments
from profilestream.core.leaves import Joined, Tree, take_apart
from profilestream.core.outlook import next_changes
from profilestream.core.ways import nearest_way, step_to_turn
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import decode_state, encode_state

OPERATORS = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
halves = st.integers(-40, 40).map(lambda n: n / 2)


@given(st.sampled_from(tuple(OPERATORS)), st.integers(-30, 30), st.integers(-30, 30) | halves)
def test_the_step_of_a_whole_number_turns_its_comparison_and_no_smaller_one_does(op: str, value: int, t: Any) -> None:
    holds, step = OPERATORS[op], step_to_turn(op, value, t, True)
    if step is None:
        assert op in ("==", "!=") and t != int(t)
        return
    assert not step.beyond and isinstance(step.by, int)
    assert holds(value + step.by, t) is not holds(value, t)
    for less in range(-abs(step.by) + 1, abs(step.by)):
        assert holds(value + less, t) is holds(value, t)


@given(st.sampled_from(tuple(OPERATORS)), halves, halves)
def test_the_step_of_any_other_number_turns_its_comparison_there_or_right_behind(op: str, value: float, t: Any) -> None:
    holds, step = OPERATORS[op], step_to_turn(op, value, t, False)
    assert step is not None
    if step.beyond:
        assert holds(value + step.by, t) is holds(value, t)
        further = 1e-6 if step.by > 0 or (step.by == 0 and op in ("<=", "==", "!=", ">")) else -1e-6
        assert holds(value + step.by + further, t) is not holds(value, t)
    else:
        assert holds(value + step.by, t) is not holds(value, t)
        assert value + step.by == t


@given(st.sampled_from(tuple(OPERATORS)), st.integers(-9, 9), st.integers(-9, 9), st.booleans())
def test_at_the_threshold_the_distance_is_nothing_and_only_there(op: str, value: int, t: int, whole: bool) -> None:
    step = step_to_turn(op, value, t, whole)
    assert step is not None
    assert (words.arithmetic("-", value, t) == 0) is (value == t)
    assert abs(step.by) <= abs(value - t) + 1


trees: st.SearchStrategy[Any] = st.recursive(
    st.just(0),
    lambda below: st.builds(
        lambda word, parts: (word, parts), st.sampled_from(("and", "or")), st.lists(below, min_size=2, max_size=3)
    ),
    max_leaves=7,
)


def numbered(shape: Any) -> tuple[Tree, int]:
    """The tree with its leaves numbered from the left, and how many there are."""
    count = itertools.count()

    def of(part: Any) -> Tree:
        return next(count) if part == 0 else Joined(part[0], tuple(of(p) for p in part[1]))

    return of(shape), next(count)


def truth(tree: Tree, helps: list[bool]) -> bool:
    if isinstance(tree, int):
        return helps[tree]
    parts = [truth(part, helps) for part in tree.parts]
    return all(parts) if tree.word == "and" else any(parts)


@given(trees, st.data())
def test_the_nearest_way_leads_there_and_no_other_is_shorter_or_lighter(shape: Any, data: st.DataObject) -> None:
    tree, count = numbered(shape)
    helps = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    weights = data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    wanted = data.draw(st.booleans())

    def arrives(turned: tuple[int, ...]) -> bool:
        return truth(tree, [h is not (n in turned) for n, h in enumerate(helps)]) is wanted

    def cost(turned: tuple[int, ...]) -> tuple[int, int]:
        return len(turned), sum(weights[n] for n in turned)

    found = nearest_way(tree, helps, weights, wanted)
    assert arrives(found.turned)
    every = (t for size in range(count + 1) for t in itertools.combinations(range(count), size))
    assert cost(found.turned) == min(cost(turned) for turned in every if arrives(turned))


def answer(segment: Segment, found: Explanation, turned: bool) -> bool:
    """The membership that follows from the leaves' truths, those that decide turned round or not."""
    wholes = []
    for text, node, conditions in zip(segment.texts, segment.conditions, (found.enter, found.exit), strict=True):
        if text and node is not None:
            helps = [(c.helps is True) is not (turned and c.decides) for c in conditions]
            wholes.append(truth(take_apart(text, node)[1], helps))
    enters, leaves = wholes if len(wholes) == 2 else (wholes[0], not wholes[0])
    return not leaves if found.member else enters and not leaves


@given(definition_texts(), event_lists(max_size=6), offsets)
def test_the_leaves_joined_say_what_the_whole_says_and_those_that_decide_turn_the_membership(
    text: str, events: list[dict[str, Any]], wait: int
) -> None:
    definitions = parse_definitions(text)
    engine = Engine(definitions)
    shard = Shard(engine).take_all(events)
    for found in explain_segments(engine, shard.profiles["c"], (shard.clock or 0) + wait):
        segment = definitions.by_segment[found.segment]
        if found.held_since is not None or (found.sampled is False and found.enters and not found.leaves):
            # The conditions have turned already; what the crossing waits for is none of them.
            assert answer(segment, found, turned=False) is not found.member
            assert not any(c.decides for c in found.conditions)
            continue
        assert answer(segment, found, turned=False) is found.member
        assert answer(segment, found, turned=True) is not found.member
        assert any(c.decides for c in found.conditions)
        assert all(c.bars is not found.member for c in found.conditions if c.decides)


@given(definition_texts(), event_lists(max_size=5), offsets)
def test_time_alone_turns_a_condition_first_at_the_instant_named(
    text: str, events: list[dict[str, Any]], wait: int
) -> None:
    definitions = parse_definitions(text)
    engine = Engine(definitions)
    profile = Shard(engine).take_all(events).profiles["c"]
    clock = profile.as_of + wait
    state = encode_state(profile, engine)
    explained = explain_segments(engine, profile, clock, steps_max=300)
    assert encode_state(profile, engine) == state
    for found in explained:
        segment = definitions.by_segment[found.segment]
        nodes = []
        for part, node in zip(segment.texts, segment.conditions, strict=True):
            if part and node is not None:
                nodes += [linear.normalise(leaf.node) for leaf in take_apart(part, node)[0]]
        for condition, node in zip(found.conditions, nodes, strict=True):
            if condition.turns_at is not None:
                for at, same in ((condition.turns_at - 1, True), (condition.turns_at, False)):
                    (then,) = engine.read((node,), at_clock(engine, profile, max(at, clock)), max(at, clock))
                    assert (words.truth(then) is condition.holds) is same
            elif found.looked_until is None:
                later = clock + 4_000 * 86_400_000
                (then,) = engine.read((node,), at_clock(engine, profile, later), later)
                assume(found.changes_at is None)  # else the search may have been ended by its limit
                assert words.truth(then) is condition.holds
        for text_ in found.because:
            assert text_ in [c.text for c in found.conditions if c.turns_at is not None]


@given(definition_texts(), event_lists(max_size=6), offsets)
def test_a_trait_changes_by_time_alone_first_at_the_instant_named(
    text: str, events: list[dict[str, Any]], wait: int
) -> None:
    engine = Engine(parse_definitions(text))
    shard = Shard(engine).take_all(events)
    present = at_clock(engine, shard.profiles["c"], (shard.clock or 0) + wait)
    clock = max(present.as_of, (shard.clock or 0) + wait)
    changes, looked_until = next_changes(engine, present, steps_max=300)
    before = engine.values(present)
    for trait in engine.definitions.traits:
        if trait.name in changes:
            at = changes[trait.name]
            assert at > clock
            assert engine.values(at_clock(engine, present, at - 1)).get(trait.name) == before.get(trait.name)
            assert engine.values(at_clock(engine, present, at)).get(trait.name) != before.get(trait.name)
        elif looked_until is None:
            later = at_clock(engine, present, clock + 4_000 * 86_400_000)
            assert engine.values(later).get(trait.name) == before.get(trait.name)


@given(definition_texts(), event_lists(max_size=6), offsets, st.integers(0, 10))
def test_an_engine_that_watches_one_segment_explains_it_and_the_traits_as_one_that_watches_all(
    text: str, events: list[dict[str, Any]], wait: int, which: int
) -> None:
    definitions = parse_definitions(text)
    engine = Engine(definitions)
    shard = Shard(engine).take_all(events)
    profile, clock = shard.profiles["c"], (shard.clock or 0) + wait
    name = definitions.segments[which % len(definitions.segments)].name
    state = encode_state(profile, engine)
    narrow, bare = Engine(definitions, watched=[name]), Engine(definitions, watched=())
    whole = explain_segments(engine, profile, clock, [name])
    assert explain_segments(narrow, decode_state(state, "c", narrow), clock, [name]) == whole
    present, stripped = at_clock(engine, profile, clock), at_clock(bare, decode_state(state, "c", bare), clock)
    assert bare.values(stripped) == engine.values(present)
    assert next_changes(bare, stripped) == next_changes(engine, present)
