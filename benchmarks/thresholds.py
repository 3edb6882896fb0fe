"""What an event costs with 10, 1,000, 10,000 and 100,000 segments, in one run.

    python -m benchmarks.thresholds
    python -m benchmarks.thresholds --events 20_000 --customers 500 --json

The core alone: decoded purchases are folded into profiles in memory, crossings are found, nothing is written. All sizes
take turns, block by block, so that a busy machine slows all of them; CPU time counts. Customers have bought before the
clock starts. The adversarial case beside it: one event that takes a customer across thousands of thresholds.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from benchmarks.figures import tell
from benchmarks.purchases import BEGIN_MS, CATEGORIES, purchases
from profilestream.core.engine import Crossing, Engine
from profilestream.core.events import BUILT_IN
from profilestream.core.profile import Profile
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import Event, EventDecoder
from profilestream.wire.states import decode_state, encode_state

SIZES: Final = {"steady": (10, 1_000, 10_000, 100_000), "restless": (10, 1_000, 10_000)}
BLOCK: Final = 1_000
COUNTRIES: Final = 200
SKUS: Final = 997
INTERESTS: Final = 500
CROSSED: Final = (10, 1_000, 10_000)

TRAITS: Final = """
[streams]
order = "purchase[kind == 'order']"
bought = "item[kind == 'order']"

