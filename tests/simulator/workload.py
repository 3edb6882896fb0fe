"""What customers do in one world, and what of it is true: events, duplicates, strays, poison, holes, transactions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

from faust.types import TP

from profilestream.core.engine import IDS_MAX
from tests.oracle import shard_of
from tests.simulator import definitions
from tests.simulator.kafka_broker import Broker, Transaction
from tests.simulator.timeline import Timeline

BEGIN_MS = 1_767_225_600_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
TYPES = {"purchases": "purchase", "support": "support", "browsing": "browsing"}
POISON = (b"", b"{", b"[]", b'{"event_id":"x"}', b'{"event_id":"","customer_id":"c","occurred_at":1}', b"\xff")


@dataclass
class Arrival:
    """A record on its way into a log. `event` is None for poison; `kind` says what else it may be."""

    topic: str
    partition: int
    timestamp: int
    value: bytes
    event: dict[str, Any] | None = None
    kind: str = "record"


@dataclass
class Workload:
    """What is appended, in order, and the shape of the world."""

    text: str
    shards: int
    topics: tuple[str, ...]
    partitions: dict[str, int]
    clock: str
    strict: bool
    prefilled: int
    ids_max: int = IDS_MAX
    """0 where there are no duplicates: then nothing but positions and origins keeps a record from counting twice."""
    arrivals: list[Arrival] = field(default_factory=list)

    @property
    def end_ms(self) -> int:
        return max(a.timestamp for a in self.arrivals) + MINUTE_MS


def make(random: Random) -> Workload:
    """A world's customers; `strict` ones have an order of folding that nothing can change."""
    text = random.choice(definitions.FILES)
    shards = random.choice((1, 2, 2))
    strict = random.random() < 0.25
    topics = ("purchases",) if strict else random.choice((("purchases", "support"), tuple(TYPES)))
    partitions = dict.fromkeys(topics, shards)
    if not strict and random.random() < 0.2:
        partitions[topics[-1]] = shards + 1  # a topic that is forwarded whole
    for own in ("rekeyed", "dead-letters", "segment-changes", "announced"):
        partitions[own] = shards
    clock = "event" if strict else random.choice(("event", "wall"))
    found = Workload(text, shards, topics, partitions, clock, strict, 0)
    _fill(found, random)
    found.prefilled = random.choice((0, len(found.arrivals) // 2, len(found.arrivals)))
    return found


def _fill(work: Workload, random: Random) -> None:
    customers = [f"c{n}" for n in range(random.randint(3, 6))]
    stray_share = 0.0 if work.strict else random.choice((0.0, 0.1, 0.4))
    poison_share, late_share = random.choice((0.0, 0.08)), random.choice((0.0, 0.2))
    duplicate_share, hole_share = random.choice((0.0, 0.15)), random.choice((0.0, 0.1))
    step_ms = random.choice((5 * MINUTE_MS, HOUR_MS, 4 * HOUR_MS))
    if not duplicate_share:
        work.ids_max = 0
    now_ms, sent = BEGIN_MS, []
    for number in range(random.randint(20, 70)):
        now_ms += int(random.expovariate(1.0) * step_ms)
        if sent and random.random() < duplicate_share:
            again = random.choice(sent[-12:])
            if now_ms - again.timestamp < 20 * HOUR_MS:
                stamp = again.timestamp if random.random() < 0.3 else now_ms
                partition = _partition(work, again.topic, str(again.event["customer_id"]), stray_share, random)
                work.arrivals.append(Arrival(again.topic, partition, stamp, again.value, again.event))
                continue
        topic = random.choice(work.topics)
        if random.random() < poison_share:
            work.arrivals.append(_poison(work, topic, now_ms, number, random))
            continue
        customer_id = random.choice(customers)
        late_ms = int(random.random() * 12 * HOUR_MS) if random.random() < late_share else random.randrange(MINUTE_MS)
        event = _event(topic, number, customer_id, now_ms - late_ms, random)
        partition = _partition(work, topic, customer_id, stray_share, random)
        kind = "hole" if random.random() < hole_share else "record"
        arrival = Arrival(topic, partition, now_ms, json.dumps(event).encode(), event, kind)
        if kind == "hole":
            arrival.kind = random.choice(("hole", "aborted", "committed"))
        else:
            sent.append(arrival)
        work.arrivals.append(arrival)


def _partition(work: Workload, topic: str, customer_id: str, stray_share: float, random: Random) -> int:
    count = work.partitions[topic]
    if count != work.shards or random.random() < stray_share:
        return random.randrange(count)
    return shard_of(customer_id, count)


def _event(topic: str, number: int, customer_id: str, occurred_ms: int, random: Random) -> dict[str, Any]:
    event: dict[str, Any] = {"event_id": f"e{number}", "customer_id": customer_id, "occurred_at": occurred_ms}
    if topic == "purchases":
        event |= {"amount_minor": random.randrange(90), "channel": random.choice(("web", "shop"))}
    elif topic == "support":
        event |= {"kind": random.choice(("opened", "closed"))}
    else:
        event |= {"kind": "product_view", "category": random.choice(("shoes", "hats", "bags"))}
    return event


def _poison(work: Workload, topic: str, now_ms: int, number: int, random: Random) -> Arrival:
    value = random.choice(POISON)
    if random.random() < 0.3:
        ahead = _event(topic, number, "c1", now_ms + 100 * HOUR_MS, random)
        value = json.dumps(ahead).encode()
    return Arrival(topic, random.randrange(work.partitions[topic]), now_ms, value)


class Producers:
    """Appends arrivals to the logs, and remembers what stands where."""

    def __init__(self, line: Timeline, broker: Broker) -> None:
        self._line = line
        self._broker = broker
        self.events: dict[tuple[str, int, int], dict[str, Any]] = {}
        self.poison: set[tuple[str, int, int]] = set()

    def append(self, arrival: Arrival) -> None:
        log = self._broker.logs[TP(arrival.topic, arrival.partition)]
        if arrival.kind == "hole":
            log.hole()
            return
        transaction = Transaction() if arrival.kind in ("aborted", "committed") else None
        offset = log.append(b"any key", arrival.value, (), arrival.timestamp, transaction)
        place = (arrival.topic, arrival.partition, offset)
        if transaction is not None:
            transaction.aborted = arrival.kind == "aborted"
            self._line.later(self._line.random.choice((0.001, 0.05, 0.4)), log.mark, transaction)
            if transaction.aborted:
                return
        if arrival.event is None:
            self.poison.add(place)
        else:
            self.events[place] = {**arrival.event, "type": TYPES[arrival.topic], "arrived_at": arrival.timestamp}
