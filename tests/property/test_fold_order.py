"""Order, slicing, redelivery and crashes change nothing that readers or subscribers see."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.generated import definition_texts, event_lists, offsets
from tests.property.shard import HOUR, T0, Shard, engine_of

from profilestream.core.engine import Engine
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import PACKED_MEMBERS_MIN

CRASH = "crash"


@given(definition_texts(segments_max=1), event_lists(), offsets, st.data())
def test_any_order_of_arrival_gives_the_same_values_at_the_same_clock(
    text: str, events: list[dict[str, Any]], wait: int, data: st.DataObject
) -> None:
    engine = Engine(parse_definitions(text))
    shuffled = data.draw(st.permutations(events))
    end = max(e["occurred_at"] for e in events) + wait
    one, other = (Shard(engine).take_all(order).pass_time(end) for order in (events, shuffled))
    assert one.values() == other.values()


@given(definition_texts(segments_max=2), event_lists(customers=2), st.data())
def test_what_comes_again_changes_nothing(text: str, events: list[dict[str, Any]], data: st.DataObject) -> None:
    engine = Engine(parse_definitions(text))
    again = []
    for n, event in enumerate(events):
        again.append(event)
        again += data.draw(st.lists(st.sampled_from(events[: n + 1]), max_size=2))
    once, more = Shard(engine).take_all(events), Shard(engine)
    for event in again:
        more.take(event)
    assert more.states() == once.states()
    assert more.duplicates == len(again) - len(events)
    assert all(more.crossings(name) == once.crossings(name) for name in once.profiles)


@given(definition_texts(), event_lists(customers=2), st.lists(offsets, max_size=3), st.data())
def test_a_crash_anywhere_changes_neither_values_nor_crossings_nor_bytes(
    text: str, events: list[dict[str, Any]], waits: list[int], data: st.DataObject
) -> None:
    engine = Engine(parse_definitions(text))
    tokens: list[Any] = data.draw(st.permutations([*events, *waits]))
    crashes = data.draw(st.sets(st.integers(0, len(tokens))))
    steady, shaken = Shard(engine), Shard(engine)
    for n, token in enumerate(tokens):
        for shard in (steady, shaken):
            if isinstance(token, dict):
                shard.take(token)
            elif shard.clock is not None:
                shard.pass_time(shard.clock + token)
        if n in crashes:
            shaken.crash()
    assert shaken.states() == steady.states()
    assert shaken.crash().states() == steady.states()
    assert shaken.changes == steady.changes
    for name in steady.profiles:
        assert shaken.values(name) == steady.values(name)
        assert shaken.profiles[name].due == steady.profiles[name].due


@given(definition_texts(segments_max=2), event_lists())
def test_an_engine_compiled_anew_from_the_same_text_folds_to_the_same_bytes(
    text: str, events: list[dict[str, Any]]
) -> None:
    one, other = (Shard(Engine(parse_definitions(text))).take_all(events) for _ in range(2))
    assert one.states() == other.states()
    assert one.changes == other.changes


@given(definition_texts(segments_max=1), event_lists())
def test_a_trait_that_no_event_or_instant_touched_has_not_changed(text: str, events: list[dict[str, Any]]) -> None:
    engine = Engine(parse_definitions(text))
    shard = Shard(engine)
    shown: dict[str, Any] = {}
    for event in events:
        shard.take(event)
        profile, values = shard.profiles["c"], shard.values()
        for trait in engine.changed_traits(profile.changed):
            shown.pop(trait.name, None)
            if trait.name in values:
                shown[trait.name] = values[trait.name]
        profile.changed = 0
        assert shown == values


@pytest.mark.parametrize("segments", [PACKED_MEMBERS_MIN - 1, 3 * PACKED_MEMBERS_MIN])
def test_the_state_of_one_who_is_in_many_segments_has_what_has_changed_since_it_was_written_last(segments: int) -> None:
    engine = engine_of(
        {"spend": "sum(purchase.amount_minor, over='24h')"}, {f"over_{n}": f"spend >= {n}" for n in range(segments)}
    )
    steady, shaken = Shard(engine), Shard(engine)
    for n, (at, amount) in enumerate(((0, 20), (1, 20), (HOUR, 70), (25 * HOUR, 0), (60 * HOUR, 5))):
        for shard in (steady, shaken.crash()):
            order = {"event_id": str(n), "customer_id": "c", "occurred_at": T0 + at, "amount_minor": amount}
            shard.take(order | {"type": "purchase"})
            if n == 3:
                shard.states()
                engine.reconcile(shard.profiles["c"], {"over_1": 8, "over_9": 0}, T0 + at)
        assert steady.states() == shaken.states()
    assert steady.crash().members() == shaken.members() == [f"over_{n}" for n in range(6)]
