"""Changes put on a topic as emitters put them, what a subscriber hands out, and one that runs as a program of its own.

`python -m tests.integration.subscribing KAFKA TOPIC GROUP COMMIT_EVERY` prints `got ID` for each change and, once a
commit has returned, `committed ID` for each that it covers.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaProducer
from tests.oracle import shard_of

from profilestream import ChangeSubscriber, ReceivedChange
from profilestream.stream.topics import Admin
from profilestream.wire.changes import EventReference, SegmentChange, encode_change

T0_MS = 1_769_851_800_000
SEGMENTS = ("big_spender", "lapsing")
PARTITIONS = 4
FAST = {"session_timeout_ms": 6_000, "handover_s": 3.0}


def change(customer: str, crossing: int, segment: str = "big_spender", **fields: Any) -> SegmentChange:
    """The crossing of that number of one customer."""
    return SegmentChange(
        customer_id=customer,
        segment=segment,
        change="entered" if crossing % 2 else "exited",
        crossing=crossing,
        cause="event",
        values={"orders": crossing},
        generation="g1",
        definitions="a1b2c3",
        time_ms=T0_MS + crossing,
        source="profilestream/ps",
        event=EventReference("purchases", 0, crossing, f"e{crossing}"),
        **fields,
    )


async def announce(kafka: str, topic: str, partitions: int, changes: Iterable[Any], abort: bool = False) -> None:
    """One transaction of changes, each in its customer's partition; bytes go to partition 0 as they are."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"announce-{secrets.token_hex(4)}")
    await producer.start()
    try:
        await producer.begin_transaction()
        waiting = []
        for one in changes:
            value = one if isinstance(one, bytes) else encode_change(one)
            partition = 0 if isinstance(one, bytes) else shard_of(one.customer_id, partitions)
            waiting.append(await producer.send(topic, value, key=b"k", partition=partition))
        await asyncio.gather(*waiting)
        await (producer.abort_transaction() if abort else producer.commit_transaction())
    finally:
        await producer.stop()


class Topic:
    """A topic of changes of one's own."""

    def __init__(self, kafka: str, name: str) -> None:
        self.kafka, self.name = kafka, name

    async def put(self, *changes: object, abort: bool = False) -> None:
        await announce(self.kafka, self.name, PARTITIONS, changes, abort)

    def subscriber(self, group: str | None = "mailer", **options: object) -> ChangeSubscriber:
        return ChangeSubscriber(self.kafka, group, topic=self.name, **{**FAST, **options})  # type: ignore[arg-type]

    async def committed(self, group: str = "mailer") -> dict[int, int]:
        async with Admin(self.kafka) as admin:
            return {p: offset for (name, p), offset in (await admin.committed(group)).items() if name == self.name}

    async def lag(self, group: str = "mailer") -> int:
        async with Admin(self.kafka) as admin:
            ends, at = await admin.end_offsets(self.name), await self.committed(group)
            return sum(end - at.get(p, 0) for p, end in ends.items())


async def take(changes: ChangeSubscriber, count: int, timeout_s: float = 60) -> list[ReceivedChange]:
    """The next `count` changes."""
    async with asyncio.timeout(timeout_s):
        return [await anext(changes) for _ in range(count)]


async def nothing_comes(changes: ChangeSubscriber, wait_s: float = 2.0) -> bool:
    try:
        async with asyncio.timeout(wait_s):
            await anext(changes)
    except TimeoutError:
        return True
    return False


def crossings(customers: int, count: int, segment: str = "big_spender") -> list[SegmentChange]:
    return [change(f"c{c}", n, segment) for n in range(1, count + 1) for c in range(customers)]


async def main(kafka: str, topic: str, group: str, commit_every: int) -> None:
    """Subscribes until it is ended."""
    covered: list[str] = []
    async with ChangeSubscriber(kafka, group, topic=topic, **FAST) as changes:  # type: ignore[arg-type]
        async for received in changes:
            print("got", received.id, flush=True)
            covered.append(received.id)
            await asyncio.sleep(0.002)
            if len(covered) == commit_every:
                await changes.commit()
                print("\n".join(f"committed {one}" for one in covered), flush=True)
                covered.clear()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
