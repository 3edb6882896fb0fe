"""What stands in Redis and Kafka, read with plain clients, against what the oracle says must stand there."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from tests.kafka_records import Arrival, read_topic
from tests.oracle import Change, CustomerOutcome, Oracle, Outcome, format_time, parse_time, shard_of

PRIVATE = {"_segments", "_revision", "_as_of", "_event_time", "_valid_until"}
DIFFERENCES_SHOWN = 10
YEAR_MS = 365 * 86_400_000


@dataclass(frozen=True)
class StoredProfile:
    """A profile hash as it stands in Redis."""

    shard: int
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Stored:
    """Everything public that stands in Redis for a namespace's live generation."""

    generation: str
    shards: int
    fingerprint: str
    profiles: Mapping[str, StoredProfile]
    members: Mapping[str, Mapping[str, float]]
    """By segment: customer -> score."""


@dataclass
class Expected:
    """The oracle's answer for every shard, and where each shard's events came from."""

    shards: int
    definitions: str
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    arrivals: dict[int, list[Arrival]] = field(default_factory=dict)

    def customers(self) -> Iterator[tuple[int, CustomerOutcome]]:
        """Every customer with the shard that holds it."""
        for shard, outcome in self.outcomes.items():
            for customer in outcome.customers.values():
                yield shard, customer


def expect(definitions: str, arrivals: Iterable[Arrival], shards: int) -> Expected:
    """What must stand there after these arrivals, which are in order within each shard."""
    expected = Expected(shards, definitions)
    for arrival in arrivals:
        shard = shard_of(str(arrival.event["customer_id"]), shards)
        expected.arrivals.setdefault(shard, []).append(arrival)
    oracle = Oracle(definitions)
    for shard, own in expected.arrivals.items():
        expected.outcomes[shard] = oracle.run([a.event for a in own])
    return expected


def read_profiles(redis_url: str, namespace: str) -> Stored:
    """The live generation's profiles and members."""
    client: Any = redis.Redis.from_url(redis_url, decode_responses=True)
    with client:
        generation = client.get(f"{namespace}:live")
        assert generation, f"there is no key {namespace}:live"
        meta = client.hgetall(f"{namespace}:{generation}:meta")
        profiles: dict[str, StoredProfile] = {}
        members: dict[str, dict[str, float]] = defaultdict(dict)
        for shard in range(int(meta["shards"])):
            prefix = f"{namespace}:{generation}:{{{shard}}}:"
            keys = sorted(client.scan_iter(match=prefix + "profile:*", count=1_000))
            with client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hgetall(key)
                for key, fields in zip(keys, pipeline.execute(), strict=True):
                    profiles[key.removeprefix(prefix + "profile:")] = StoredProfile(shard, fields)
            for key in client.scan_iter(match=prefix + "segment:*", count=1_000):
                segment = key.removeprefix(prefix + "segment:")
                members[segment].update(client.zrange(key, 0, -1, withscores=True))
        return Stored(generation, int(meta["shards"]), meta["fingerprint"], profiles, members)


async def read_changes(kafka: str, topic: str = "segment-changes") -> list[Any]:
    """Every announced change as a record, partition by partition, in order of offset."""
    return await read_topic(kafka, topic)


def differences(
    expected: Expected,
    stored: Stored,
    changes: Sequence[Any] | None,
    namespace: str,
    order_matters: bool = True,
) -> list[str]:
    """Every way in which what stands there is not what the oracle says.

    Where `order_matters` is False only what does not depend on the order of arrival is compared: traits,
    and membership of segments without `exit`. `changes` of None are not looked at.
    """
    found = list(_of_customers(expected, stored))
    for shard, customer in expected.customers():
        profile = stored.profiles.get(customer.customer_id)
        if profile is not None and profile.shard == shard:
            found += _of_traits(customer, profile)
            found += _of_memberships(customer, profile, order_matters)
            found += _of_times(customer, profile)
    found += _of_members(expected, stored, order_matters)
    if changes is not None:
        found += _of_changes(expected, stored, changes, namespace)
    return found


