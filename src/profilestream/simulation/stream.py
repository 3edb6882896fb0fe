"""All customers' events in order of arrival, and what is known of everyone."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from profilestream.simulation.days import Event, Life, events
from profilestream.simulation.people import DAYS_SURE, SEGMENT, Known, Person, Plan, people

LATE_MS_MAX: Final = 6 * 3_600_000
DUPLICATE_MS_MAX: Final = 86_400_000


class Record(NamedTuple):
    """A record on its way: when it arrives (ms), its event type, customer and value.

    A mistake is a record whose value is no event; `customer_id` is then still the one whom it goes wrong for.
    """

    arrival_ms: int
    type_name: str
    customer_id: str
    value: bytes


def simulate(plan: Plan) -> Iterator[Record]:
    """Every record in order of arrival. Memory holds the customers and one day of theirs, however many days."""
    waiting: list[tuple[int, int, Record]] = []
    for count, (at_ms, _, event, person) in enumerate(_in_order_of_time(plan)):
        while waiting and waiting[0][0] <= at_ms:
            yield heapq.heappop(waiting)[2]
        arrivals = list(_arrivals(plan, person, event))
        if len(arrivals) == 1 and arrivals[0].arrival_ms == at_ms:
            yield arrivals[0]
            continue
        for n, record in enumerate(arrivals):
            heapq.heappush(waiting, (record.arrival_ms, 4 * count + n, record))
    while waiting:
        yield heapq.heappop(waiting)[2]


def knowledge(plan: Plan) -> Iterator[Known]:
    """What each customer's profile must come to at the plan's end, by what was generated."""
    for person in people(plan):
        habit = person.habit
        member: bool | None = habit.name == "member" or (habit.kind == "shop" and bool(habit.segment))
        if plan.days < DAYS_SURE[habit.kind]:
            member = None
        segment = SEGMENT.get(habit.kind, habit.segment)
        known = Known(person.customer_id, habit.kind, habit.name, segment, member, habit.misses)
        for event in events(plan, person):
            _learn(known, event)
        yield known


def _learn(known: Known, event: Event) -> None:
    known.events += 1
    known.last_ms = event.at_ms
    name = event.type_name
    if name == "purchase":
        refund = event.fields["kind"] == "refund"
        known.refunds += refund
        known.orders += not refund
        known.spend_minor += 0 if refund else event.fields["amount_minor"]
    label = f"{name}.{event.fields['kind']}" if "kind" in event.fields else name
    known.counts[label] = known.counts.get(label, 0) + 1


def _in_order_of_time(plan: Plan) -> Iterator[tuple[int, int, Event, Person]]:
    lives = [Life(plan, person) for person in people(plan)]
    for day in range(plan.days, 0, -1):
        found = [(event.at_ms, life.person.number, event, life.person) for life in lives for event in life.on(day)]
        yield from sorted(found, key=lambda happened: happened[:2])


def _arrivals(plan: Plan, person: Person, event: Event) -> Iterator[Record]:
    """The event's record, perhaps late, perhaps twice, perhaps with a mistake beside it."""
    event_id = f"{person.customer_id}-{event.number}"
    payload = {"event_id": event_id, "customer_id": person.customer_id, "occurred_at": event.at_ms, **event.fields}
    if not (plan.late or plan.duplicates or plan.mistakes):
        yield Record(event.at_ms, event.type_name, person.customer_id, _json(payload))
        return
    late, duplicate, mistake, how_much = _fractions(f"{plan.seed}/{event_id}")
    arrival = event.at_ms + (1 + int(how_much * LATE_MS_MAX) if late < plan.late else 0)
    record = Record(arrival, event.type_name, person.customer_id, _json(payload))
    yield record
    if duplicate < plan.duplicates:
        yield record._replace(arrival_ms=arrival + 1 + int(how_much * DUPLICATE_MS_MAX))
    if mistake < plan.mistakes:
        yield record._replace(value=_mistaken(payload, int(how_much * 1_000)))


def _mistaken(payload: dict[str, Any], which: int) -> bytes:
    """The record as it would be with one of the mistakes that producers make."""
    wrong = payload | {"event_id": f"{payload['event_id']}-bad"}
    match which % 6:
        case 0:
            return _json(wrong)[:-9]  # cut off
        case 1:
            del wrong["customer_id"]
        case 2:
            wrong["customer_id"] = ""
        case 3:
            wrong["occurred_at"] = "yesterday"
        case 4:
            wrong["occurred_at"] = None
        case _:
            wrong["event_id"] = 17
    return _json(wrong)


def _json(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=True).encode()


def _fractions(text: str) -> tuple[float, ...]:
    """Four numbers from 0 to 1, the last exclusive, that follow from the text."""
    digest = hashlib.sha256(text.encode()).digest()
    return tuple(int.from_bytes(digest[n : n + 4], "big") / 2**32 for n in range(0, 16, 4))
