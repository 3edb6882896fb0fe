"""The consumer of one worker: the real bookkeeping of what was handed on, over simulated fetches.

`FetchingThread` is profilestream's `SliceConsumerThread` with the network taken out from under it. Between a fetch and
the worker lie queues, so slices that were fetched before a seek still arrive after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiokafka.errors import KafkaConnectionError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from profilestream.stream.slices import Slice
from profilestream.stream.transport import SliceConsumer, SliceConsumerThread
from tests.simulator.kafka_broker import Broker, Channel, Record
from tests.simulator.timeline import Timeline

FETCH_WAIT_S = 0.5
SLICES_WAITING_MAX = 12


class _Fetching(AIOKafkaConsumerThread):  # type: ignore[misc]
    """What aiokafka and its network do below `SliceConsumerThread`."""

    def __init__(self, line: Timeline, broker: Broker) -> None:
        self.line = line
        self.broker = broker
        self.channel = Channel(line, broker)
        self.assigned: set[TP] = set()
        self.offsets: dict[TP, int] = {}
        self.ends: dict[TP, tuple[int, int]] = {}
        self._handed: dict[TP, int] = {}
        self._after: dict[TP, int] = {}

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> dict[TP, list[Record]]:
        line, broker = self.line, self.broker
        await self.channel.ask(lambda: None)
        if not self._anything_for(active_partitions):
            waiting = broker.wait_for_records(active_partitions)
            await asyncio.wait({waiting}, timeout=FETCH_WAIT_S)
            waiting.cancel()
        await asyncio.sleep(line.chaos.latency_s())
        found = {}
        for tp in sorted(active_partitions & self.assigned):
            if tp in self.offsets and line.random.random() < 0.9:
                log = broker.logs[tp]
                # A fetch may have been answered a while ago: it then knows of less than there is now.
                records, self.offsets[tp] = log.read(self.offsets[tp], line.random.choice((1, 3, 10, 100)))
                self.ends[tp] = log.stable, line.wall_ms()
                if records:
                    found[tp] = records
        return found

    def _anything_for(self, active: Iterable[TP]) -> bool:
        return any(tp in self.offsets and self.broker.logs[tp].stable > self.offsets[tp] for tp in active)

    def assignment(self) -> set[TP]:
        return self.assigned

    def seek(self, partition: TP, offset: int) -> None:
        self.offsets[partition] = offset


class FetchingThread(SliceConsumerThread, _Fetching):
    """The real `_fetch_records`, `seek_each` and `handed_on`; the rest is simulated."""

    def __init__(self, line: Timeline, broker: Broker) -> None:
        _Fetching.__init__(self, line, broker)

    def assigned_now(self) -> Any:
        return self.assigned

    def positions(self, partitions: Iterable[TP]) -> dict[TP, int]:
        return {tp: self.offsets[tp] for tp in partitions if tp in self.offsets}

    def end_known(self, tp: TP) -> tuple[int | None, int | None]:
        return self.ends.get(tp, (None, None)) if tp in self.assigned else (None, None)

    async def call_thread(self, work: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """There and back again takes a moment, in which other things happen."""
        await asyncio.sleep(self.line.chaos.latency_s())
        answer = await work(*args)
        await asyncio.sleep(self.line.chaos.latency_s())
        return answer


class SimulatedConsumer:
    """What a worker's shards ask of the consumer."""

    seek_all = SliceConsumer.seek_all
    handed_on = SliceConsumer.handed_on
    end_known = SliceConsumer.end_known

    def __init__(self, line: Timeline, broker: Broker, group: str, take: Callable[[Slice], Awaitable[None]]) -> None:
        self._line = line
        self._broker = broker
        self._channel = Channel(line, broker)
        self._group = group
        self._take = take
        self._read_offset: dict[TP, Any] = {}
        self._thread = FetchingThread(line, broker)
        self._full: set[TP] = set()
        self._queue: asyncio.Queue[Slice] = asyncio.Queue()
        self._fetched: list[Slice] = []

    def assign(self, assignment: set[TP]) -> None:
        """After a rebalance: aiokafka goes on from committed offsets until somebody seeks."""
        thread, committed = self._thread, self._broker.groups.get(self._group, {})
        kept = assignment & thread.assigned if self._line.random.random() < 0.5 else set()
        thread.assigned = set(assignment)
        thread.offsets = {tp: offset for tp, offset in thread.offsets.items() if tp in kept}
        for tp in sorted(assignment - kept):
            if tp in committed:
                thread.offsets[tp] = committed[tp][0]
        self._full.clear()

    async def fetch_for_ever(self) -> None:
        thread, random = self._thread, self._line.random
        while True:
            active = thread.assigned - self._full
            if not active or self._queue.qsize() >= SLICES_WAITING_MAX:
                await asyncio.sleep(0.02)
                continue
            for piece in (await thread._fetch_records(None, active, FETCH_WAIT_S)).values():
                self._line.tell(
                    f"fetched {piece.topic}/{piece.partition} from {piece.begin}: {[r.offset for r in piece.records]}"
                )
                self._queue.put_nowait(piece)
                if random.random() < 0.05:
                    self._fetched.append(piece)

    async def hand_on_for_ever(self) -> None:
        """Slices arrive in order, some of them a second time, some of places where nobody asked."""
        chaos, random = self._line.chaos, self._line.random
        while True:
            piece = await self._queue.get()
            await asyncio.sleep(chaos.latency_s())
            await self._take(piece)
            if self._fetched and random.random() < 0.1:
                await self._take(self._fetched.pop(random.randrange(len(self._fetched))))

    def on_buffer_full(self, tp: TP) -> None:
        self._full.add(tp)

    def on_buffer_drop(self, tp: TP) -> None:
        self._full.discard(tp)

    async def begin_offsets(self, partitions: Iterable[TP]) -> dict[TP, int]:
        wanted = list(partitions)
        await self._channel.ask(lambda: None, KafkaConnectionError())
        return dict.fromkeys(wanted, 0)

    async def end_offsets(self, partitions: Iterable[TP]) -> dict[TP, int]:
        wanted, logs = list(partitions), self._broker.logs
        found: dict[TP, int] = await self._channel.ask(
            lambda: {tp: logs[tp].stable for tp in wanted}, KafkaConnectionError()
        )
        return found

    async def committed_offsets(self, partitions: Iterable[TP]) -> dict[TP, int]:
        wanted = list(partitions)
        known = await self._channel.ask(lambda: dict(self._broker.groups.get(self._group, {})), KafkaConnectionError())
        return {tp: known[tp][0] for tp in wanted if tp in known}