[traits]
orders           = "count(order)"
total_spend      = "sum(order.amount_minor)"
average_order    = "total_spend / orders"
largest_order    = "max(order.amount_minor)"
last_order_at    = "last(order.occurred_at)"
first_order_at   = "first(order.occurred_at)"
order_gap_days   = "mean_gap(order) / days(1)"
orders_7d        = "count(order, over='7d')"
spend_7d         = "sum(order.amount_minor, over='7d')"
spend_30d        = "sum(order.amount_minor, over='30d')"
spend_30d_before = "sum(order.amount_minor, over='30d', ago='30d')"
spend_90d        = "sum(order.amount_minor, over='90d')"
spend_90d_before = "sum(order.amount_minor, over='90d', ago='90d')"
orders_90d       = "count(order, over='90d')"
items            = "sum(bought.quantity)"
shoes_90d        = "count(bought[category == 'shoes'], over='90d')"
last_sku         = "last(bought.sku)"
last_category    = "last(bought.category)"
top_categories   = "top(bought.category, 3)"
spend_by_sku     = "sum(bought.amount_minor, by=sku)"
spend_by_category = "sum(bought.amount_minor, by=category)"
best_hour        = "top(hour(order.occurred_at), 1)"
channels         = "count(order, by=channel)"
monetary         = "score(total_spend, 20_000, 50_000, 100_000, 250_000)"
frequency        = "score(orders, 2, 4, 8, 16)"
country          = "latest(attributes.country)"
newsletter       = "latest(attributes.newsletter)"
interests        = "latest(attributes.interests)"
"""

AMOUNTS: Final = (5_000, 10_000, 20_000, 30_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 500_000, 1_000_000)
DAYS: Final = (3, 7, 14, 30, 60, 90)


def steady(chance: random.Random) -> Iterator[str]:
    """Conditions of campaigns that a customer meets now and then: round numbers, words of a catalogue, parts that many
    conditions share."""
    while True:
        sku, other = (f"s{chance.randrange(SKUS):03d}" for _ in range(2))
        land, near, far = (f"c{chance.randrange(COUNTRIES):03d}" for _ in range(3))
        kind, amount, days = chance.choice(CATEGORIES), chance.choice(AMOUNTS), chance.choice((30, 60, 90))
        few, liked = chance.randint(1, 6), f"w{chance.randrange(INTERESTS):03d}"
        yield f"country == '{land}' and total_spend >= {amount} and orders >= {few}"
        yield f"last_sku == '{sku}' and country == '{land}' and since(last_order_at) > days({days})"
        yield f"'{liked}' in interests and monetary >= {1 + few % 5} and country in ['{land}', '{near}', '{far}']"
        yield f"spend_by_sku['{sku}'] >= {amount} and orders >= 2"
        yield f"country == '{land}' and newsletter and orders >= 2 and since(last_order_at) > days({days})"
        yield f"country in ['{land}', '{near}'] and largest_order >= {amount} and orders >= {few} and newsletter"
        yield f"country == '{land}' and not newsletter and spend_90d > spend_90d_before and orders >= {10 * few}"
        yield f"country == '{land}' and monetary >= {1 + few % 5} and frequency <= {few} and '{kind}' in top_categories"
        yield f"'{sku}' in spend_by_sku and not ('{other}' in spend_by_sku) and country == '{land}'"
        yield f"'{liked}' in interests and (total_spend >= {amount} or shoes_90d > {few}) and not newsletter"
        yield f"country == '{land}' and default(spend_by_category['{kind}'], 0) < {amount} and items >= {few}"
        yield f"spend_by_sku['{sku}'] > {amount // 2} and spend_by_sku['{other}'] > {amount // 2}"


def restless(chance: random.Random) -> Iterator[str]:
    """Conditions that hold for one order and not for the next: the last category, the days since, sums of a week."""
    while True:
        land, kind = f"c{chance.randrange(COUNTRIES):03d}", chance.choice(CATEGORIES)
        amount, days, few = chance.choice(AMOUNTS), chance.choice(DAYS), chance.randint(1, 6)
        yield f"country == '{land}' and last_category == '{kind}' and orders >= {few}"
        yield f"country == '{land}' and since(last_order_at) > days({days})"
        yield f"country == '{land}' and spend_7d > {amount} and '{kind}' in top_categories"
        yield f"country == '{land}' and average_order >= {chance.randrange(5_000, 20_000)}"
        yield f"country == '{land}' and spend_30d > spend_30d_before and newsletter"


def definitions_text(mix: str, size: int) -> str:
    """The traits and so many segments; a smaller one's segments are the first of a larger one's."""
    made = {"steady": steady, "restless": restless}[mix](random.Random(7))
    return TRAITS + "\n".join(f'[segments.s{n}]\nenter = "{next(made)}"' for n in range(size))


@dataclass(slots=True)
class Row:
    """One number of segments, measured."""

    mix: str
    segments: int
    groups: int
    shapes: int
    read_s: float
    compile_s: float
    event_us: float = 0.0
    quiet_us: float = 0.0
    suspects: float = 0.0
    crossings: float = 0.0
    revive_us: float = 0.0
    first_us: float = 0.0
    index_bytes: int = 0


@dataclass(slots=True)
class Side:
    """One engine with its profiles."""

    engine: Engine
    row: Row
    profiles: dict[str, Profile] = field(default_factory=dict)
    clock: int = 0
    spent_s: float = 0.0
    quiet_s: float = 0.0
    events_quiet: int = 0
    crossings: int = 0

    def fold(self, events: list[Event]) -> None:
        """Folds events; the CPU time is added up."""
        engine, profiles, crossed = self.engine, self.profiles, list[Crossing]()
        handlers, clock, cpu = engine.handlers, self.clock, time.process_time
        spent = quiet = 0.0
        events_quiet = 0
        for event in events:
            profile = profiles.get(event.customer_id)
            if profile is None:
                profile = profiles[event.customer_id] = engine.new_profile(event.customer_id)
            clock = max(clock, event.occurred_at)
            began = cpu()
            engine.fold(profile, event, handlers[event.type_name], clock, clock, crossed, None)
            took = cpu() - began
            spent += took
            if not crossed:
                quiet += took
                events_quiet += 1
            self.crossings += len(crossed)
            crossed.clear()  # as a worker does once they are committed
        self.clock = clock
        self.spent_s += spent
        self.quiet_s += quiet
        self.events_quiet += events_quiet


def main() -> None:
    """Measures and prints a table."""
    given = _arguments()
    sides = [_side(mix, size) for mix, sizes in SIZES.items() for size in sizes if size <= given.segments_max]
    facts = _facts(given.customers)
    events = _purchases(given.events * 2 + BLOCK, given.customers)
    for side in sides:
        side.fold(facts)
        side.fold(events[: given.events])
        side.spent_s = side.quiet_s = 0.0
        side.events_quiet = side.crossings = 0
    for start in range(given.events, given.events * 2, BLOCK):
        for side in sides:
            side.fold(events[start : start + BLOCK])
    for side in sides:
        row = side.row
        row.event_us = side.spent_s / given.events * 1e6
        row.quiet_us = side.quiet_s / side.events_quiet * 1e6
        row.crossings = side.crossings / given.events
        row.index_bytes = _index_bytes(side.profiles)
    for side in sides:
        side.row.suspects = _suspects(side, events[-BLOCK:])
        _measure_cold(side, events[-1])
    _show(given, [side.row for side in sides], [crossed_at_once(size) for size in CROSSED])


def _side(mix: str, size: int) -> Side:
    text = definitions_text(mix, size)
    began = time.process_time()
    definitions = parse_definitions(text)
    read = time.process_time()
    engine = Engine(definitions)
    compiled = time.process_time()
    tell(f"{size:,} {mix} segments: read in {read - began:.1f} s, compiled in {compiled - read:.1f} s")
    row = Row(mix, size, len(engine.index.groups), engine.index.shapes, read - began, compiled - read)
    return Side(engine, row)


def _facts(customers: int) -> list[Event]:
    chance = random.Random(5)
    decode = EventDecoder(BUILT_IN).decode
    found = []
    for rank in range(customers):
        liked = [f"w{chance.randrange(INTERESTS):03d}" for _ in range(3)]
        land = f"c{chance.randrange(COUNTRIES):03d}"
        facts = {"country": land, "newsletter": chance.random() < 0.5, "interests": liked}
        value = {"event_id": f"f{rank}", "customer_id": f"c{rank:07d}", "occurred_at": BEGIN_MS, "set": facts}
        found.append(decode("attributes", json.dumps(value).encode()))
    return found  # type: ignore[return-value]


def _purchases(events: int, customers: int) -> list[Event]:
    decode = EventDecoder(BUILT_IN).decode
    return [decode("purchase", p.value) for p in purchases(events, customers, uniform=False)]  # type: ignore[misc]


def _measure_cold(side: Side, event: Event) -> None:
    """What a profile costs that is read from its state, and a customer's first event."""
    engine, clock = side.engine, side.clock
    states = [(name, encode_state(p, engine)) for name, p in list(side.profiles.items())[:500]]
    began = time.process_time()
    for name, state in states:
        decode_state(state, name, engine)
    read = time.process_time()
    handler = engine.handlers[event.type_name]
    for name, _ in states:
        engine.fold(engine.new_profile(name), event, handler, clock, clock, [], None)
    folded = time.process_time()
    side.row.revive_us = (read - began) / len(states) * 1e6
    side.row.first_us = (folded - read) / len(states) * 1e6


