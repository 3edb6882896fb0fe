"""The simulator: deterministic, and what it knows is what it made."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilestream.core.events import BUILT_IN, declare
from profilestream.simulation import Plan, knowledge, people, simulate
from profilestream.simulation.people import HABITS, KINDS
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.events import EventDecoder

OWN = {
    "workout": declare("workout", "workouts", {"activity": "string", "minutes": "int 1..1440", "energy_kcal": "int?"}),
    "demo": declare("demo", "demos", {"product": "string", "watched_seconds": "int 0..", "completed": "boolean?"}),
}
DECODER = EventDecoder({**BUILT_IN, **OWN})

plans = st.builds(
    Plan,
    customers=st.integers(1, 12),
    days=st.integers(1, 120),
    seed=st.integers(0, 2**40),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, unique=True).map(tuple),
    late=st.sampled_from([0.0, 0.3]),
    duplicates=st.sampled_from([0.0, 0.2]),
    mistakes=st.sampled_from([0.0, 0.2]),
)


def test_a_plan_gives_the_same_bytes_on_every_machine() -> None:
    plan = Plan(customers=20, days=30, seed=42, late=0.1, duplicates=0.1, mistakes=0.1)
    digest = hashlib.sha256()
    for record in simulate(plan):
        digest.update(b"%d %s\n" % (record.arrival_ms, record.value))
    assert digest.hexdigest() == "0b20bd8ccfa3bd4dbb9944d4e2e4d68c8dc103ae1317fa4262be44a4a3e971e9"


@given(plans)
def test_records_come_in_order_of_arrival_and_the_same_each_time(plan: Plan) -> None:
    found = list(simulate(plan))
    assert found == list(simulate(plan))
    assert [r.arrival_ms for r in found] == sorted(r.arrival_ms for r in found)


@given(plans)
def test_what_is_known_is_what_the_distinct_events_come_to(plan: Plan) -> None:
    events: dict[str, dict[str, tuple]] = defaultdict(dict)
    bad = 0
    for record in simulate(plan):
        event = DECODER.decode(record.type_name, record.value)
        if isinstance(event, Rejection):
            bad += 1
            continue
        assert event.occurred_at <= record.arrival_ms
        fields = json.loads(record.value)
        label = f"{record.type_name}.{fields['kind']}" if "kind" in fields else record.type_name
        amount = fields["amount_minor"] if label == "purchase.order" else 0
        before = events[event.customer_id].setdefault(event.event_id, (label, amount, event.occurred_at))
        assert before == (label, amount, event.occurred_at)
    assert (bad > 0) <= (plan.mistakes > 0)
    for known in knowledge(plan):
        mine = events[known.customer_id].values()
        assert known.events == len(mine)
        assert known.counts == Counter(label for label, _, _ in mine)
        assert known.spend_minor == sum(amount for _, amount, _ in mine)
        assert known.last_ms == max((at for _, _, at in mine), default=0)


@given(plans)
def test_late_events_duplicates_and_mistakes_change_nothing_that_is_known(plan: Plan) -> None:
    clean = replace(plan, late=0.0, duplicates=0.0, mistakes=0.0)
    assert list(knowledge(plan)) == list(knowledge(clean))
    wanted = sorted(r.value for r in simulate(clean))
    good = {r.value for r in simulate(plan) if not isinstance(DECODER.decode(r.type_name, r.value), Rejection)}
    assert sorted(good) == wanted


def test_shares_are_about_what_was_asked_for() -> None:
    plan = Plan(customers=40, days=120, late=0.2, duplicates=0.1, mistakes=0.05)
    events = sum(k.events for k in knowledge(plan))
    records = list(simulate(plan))
    decoded = [(r.arrival_ms, DECODER.decode(r.type_name, r.value)) for r in records]
    bad = sum(isinstance(event, Rejection) for _, event in decoded)
    late = sum(not isinstance(event, Rejection) and event.occurred_at < arrival for arrival, event in decoded)
    assert 0.03 < bad / events < 0.07
    assert 0.08 < (len(records) - bad - events) / events < 0.12
    assert 0.25 < late / events < 0.35  # the duplicates among them


def test_a_customer_does_not_depend_on_how_many_others_there_are() -> None:
    few, many = Plan(customers=4, days=40), Plan(customers=40, days=40)
    assert list(people(few)) == list(people(many))[:4]
    assert list(knowledge(few)) == list(knowledge(many))[:4]


def test_a_plan_too_short_to_decide_who_is_in_says_so() -> None:
    assert {k.kind for k in knowledge(Plan(customers=40, days=89)) if k.member is not None} == set()
    assert {k.kind for k in knowledge(Plan(customers=40, days=90)) if k.member is not None} == {
        "fitness",
        "small_business",
    }
    assert all(k.member is not None for k in knowledge(Plan(customers=40, days=365)))


def test_every_habit_comes_up() -> None:
    assert {p.habit for p in people(Plan(customers=1_000))} == set(HABITS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"customers": 0}, "customers: a number from 1"),
        ({"days": 0}, "days: a number from 1"),
        ({"kinds": ("astronaut",)}, "persona: one or more of fitness"),
        ({"until_ms": -62_135_596_800_000}, "until: a time from the year 1"),
        ({"until_ms": 253_402_300_799_999}, "until: a time from the year 1"),
        ({"late": 0.6}, "late: a share from 0 to 0.5"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Plan(**options)
