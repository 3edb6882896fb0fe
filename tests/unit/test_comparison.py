"""The comparison itself: it accepts what the contract says and sees whatever differs from it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.comparison import Expected, Stored, StoredProfile, compare, differences, expect
from tests.kafka_records import Arrival
from tests.oracle import format_time

DEFINITIONS = """
[traits]
orders = "count(purchase)"
spend  = "sum(purchase.amount_minor, over='30d')"
mean   = "mean(purchase.amount_minor)"
[segments.buyer]
enter = "spend >= 50"
"""
DAY_MS = 86_400_000
SHARDS = 2


@dataclass
class Record:
    """What the comparison uses of a Kafka record."""

    key: bytes
    value: bytes
    partition: int
    headers: tuple[tuple[str, bytes], ...] = (("content-type", b"application/cloudevents+json"),)


@dataclass
class Installation:
    """An engine's output, made from the oracle's answer."""

    expected: Expected
    stored: Stored
    changes: list[Record] = field(default_factory=list)

    def found(self, order_matters: bool = True) -> list[str]:
        """The differences that are seen."""
        return differences(self.expected, self.stored, self.changes, "ns", order_matters)

    def with_field(self, customer: str, name: str, text: str | None) -> Installation:
        """One field of one profile is another."""
        profile = self.stored.profiles[customer]
        fields = {k: v for k, v in {**profile.fields, name: text}.items() if v is not None}
        profiles = {**self.stored.profiles, customer: replace(profile, fields=fields)}
        return replace(self, stored=replace(self.stored, profiles=profiles))


@pytest.fixture
def installation() -> Installation:
    events = [
        {
            "event_id": f"e{n}",
            "customer_id": f"c{n % 3}",
            "occurred_at": n * 20 * DAY_MS,
            "amount_minor": 60 + n,
        }
        for n in range(9)
    ]
    arrivals = [Arrival("purchases", 0, n, {**e, "type": "purchase"}) for n, e in enumerate(events)]
    expected = expect(DEFINITIONS, [*arrivals, replace(arrivals[-1], event=_twin(arrivals[-1]))], SHARDS)
    profiles: dict[str, StoredProfile] = {}
    members: dict[str, float] = {}
    changes: list[Record] = []
    for shard, c in expected.customers():
        fields = {name: json.dumps(value) for name, value in c.traits.items()}
        fields["_segments"] = json.dumps(
            {n: {"since": format_time(m.since_ms), "crossing": m.crossing} for n, m in c.memberships.items()}
        )
        fields |= {"_revision": "3", "_as_of": format_time(c.clock_ms)}
        fields |= {"_event_time": format_time(c.event_time_ms), "_valid_until": format_time(c.clock_ms + 1)}
        profiles[c.customer_id] = StoredProfile(shard, fields)
        if "buyer" in c.memberships:
            members[c.customer_id] = float(c.memberships["buyer"].since_ms)
        for change in c.changes:
            event = None if change.event_index is None else expected.arrivals[shard][change.event_index]
            changes.append(Record(c.customer_id.encode(), _value(change, event), shard))
    return Installation(expected, Stored("g1", SHARDS, "f1", profiles, {"buyer": members}), changes)


def _twin(arrival: Arrival) -> dict[str, Any]:
    return {**arrival.event, "event_id": "twin"}


def _value(change: Any, arrival: Arrival | None) -> bytes:
    event = {}
    if arrival is not None:
        place = {"topic": arrival.topic, "partition": arrival.partition, "offset": arrival.offset}
        event = {"event": {**place, "event_id": arrival.event["event_id"]}}
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"{change.segment}/{change.customer_id}/{change.crossing}",
            "source": "profilestream/ns",
            "type": f"profilestream.segment.{change.change}",
            "subject": change.customer_id,
            "time": format_time(change.time_ms),
            "datacontenttype": "application/json",
            "data": {
                "customer_id": change.customer_id,
                "segment": change.segment,
                "change": change.change,
                "crossing": change.crossing,
                "cause": change.cause,
                "values": change.values,
                "generation": "g1",
                "definitions": "f1",
                **event,
            },
        }
    ).encode()


def test_what_the_contract_says_is_accepted(installation: Installation) -> None:
    assert installation.changes
    assert installation.stored.members["buyer"]
    compare(installation.expected, installation.stored, installation.changes, "ns")


@pytest.mark.parametrize(
    ("name", "text", "seen"),
    [
        ("orders", "3.0", "trait orders"),
        ("orders", None, "trait orders"),
        ("orders", "nonsense", "trait orders"),
        ("stranger", "1", "trait stranger"),
        ("_stranger", "1", "unknown field"),
        ("_segments", "{}", "_segments"),
        ("_revision", "0", "_revision"),
        ("_event_time", "1970-01-01T00:00:00.000Z", "_event_time"),
        ("_as_of", None, "_as_of"),
        ("_valid_until", "1970-01-01T00:00:00.000Z", "_valid_until"),
        ("_valid_until", "2999-01-01T00:00:00.000Z", "_valid_until"),
        ("_valid_until", None, "_valid_until"),
    ],
)
def test_a_wrong_field_is_seen(installation: Installation, name: str, text: str | None, seen: str) -> None:
    (difference,) = installation.with_field("c2", name, text).found()
    assert difference.startswith(seen + ": customer c2")


def test_a_missing_a_strange_and_a_misplaced_profile_are_seen(installation: Installation) -> None:
    profiles = dict(installation.stored.profiles)
    profile = profiles.pop("c0")
    profiles["nobody"] = profile
    profiles["c1"] = replace(profiles["c1"], shard=1 - profiles["c1"].shard)
    changed = replace(installation, stored=replace(installation.stored, profiles=profiles))
    starts = sorted(one.split(":")[0] for one in changed.found())
    assert starts == ["profile missing", "profile of nobody", "shard"]


def test_a_wrong_member_and_a_wrong_score_are_seen(installation: Installation) -> None:
    scores = {customer: score + 1 for customer, score in installation.stored.members["buyer"].items()}
    changed = replace(installation, stored=replace(installation.stored, members={"buyer": scores}))
    assert changed.found() and not changed.found(order_matters=False)
    changed = replace(installation, stored=replace(installation.stored, members={"buyer": {"nobody": 1.0}}))
    assert len(changed.found(order_matters=False)) == 1 + len(installation.stored.members["buyer"])


def test_lost_doubled_reordered_and_altered_changes_are_seen(installation: Installation) -> None:
    changes = installation.changes
    for wrong in (changes[1:], [*changes, changes[0]], changes[::-1]):
        assert replace(installation, changes=wrong).found()
    for old, new in [(b'"event"', b'"time"'), (b'"g1"', b'"g2"'), (b"T00:00:00.000Z", b"T00:00:00.001Z")]:
        altered = [replace(r, value=r.value.replace(old, new)) for r in changes]
        assert replace(installation, changes=altered).found(), old
    assert replace(installation, changes=[replace(r, headers=()) for r in changes]).found()
    assert replace(installation, changes=[replace(r, key=b"nobody") for r in changes]).found()


def test_a_failure_shows_the_first_ten_and_counts_the_rest(installation: Installation) -> None:
    for n in range(20):
        installation = installation.with_field("c0", f"x{n}", "1")
    with pytest.raises(AssertionError, match="20 differences") as caught:
        compare(installation.expected, installation.stored, installation.changes, "ns")
    assert len(str(caught.value).splitlines()) == 11
