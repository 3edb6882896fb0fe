"""What simulated customers keep to: every row of GUARANTEES.md, counted from the records alone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from profilestream.simulation import Plan, people, simulate
from profilestream.simulation.people import DAY_MS, DAYS_SURE, KINDS

ECO = {"organic-cotton", "recycled", "linen", "second-hand", "vegan-shoes"}
WELLNESS = {"yoga", "meditation", "nutrition", "running", "sleep", "strength"}
NEEDS = {"payroll", "invoicing", "automation"}
UNTIL_MS = Plan().until_ms


class Events(list[tuple[float, str, dict[str, Any]]]):
    """A customer's events: days before the end, type, payload."""

    def of(self, days: int, type_name: str, **fields: Any) -> Events:
        """Those of a type in the last `days`, with these fields; a set of values allows each of them."""
        allowed = {name: value if isinstance(value, set) else {value} for name, value in fields.items()}
        found = (one for one in self if one[0] <= days and one[1] == type_name)
        return Events(one for one in found if all(one[2].get(name) in values for name, values in allowed.items()))

    def days(self) -> list[float]:
        return sorted(day for day, _, _ in self)

    def facts(self) -> dict[str, Any]:
        return next(payload["set"] for _, type_name, payload in self if type_name == "attributes")


def answered(mine: Events, days: int, **fields: Any) -> float:
    sent = mine.of(days, "engagement", kind="sent", **fields)
    assert sent
    return len(mine.of(days, "engagement", kind="clicked", **fields)) / len(sent)


def fitness(habit: str, mine: Events, days: int) -> None:
    facts = mine.facts()
    assert 48 <= facts["age"] <= 65 if habit == "too_old" else 26 <= facts["age"] <= 39
    assert facts["area"] == ("rural" if habit == "rural" else "urban")
    opens = len({int(day) for day in mine.of(30, "browsing", kind="app_open").days()})
    assert opens <= 6 if habit == "seldom" else 26 <= opens <= 30
    views = mine.of(90, "browsing", kind="content_view")
    wellness = mine.of(90, "browsing", kind="content_view", category=WELLNESS)
    workouts = mine.of(90, "workout")
    if habit == "not_wellness":
        assert len(views) >= 30 and len(wellness) <= len(views) / 10 and not workouts
    elif habit != "seldom":
        assert len(wellness) >= 20 and len(views) - len(wellness) <= 4 and len(workouts) >= 12
    assert len(mine.of(90, "engagement", channel="push", kind="sent", content={"challenge", "reward"})) >= 12
    moved = answered(mine, 90, channel="push", content={"challenge", "reward"})
    offers = answered(mine, 90, channel="push", content="promotion")
    assert (moved <= 0.1 and offers >= 0.5) if habit == "promotions" else (moved >= 0.5 and offers <= 0.1)


def fashion(habit: str, mine: Events, days: int) -> None:
    if days < 365:
        return
    orders = mine.of(365, "purchase", kind="order")
    few, many = {"seldom": (1, 2), "too_often": (11, 14)}.get(habit, (4, 6))
    assert few <= len(orders) <= many and min(orders.days()) <= 80
    assert len(orders) == len(mine.of(365, "purchase", channel="store" if habit == "in_store" else "online"))
    eco = [item["category"] in ECO for _, _, order in orders for item in order["items"]]
    views = mine.of(180, "browsing", kind="product_view", category=ECO)
    if habit == "not_eco":
        assert not any(eco) and not views
    else:
        assert sum(eco) == 3 * len(eco) / 4 and len(views) >= 12
    followed = mine.of(180, "browsing", kind="influencer_view")
    sustainability = mine.of(180, "browsing", kind="influencer_view", category="sustainability")
    if habit == "celebrities":
        assert not sustainability
    else:
        assert len(sustainability) >= 6 and len(followed) - len(sustainability) <= 1
    assert len(mine.of(180, "engagement", kind="sent", channel="email")) >= 10
    email, social = answered(mine, 180, channel="email"), answered(mine, 180, channel="social")
    assert (email <= 0.1 and social >= 0.4) if habit == "social" else (email >= 0.4 and social <= 0.1)


