"""What must come out, computed a second time: plain lists, plain loops, the definitions retold by hand.

Nothing of profilestream's core is used here, so a mistake there does not hide itself. From elsewhere comes
only which shard a customer belongs to, since a shard's last order is where its time stops.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from profilestream.operations.demo.orders import Order
from profilestream.store.keys import shard_of

DAY_MS: Final = 86_400_000

Condition = Callable[[Sequence[Order], int], bool]


class Crossing(NamedTuple):
    """A customer enters (odd numbers) or leaves a segment, at a time in ms."""

    customer: str
    segment: str
    number: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Expected:
    """Orders by customer, every crossing of every segment's border, and where each shard's time stops (ms)."""

    orders: Mapping[str, Sequence[Order]]
    crossings: Sequence[Crossing]
    clocks: Mapping[int, int]

    def entered(self, segment: str) -> int:
        """How often customers entered."""
        return sum(c.number % 2 for c in self.crossings if c.segment == segment)

    def exited(self, segment: str) -> int:
        """How often customers left."""
        return sum(1 - c.number % 2 for c in self.crossings if c.segment == segment)

    def members(self) -> set[tuple[str, str]]:
        """(customer, segment) of everyone who is in at the end."""
        last = Counter((c.customer, c.segment) for c in self.crossings)
        return {pair for pair, number in last.items() if number % 2}


def expect(orders: Iterable[Order], shards: int, later: Mapping[int, int] | None = None) -> Expected:
    """Everything that follows from `orders`, which are in order of time.

    `later` are shards' clocks (ms) to which time has gone on without an order.
    """
    of_customer: dict[str, list[Order]] = defaultdict(list)
    clocks: dict[int, int] = {}
    for order in orders:
        of_customer[order.customer].append(order)
        clocks[shard_of(order.customer, shards)] = order.at_ms
    clocks |= later or {}
    crossings: list[Crossing] = []
    for customer, his in of_customer.items():
        crossings += _crossings(customer, his, clocks[shard_of(customer, shards)])
    return Expected(of_customer, crossings, clocks)


def _crossings(customer: str, orders: Sequence[Order], clock: int) -> list[Crossing]:
    """Goes through a customer's orders, and through the instants between and after them that may matter."""
    found: list[Crossing] = []
    numbers: Counter[str] = Counter()

    def look(past: Sequence[Order], at_ms: int) -> None:
        for segment, (enter, leave) in SEGMENTS.items():
            inside = numbers[segment] % 2 == 1
            leaves = leave(past, at_ms) if leave is not None else not enter(past, at_ms)
            if leaves if inside else enter(past, at_ms) and not leaves:
                numbers[segment] += 1
                found.append(Crossing(customer, segment, numbers[segment], at_ms))

    for count, order in enumerate(orders):
        after = orders[count - 1].at_ms if count else order.at_ms
        for instant in _instants(orders[:count], after, order.at_ms):
            look(orders[:count], instant)
        look(orders[: count + 1], order.at_ms)
    for instant in _instants(orders, orders[-1].at_ms, clock):
        look(orders, instant)
    return found


def _instants(past: Sequence[Order], after: int, until: int) -> list[int]:
    """When time alone may change an answer: in (after, until], in order."""
    instants = set()
    for order in past:
        instants |= {order.at_ms + 30 * DAY_MS, order.at_ms + 30 * DAY_MS + 1, _day(order) + 90 * DAY_MS}
    return sorted(at_ms for at_ms in instants if after < at_ms <= until)


# The segments of demo.toml. A window of 90 days is made of whole days.


def _day(order: Order) -> int:
    return order.at_ms // DAY_MS * DAY_MS


def _last_90d(past: Sequence[Order], at_ms: int) -> list[Order]:
    return [order for order in past if _day(order) > at_ms - 90 * DAY_MS]


def _spend_90d(past: Sequence[Order], at_ms: int) -> int:
    return sum(order.cents for order in _last_90d(past, at_ms))


SEGMENTS: Final[Mapping[str, tuple[Condition, Condition | None]]] = {
    "new_customer": (lambda past, at_ms: at_ms - past[0].at_ms < 30 * DAY_MS, None),
    "regular": (lambda past, at_ms: len(_last_90d(past, at_ms)) >= 3, None),
    "big_spender": (
        lambda past, at_ms: _spend_90d(past, at_ms) >= 10_000 and len(past) >= 2,
        lambda past, at_ms: _spend_90d(past, at_ms) < 5_000,
    ),
    "lapsing": (lambda past, at_ms: len(past) >= 2 and at_ms - past[-1].at_ms > 30 * DAY_MS, None),
}
