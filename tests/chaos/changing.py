"""Definitions that change from round to round while events flow, and who watches: a subscriber and a reader."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from profilestream import ChangeSubscriber, ProfileReader
from tests.kafka_records import properly, send
from tests.oracle import shard_of

SHARDS = 3
CUSTOMERS = 30
BEGAN_MS = 1_700_000_000_000
EVENTS_A_BATCH = 5
PAUSE_S = 0.25
LOOK_S = 0.01


def definitions(number: int) -> str:
    """What is changed by every round: a threshold, and a trait that needs the log and is named after the round."""
    return f"""
[traits]
orders = "count(purchase)"
spend = "sum(purchase.amount_minor)"
spend_1h = "sum(purchase.amount_minor, over='1h')"
large_{number} = "count(purchase[amount_minor >= {40 + number}])"

[segments.even]
description = "Turns with every order"
enter = "even_orders == 0"

[segments.spender]
enter = "spend_1h >= {1_200 + 150 * (number % 5)}"
exit = "spend_1h < {600 + 90 * (number % 4)}"

[segments.liker]
enter = "large_{number} >= {3 + number % 3}"
""".replace(
        "large_", 'even_orders = "count(purchase[amount_minor < 48]) - count(purchase[amount_minor >= 48])"\nlarge_', 1
    )


class Feeder(threading.Thread):
    """Sends purchases in order of time until `end`; while held, nothing. `sent` counts them by shard."""

    def __init__(self, kafka: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._kafka = kafka
        self._chance = random.Random(f"feeder {seed}")
        self._number = 0
        self._over = threading.Event()
        self.going = threading.Lock()
        self.sent = dict.fromkeys(range(SHARDS), 0)

    def run(self) -> None:
        while not self._over.wait(PAUSE_S):
            with self.going:
                self.feed(EVENTS_A_BATCH)

    def feed(self, count: int) -> None:
        events = [self._next() for _ in range(count)]
        asyncio.run(send(self._kafka, [properly("purchases", event, SHARDS) for event in events]))
        for event in events:
            self.sent[shard_of(event["customer_id"], SHARDS)] += 1

    def end(self) -> None:
        self._over.set()
        self.join()

    def _next(self) -> dict[str, Any]:
        self._number += 1
        return {
            "type": "purchase",
            "event_id": f"e{self._number}",
            "customer_id": f"c{self._chance.randrange(CUSTOMERS)}",
            "occurred_at": BEGAN_MS + self._number * 5_000,
            "amount_minor": self._chance.randrange(97),
        }


class Subscribed(threading.Thread):
    """A subscriber of the library. `wrong` has each change that is not the next one of its customer and segment."""

    def __init__(self, kafka: str, topic: str) -> None:
        super().__init__(daemon=True)
        self._kafka, self._topic = kafka, topic
        self.last: dict[tuple[str, str], int] = {}
        self.wrong: list[str] = []
        self.generations: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._task: Any = None

    def run(self) -> None:
        self._task = self._loop.create_task(self._subscribe())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self.join()

    async def _subscribe(self) -> None:
        async with ChangeSubscriber(self._kafka, topic=self._topic) as changes:
            async for change in changes:
                pair = change.customer_id, change.segment
                due = self.last.get(pair, 0) + 1
                if change.crossing != due or change.change != ("entered" if due % 2 else "exited"):
                    self.wrong.append(f"{change.id} {change.change}, after {due - 1}")
                self.last[pair] = change.crossing
                self.generations.add(change.generation)


class Reading(threading.Thread):
    """A service that reads all the while. `wrong` has each error, and each answer that is of two generations;
    `switches_s` how long after Redis named another generation it was read."""

    def __init__(self, redis_url: str, namespace: str) -> None:
        super().__init__(daemon=True)
        self._url, self._namespace = redis_url, namespace
        self._over = threading.Event()
        self.wrong: list[str] = []
        self.switches_s: list[float] = []
        self.reads = 0

    def run(self) -> None:
        client: Any = redis.Redis.from_url(self._url, decode_responses=True)
        named, since_s, waiting = "", 0.0, False
        customers = [f"c{n}" for n in range(CUSTOMERS)]
        with ProfileReader(self._url, self._namespace) as reader:
            while not self._over.wait(LOOK_S):
                now = client.get(f"{self._namespace}:live")
                if now != named:
                    named, since_s, waiting = now, time.monotonic(), bool(named)
                try:
                    found = [profile for profile in reader.get_many(customers) if profile is not None]
                except Exception as error:
                    self.wrong.append(f"{type(error).__name__}: {error}")
                    continue
                self.reads += 1
                generations = {profile.generation for profile in found}
                marks = {trait for profile in found for trait in profile.traits if trait.startswith("large_")}
                if len(generations) > 1 or len(marks) > 1:
                    self.wrong.append(f"one answer of {sorted(generations)} with {sorted(marks)}")
                if generations and marks:
                    text = client.hget(f"{self._namespace}:{generations.pop()}:meta", "definitions")
                    if text is not None and f"{next(iter(marks))} =" not in text:
                        self.wrong.append(f"{marks} is no trait of the generation that it was read of")
                if waiting and found and found[0].generation == named:
                    self.switches_s.append(time.monotonic() - since_s)
                    waiting = False
        client.close()

    def end(self) -> None:
        self._over.set()
        self.join()


@contextmanager
def watched(kafka: str, redis_url: str, namespace: str, topic: str) -> Iterator[tuple[Subscribed, Reading]]:
    """Both, while the block runs."""
    both = Subscribed(kafka, topic), Reading(redis_url, namespace)
    for one in both:
        one.start()
    try:
        yield both
    finally:
        for one in both:
            one.end()
