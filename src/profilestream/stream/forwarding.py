"""Topics whose partitions are not the shards: all is forwarded, and Kafka's committed offset is the position."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from faust.types import TP

from profilestream.stream.outward import Outward
from profilestream.stream.slices import Slice
from profilestream.stream.sources import Accepted
from profilestream.wire.dead_letters import Rejection

PIECES_WAITING_MAX = 64
RETRY_S = 1.0


class Forwarder:
    """Sends whole partitions to topic `rekeyed`, in order; forwarding twice is harmless there.

    A record counts as past once it is acknowledged. Its position is committed to Kafka with the worker's others.
    """

    def __init__(self, tools: Any) -> None:
        self._tools = tools
        self._queue: asyncio.Queue[Slice] = asyncio.Queue()
        self._expected: dict[TP, int] = {}
        self._past: dict[TP, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._consumer: Any = None
        self._full: set[TP] = set()

    def begin(self, partitions: Iterable[TP], consumer: Any) -> None:
        """Takes over partitions, each from its committed offset or its beginning on."""
        self.end()
        self._consumer = consumer
        wanted = list(partitions)
        if wanted:
            self._task = asyncio.create_task(self._run(wanted))

    def end(self) -> None:
        """Lets everything go."""
        if self._task is not None:
            self._task.cancel()
        self._task = None
        self._empty()
        self._past = {}

    def put(self, piece: Slice) -> None:
        """Takes a slice in, as an inbox would: trimmed below the position, dropped beyond it."""
        tp = TP(piece.topic, piece.partition)
        expected = self._expected.get(tp)
        if expected is None or piece.begin > expected or piece.records[-1].offset < expected:
            return
        records = [r for r in piece.records if r.offset >= expected]
        self._expected[tp] = records[-1].offset + 1
        self._queue.put_nowait(piece._replace(records=records))
        if self._queue.qsize() > PIECES_WAITING_MAX:
            self._full.add(tp)
            self._consumer.on_buffer_full(tp)

    def committed(self) -> Mapping[TP, int]:
        """The next offset of each partition below which all is acknowledged."""
        return dict(self._past)

    def has_passed(self, tp: TP, handed: int) -> bool:
        return self._past.get(tp, -1) >= handed

    async def _run(self, partitions: list[TP]) -> None:
        while True:
            try:
                await self._tools.revive_producer()
                await self._seek(partitions)
                while True:
                    await self._forward(await self._queue.get())
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._tools.report(f"forwarding paused ({type(error).__name__}); trying again")
                self._empty()
                await asyncio.sleep(RETRY_S)

    def _empty(self) -> None:
        """Forgets what waits, and lets every partition be fetched again."""
        self._queue = asyncio.Queue()
        self._expected = {}
        self._make_room()

    def _make_room(self) -> None:
        for tp in self._full:
            self._consumer.on_buffer_drop(tp)
        self._full.clear()

    async def _seek(self, partitions: list[TP]) -> None:
        committed = await self._consumer.committed_offsets(partitions)
        begins = await self._consumer.begin_offsets(partitions)
        for tp in partitions:
            if tp in committed and committed[tp] < begins[tp]:
                self._tools.report(
                    f"topic {tp.topic}, partition {tp.partition}: the next record to forward was {committed[tp]}, "
                    f"but the log begins at {begins[tp]}; what lies between was removed before it was read"
                )
            offset = max(self._past.get(tp, -1), committed.get(tp, begins[tp]), begins[tp])
            self._past[tp] = self._expected[tp] = offset
        await self._consumer.seek_all(dict(self._expected))

    async def _forward(self, piece: Slice) -> None:
        tools = self._tools
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
        self._past[TP(piece.topic, piece.partition)] = piece.records[-1].offset + 1
        self._make_room()
