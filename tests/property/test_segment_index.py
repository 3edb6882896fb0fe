"""The segment index against full evaluation: the same memberships, at the same instants, however time passes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.property.generated import crowded_texts, definition_texts, event_lists, offsets
from tests.property.shard import T0, Shard, definitions_text

from profilestream.core.engine import Crossing, Engine
from profilestream.core.profile import Profile
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import decode_state, encode_state


def members(profile: Profile) -> set[str]:
    return {name for name, (crossing, _) in profile.members.items() if crossing % 2}


def full(engine: Engine, profile: Profile, clock: int) -> set[str]:
    return set(engine.evaluate(profile, clock))


class Law:
    """What must be true of a profile's places in one engine's index, at any time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.segments = engine.definitions.segments
        nodes = [(s.enter, s.exit if s.exit is not None else s.enter) for s in self.segments]
        self.read = engine.reader(tuple(node for pair in nodes for node in pair))

    def hold(self, profile: Profile, clock: int) -> None:
        """Memberships are those of full evaluation; each condition's truth, read off the index, is what it evaluates
        to; and the places, kept event by event, are those of a profile that is placed anew."""
        engine = self.engine
        assert members(profile) == full(engine, profile, clock)
        values = [value is True for value in self.read(profile, clock)]
        for number, segment in enumerate(self.segments):
            enter, leave = values[2 * number : 2 * number + 2]
            truth = (enter, leave if segment.exit is not None else not enter)
            assert engine.index.holds(number, profile.positions) == truth, segment.texts
        placed = decode_state(encode_state(profile, engine), "c", engine)
        assert profile.positions == placed.positions
        assert (profile.flips, profile.due) == (placed.flips, placed.due)


@given(crowded_texts(), event_lists(max_size=25), st.lists(offsets, max_size=4))
def test_among_many_segments_that_share_expressions_each_change_is_found(
    text: str, events: list[dict[str, Any]], waits: list[int]
) -> None:
    shard = Shard(Engine(parse_definitions(text)))
    law = Law(shard.engine)
    for n, event in enumerate(events):
        shard.take(event)
        profile = shard.profiles["c"]
        law.hold(profile, profile.as_of)
        if n < len(waits):
            shard.pass_time((shard.clock or 0) + waits[n])
            law.hold(profile, profile.as_of)


def test_a_list_that_comes_and_goes_moves_those_who_ask_for_what_is_not_in_it() -> None:
    shard = Shard(Engine(parse_definitions(definitions_text({}, {"g": "'a' not in latest(attributes.j)"}))))
    inside = []
    for n, value in enumerate((1, ["b"], ["b", "a"], ["b"], None, [], {"a": 1}, {}, "text")):
        event = {"type": "attributes", "event_id": f"e{n}", "customer_id": "c", "occurred_at": T0 + n}
        shard.take(event | {"set": {"j": value}})
        inside.append(bool(members(shard.profiles["c"])))
    assert inside == [False, True, False, True, False, True, False, True, False]


@given(definition_texts(), event_lists(), st.lists(offsets, max_size=4))
def test_memberships_are_what_full_evaluation_says_after_every_event_and_instant(
    text: str, events: list[dict[str, Any]], waits: list[int]
) -> None:
    engine = Engine(parse_definitions(text))
    shard, law = Shard(engine), Law(engine)
    for n, event in enumerate(events):
        shard.take(event)
        profile = shard.profiles["c"]
        assert members(profile) == full(engine, profile, shard.clock or 0)
        law.hold(profile, profile.as_of)
        if n < len(waits):
            shard.pass_time((shard.clock or 0) + waits[n])
            assert members(profile) == full(engine, profile, shard.clock or 0)


@given(definition_texts(), event_lists(max_size=6), st.lists(offsets, min_size=1, max_size=6))
def test_time_that_passes_at_once_and_in_steps_gives_the_same_crossings(
    text: str, events: list[dict[str, Any]], steps: list[int]
) -> None:
    engine = Engine(parse_definitions(text))
    shard = Shard(engine).take_all(events)
    start, state = shard.clock or 0, shard.states()["c"]
    at_once, in_steps = decode_state(state, "c", engine), decode_state(state, "c", engine)
    once: list[Crossing] = []
    stepped: list[Crossing] = []
    engine.advance(at_once, start + max(steps), once)
    for wait in sorted(steps):
        engine.advance(in_steps, start + wait, stepped)
        assert members(in_steps) == full(engine, in_steps, start + wait)
    assert once == stepped
    assert encode_state(at_once, engine) == encode_state(in_steps, engine)
    assert engine.values(at_once) == engine.values(in_steps)


@given(definition_texts(), event_lists(max_size=6))
def test_a_crossing_by_time_alone_is_at_the_first_instant_at_which_full_evaluation_says_so(
    text: str, events: list[dict[str, Any]]
) -> None:
    engine = Engine(parse_definitions(text))
    shard = Shard(engine).take_all(events)
    state = shard.states()["c"]
    crossings: list[Crossing] = []
    engine.advance(decode_state(state, "c", engine), (shard.clock or 0) + 10**12, crossings)
    assert [c.at for c in crossings] == sorted(c.at for c in crossings)
    for crossing in crossings[:20]:
        assert type(crossing.at) is int and crossing.event is None
        profile = decode_state(state, "c", engine)
        engine.advance(profile, crossing.at - 1, [])
        before = crossing.segment in full(engine, profile, crossing.at - 1)
        assert before is (crossing.crossing % 2 == 0)


@given(definition_texts(), event_lists(max_size=8), st.lists(offsets, max_size=3))
def test_a_profile_says_itself_until_when_nothing_changes(
    text: str, events: list[dict[str, Any]], waits: list[int]
) -> None:
    engine = Engine(parse_definitions(text))
    shard = Shard(engine).take_all(events)
    profile = shard.profiles["c"]
    for wait in (0, *waits):
        shard.pass_time((shard.clock or 0) + wait)
        last = profile.due - 1
        values = engine.values(profile)
        read = engine.read(tuple(t.node for t in engine.definitions.traits), profile, last, shown=True)
        assert values == {t.name: v for t, v in zip(engine.definitions.traits, read, strict=True) if v is not None}
        if last < 10**14:
            assert members(profile) == full(engine, profile, last)