def _suspects(side: Side, events: list[Event]) -> float:
    """How many segments are looked at after an event."""
    engine: Any = side.engine
    memberships, looked = engine._memberships, []
    settle = memberships.settle

    def counting(profile: Profile, suspects: set[int], *rest: Any) -> None:
        looked.append(len(suspects))
        settle(profile, suspects, *rest)

    memberships.settle = counting
    side.fold(events)
    memberships.settle = settle
    return sum(looked) / len(events)


def _index_bytes(profiles: dict[str, Profile]) -> int:
    """What the index keeps of a profile, on average."""
    size = 0
    for profile in profiles.values():
        size += sys.getsizeof(profile.positions) + sys.getsizeof(profile.flips)
        size += sum(sys.getsizeof(p) for p in profile.positions if isinstance(p, dict | tuple) and p)
    return size // len(profiles)


@dataclass(slots=True)
class Crossed:
    """One event that crosses many thresholds at once."""

    crossings: int
    first_ms: float
    again_ms: float
    each_us: float
    beside_us: float


def crossed_at_once(size: int) -> Crossed:
    """A customer with no segment whose next order takes them into all; then others in the same way. Beside it: an order
    that crosses none of them."""
    segments = "\n".join(f'[segments.s{n}]\nenter = "total_spend > {1_000 + n} and orders >= 2"' for n in range(size))
    engine = Engine(parse_definitions(TRAITS + segments))
    decode = EventDecoder(BUILT_IN).decode
    handler = engine.handlers["purchase"]

    def order(number: int, amount: int) -> Any:
        value = {"event_id": f"e{number}", "customer_id": "c", "occurred_at": BEGIN_MS + number, "amount_minor": amount}
        return decode("purchase", json.dumps(value).encode())

    def spent_s(profile: Profile, number: int, amount: int) -> tuple[float, int]:
        crossings: list[Crossing] = []
        event = order(number, amount)
        began = time.process_time()
        engine.fold(profile, event, handler, event.occurred_at, 0, crossings, None)
        return time.process_time() - began, len(crossings)

    crossing, beside = [], []
    for _ in range(20):
        profile = engine.new_profile("c")
        spent_s(profile, 1, 10)
        spent_s(profile, 2, 10)
        spent_s(profile, 3, 10)
        beside += [spent_s(profile, number, 10)[0] for number in range(4, 9)]
        took, crossed = spent_s(profile, 9, 1_000 + size)
        assert crossed == size
        crossing.append(took)
    again = sorted(crossing[1:])[len(crossing) // 2]
    return Crossed(size, crossing[0] * 1e3, again * 1e3, again / size * 1e6, sorted(beside)[len(beside) // 2] * 1e6)


def _show(given: argparse.Namespace, rows: list[Row], crossed: list[Crossed]) -> None:
    if given.json:
        print(json.dumps({"segments": [asdict(row) for row in rows], "crossed": [asdict(c) for c in crossed]}))
        return
    print(f"{given.events:,} events, {given.customers:,} customers, Python {platform.python_version()}")
    base = {mix: next(row for row in rows if row.mix == mix) for mix in SIZES}
    head = f"{'mix':<9}{'segments':>9}{'us/event':>10}{'to 10':>8}{'if none crosses':>17}{'to 10':>8}"
    head += f"{'looked at':>11}{'crossings':>11}"
    print(head + f"{'revive us':>11}{'first us':>10}{'groups':>8}{'bytes':>7}{'read s':>8}{'compile s':>11}")
    for row in rows:
        line = f"{row.mix:<9}{row.segments:>9,}{row.event_us:>10.1f}{row.event_us / base[row.mix].event_us:>7.2f}x"
        line += f"{row.quiet_us:>17.1f}{row.quiet_us / base[row.mix].quiet_us:>7.2f}x"
        line += f"{row.suspects:>11.2f}{row.crossings:>11.3f}{row.revive_us:>11.1f}{row.first_us:>10.1f}"
        print(line + f"{row.groups:>8,}{row.index_bytes:>7,}{row.read_s:>8.2f}{row.compile_s:>11.2f}")
    print(f"\n{'crossed at once':>15}{'first ms':>10}{'then ms':>9}{'us each':>9}{'an event beside, us':>21}")
    for c in crossed:
        print(f"{c.crossings:>15,}{c.first_ms:>10.1f}{c.again_ms:>9.1f}{c.each_us:>9.2f}{c.beside_us:>21.1f}")


def _arguments() -> argparse.Namespace:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--events", type=int, default=20_000, help="timed, after as many that are not")
    words.add_argument("--customers", type=int, default=1_000)
    words.add_argument("--segments-max", type=int, default=100_000)
    words.add_argument("--json", action="store_true")
    return words.parse_args()


if __name__ == "__main__":
    main()
