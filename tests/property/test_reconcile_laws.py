"""After a repair crossing numbers go on from what was announced, and only what differs is a crossing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.property.generated import definition_texts, event_lists
from tests.property.shard import Shard

from profilestream.core.engine import Engine
from profilestream.core.profile import Profile
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import decode_state, encode_state


def inside(profile: Profile) -> set[str]:
    return {name for name, (number, _) in profile.members.items() if number % 2}


@given(definition_texts(), event_lists(max_size=8), st.data())
def test_numbers_go_on_from_what_was_announced_and_each_difference_is_one_crossing(
    text: str, events: list[dict[str, Any]], data: st.DataObject
) -> None:
    engine = Engine(parse_definitions(text))
    shard = Shard(engine).take_all(events)
    if "c" not in shard.profiles:
        return
    profile, clock = shard.profiles["c"], shard.clock or 0
    names = [segment.name for segment in engine.definitions.segments]
    announced = data.draw(
        st.dictionaries(st.sampled_from([*names, "gone"]), st.integers(0, 9)) if names else st.just({})
    )
    before, members, values = inside(profile), dict(profile.members), engine.values(profile)
    crossings = engine.reconcile(profile, announced, clock)

    # Who is in is what the fold says; numbers tell it too, and go on from what was announced.
    assert inside(profile) == before
    assert engine.values(profile) == values
    for name in names:
        number = profile.members.get(name, (0, 0))[0]
        if name in announced:
            assert number in (announced[name], announced[name] + 1)
        else:
            assert profile.members.get(name) == members.get(name)
    differ = [n for n in names if n in announced and (announced[n] % 2 == 1) != (n in before)]
    if announced.get("gone", 0) % 2:
        differ.insert(0, "gone")  # whoever was told in by definitions that had this segment is told out
    assert [(c.segment, c.crossing) for c in crossings or ()] == [(n, announced[n] + 1) for n in differ]
    assert all((c.crossing % 2 == 1) == (c.segment in before) and c.at == clock for c in crossings or ())

    # Once said it is said: the same again changes nothing, and the state holds it.
    told = announced | {c.segment: c.crossing for c in crossings or ()}
    assert engine.reconcile(profile, told, clock) is None
    assert decode_state(encode_state(profile, engine), "c", engine).members == profile.members


@given(definition_texts(), event_lists(max_size=8))
def test_a_profile_that_is_what_was_announced_is_left_as_it_is(text: str, events: list[dict[str, Any]]) -> None:
    engine = Engine(parse_definitions(text))
    shard = Shard(engine).take_all(events)
    for profile in shard.profiles.values():
        state = encode_state(profile, engine)
        assert engine.reconcile(profile, {n: number for n, (number, _) in profile.members.items()}, 0) is None
        assert encode_state(profile, engine) == state
