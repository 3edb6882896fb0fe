"""Plays one shard's events in their order, under the event-time clock, and keeps every segment change.

Customers meet only in the shard's clock. So the clock at each arrival is worked out first, and then each
customer is played alone: whatever falls due by time up to that clock, then the event.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from profilestream.oracle.aggregates import ProfileScope, next_midnight_ms
from profilestream.oracle.definitions import DAY_MS, Definitions, Segment
from profilestream.oracle.duplicates import Remembered
from profilestream.oracle.expressions import evaluate
from profilestream.oracle.history import Event, History, read_event
from profilestream.oracle.memberships import in_sample
from profilestream.oracle.values import Duration, Time, Value, is_number, readable

PROBE_MS = 1_000 * DAY_MS
"""How far ahead a comparison is looked at: whole days, so that `days_since` moves by as many."""


@dataclass(frozen=True)
class Membership:
    """Since when a customer is in a segment, and the number of the crossing that brought it in."""

    since_ms: int
    crossing: int


@dataclass(frozen=True)
class Change:
    """One segment change. `values` are readable; `event_index` is the arrival that caused it, if one did."""

    customer_id: str
    segment: str
    change: str
    crossing: int
    cause: str
    time_ms: int
    values: Mapping[str, Any]
    event_index: int | None


@dataclass
class CustomerOutcome:
    """What a customer's profile must say at the shard's final clock."""

    customer_id: str
    definitions: Definitions
    history: History
    clock_ms: int
    memberships: dict[str, Membership]
    changes: list[Change]

    @property
    def traits(self) -> dict[str, Any]:
        """Trait values as a profile holds them; absent ones are left out."""
        return self.traits_at(self.clock_ms)

    @property
    def event_time_ms(self) -> int:
        """When the newest event occurred."""
        return max(e.occurred_ms for e in self.history.events)

    def traits_at(self, clock_ms: int) -> dict[str, Any]:
        """Trait values at another clock, all events folded."""
        scope = ProfileScope(self.definitions, self.history, clock_ms)
        values = {name: scope.name(name) for name in self.definitions.traits}
        return {name: readable(value) for name, value in values.items() if value is not None}


@dataclass
class Outcome:
    """What a shard must hold in the end: its clock and its customers."""

    clock_ms: int | None = None
    customers: dict[str, CustomerOutcome] = field(default_factory=dict)
    duplicates: int = 0

    @property
    def changes(self) -> list[Change]:
        """Every change, customer by customer; between customers no order is promised."""
        return [change for customer in self.customers.values() for change in customer.changes]


class Oracle:
    """Answers what one shard must hold and announce after a sequence of events."""

    def __init__(self, definitions_text: str) -> None:
        self.definitions = Definitions(definitions_text)

    def run(self, events: Iterable[Mapping[str, Any]], until_ms: int | None = None) -> Outcome:
        """Plays events, in order of arrival; what is a dead letter changes nothing.

        An event is its JSON object plus `type`, or, of a topic in other words, the `topic` and the `record`.
        `arrived_at` (ms) is when it reached the shard and decides only how long its id is remembered.
        `until_ms` moves the clock on after the last event.
        """
        outcome = Outcome()
        remembered: dict[str, Remembered] = {}
        arrivals: dict[str, list[tuple[Event, int]]] = {}
        for index, raw in enumerate(events):
            event = read_event(self.definitions, raw, index)
            if event is None:
                continue
            ids = remembered.setdefault(event.customer_id, Remembered())
            if ids.has(event.type, event.event_id, raw.get("arrived_at", 0)):
                outcome.duplicates += 1
                continue
            outcome.clock_ms = max(event.occurred_ms, outcome.clock_ms or event.occurred_ms)
            arrivals.setdefault(event.customer_id, []).append((event, outcome.clock_ms))
        if until_ms is not None and outcome.clock_ms is not None:
            outcome.clock_ms = max(until_ms, outcome.clock_ms)
        for customer_id, own in arrivals.items():
            assert outcome.clock_ms is not None
            outcome.customers[customer_id] = self._play(customer_id, own, outcome.clock_ms)
        return outcome

    def _play(self, customer_id: str, own: list[tuple[Event, int]], final_ms: int) -> CustomerOutcome:
        customer = _Customer(self.definitions, customer_id)
        for event, clock_ms in own:
            customer.wait(clock_ms)
            customer.fold(event, clock_ms)
        customer.wait(final_ms)
        return CustomerOutcome(
            customer_id, self.definitions, customer.history, final_ms, customer.memberships, customer.changes
        )


class Answer(NamedTuple):
    """What a segment's conditions said at an instant: whether one who is not in may enter, whether a member leaves."""

    at_ms: int
    enters: bool
    leaves: bool


