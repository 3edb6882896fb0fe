"""A chronicle against the oracle: each step's values, nothing between the steps, and the same crossings."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from tests.oracle import Oracle
from tests.property.generated import definition_texts, event_lists, offsets
from tests.property.shard import decoded

from profilestream.core.chronicle import Chronicle, Step
from profilestream.core.engine import Engine
from profilestream.wire.definitions import parse_definitions


def _retold(text: str, events: list[dict[str, Any]], name: str, until: int) -> list[tuple[Step, dict[str, Any], int]]:
    """Each step of a customer with the values after it, and how many events of all had come by then."""
    engine = Engine(parse_definitions(text))
    chronicle = Chronicle(engine, name)
    found: list[tuple[Step, dict[str, Any], int]] = []
    clock = None
    for n, raw in enumerate(events):
        event, handler = decoded(raw), engine.handlers[raw["type"]]
        clock = event.occurred_at if clock is None else max(clock, event.occurred_at)
        if event.customer_id != name:
            continue
        if chronicle.is_duplicate(event, handler, 0):
            continue
        for step in chronicle.pass_time(clock):
            found.append((step, dict(chronicle.values), n))
        step = chronicle.fold(event, handler, clock, 0, n)
        assert step is not None
        found.append((step, dict(chronicle.values), n + 1))
        assert chronicle.values == engine.values(chronicle.profile)
    for step in chronicle.pass_time(until):
        found.append((step, dict(chronicle.values), len(events)))
    return found


@given(definition_texts(json_kinds=False), event_lists(customers=2), offsets)
def test_every_step_has_the_oracles_values_and_nothing_happens_between_steps(
    text: str, events: list[dict[str, Any]], wait: int
) -> None:
    oracle = Oracle(text)
    whole = oracle.run(events)
    assert whole.clock_ms is not None
    until = whole.clock_ms + abs(wait)
    whole = oracle.run(events, until)
    for name, customer in whole.customers.items():
        before: dict[str, Any] = {}
        steps = _retold(text, events, name, until)
        for n, (step, values, seen) in enumerate(steps):
            outcome = oracle.run(events[:seen]).customers[name]
            assert values == outcome.traits_at(step.at)
            changed = {c.trait: (c.before, c.after) for c in step.traits}
            names = before.keys() | values.keys()
            assert changed == {t: (before.get(t), values.get(t)) for t in names if before.get(t) != values.get(t)}
            following = steps[n + 1][0].at if n + 1 < len(steps) else until + 1
            if following > step.at:
                assert values == outcome.traits_at(following - 1)
            before = values
        crossings = [(c.segment, c.crossing, c.at, c.event, c.values) for step, _, _ in steps for c in step.crossings]
        assert crossings == [
            (c.segment, c.crossing, c.time_ms, c.event_index, dict(c.values)) for c in customer.changes
        ]
