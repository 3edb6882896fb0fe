"""Who would enter and leave, against a look at every segment of every profile carried whole."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, given
from tests.property.generated import event_lists, offsets
from tests.property.shard import Shard
from tests.property.test_changes_between_laws import pairs

from profilestream.core.carrying import Carrier
from profilestream.core.changes_between import changes_between
from profilestream.core.engine import Engine
from profilestream.core.problems import DefinitionsError
from profilestream.operations.sweep import Judge
from profilestream.settings import Settings
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import decode_state


@given(pairs(), event_lists(customers=3, max_size=20), offsets)
def test_a_look_with_the_changed_segments_alone_finds_what_a_look_at_all_finds(
    texts: tuple[str, str], events: list[dict[str, Any]], wait: int
) -> None:
    try:
        changes = changes_between(*(parse_definitions(text) for text in texts))
    except DefinitionsError:
        assume(False)
        raise
    before, after = Engine(changes.before), Engine(changes.after)
    shard = Shard(before).take_all(events)
    assert shard.clock is not None
    clock = shard.clock + wait  # no timer has had its turn yet
    judge = Judge(Settings(), changes)
    told = {name for name, outcome in judge.outcomes.items() if outcome.told}
    assert told == {c.name for c in changes.segments if c.moves and not c.needs}
    counts = {name: [0, 0, 0, 0] for name in told}
    for customer, state in shard.states().items():
        former = decode_state(state, customer, before)
        before.advance(former, clock, [])
        members = {name for name, m in former.members.items() if m[0] % 2}
        carried = Carrier(before, after).carry(former, None, clock).profile
        now = {name for name, m in carried.members.items() if m[0] % 2}
        expected = {(name, name in now) for name in told if (name in now) != (name in members)}
        if judge.outcomes:
            assert set(judge.look(decode_state(state, customer, judge.engine), clock)) == expected
        for name in told:
            counts[name][0] += name in members
            counts[name][1] += (name, True) in expected
            counts[name][2] += (name, False) in expected
            counts[name][3] += name in carried.held
    for name, outcome in judge.outcomes.items():
        if outcome.told:
            assert [outcome.members, outcome.entering, outcome.leaving, outcome.waiting] == counts[name]
            assert len(outcome.enter_examples) == outcome.entering
            assert outcome.leave_examples == sorted(outcome.leave_examples)