class _Customer:
    """One customer while events and time go by."""

    def __init__(self, definitions: Definitions, customer_id: str) -> None:
        self.definitions = definitions
        self.customer_id = customer_id
        self.history = History(definitions)
        self.memberships: dict[str, Membership] = {}
        self.changes: list[Change] = []
        self._crossings: dict[str, int] = {}
        self._left_ms: dict[str, int] = {}
        self._answers: dict[str, list[Answer]] = {}
        self._window_instants: list[int] = []
        self._next_ms: int | None = None

    def wait(self, until_ms: int) -> None:
        """Lets happen, in order, whatever time alone changes up to and at `until_ms`."""
        while self._next_ms is not None and self._next_ms <= until_ms:
            self._settle(self._next_ms, "time", None)

    def fold(self, event: Event, clock_ms: int) -> None:
        """Takes an event at the shard's clock."""
        self.history.add(event)
        moments = {
            moment
            for e in self.history.events
            for window in self.definitions.decisive_windows
            for moment in window.instants(e.occurred_ms)
        }
        waits_ms = self.definitions.decisive_waits_ms
        moments |= {e.occurred_ms + wait_ms + 1 for e in self.history.events for wait_ms in waits_ms}
        self._window_instants = sorted(moments)
        self._settle(clock_ms, "event", event.index)

    def _settle(self, clock_ms: int, cause: str, event_index: int | None) -> None:
        """Evaluates every segment at one instant, each behind those that it names, and looks for the next instant."""
        scope = ProfileScope(self.definitions, self.history, clock_ms, members=self.memberships)
        before = len(self.changes)
        for segment in self.definitions.segments_by_need:
            enters = evaluate(segment.enter, scope) is True
            leaves = not enters if segment.exit is None else evaluate(segment.exit, scope) is True
            enters = enters and not leaves and in_sample(segment.name, self.customer_id, segment.sample)
            self._answers.setdefault(segment.name, []).append(Answer(clock_ms, enters, leaves))
            crosses_ms = self._crosses_ms(segment)
            if crosses_ms is None or crosses_ms > clock_ms:
                continue
            change = "exited" if segment.name in self.memberships else "entered"
            crossing = self._crossings[segment.name] = self._crossings.get(segment.name, 0) + 1
            if change == "entered":
                self.memberships[segment.name] = Membership(clock_ms, crossing)
            else:
                del self.memberships[segment.name]
                self._left_ms[segment.name] = clock_ms
            named = {n: scope.name(n) for n in self.definitions.named_traits(segment.conditions())}
            values = {name: readable(value) for name, value in named.items() if value is not None}
            self.changes.append(
                Change(self.customer_id, segment.name, change, crossing, cause, clock_ms, values, event_index)
            )
        place = {segment.name: n for n, segment in enumerate(self.definitions.segments)}
        self.changes[before:] = sorted(self.changes[before:], key=lambda change: place[change.segment])
        self._next_ms = min((m for m in self._candidates(scope) if m > clock_ms), default=None)

    def _candidates(self, scope: ProfileScope) -> list[int]:
        """Instants at which time alone may change an answer: too many rather than too few."""
        found: list[int] = []
        place = bisect.bisect_right(self._window_instants, scope.clock_ms)
        found += self._window_instants[place : place + 1]
        if self.definitions.streaks_decide:
            found.append(next_midnight_ms(self.definitions.timezone, scope.clock_ms))
        later = scope.ahead(PROBE_MS)
        counters_any_day = list(self.definitions.loose_day_counters)
        for moving in self.definitions.comparisons:
            if not moving.linear:
                counters_any_day += moving.day_counters
                continue
            now, then = (_difference(evaluate(moving.left, s), evaluate(moving.right, s)) for s in (scope, later))
            if now is None or then is None or now == then:
                continue
            # Linear in time: where the line through both points meets zero, the comparison flips.
            flips_ms = scope.clock_ms - now * PROBE_MS / (then - now)
            if not moving.day_counters:
                # A quotient's rounding may put it a little aside; a plain `since` flips there exactly.
                margin_ms = 0 if abs(then - now) == PROBE_MS else 2
                found += range(math.floor(flips_ms) - margin_ms, math.floor(flips_ms) + 2 + margin_ms)
            for counted in moving.day_counters:
                around = (flips_ms + days * DAY_MS for days in (-1, 0, 1))
                found += [_next_whole_day_ms(evaluate(counted, scope), math.floor(ms)) for ms in around]
        found += [_next_whole_day_ms(evaluate(c, scope), scope.clock_ms) for c in counters_any_day]
        crossings = (self._crosses_ms(segment) for segment in self.definitions.segments if segment.waits)
        return found + [ms for ms in crossings if ms is not None]

    def _crosses_ms(self, segment: Segment) -> int | None:
        """When the customer crosses, if nothing changes: an instant that may be over; None where it does not cross."""
        inside, answers = segment.name in self.memberships, self._answers[segment.name]
        since_ms = None
        for answer in reversed(answers):
            if not (answer.leaves if inside else answer.enters):
                break
            since_ms = answer.at_ms
            if not segment.waits:
                break
        if since_ms is None:
            return None
        if inside:
            return since_ms + segment.exit_dwell_ms
        left_ms = self._left_ms.get(segment.name)
        ready_ms = since_ms + segment.dwell_ms
        return ready_ms if left_ms is None else max(ready_ms, left_ms + segment.cooldown_ms)


def _next_whole_day_ms(start: Value, after_ms: int) -> int:
    """The first instant after `after_ms` that is whole days after `start`; `after_ms` where there is none."""
    if not isinstance(start, Time):
        return after_ms
    return start.ms + ((after_ms - start.ms) // DAY_MS + 1) * DAY_MS


def _difference(a: Value, b: Value) -> Fraction | None:
    numbers = [v.ms if isinstance(v, Time | Duration) else v for v in (a, b)]
    return Fraction(numbers[0]) - Fraction(numbers[1]) if all(is_number(n) for n in numbers) else None
