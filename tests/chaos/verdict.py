"""What stands in Redis and Kafka after a chaos run, against what the raw topics say must stand there.

Compared exactly, whatever the order in which topics came together, since these do not depend on it:
- every trait of every customer, at its shard's final clock, with the oracle; `_event_time` and `_valid_until` too
- `_revision`, with the number of different events that were accepted
- membership of segments without `exit`, in `_segments` and in the sorted sets, with their condition on the final values
- dead letters: exactly the records that are no events, each with its reason, each at least once

Held to invariants, since how often somebody came and went on the way depends on that order:
- membership of segments with `exit`: inside where `enter` holds and `exit` does not, outside where `exit` holds
- everything that was announced (`announcements.py`)
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from profilestream.oracle.aggregates import ProfileScope
from profilestream.oracle.expressions import evaluate
from profilestream.oracle.history import History, read_event
from profilestream.oracle.sources import RefusedError
from tests.chaos.feeding import TYPE_OF_TOPIC
from tests.chaos.story import VALUE_BYTES_MAX
from tests.comparison import Expected, Stored, differences
from tests.oracle import CustomerOutcome, Definitions, Membership, Outcome, shard_of

FUTURE_MS_MAX = 5 * 60_000
Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass
class Truth:
    """What the raw topics say: `events` by place (event id, customer), `refused` by place (reason)."""

    definitions: Definitions
    shards: int
    events: dict[Place, tuple[str, str]] = field(default_factory=dict)
    refused: dict[Place, str] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    clocks_ms: dict[int, int] = field(default_factory=dict)
    duplicates: int = 0
    strays: int = 0

    @property
    def accepted(self) -> int:
        """Different events."""
        return sum(len(history.events) for history in self.histories.values())


def read_truth(definitions_text: str, records: Iterable[Any], shards: int, partitions: Mapping[str, int]) -> Truth:
    """Reads every record of the event topics, as a reader of committed records finds them."""
    truth = Truth(Definitions(definitions_text), shards)
    seen: set[tuple[str, str, str]] = set()
    for record in records:
        place = record.topic, record.partition, record.offset
        given, reason = _read(truth.definitions, record)
        if reason is not None:
            truth.refused[place] = reason
            continue
        event = read_event(truth.definitions, {**given, "type": TYPE_OF_TOPIC[record.topic]}, record.offset)
        assert event is not None, place
        shard = shard_of(event.customer_id, shards)
        truth.events[place] = event.event_id, event.customer_id
        truth.strays += partitions[record.topic] != shards or record.partition != shard
        identity = event.type, event.event_id, event.customer_id
        if identity in seen:
            truth.duplicates += 1
            continue
        seen.add(identity)
        truth.clocks_ms[shard] = max(event.occurred_ms, truth.clocks_ms.get(shard, event.occurred_ms))
        truth.histories.setdefault(event.customer_id, History(truth.definitions)).add(event)
    return truth


def _read(definitions: Definitions, record: Any) -> tuple[Mapping[str, Any], str | None]:
    """A record's JSON object, or the reason why it is no event."""
    value = record.value
    if not value:
        return {}, "empty_value"
    if len(value) > VALUE_BYTES_MAX:
        return {}, "too_large"
    try:
        given = json.loads(value)
    except ValueError:
        return {}, "not_json"
    try:
        read = definitions.reader(TYPE_OF_TOPIC[record.topic]).read(given)
    except RefusedError as refused:
        return given, refused.reason
    ahead = read["occurred_at"] > record.timestamp + FUTURE_MS_MAX
    return given, "future_time" if ahead else None


@dataclass
class Verdict:
    """What is wrong, if anything, by where it was looked for."""

    lost: int = 0
    doubled: int = 0
    profiles: list[str] = field(default_factory=list)
    hysteresis: list[str] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)

    def wrong(self) -> list[str]:
        counted = [f"{self.lost} events lost, {self.doubled} doubled"] if self.lost or self.doubled else []
        return [*counted, *self.profiles, *self.hysteresis, *self.letters]


def judge(truth: Truth, stored: Stored, letters: Iterable[Any], namespace: str) -> Verdict:
    """Compares all that is told above; `letters` are the records of topic `dead-letters`."""
    verdict = Verdict()
    expected, scopes = _expected(truth)
    for customer_id, history in truth.histories.items():
        profile = stored.profiles.get(customer_id)
        missing = len(history.events) - int(profile.fields.get("_revision", 0) if profile is not None else 0)
        verdict.lost += max(0, missing)
        verdict.doubled += max(0, -missing)
        if missing:
            verdict.profiles.append(f"_revision: customer {customer_id}: {missing} too few")
    verdict.profiles += differences(expected, stored, None, namespace, order_matters=False)
    verdict.hysteresis += _of_hysteresis(truth.definitions, scopes, stored)
    verdict.letters += _of_letters(truth, letters)
    return verdict


def _expected(truth: Truth) -> tuple[Expected, dict[str, ProfileScope]]:
    """The final values, and as memberships those that the conditions without `exit` have on them."""
    expected = Expected(truth.shards, truth.definitions.text)
    scopes = {}
    for customer_id, history in truth.histories.items():
        shard = shard_of(customer_id, truth.shards)
        clock_ms = truth.clocks_ms[shard]
        scope = scopes[customer_id] = ProfileScope(truth.definitions, history, clock_ms)
        inside = {
            segment.name: Membership(0, 1)
            for segment in truth.definitions.segments
            if segment.exit is None and evaluate(segment.enter, scope) is True
        }
        outcome = expected.outcomes.setdefault(shard, Outcome(clock_ms))
        outcome.customers[customer_id] = CustomerOutcome(
            customer_id, truth.definitions, history, clock_ms, inside, changes=[]
        )
    return expected, scopes


def _of_hysteresis(definitions: Definitions, scopes: Mapping[str, ProfileScope], stored: Stored) -> Iterator[str]:
    for segment in definitions.segments:
        if segment.exit is None:
            continue
        for customer_id, scope in scopes.items():
            enters, leaves = (evaluate(c, scope) is True for c in (segment.enter, segment.exit))
            inside = customer_id in stored.members.get(segment.name, {})
            if inside and leaves:
                yield f"members {segment.name}: customer {customer_id}: inside, though `exit` holds"
            if not inside and enters and not leaves:
                yield f"members {segment.name}: customer {customer_id}: outside, though `enter` holds"


def _of_letters(truth: Truth, letters: Iterable[Any]) -> Iterator[str]:
    found: dict[Place, set[str]] = {}
    for record in letters:
        headers = {name: value.decode() for name, value in record.headers}
        place = headers["topic"], int(headers["partition"]), int(headers["offset"])
        found.setdefault(place, set()).add(headers["reason"])
    for place in sorted(truth.refused.keys() | found.keys()):
        wanted, reasons = truth.refused.get(place), found.get(place, set())
        if reasons != ({wanted} if wanted else set()):
            yield f"dead letter {place}: expected {wanted}, is {sorted(reasons) or None}"


def reasons_of(truth: Truth) -> Counter[str]:
    """How many records were refused for each reason."""
    return Counter(truth.refused.values())