def small_business(habit: str, mine: Events, days: int) -> None:
    facts = mine.facts()
    assert 60 <= facts["company_size"] <= 400 if habit == "too_large" else 1 <= facts["company_size"] <= 18
    assert facts["role"] == ("employee" if habit == "employee" else "owner")
    read = {"page_view", "search", "review_read"}
    about = mine.of(90, "browsing", kind=read, category=NEEDS)
    if habit == "other_topic":
        assert not about
    else:
        assert len(about) >= 8 and len(mine.of(90, "browsing", kind=read)) - len(about) <= 3
    reviews, demos = mine.of(90, "browsing", kind="review_read"), mine.of(90, "demo", completed=True)
    if habit == "no_evidence":
        assert not reviews and not demos
    else:
        assert len(reviews) >= 2 and len(demos) >= 1
    assert len(mine.of(90, "engagement", channel="email", kind="sent", content={"guide", "webinar"})) >= 8
    lessons = answered(mine, 90, channel="email", content={"guide", "webinar"})
    offers = answered(mine, 90, channel="email", content="promotion")
    assert (lessons <= 0.1 and offers >= 0.5) if habit == "promotions" else (lessons >= 0.5 and offers <= 0.1)


def regularly(gap: tuple[int, int], last: int, amount: tuple[int, int], mine: Events, days: int) -> None:
    orders = mine.of(days, "purchase", kind="order")
    when = [int(day) for day in orders.days()]
    assert when[0] < last
    assert all(gap[0] <= later - earlier <= gap[1] for earlier, later in pairwise(when))
    assert all(amount[0] <= order["amount_minor"] <= amount[1] for _, _, order in orders)


def sometimes(count: tuple[int, int], last: tuple[int, int], mine: Events, days: int) -> None:
    when = mine.of(days, "purchase", kind="order").days()
    assert last[0] - 1 <= when[0] <= last[1]
    assert count[0] <= len(when) <= count[1]


def bargain_hunter(mine: Events, days: int) -> None:
    sometimes((4, 6), (10, 50), mine, days)
    orders = len(mine.of(days, "purchase", kind="order"))
    assert len(mine.of(days, "purchase", kind="refund")) == orders // 2


def cart_abandoner(mine: Events, days: int) -> None:
    sometimes((1, 1), (40, 60), mine, days)
    assert min(mine.of(days, "browsing", kind="add_to_cart").days()) <= 3


def needs_support(mine: Events, days: int) -> None:
    sometimes((2, 2), (30, 60), mine, days)
    rated = mine.of(80, "support", kind="rated")
    assert 4 <= len(mine.of(80, "support", kind="opened")) <= 7
    assert rated and all(ticket["rating"] <= 2 for _, _, ticket in rated)


SHOP: Mapping[str, Callable[[Events, int], None]] = {
    "regular": partial(regularly, (12, 20), 20, (3_000, 7_000)),
    "vip": partial(regularly, (8, 12), 8, (20_000, 40_000)),
    "occasional": partial(sometimes, (2, 3), (35, 80)),
    "lapsed": partial(sometimes, (3, 5), (200, 260)),
    "bargain_hunter": bargain_hunter,
    "cart_abandoner": cart_abandoner,
    "needs_support": needs_support,
}


def shop(habit: str, mine: Events, days: int) -> None:
    if days >= 365:
        SHOP[habit](mine, days)


KEPT = {"fitness": fitness, "fashion": fashion, "small_business": small_business, "shop": shop}


def lives(plan: Plan) -> Iterator[tuple[str, str, Events]]:
    found: dict[str, Events] = defaultdict(Events)
    for record in simulate(plan):
        payload = json.loads(record.value)
        found[record.customer_id].append(((UNTIL_MS - payload["occurred_at"]) / DAY_MS, record.type_name, payload))
    for person in people(plan):
        yield person.habit.kind, person.habit.name, found[person.customer_id]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**40), kind=st.sampled_from(KINDS), days=st.sampled_from([90, 200, 365, 400]) | st.just(365)
)
def test_every_customer_keeps_to_what_is_said_of_the_kind_and_the_habit(seed: int, kind: str, days: int) -> None:
    for kind_found, habit, mine in lives(Plan(customers=12, days=days, seed=seed, kinds=(kind,))):
        KEPT[kind_found](habit, mine, days)


def test_every_kind_says_from_how_many_days_on_a_habit_decides() -> None:
    assert set(DAYS_SURE) == set(KINDS) == set(KEPT)
