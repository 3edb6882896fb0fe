"""One customer's events, day by day. What a kind and a habit guarantee is written in GUARANTEES.md.

A day is named by its distance from the end: day 1 is the last one. Habits are made of regular intervals with the
customer's own offset, so that a guarantee holds for every customer, not for most; what lies within a day is random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from profilestream.simulation.people import DAY_MS, Person, Plan, between, pick, random

Fields = dict[str, Any]
Happening = tuple[int, str, Fields]
"""Milliseconds within the day, event type, and the type's own fields."""

HOUR_MS: Final = 3_600_000
YEAR: Final = 365

WELLNESS: Final = ("yoga", "meditation", "nutrition", "running", "sleep", "strength")
ECO: Final = ("organic-cotton", "recycled", "linen", "second-hand", "vegan-shoes")
FASHION: Final = ("fashion", "shoes", "denim", "accessories")
NEEDS: Final = ("payroll", "invoicing", "automation")
SHELVES: Final = ("shoes", "bags", "coats", "books", "garden", "kitchen")


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it happened."""

    number: int
    at_ms: int
    type_name: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class Order:
    """A planned order, and after how many days it is given back, if it is."""

    amount_minor: int
    refund_after: int | None = None


@dataclass(frozen=True, slots=True)
class Traits:
    """What is drawn once for a customer."""

    offset: int
    hour: int
    clicks_of_ten: int
    favourite: int
    facts: Fields
    orders: Mapping[int, Order]
    tickets: frozenset[int]


class Life:
    """One customer's life; its days are to be asked for one after the other, from `plan.days` down to 1."""

    __slots__ = ("_drawn", "_number", "_plan", "person")

    def __init__(self, plan: Plan, person: Person) -> None:
        self.person = person
        self._plan = plan
        self._drawn = _draw(random(plan, person.number, "customer"), person)
        self._number = 0

    def on(self, day: int) -> Iterator[Event]:
        """The events of the next day in order of time."""
        habit, numbers = self.person.habit, random(self._plan, self.person.number, f"day {day}")
        found = list(_KINDS[habit.kind](habit.name, self._drawn, day, numbers))
        if day == self._plan.days and self._drawn.facts:
            found.append((0, "attributes", {"set": self._drawn.facts}))
        for within_ms, type_name, fields in sorted(found, key=lambda h: h[0]):
            self._number += 1
            yield Event(self._number, self._plan.until_ms - day * DAY_MS + within_ms, type_name, fields)


def events(plan: Plan, person: Person) -> Iterator[Event]:
    """The customer's events in order of time."""
    life = Life(plan, person)
    for day in range(plan.days, 0, -1):
        yield from life.on(day)


def _draw(numbers: Random, person: Person) -> Traits:
    kind, habit = person.habit.kind, person.habit.name
    facts: Fields = {}
    if kind == "fitness":
        age = between(numbers, 48, 65) if habit == "too_old" else between(numbers, 26, 39)
        facts = {"age": age, "area": "rural" if habit == "rural" else "urban"}
    elif kind == "small_business":
        size = between(numbers, 60, 400) if habit == "too_large" else between(numbers, 1, 18)
        facts = {"company_size": size, "role": "employee" if habit == "employee" else "owner"}
    orders = _fashion_orders(numbers, habit) if kind == "fashion" else _shop_orders(numbers, habit)
    tickets = between(numbers, 4, 7)
    return Traits(
        offset=between(numbers, 0, 1_000),
        hour=between(numbers, 7, 20),
        clicks_of_ten=between(numbers, 6, 9),
        favourite=between(numbers, 0, 1_000),
        facts=facts,
        orders=orders if kind in ("fashion", "shop") else {},
        tickets=frozenset(5 + n * 10 for n in range(tickets)) if habit == "needs_support" else frozenset(),
    )


# What happens on a day


