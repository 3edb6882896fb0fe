"""Engine and oracle agree on a file with own types, typed facts, a currency and topics in other systems' words."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.oracle import Oracle
from tests.property.generated import offsets
from tests.property.shard import T0, Shard
from tests.property.test_engine_against_oracle import engine_changes, oracle_changes

from profilestream.core.engine import Engine
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import EventDecoder

DEFINITIONS = """
[settings]
currency = "EUR"
rates = { USD = "0.92", JPY = "0.00625" }

[types.workout]
topic = "workouts"
[types.workout.fields]
activity = "string = walk"
minutes = "int 1..1440"
ended_at = "time?"
paid_minor = "int?"
currency = "currency?"

[attributes]
age = "int 0..130"
member_since = "time"

[sources.shop]
topic = "shop.orders"
type = "purchase"
[sources.shop.map]
event_id = "id"
customer_id = "customer.number"
occurred_at = { path = "created", unit = "s" }
kind = { path = "state", words = { paid = "order", "sent.back" = "refund" } }
amount_minor = { path = "total.amount", decimals = "currency" }
currency = "total.currency"
channel = { value = "web" }
[sources.shop.map.items]
path = "line_items"
each = { category = "product.group", unit_price_minor = { path = "price", decimals = "currency" } }

[sources.gym]
topic = "gym"
type = "workout"
envelope = "cloudevents"
map = { activity = "type", minutes = "data.length" }

[sources.people]
topic = "people"
type = "attributes"
[sources.people.map.set]
path = "person"
[sources.people.map.set.each]
age = "age"
member_since = { path = "since", unit = "ms" }
city = "home.city"
origin = { value = "import" }

[streams]
order = "purchase[kind == 'order']"

[traits]
orders = "count(order)"
spend = "sum(order.amount_minor)"
spend_7d = "sum(purchase.amount_minor, over='7d')"
shoes = "sum(item[category == 'shoes'].amount_minor)"
pieces = "sum(item.quantity)"
currencies = "count(purchase, by=currency)"
channels = "count(purchase, by=channel)"
minutes = "sum(workout.minutes, over='24h')"
paid = "max(workout.paid_minor)"
activities = "top(workout.activity, 2)"
ended = "max(workout.ended_at)"
everything = "count(event)"
age = "latest(attributes.age)"
city = "latest(attributes.city)"
origin = "latest(attributes.origin)"
joined = "latest(attributes.member_since)"

[segments.active]
enter = "minutes >= 60"

[segments.old_hand]
enter = "since(joined) > days(30) and age >= 18"

[segments.buyer]
enter = "spend_7d >= 1_000"
exit = "spend_7d < 500"
"""
ORACLE = Oracle(DEFINITIONS)

times = offsets.map(lambda ms: T0 + ms)
currencies = st.sampled_from(("EUR", "USD", "JPY", "GBP", None))
customers = st.sampled_from(("7", "8"))
decimals = st.sampled_from(("12.345", "9.99", 5, 7.5, "0.125", "free", None, -1, "400"))
ages = st.sampled_from((17, 18, "41", 131, None, "old", 2.0))


def event(type_name: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    common = {"type": st.just(type_name), "customer_id": customers, "occurred_at": times}
    return st.fixed_dictionaries(common | fields)


def records(topic: str, record: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"topic": st.just(topic), "record": st.fixed_dictionaries(record)})


lines = st.lists(
    st.fixed_dictionaries(
        {"product": st.sampled_from((None, {}, {"group": "shoes"}, {"group": "hats"}, {"group": 5}, "shoes"))},
        optional={"price": decimals, "quantity": st.integers(1, 3)},
    ),
    max_size=2,
)
arrivals = st.one_of(
    event(
        "purchase",
        amount_minor=st.integers(0, 3_000),
        currency=currencies,
        items=st.lists(st.just({"category": "shoes", "unit_price_minor": 55}), max_size=1),
    ),
    event(
        "workout",
        activity=st.sampled_from(("run", None, 5)),
        minutes=st.sampled_from((1, 45, 60, 1441, None)),
        ended_at=st.sampled_from((None, T0, "2026-02-01T00:00:00+01:00", "late")),
        paid_minor=st.sampled_from((None, -25, 25, 1_000)),
        currency=currencies,
    ),
    event(
        "attributes",
        set=st.dictionaries(st.sampled_from(("age", "city")), ages, max_size=2)
        | st.builds(lambda since: {"member_since": since}, st.sampled_from((T0, "2025-11-01T00:00:00Z", "once", 1.5))),
        unset=st.lists(st.sampled_from(("age", "member_since")), max_size=1),
    ),
    records(
        "shop.orders",
        {
            "customer": st.builds(lambda n: {"number": n}, st.sampled_from((7, "8", 8, 7, None))),
            "created": times.map(lambda ms: ms / 1000) | times.map(lambda ms: ms // 1000),
            "state": st.sampled_from(("paid", "sent.back", "order", "gift", None)),
            "total": st.fixed_dictionaries({"amount": decimals, "currency": currencies | st.just("usd")}),
            "line_items": lines,
        },
    ),
    records(
        "gym",
        {
            "type": st.sampled_from(("run", "swim")),
            "subject": customers,
            "time": times,
            "data": st.fixed_dictionaries({"length": st.sampled_from(("30", 45, "x", 0))}),
        },
    ),
    records(
        "people",
        {
            "customer_id": customers,
            "occurred_at": times,
            "person": st.fixed_dictionaries(
                {}, optional={"age": ages, "since": times, "home": st.sampled_from((None, {}, {"city": "Riga"}))}
            ),
        },
    ),
)


def identified(arrival: dict[str, Any], number: int) -> dict[str, Any]:
    """An arrival with an id of its own, against the order of arrival, so that ids decide ties."""
    name = f"e{97 * number % 100:02d}"
    if "record" not in arrival:
        return {**arrival, "event_id": name}
    key = "event_id" if arrival["topic"] == "people" else "id"
    return {**arrival, "record": {**arrival["record"], key: name}}


@given(st.lists(arrivals, min_size=1, max_size=14), st.lists(offsets, max_size=1))
def test_engine_and_oracle_agree_on_records_in_any_words(given_: list[dict[str, Any]], waits: list[int]) -> None:
    definitions = parse_definitions(DEFINITIONS)
    decoder, shard = EventDecoder.of(definitions), Shard(Engine(definitions))
    played = [identified(arrival, number) for number, arrival in enumerate(given_)]
    for number, arrival in enumerate(played):
        if "record" in arrival:
            event = decoder.decoder_for_topic(arrival["topic"])(json.dumps(arrival["record"]).encode())
        else:
            event = decoder.decode(arrival["type"], json.dumps(arrival).encode())
        if not isinstance(event, Rejection):
            shard.fold(event, cause=number)
    until = None if shard.clock is None or not waits else shard.clock + waits[0]
    if until is not None:
        shard.pass_time(until)
    outcome = ORACLE.run(played, until)
    assert shard.clock == outcome.clock_ms
    assert shard.profiles.keys() == outcome.customers.keys()
    for name, customer in outcome.customers.items():
        assert shard.values(name) == customer.traits
        assert engine_changes(shard, name) == oracle_changes(outcome, name)
