"""Topics whose partitions are not the shards: all is forwarded, and Kafka's committed offset is the position."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from profilestream.core.errors import LogMismatch, ProfilestreamError
from profilestream.stream.outward import Outward
from profilestream.stream.reports import named
from profilestream.stream.slices import Gap, Slice, weight
from profilestream.stream.sources import Accepted
from profilestream.wire.dead_letters import Rejection

RETRY_S = 1.0
PART = "forwarding"


class Forwarder:
    """Sends whole partitions to topic `rekeyed`, in order; forwarding twice is harmless there.

    A record counts as past once it is acknowledged. Its position is committed to Kafka with the worker's others.
    A partition whose next record is gone stands still: `failures` says why.
    """

    def __init__(self, tools: Any) -> None:
        self._tools = tools
        self.failures: dict[TP, LogMismatch] = {}
        self._queue: deque[Slice] = deque()
        self._wake = asyncio.Event()
        self._bytes: dict[TP, int] = {}
        self._expected: dict[TP, int] = {}
        self._past: dict[TP, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._consumer: Any = None
        self._partitions: list[TP] = []
        self._others: list[TP] = []
        self._full: set[TP] = set()
        self._is_seeking = False

    def begin(self, partitions: Iterable[TP], others: Iterable[TP], consumer: Any) -> None:
        """Takes over partitions, each from its committed offset or its beginning on.

        Those that `others` forward are not read. They get a position all the same: one without any is a failure of each
        fetch, of all that are read.
        """
        self.end()
        self._consumer = consumer
        self._partitions, self._others = list(partitions), list(others)
        for tp in self._others:
            self._pause(tp)
        if self._partitions or self._others:
            self._task = asyncio.create_task(self._run())

    def out_of_range(self, tp: TP) -> None:
        """The log has nothing where a partition was to be read on: looks at all positions again."""
        if tp in self.failures:
            self._pause(tp)
        elif self._task is not None and not self._is_seeking:
            # While it looks already, every fetch says so again: beginning anew each time would never come to an end.
            past, failures = self._past, self.failures
            self.begin(self._partitions, self._others, self._consumer)
            self._past, self.failures = past, failures

    def end(self) -> None:
        """Lets everything go."""
        if self._task is not None:
            self._task.cancel()
        self._task, self._others = None, []
        self._empty()
        self._make_room()
        self._past, self.failures = {}, {}
        self._tools.troubles.leave(PART)

    def put(self, piece: Slice) -> None:
        """Takes a slice in, as an inbox would: trimmed below the position; raises Gap beyond it."""
        tp = TP(piece.topic, piece.partition)
        expected = self._expected.get(tp)
        if expected is None:
            self._pause(tp)  # nobody forwards now: what comes would be read for nothing
            return
        if piece.records[-1].offset < expected:
            return
        if piece.begin > expected:
            raise Gap(piece.topic, piece.partition, expected)
        records = [r for r in piece.records if r.offset >= expected]
        self._expected[tp] = records[-1].offset + 1
        self._queue.append(piece._replace(records=records))
        self._bytes[tp] = self._bytes.get(tp, 0) + sum(map(weight, records))
        if self._bytes[tp] > self._tools.waiting_bytes_max:
            self._pause(tp)
        self._wake.set()

    def committed(self) -> Mapping[TP, int]:
        """The next offset of each partition below which all is acknowledged."""
        return dict(self._past)

    def has_passed(self, tp: TP, handed: int) -> bool:
        return self._past.get(tp, -1) >= handed

    async def _run(self) -> None:
        tools = self._tools
        while True:
            try:
                await self._consumer.seek_all(dict.fromkeys(self._others, 0))
                if not self._partitions:
                    return
                self._is_seeking = True
                await tools.revive_producer()
                await self._seek()
                self._is_seeking = False
                while True:
                    await self._forward(await self._next())
            except asyncio.CancelledError:
                raise
            except (ProfilestreamError, KafkaError, OSError) as error:
                tools.troubles.begin(PART, named(error, tools.settings.kafka, None), "trying again")
            except Exception as error:
                # Its text might hold a customer's data.
                tools.troubles.begin(PART, f"forwarding failed ({type(error).__name__})", "trying again")
            self._empty()
            await asyncio.sleep(RETRY_S)

    async def _next(self) -> Slice:
        while not self._queue:
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    def _empty(self) -> None:
        """Forgets what waits."""
        self._queue.clear()
        self._bytes, self._expected = {}, {}

    def _stands_still(self, tp: TP) -> bool:
        return tp in self.failures or tp in self._others

    def _pause(self, tp: TP) -> None:
        self._full.add(tp)
        self._consumer.on_buffer_full(tp)

    def _make_room(self) -> None:
        """Lets partitions be fetched again of which little waits; not those that stand still, or are for others."""
        limit = self._tools.waiting_bytes_max // 2
        for tp in [tp for tp in self._full if self._bytes.get(tp, 0) <= limit and not self._stands_still(tp)]:
            self._full.discard(tp)
            self._consumer.on_buffer_drop(tp)

    async def _seek(self) -> None:
        begins = await self._consumer.begin_offsets(self._partitions)
        ends = await self._consumer.end_offsets(self._partitions)
        committed = await self._committed_offsets()
        for tp in self._partitions:
            known = self._past.get(tp, committed.get(tp))
            if await self._tools.topic_ids.is_other(tp.topic):
                self._stand_still(tp, known, begins[tp], ends[tp], made_anew=True)
            elif known is not None and not begins[tp] <= known <= ends[tp]:
                self._stand_still(tp, known, begins[tp], ends[tp])
            elif tp not in self.failures:
                self._past[tp] = self._expected[tp] = begins[tp] if known is None else known
        self._make_room()
        await self._consumer.seek_all(dict(self._expected))

    async def _committed_offsets(self) -> dict[TP, int]:
        """Up to where each partition was forwarded, by this generation or by another that was live before it."""
        found: dict[TP, int] = dict(await self._consumer.committed_offsets(self._partitions))
        if self._partitions:
            for tp, offset in (await self._tools.forwarded_by_others(self._partitions)).items():
                found[tp] = max(offset, found.get(tp, 0))
        return found

    def _stand_still(self, tp: TP, position: int | None, begin: int, end: int, made_anew: bool = False) -> None:
        if tp in self.failures:
            return
        what = f"topic {tp.topic}, partition {tp.partition}: "
        if made_anew:  # Kafka forgets the committed offsets of a topic that is deleted
            what += f"the topic was made anew, with records {begin} to {end - 1}, which shards would take for old ones"
            remedy = "Restore it, or use another namespace"
        else:
            what += f"the next record to forward is {position}, but the log "
            gone = f"begins at {begin}; records {position} to {begin - 1} were removed before they were read"
            what += gone if position is not None and position < begin else f"ends at {end}; it was truncated"
            group = f"{self._tools.settings.namespace}-{self._tools.generation.name}"
            remedy = (
                "Restore them; or, to go on without them, stop the workers and set the committed offset of group "
                f"{group} there with Kafka's kafka-consumer-groups"
            )
        self.failures[tp] = LogMismatch(f"{what}. {remedy}")
        self._tools.report(f"forwarding stands still: {self.failures[tp]}")

    async def _forward(self, piece: Slice) -> None:
        tools, tp = self._tools, TP(piece.topic, piece.partition)
        outward = Outward(tools.producer, tools.settings)
        now_ms = time.time_ns() // 1_000_000
        for record in piece.records:
            event, handler, origin = tools.sources.read(record, now_ms)
            if isinstance(event, Rejection):
                outward.dead_letter(record, event)
                tools.counters.count_dead_letter(event.reason)
            else:
                outward.stray(Accepted(event, handler, record, origin), tools.generation.shards)
                tools.counters.count_stray()
        await outward.flush()
        self._past[tp] = piece.records[-1].offset + 1
        self._bytes[tp] = self._bytes.get(tp, 0) - sum(map(weight, piece.records))
        self._make_room()
        tools.troubles.over(PART)