def _fitness(habit: str, drawn: Traits, day: int, numbers: Random) -> Iterator[Happening]:
    opens = day % 7 == drawn.offset % 7 if habit == "seldom" else (day + drawn.offset) % 15 != 0
    if opens:
        yield _about(drawn, numbers), "browsing", {"kind": "app_open", "device": ("ios", "android")[drawn.offset % 2]}
        if day % 2 == 0 or habit == "seldom":
            other = (day % 30 == 2) != (habit == "not_wellness")
            category = pick(numbers, ("news", "offers") if other else WELLNESS)
            yield _about(drawn, numbers), "browsing", {"kind": "content_view", "category": category}
    if (day + drawn.offset) % 5 == 0 and habit != "not_wellness":
        minutes = between(numbers, 15, 75)
        workout = {"activity": pick(numbers, WELLNESS), "minutes": minutes, "energy_kcal": minutes * 7}
        yield _about(drawn, numbers), "workout", workout
    if day % 5 == 1:
        content = "challenge" if day % 10 == 1 else "reward"
        yield from _message(drawn, day // 5, "push", content, habit != "promotions")
    if day % 10 == 3:
        yield from _message(drawn, day // 10, "push", "promotion", habit == "promotions")


def _fashion(habit: str, drawn: Traits, day: int, numbers: Random) -> Iterator[Happening]:
    order = drawn.orders.get((day - 1) % YEAR + 1)
    if order is not None:
        items = [{"category": _eco(habit, n, numbers), "quantity": 1} for n in range(4)]
        shown = "store" if habit == "in_store" else "online"
        yield _about(drawn, numbers), "purchase", _purchase(order.amount_minor, items, shown)
    if (day + drawn.offset) % 6 == 0:
        view = {"kind": "product_view", "category": _eco(habit, (day + drawn.offset) // 6, numbers)}
        yield _about(drawn, numbers), "browsing", view
    if (day + drawn.offset) % 20 == 0:
        category = "celebrity" if habit == "celebrities" else "sustainability"
        yield _about(drawn, numbers), "browsing", {"kind": "influencer_view", "category": category}
    if day % YEAR == 77:
        yield _about(drawn, numbers), "browsing", {"kind": "influencer_view", "category": "sports"}
    if day % 12 == 5:
        content = "newsletter" if day % 24 == 5 else "collection"
        yield from _message(drawn, day // 12, "email", content, habit != "social")
    if day % 15 == 8:
        yield from _message(drawn, day // 15, "social", "promotion", habit == "social")


def _small_business(habit: str, drawn: Traits, day: int, numbers: Random) -> Iterator[Happening]:
    need = ("careers", "blog")[day % 2] if habit == "other_topic" else NEEDS[drawn.favourite % 3]
    if (day + drawn.offset) % 8 == 0:
        yield _about(drawn, numbers), "browsing", {"kind": "page_view", "category": need}
        if habit != "other_topic":
            query = {"kind": "search", "query": f"{need} software for small business", "category": need}
            yield _about(drawn, numbers), "browsing", query
    if day % 30 == 9:
        yield _about(drawn, numbers), "browsing", {"kind": "page_view", "category": "blog"}
    if day % 30 == 14 and habit != "no_evidence":
        yield _about(drawn, numbers), "browsing", {"kind": "review_read", "category": need}
    if day % 40 == 21 and habit != "no_evidence":
        seen = {"product": need, "watched_seconds": between(numbers, 240, 900), "completed": True}
        yield _about(drawn, numbers), "demo", seen
    if day % 9 == 4:
        content = "guide" if day % 18 == 4 else "webinar"
        yield from _message(drawn, day // 9, "email", content, habit != "promotions")
    if day % 15 == 6:
        yield from _message(drawn, day // 15, "email", "promotion", habit == "promotions")


def _shop(habit: str, drawn: Traits, day: int, numbers: Random) -> Iterator[Happening]:
    shelf = SHELVES[drawn.favourite % len(SHELVES)]
    order = drawn.orders.get(day)
    if order is not None:
        yield from _bought(drawn, numbers, order.amount_minor, shelf)
    for refund_day in (day + 5,):
        given_back = drawn.orders.get(refund_day)
        if given_back is not None and given_back.refund_after == 5:
            yield _about(drawn, numbers), "purchase", {"kind": "refund", "amount_minor": given_back.amount_minor,
                                                       "currency": "EUR"}  # fmt: skip
    lively = max(drawn.orders, default=0) >= day >= min(drawn.orders, default=0) - 30
    if lively and (day + drawn.offset) % 4 == 0:
        category = shelf if (day + drawn.offset) % 12 else pick(numbers, SHELVES)
        yield _about(drawn, numbers), "browsing", {"kind": "product_view", "category": category}
    if habit == "cart_abandoner" and day == 1 + drawn.offset % 3:
        yield 10 * HOUR_MS, "browsing", {"kind": "add_to_cart", "category": shelf}
    if day in drawn.tickets:
        ticket = {"ticket_id": f"t-{day}", "channel": ("chat", "email", "phone")[drawn.offset % 3]}
        poor = {"rating": between(numbers, 1, 2), "sentiment": -0.5}
        yield 9 * HOUR_MS, "support", {"kind": "opened", **ticket}
        yield 11 * HOUR_MS, "support", {"kind": "closed", **ticket}
        yield 12 * HOUR_MS, "support", {"kind": "rated", **ticket, **poor}
    if day % 10 == 7:
        channel = ("email", "push", "sms")[day // 10 % 3]
        mine = channel == ("email", "push", "sms")[drawn.favourite % 3]
        tone = ("formal", "friendly", "playful")[(drawn.offset if mine else day) % 3]
        yield from _message(drawn, day // 30, channel, "offer", mine, tone)


_KINDS: Final[Mapping[str, Callable[[str, Traits, int, Random], Iterator[Happening]]]] = {
    "fitness": _fitness,
    "fashion": _fashion,
    "small_business": _small_business,
    "shop": _shop,
}


# Pieces


def _about(drawn: Traits, numbers: Random) -> int:
    """A moment near the customer's own hour, ms within the day."""
    return drawn.hour * HOUR_MS + between(numbers, -HOUR_MS, 2 * HOUR_MS)


def _message(
    drawn: Traits, count: int, channel: str, content: str, answers: bool, tone: str | None = None
) -> Iterator[Happening]:
    """A message that was sent, and perhaps opened and clicked: of ten in a row so many as the customer clicks."""
    fields: Fields = {"channel": channel, "content": content, "campaign": f"{content}-{count}"}
    if tone is not None:
        fields["tone"] = tone
    yield 6 * HOUR_MS, "engagement", {"kind": "sent", **fields}
    if answers and count * 7 % 10 < drawn.clicks_of_ten:
        yield 6 * HOUR_MS + 20 * 60_000, "engagement", {"kind": "opened", **fields}
        yield 6 * HOUR_MS + 21 * 60_000, "engagement", {"kind": "clicked", **fields}


def _eco(habit: str, count: int, numbers: Random) -> str:
    """The category of a piece of fashion: three of four in a row are eco, for whom that matters."""
    return pick(numbers, FASHION if habit == "not_eco" or count % 4 == 3 else ECO)


def _purchase(amount_minor: int, items: list[Fields], channel: str) -> Fields:
    part = amount_minor // len(items)
    for item in items:
        item["unit_price_minor"] = part
    return {
        "kind": "order", "amount_minor": part * len(items), "currency": "EUR", "items": items, "channel": channel,
    }  # fmt: skip


def _bought(drawn: Traits, numbers: Random, amount_minor: int, shelf: str) -> Iterator[Happening]:
    """Looked at, put into the cart, ordered, in this order."""
    at_ms = _about(drawn, numbers)
    yield at_ms, "browsing", {"kind": "product_view", "category": shelf}
    yield at_ms + 60_000, "browsing", {"kind": "add_to_cart", "category": shelf}
    items = [{"category": shelf, "quantity": 1}]
    yield at_ms + 120_000, "purchase", _purchase(amount_minor, items, "online")


def _fashion_orders(numbers: Random, habit: str) -> dict[int, Order]:
    """The orders of one year, which every year repeats."""
    few, many = {"seldom": (1, 2), "too_often": (11, 14)}.get(habit, (4, 6))
    count = between(numbers, few, many)
    last = between(numbers, 20, 25 if habit == "too_often" else 80)
    gap = (335 - last) // max(count - 1, 1)
    return {last + n * gap: Order(between(numbers, 30, 150) * 100) for n in range(count)}


def _shop_orders(numbers: Random, habit: str) -> dict[int, Order]:
    match habit:
        case "regular":
            return _every(numbers, between(numbers, 2, 20), (12, 20), 60, (3_000, 7_000))
        case "vip":
            return _every(numbers, between(numbers, 1, 8), (8, 12), 60, (20_000, 40_000))
        case "occasional":
            return _every(numbers, between(numbers, 35, 80), (60, 90), between(numbers, 2, 3), (2_000, 6_000))
        case "lapsed":
            return _every(numbers, between(numbers, 200, 260), (20, 30), between(numbers, 3, 5), (2_000, 9_000))
        case "bargain_hunter":
            orders = _every(numbers, between(numbers, 10, 50), (25, 40), between(numbers, 4, 6), (3_000, 9_000))
            return {d: Order(o.amount_minor, 5 if n % 2 else None) for n, (d, o) in enumerate(orders.items())}
        case "cart_abandoner":
            return {between(numbers, 40, 60): Order(between(numbers, 2_000, 6_000))}
    first = between(numbers, 30, 60)  # needs_support
    return {first: Order(4_000), first + 40: Order(5_000)}


def _every(numbers: Random, last: int, gap: tuple[int, int], count: int, amount: tuple[int, int]) -> dict[int, Order]:
    """Orders from the last one backwards, a gap apart."""
    found, day = {}, last
    for _ in range(count):
        found[day] = Order(between(numbers, *amount))
        day += between(numbers, *gap)
    return found
