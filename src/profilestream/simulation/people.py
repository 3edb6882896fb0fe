"""Who there is. A customer's kind and habit are drawn from the seed and the customer's number alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeVar

from profilestream.core.times import TIME_MS_MAX, TIME_MS_MIN

DAY_MS: Final = 86_400_000

T = TypeVar("T")

CUSTOMERS_MAX: Final = 100_000
DAYS_MAX: Final = 3_650


@dataclass(frozen=True, slots=True)
class Habit:
    """How customers of a kind behave; `misses` says why one is not in the persona's segment, "" for a member.

    Habits of kind `shop` have no persona: there `segment` is the one that the habit leads into, if any.
    """

    kind: str
    name: str
    weight: int
    misses: str = ""
    segment: str = ""


PREFIX: Final[Mapping[str, str]] = {"fitness": "fit", "fashion": "eco", "small_business": "biz", "shop": "shop"}
SEGMENT: Final[Mapping[str, str]] = {
    "fitness": "fitness_app_user",
    "fashion": "sustainable_fashion_shopper",
    "small_business": "small_business_owner",
}
DAYS_SURE: Final[Mapping[str, int]] = {"fitness": 90, "fashion": 365, "small_business": 90, "shop": 365}
"""From how many days on a habit decides who is in the kind's segment; see GUARANTEES.md."""

HABITS: Final = (
    Habit("fitness", "member", 6),
    Habit("fitness", "too_old", 1, "48 to 65 years old"),
    Habit("fitness", "rural", 1, "lives in the country"),
    Habit("fitness", "seldom", 1, "opens the app once a week"),
    Habit("fitness", "not_wellness", 1, "reads news and offers, and does not work out"),
    Habit("fitness", "promotions", 1, "answers promotions, not challenges and rewards"),
    Habit("fashion", "member", 6),
    Habit("fashion", "not_eco", 1, "buys and looks at ordinary fashion"),
    Habit("fashion", "seldom", 1, "buys once or twice a year"),
    Habit("fashion", "too_often", 1, "buys every month"),
    Habit("fashion", "in_store", 1, "buys in the store"),
    Habit("fashion", "celebrities", 1, "follows celebrities, not sustainability influencers"),
    Habit("fashion", "social", 1, "answers social ads, not email"),
    Habit("small_business", "member", 6),
    Habit("small_business", "too_large", 1, "a company of 60 to 400"),
    Habit("small_business", "employee", 1, "an employee, not the owner"),
    Habit("small_business", "other_topic", 1, "looks for careers and reads the blog"),
    Habit("small_business", "no_evidence", 1, "neither reads reviews nor watches demos"),
    Habit("small_business", "promotions", 1, "answers promotions, not guides and webinars"),
    Habit("shop", "regular", 4, segment="regular"),
    Habit("shop", "occasional", 4),
    Habit("shop", "lapsed", 3, segment="lapsed"),
    Habit("shop", "vip", 1, segment="vip"),
    Habit("shop", "bargain_hunter", 2),
    Habit("shop", "cart_abandoner", 2, segment="abandoned_cart"),
    Habit("shop", "needs_support", 2, segment="support_burden"),
)
KINDS: Final = tuple(PREFIX)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate: so many customers over the `days` before `until_ms`, everything from one `seed`.

    `late`, `duplicates` and `mistakes` are shares of the events, 0 to 0.5. Raises ValueError for a plan that cannot
    be, with a sentence that says why.
    """

    customers: int = 100
    days: int = 365
    until_ms: int = 1_767_225_600_000
    seed: int = 1
    kinds: tuple[str, ...] = KINDS
    late: float = 0.0
    duplicates: float = 0.0
    mistakes: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.customers <= CUSTOMERS_MAX:
            raise ValueError(f"customers: a number from 1 to {CUSTOMERS_MAX:,}")
        if not 1 <= self.days <= DAYS_MAX:
            raise ValueError(f"days: a number from 1 to {DAYS_MAX:,}")
        if not TIME_MS_MIN <= self.from_ms < self.until_ms <= TIME_MS_MAX - 2 * DAY_MS:
            raise ValueError("until: a time from the year 1 to 9999, with the days before it and two days after it")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise ValueError(f"persona: one or more of {', '.join(KINDS)}")
        for name in ("late", "duplicates", "mistakes"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ValueError(f"{name}: a share from 0 to 0.5")

    @property
    def from_ms(self) -> int:
        """The beginning of the simulated time."""
        return self.until_ms - self.days * DAY_MS


@dataclass(frozen=True, slots=True)
class Person:
    """One customer: `number` counts from 1 over all kinds."""

    number: int
    customer_id: str
    habit: Habit


@dataclass(slots=True)
class Known:
    """What the generator knows of a customer: which segment, a member or why not, and exact counts and sums.

    `member` is None where the plan has fewer days than DAYS_SURE: who is in then depends on what was cut off.
    """

    customer_id: str
    kind: str
    habit: str
    segment: str
    member: bool | None
    misses: str
    events: int = 0
    orders: int = 0
    refunds: int = 0
    spend_minor: int = 0
    last_ms: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    """Events by type and kind, such as `browsing.app_open`."""


def people(plan: Plan) -> Iterator[Person]:
    """Everyone of a plan, one after the other."""
    for number in range(1, plan.customers + 1):
        yield person(plan, number)


def person(plan: Plan, number: int) -> Person:
    """The customer of a number: kinds take turns, the habit is drawn."""
    kind = plan.kinds[(number - 1) % len(plan.kinds)]
    habits = [habit for habit in HABITS if habit.kind == kind]
    habit = pick(random(plan, number, "habit"), [h for h in habits for _ in range(h.weight)])
    return Person(number, f"{PREFIX[kind]}-{number:04d}", habit)


def random(plan: Plan, number: int, purpose: str) -> Random:
    """A customer's own random numbers for one purpose, whatever else is drawn."""
    text = f"{plan.seed}/{number}/{purpose}"
    return Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


# Only `random()` is the same in every version of Python; the rest is made of it.


def between(numbers: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return low + int(numbers.random() * (high - low + 1))


def pick(numbers: Random, choices: Sequence[T]) -> T:
    """One of the choices."""
    return choices[int(numbers.random() * len(choices))]
