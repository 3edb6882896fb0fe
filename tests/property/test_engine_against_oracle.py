"""The engine against a second, naive reading of the contract: traits, memberships, every change in order."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.oracle import Oracle, Outcome
from tests.property.generated import definition_texts, event_lists, offsets
from tests.property.shard import Shard

from profilestream.core.engine import Engine
from profilestream.wire.definitions import parse_definitions


def engine_changes(shard: Shard, name: str) -> list[tuple[Any, ...]]:
    return [
        (c.segment, "entered" if c.crossing % 2 else "exited", c.crossing, c.at, c.event, c.values)
        for c in shard.changes[name]
    ]


def oracle_changes(outcome: Outcome, name: str) -> list[tuple[Any, ...]]:
    return [
        (c.segment, c.change, c.crossing, c.time_ms, c.event_index, dict(c.values))
        for c in outcome.customers[name].changes
    ]


@given(definition_texts(json_kinds=False), event_lists(customers=2), st.lists(offsets, max_size=1), st.data())
def test_engine_and_oracle_agree_on_traits_memberships_and_changes(
    text: str, events: list[dict[str, Any]], waits: list[int], data: st.DataObject
) -> None:
    if data.draw(st.booleans()):
        events = [*events, data.draw(st.sampled_from(events))]  # one comes again
    shard = Shard(Engine(parse_definitions(text))).take_all(events)
    until = (shard.clock or 0) + waits[0] if waits else None
    if until is not None:
        shard.pass_time(until)
    outcome = Oracle(text).run(events, until)
    assert shard.clock == outcome.clock_ms
    assert shard.duplicates == outcome.duplicates
    assert shard.profiles.keys() == outcome.customers.keys()
    for name, customer in outcome.customers.items():
        assert shard.values(name) == customer.traits
        assert engine_changes(shard, name) == oracle_changes(outcome, name)
        assert set(shard.members(name)) == customer.memberships.keys()