def compare(
    expected: Expected,
    stored: Stored,
    changes: Sequence[Any] | None,
    namespace: str,
    order_matters: bool = True,
) -> None:
    """Fails with the first ten differences, and how many there are of each sort."""
    found = differences(expected, stored, changes, namespace, order_matters)
    if found:
        sorts = Counter(one.split(": ")[0] for one in found)
        counted = ", ".join(f"{number} of {sort}" for sort, number in sorts.most_common())
        shown = "\n".join(f"  {one}" for one in found[:DIFFERENCES_SHOWN])
        raise AssertionError(f"{len(found)} differences ({counted}); the first:\n{shown}")


def identical(expected: Any, actual: Any) -> bool:
    """Equal as JSON: an integer is not a float, true is not 1, the order of an object's keys is nothing."""
    return json.dumps(expected, sort_keys=True) == json.dumps(actual, sort_keys=True)


def _of_customers(expected: Expected, stored: Stored) -> Iterator[str]:
    shard_by_customer = {c.customer_id: shard for shard, c in expected.customers()}
    if stored.shards != expected.shards:
        yield f"shards: expected {expected.shards}, meta says {stored.shards}"
    for customer_id in sorted(shard_by_customer.keys() - stored.profiles.keys()):
        yield f"profile missing: customer {customer_id}"
    for customer_id in sorted(stored.profiles.keys() - shard_by_customer.keys()):
        yield f"profile of nobody: customer {customer_id}"
    for customer_id in sorted(shard_by_customer.keys() & stored.profiles.keys()):
        wanted, shard = shard_by_customer[customer_id], stored.profiles[customer_id].shard
        if shard != wanted:
            yield f"shard: customer {customer_id}: expected {wanted}, is in {shard}"


def _of_traits(customer: CustomerOutcome, profile: StoredProfile) -> Iterator[str]:
    traits = customer.traits
    texts = {name: text for name, text in profile.fields.items() if not name.startswith("_")}
    for name in sorted(traits.keys() | texts.keys()):
        where = f"trait {name}: customer {customer.customer_id}"
        if name not in texts:
            yield f"{where}: expected {traits[name]!r}, there is no field"
        elif name not in traits:
            yield f"{where}: expected no field, is {texts[name]}"
        elif not _is_json(texts[name]) or not identical(traits[name], json.loads(texts[name])):
            yield f"{where}: expected {traits[name]!r}, is {texts[name]}"


def _of_memberships(customer: CustomerOutcome, profile: StoredProfile, order_matters: bool) -> Iterator[str]:
    text = profile.fields.get("_segments", "{}")
    actual = json.loads(text) if _is_json(text) else text
    expected: Any = {
        name: {"since": format_time(m.since_ms), "crossing": m.crossing} for name, m in customer.memberships.items()
    }
    if not order_matters:
        stable = _stable_segments(customer)
        expected, actual = sorted(stable & expected.keys()), sorted(stable & set(actual))
    if not identical(expected, actual):
        yield f"_segments: customer {customer.customer_id}: expected {expected}, is {actual}"


def _of_times(customer: CustomerOutcome, profile: StoredProfile) -> Iterator[str]:
    """The fields about the profile itself, and what `_valid_until` promises."""
    fields, who = profile.fields, f"customer {customer.customer_id}"
    for name in sorted({n for n in fields if n.startswith("_")} - PRIVATE):
        yield f"unknown field: {who}: {name}"
    if not fields.get("_revision", "").isdecimal() or int(fields["_revision"]) < 1:
        yield f"_revision: {who}: expected a number of at least 1, is {fields.get('_revision')}"
    if fields.get("_event_time") != format_time(customer.event_time_ms):
        yield (f"_event_time: {who}: expected {format_time(customer.event_time_ms)}, is {fields.get('_event_time')}")
    as_of = fields.get("_as_of", "")
    if not _is_time(as_of) or not customer.event_time_ms <= parse_time(as_of) <= customer.clock_ms:
        yield f"_as_of: {who}: expected up to {format_time(customer.clock_ms)}, is {as_of or None}"
    until = fields.get("_valid_until")
    if until is not None and (not _is_time(until) or parse_time(until) <= customer.clock_ms):
        yield f"_valid_until: {who}: expected after {format_time(customer.clock_ms)}, is {until}"
        return
    last_ms = customer.clock_ms + 3 * YEAR_MS if until is None else parse_time(until) - 1
    if not identical(customer.traits, customer.traits_at(last_ms)):
        yield f"_valid_until: {who}: is {until}, but a trait changes before"


