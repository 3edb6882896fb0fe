"""The clock: events of any age, dates that are wrong, and time that passes in one leap or in many steps."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.oracle import Oracle
from tests.property.generated import definition_texts, event_lists
from tests.property.shard import DAY, HOUR, T0, Shard, definitions_text, engine_of
from tests.property.test_engine_against_oracle import engine_changes, oracle_changes

from profilestream.core.engine import Engine
from profilestream.wire.definitions import parse_definitions

YEAR_ONE = -62_135_596_800_000

FIRST = YEAR_ONE + 2 * DAY
"""From here on every time has a date in every zone."""

ages = st.sampled_from((T0 - FIRST, T0, 4_000 * DAY, 366 * DAY, 90 * DAY, 30 * DAY, DAY, HOUR)) | st.integers(
    0, 4_000 * DAY
)
"""How old an event is when it arrives: from an hour to the first year there is."""

DAILY_AGE_MAX = 400 * DAY
"""Where the oracle looks at each day it must not be shown thousands of years: it would take minutes."""


@given(definition_texts(json_kinds=False), event_lists(customers=2), st.data())
def test_late_events_of_any_age_give_what_the_oracle_says(
    text: str, events: list[dict[str, Any]], data: st.DataObject
) -> None:
    oracle = Oracle(text)
    found = oracle.definitions
    daily = found.streaks_decide or found.loose_day_counters or any(c.day_counters for c in found.comparisons)
    age_max = DAILY_AGE_MAX if daily else T0 - FIRST
    late = [
        {**event, "event_id": f"late{n}", "occurred_at": T0 - min(age_max, data.draw(ages))}
        for n, event in enumerate(events)
    ]
    mixed = data.draw(st.permutations([*events, *late]))
    until = T0 + 600 * DAY
    shard = Shard(Engine(parse_definitions(text))).take_all(mixed).pass_time(until)
    outcome = oracle.run(mixed, until)
    for name, customer in outcome.customers.items():
        assert shard.values(name) == customer.traits
        assert engine_changes(shard, name) == oracle_changes(outcome, name)


@given(definition_texts(json_kinds=False), event_lists(customers=2), st.lists(st.integers(1, 3 * DAY), max_size=6))
def test_three_days_away_are_as_good_as_three_days_at_work(
    text: str, events: list[dict[str, Any]], steps: list[int]
) -> None:
    """Whether the clock looked in between or not, whether states were read back meanwhile or not."""
    at_work = Shard(Engine(parse_definitions(text))).take_all(events)
    away = Shard(at_work.engine).take_all(events)
    began = at_work.clock or 0
    for step in sorted(steps):
        at_work.pass_time(began + step)
        at_work.crash()
    for shard in (at_work, away.crash()):
        shard.pass_time(began + 3 * DAY)
        shard.take({**events[0], "event_id": "back", "occurred_at": began + 3 * DAY + 1})
    for name in at_work.profiles:
        assert away.crossings(name) == at_work.crossings(name)
    assert away.states() == at_work.states()


TRAITS = {"spend_1d": "sum(purchase.amount_minor, over='24h')", "last_at": "last(purchase.occurred_at)"}
SEGMENTS = {"spender": "spend_1d >= 100", "quiet": "since(last_at) > hours(30)"}


def order(customer: str, at: int, number: int = 0) -> dict[str, Any]:
    name = f"{customer}{number}"
    return {"type": "purchase", "event_id": name, "customer_id": customer, "occurred_at": at, "amount_minor": 100}


def test_one_date_in_the_past_moves_nobody() -> None:
    shard = Shard(engine_of(TRAITS, SEGMENTS)).take_all([order("a", T0), order("b", T0 + HOUR)])
    for number, at in enumerate((YEAR_ONE, 0, T0 - 40 * DAY, T0 + HOUR - 1), 1):
        shard.take(order("c", at, number))
    assert shard.clock == T0 + HOUR
    assert (shard.members("a"), shard.members("b"), shard.members("c")) == (["spender"],) * 3
    assert shard.values("c")["spend_1d"] == 100, "the one of an hour ago alone"


def test_a_shard_that_begins_in_the_year_one_is_soon_where_all_others_are() -> None:
    events = [order("c", YEAR_ONE), order("a", T0), order("c", T0 + 1, 1)]
    shard = Shard(engine_of(TRAITS, SEGMENTS)).take_all(events).pass_time(T0 + 2 * DAY)
    outcome = Oracle(definitions_text(TRAITS, SEGMENTS)).run(events, T0 + 2 * DAY)
    for name in ("a", "c"):
        assert engine_changes(shard, name) == oracle_changes(outcome, name)
