"""What subscribers were told in a chaos run, held to the laws of the change topic.

For each customer and segment, as a reader of committed records finds them, in order of offset: numbers 1, 2, 3 ...
without a gap or a repetition, entered and exited in turn beginning with entered, times that never go back; each in the
customer's partition, under its key, with the id that its number makes; where an event is named as the cause, that very
event stands at that place. The last one agrees with `_segments` and with the sorted sets: member or not, number, and
since when.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.verdict import Place
from tests.comparison import Stored
from tests.oracle import parse_time, shard_of

DIRECTIONS = ("exited", "entered")


@dataclass
class Announcements:
    """All changes of a topic; `wrong` says what breaks a law, `causes` how many there are of each cause."""

    changes: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    segments: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def examine(
    records: Iterable[Any], stored: Stored, events: Mapping[Place, tuple[str, str]], namespace: str
) -> Announcements:
    """Holds every record of the change topic, in order within partitions, to the laws above."""
    found = Announcements()
    by_pair: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        value = json.loads(record.value)
        data = value["data"]
        found.changes += 1
        found.causes[data["cause"]] += 1
        found.segments[data["segment"]] += 1
        by_pair[data["customer_id"], data["segment"]].append(value)
        found.wrong += _of_record(record, value, stored, events, namespace)
    for pair, told in by_pair.items():
        found.wrong += _of_pair(pair, told)
    found.wrong += _of_the_last(by_pair, stored)
    return found


def _of_record(
    record: Any, value: Mapping[str, Any], stored: Stored, events: Mapping[Place, tuple[str, str]], namespace: str
) -> Iterator[str]:
    data, name = value["data"], value["id"]
    customer_id = data["customer_id"]
    wanted = {
        "id": f"{data['segment']}/{customer_id}/{data['crossing']}",
        "subject": customer_id,
        "source": f"profilestream/{namespace}",
        "type": f"profilestream.segment.{data['change']}",
        "generation": stored.generation,
        "definitions": stored.fingerprint,
    }
    for key, expected in wanted.items():
        if {**data, **value}[key] != expected:
            yield f"change {name}: {key} is {({**data, **value})[key]}, expected {expected}"
    if record.partition != shard_of(customer_id, stored.shards) or record.key != customer_id.encode():
        yield f"change {name}: in partition {record.partition} under key {record.key!r}"
    event = data.get("event")
    if (event is not None) != (data["cause"] == "event"):
        yield f"change {name}: cause {data['cause']}, event {event}"
    if event is not None:
        place = event["topic"], event["partition"], event["offset"]
        if events.get(place) != (event["event_id"], customer_id):
            yield f"change {name}: names event {event}, where {events.get(place)} stands"


def _of_pair(pair: tuple[str, str], told: list[Mapping[str, Any]]) -> Iterator[str]:
    name = f"{pair[1]}/{pair[0]}"
    numbers = [value["data"]["crossing"] for value in told]
    if numbers != list(range(1, len(told) + 1)):
        odd = next(i for i, number in enumerate(numbers) if number != i + 1)
        around = numbers[max(0, odd - 2) : odd + 3]
        yield f"changes of {name}: {len(told)} of them, numbered {around} around place {odd}"
    for value in told:
        data = value["data"]
        if data["change"] != DIRECTIONS[data["crossing"] % 2]:
            yield f"change {name}/{data['crossing']}: {data['change']}"
    times = [parse_time(value["time"]) for value in told]
    if times != sorted(times):
        yield f"changes of {name}: their times go back"


def _of_the_last(by_pair: Mapping[tuple[str, str], list[Mapping[str, Any]]], stored: Stored) -> Iterator[str]:
    held = {
        (customer_id, segment): said
        for customer_id, profile in stored.profiles.items()
        for segment, said in json.loads(profile.fields.get("_segments", "{}")).items()
    }
    members = {
        (customer_id, segment): score
        for segment, scores in stored.members.items()
        for customer_id, score in scores.items()
    }
    for pair in sorted(by_pair.keys() | held.keys() | members.keys()):
        told = by_pair.get(pair, [])
        inside = len(told) % 2 == 1
        name = f"{pair[1]}/{pair[0]}"
        if (pair in held, pair in members) != (inside, inside):
            yield f"the last of {name}: {len(told)} announced, _segments {held.get(pair)}, score {members.get(pair)}"
        elif inside:
            last, said = told[-1], held[pair]
            if said["crossing"] != last["data"]["crossing"]:
                yield f"the last of {name}: announced {last['data']['crossing']}, _segments {said['crossing']}"
            if parse_time(said["since"]) != members[pair]:
                yield f"the last of {name}: since {said['since']}, score {members[pair]}"