def _of_members(expected: Expected, stored: Stored, order_matters: bool) -> Iterator[str]:
    wanted: dict[str, dict[str, float]] = defaultdict(dict)
    stable: set[str] = set()
    for _, customer in expected.customers():
        stable = stable or _stable_segments(customer)
        for name, membership in customer.memberships.items():
            wanted[name][customer.customer_id] = float(membership.since_ms)
    for name in sorted(wanted.keys() | stored.members.keys()):
        if not order_matters and name not in stable:
            continue
        actual = stored.members.get(name, {})
        for customer_id in sorted(wanted[name].keys() | actual.keys()):
            a, b = wanted[name].get(customer_id), actual.get(customer_id)
            if a != b if order_matters else (a is None) != (b is None):
                yield f"members {name}: customer {customer_id}: expected score {a}, is {b}"


def _of_changes(expected: Expected, stored: Stored, records: Sequence[Any], namespace: str) -> Iterator[str]:
    """Compares each customer's announcements, in order, with all that each record must say."""
    announced: dict[str, list[Any]] = defaultdict(list)
    for record in records:
        announced[(record.key or b"").decode()].append(record)
    known: set[str] = set()
    for shard, customer in expected.customers():
        known.add(customer.customer_id)
        actual = announced.get(customer.customer_id, [])
        if len(actual) != len(customer.changes):
            yield (
                f"number of changes: customer {customer.customer_id}: expected "
                f"{[_name(c) for c in customer.changes]}, is {[_id_of(r) for r in actual]}"
            )
            continue
        for change, record in zip(customer.changes, actual, strict=True):
            wanted = _announcement(change, expected.arrivals[shard], stored, namespace)
            is_value = json.loads(record.value)
            for path, a, b in _unequal(wanted, is_value):
                yield f"change {path}: {_name(change)}: expected {a!r}, is {b!r}"
            if record.partition != shard:
                yield f"change's partition: {_name(change)}: expected {shard}, is {record.partition}"
            if ("content-type", b"application/cloudevents+json") not in record.headers:
                yield f"change's content-type: {_name(change)}: headers are {record.headers}"
    for stranger in sorted(announced.keys() - known):
        yield f"changes of nobody: customer {stranger}: {[_id_of(r) for r in announced[stranger]]}"


def _announcement(change: Change, arrivals: Sequence[Arrival], stored: Stored, namespace: str) -> dict[str, Any]:
    """The CloudEvent that the contract asks for."""
    data: dict[str, Any] = {
        "customer_id": change.customer_id,
        "segment": change.segment,
        "change": change.change,
        "crossing": change.crossing,
        "cause": change.cause,
        "values": dict(change.values),
        "generation": stored.generation,
        "definitions": stored.fingerprint,
    }
    if change.event_index is not None:
        arrival = arrivals[change.event_index]
        data["event"] = {
            "topic": arrival.topic,
            "partition": arrival.partition,
            "offset": arrival.offset,
            "event_id": arrival.event["event_id"],
        }
    return {
        "specversion": "1.0",
        "id": _name(change),
        "source": f"profilestream/{namespace}",
        "type": f"profilestream.segment.{change.change}",
        "subject": change.customer_id,
        "time": format_time(change.time_ms),
        "datacontenttype": "application/json",
        "data": data,
    }


def _unequal(wanted: Any, actual: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every place where two JSON values are not identical."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        for key in sorted(wanted.keys() | actual.keys()):
            yield from _unequal(wanted.get(key), actual.get(key), f"{path}.{key}" if path else key)
    elif not identical(wanted, actual):
        yield path, wanted, actual


def _stable_segments(customer: CustomerOutcome) -> set[str]:
    """Segments whose members do not depend on the way there."""
    return {s.name for s in customer.definitions.segments if s.exit is None}


def _name(change: Change) -> str:
    return f"{change.segment}/{change.customer_id}/{change.crossing}"


def _id_of(record: Any) -> Any:
    return json.loads(record.value).get("id")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    """Exactly as a profile writes a time."""
    try:
        return format_time(parse_time(text)) == text
    except ValueError:
        return False
