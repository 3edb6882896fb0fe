"""All orders: made into events, folded, announced; how long that took, and what came out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from profilestream.core.errors import ProfilestreamError
from profilestream.operations.changes import read_changes
from profilestream.operations.demo.orders import TOPIC
from profilestream.operations.demo.programs import Programs
from profilestream.operations.produce import LineCheck, Produced, produce
from profilestream.operations.segments import list_segments
from profilestream.operations.status import ShardStatus, read_status
from profilestream.settings import Settings
from profilestream.store.questions import Profile
from profilestream.store.reader import ProfileReader
from profilestream.wire.changes import SegmentChange
from profilestream.wire.definitions import parse_definitions

POLL_S: Final = 0.02
STALLED_S_MAX: Final = 60.0

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it went: seconds from the first order in Redis to the last, and to the last change announced.

    `start_s` is what passed from the start of the programs to the first order.
    """

    orders: int
    start_s: float
    fold_s: float
    announce_s: float

    @property
    def orders_per_s(self) -> float:
        """Orders folded in a second."""
        return self.orders / max(self.fold_s, 1e-9)


@dataclass(frozen=True, slots=True)
class Found:
    """What came out: profiles by customer, members by segment, and the changes in the order of each customer."""

    profiles: Mapping[str, Profile | None]
    members: Mapping[str, int]
    changes: Sequence[SegmentChange]


async def send(settings: Settings, file: Path, definitions: str) -> Produced:
    """Sends the file of events as `profilestream produce purchases FILE` does."""
    check = LineCheck(TOPIC, parse_definitions(definitions), settings.future_ms_max)
    with file.open("rb") as source:
        return await produce(str(settings.kafka), TOPIC, source, file.name, check)


async def follow(
    settings: Settings, programs: Programs, orders: int, progress: Progress, topics: Collection[str] = (TOPIC,)
) -> Pace:
    """Watches Redis until all orders are folded, nothing is due any more, and everything is announced.

    `orders` is the number of records in `topics`, from their beginnings on. Raises ProfilestreamError when a
    program ends, or nothing moves for a minute.
    """
    redis_alone = settings.model_copy(update={"kafka": None})
    started = moved = before = time.monotonic()
    began = folded_at = None
    last: tuple[int, int] = (0, 0)
    while True:
        programs.check()
        shards = (await read_status(redis_alone)).shards
        now = time.monotonic()
        folded = sum(shard.head.positions.get(topic, 0) for shard in shards for topic in topics)
        waiting = sum(shard.outbox for shard in shards)
        if folded and began is None:
            began = before  # the last look that saw nothing: rather too long a time than too short
        if folded == orders and folded_at is None:
            folded_at = now
        progress(folded)
        if began is not None and folded_at is not None and not waiting and not any(map(_due, shards)):
            return Pace(orders, began - started, folded_at - began, now - began)
        if (folded, waiting) != last:
            last, moved = (folded, waiting), now
        elif now - moved > STALLED_S_MAX:
            raise ProfilestreamError(
                f"nothing has moved for {STALLED_S_MAX:.0f} s: {folded:,} of {orders:,} orders are folded, "
                f"{waiting:,} changes wait; the logs of worker and emitter may say why"
            )
        before = now
        await asyncio.sleep(POLL_S)


def _due(shard: ShardStatus) -> bool:
    """Whether time has something left to do at the shard's present clock."""
    return shard.next_due is not None and shard.head.clock is not None and shard.next_due <= shard.head.clock


async def collect(settings: Settings, customers: Sequence[str]) -> Found:
    """Reads everything as any reader and subscriber does."""
    changes = [change async for change in read_changes(settings)]
    return await asyncio.to_thread(_collect, settings, customers, changes)


def _collect(settings: Settings, customers: Sequence[str], changes: Sequence[SegmentChange]) -> Found:
    redis = str(settings.redis)
    with ProfileReader(redis, settings.namespace) as reader:
        profiles = dict(zip(customers, reader.get_many(customers), strict=True))
    counts = list_segments(redis, settings.namespace).segments
    return Found(profiles, {count.name: count.traffic.members for count in counts}, changes)
