"""A simulated Kafka: logs with holes, transactions and their coordinator, the offsets of groups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced
from faust.types import TP

from tests.simulator.timeline import Timeline


class Record(NamedTuple):
    """What a consumer gets."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_type: int = 0


class Transaction:
    """One transaction of one holder of a transactional id."""

    def __init__(self) -> None:
        self.logs: list[Log] = []
        self.offsets: dict[str, dict[TP, tuple[int, str]]] = {}
        self.aborted = False
        self.begun_s = 0.0


class Log:
    """One partition. An entry is a record and its transaction, or None: a marker, or compacted away."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.entries: list[tuple[Record, Transaction | None] | None] = []
        self.open: dict[Transaction, int] = {}
        self.changed: Callable[[Log], None] = lambda log: None

    @property
    def end(self) -> int:
        return len(self.entries)

    @property
    def stable(self) -> int:
        """The last stable offset: below it every transaction has ended."""
        return min(self.open.values(), default=self.end)

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes]],
        timestamp: int,
        transaction: Transaction | None = None,
    ) -> int:
        """Adds a record; gives its offset."""
        offset = self.end
        record = Record(self.topic, self.partition, offset, timestamp, key, value, tuple(headers))
        self.entries.append((record, transaction))
        if transaction is not None and transaction not in self.open:
            self.open[transaction] = offset
            transaction.logs.append(self)
        self.changed(self)
        return offset

    def mark(self, transaction: Transaction) -> None:
        """The marker at the end of a transaction."""
        self.entries.append(None)
        self.open.pop(transaction, None)
        self.changed(self)

    def hole(self) -> None:
        """An offset with no record, as compaction leaves."""
        self.entries.append(None)
        self.changed(self)

    def read(self, position: int, records_max: int) -> tuple[list[Record], int]:
        """Committed records from a position on, and where the next read begins, past markers and what is aborted."""
        found: list[Record] = []
        stable = self.stable
        while position < stable and len(found) < records_max:
            entry = self.entries[position]
            position += 1
            if entry is not None and (entry[1] is None or not entry[1].aborted):
                found.append(entry[0])
        return found, position

    def committed(self) -> list[Record]:
        """All records that a reader of committed ones sees."""
        return self.read(0, self.end)[0]


class _Id:
    """What the coordinator knows of a transactional id."""

    def __init__(self) -> None:
        self.epoch = -1
        self.transaction: Transaction | None = None
        self.ending: list[asyncio.Future[None]] = []
        self.markers_left = 0


class Broker:
    """All partitions, transactional ids and groups. Every method is the server's side: no latency, no chance."""

    def __init__(self, line: Timeline, partitions: dict[str, int]) -> None:
        self._line = line
        self.partitions = partitions
        self.logs = {TP(t, p): Log(t, p) for t, count in partitions.items() for p in range(count)}
        self.groups: dict[str, dict[TP, tuple[int, str]]] = {}
        self._ids: dict[str, _Id] = {}
        self._waiting: list[tuple[frozenset[TP], asyncio.Future[None]]] = []
        for log in self.logs.values():
            log.changed = self._wake

    def wait_for_records(self, partitions: Iterable[TP]) -> asyncio.Future[None]:
        """Done when one of these logs changes."""
        future: asyncio.Future[None] = self._line.loop.create_future()
        self._waiting.append((frozenset(partitions), future))
        return future

    def _wake(self, log: Log) -> None:
        tp, waiting = TP(log.topic, log.partition), []
        for partitions, future in self._waiting:
            if tp in partitions and not future.done():
                future.set_result(None)
            elif not future.done():
                waiting.append((partitions, future))
        self._waiting = waiting

    # Transactions

    def open_id(self, name: str) -> asyncio.Future[int]:
        """InitProducerId: fences, aborts what is open, waits for what is ending; gives the new epoch."""
        future: asyncio.Future[int] = self._line.loop.create_future()
        self._open(name, self._ids.setdefault(name, _Id()), future)
        return future

    def _open(self, name: str, state: _Id, future: asyncio.Future[int]) -> None:
        if state.transaction is not None:
            if not state.markers_left:
                state.epoch += 1
                self._end(name, state, commit=False)
            self._when_ended(state, lambda: self._open(name, state, future))
            return
        state.epoch += 1
        if not future.done():
            future.set_result(state.epoch)

    def _when_ended(self, state: _Id, then: Callable[[], None]) -> None:
        if not state.markers_left:
            then()
            return
        ended: asyncio.Future[None] = self._line.loop.create_future()
        state.ending.append(ended)
        ended.add_done_callback(lambda _: self._when_ended(state, then), context=self._line.loop.outside)

    def in_transaction(self, name: str, epoch: int, work: Callable[[Transaction], Any]) -> asyncio.Future[Any]:
        """Does something in the transaction of a holder, once the one before has ended."""
        future: asyncio.Future[Any] = self._line.loop.create_future()

        def now() -> None:
            try:
                answer = work(self._transaction(name, epoch))
            except KafkaError as refused:
                answer = refused
            if not future.done():
                future.set_result(answer)

        self._when_ended(self._checked(name, epoch), now)
        return future

    def append(self, tp: TP, records: list[dict[str, Any]], transaction: Transaction | None = None) -> int:
        log, now_ms = self.logs[tp], self._line.wall_ms()
        first = log.end
        for r in records:
            stamp = now_ms if r["timestamp"] is None else r["timestamp"]
            log.append(r["key"], r["value"], r["headers"], stamp, transaction)
        return first

    def end_transaction(self, name: str, epoch: int, commit: bool) -> None:
        """EndTxn: decided from now on; the markers come later, each in its own time."""
        state = self._checked(name, epoch)
        if state.transaction is not None:
            self._end(name, state, commit)

    def abort_overdue(self, timeout_s: float) -> None:
        """What the coordinator does by itself with transactions that take too long."""
        for name, state in self._ids.items():
            transaction = state.transaction
            if (
                transaction is not None
                and not state.markers_left
                and self._line.loop.time() - transaction.begun_s > timeout_s
            ):
                state.epoch += 1
                self._end(name, state, commit=False)

    def _transaction(self, name: str, epoch: int) -> Transaction:
        state = self._checked(name, epoch)
        if state.transaction is None:
            state.transaction = Transaction()
            state.transaction.begun_s = self._line.loop.time()
        return state.transaction

    def _checked(self, name: str, epoch: int) -> _Id:
        state = self._ids[name]
        if state.epoch != epoch:
            raise ProducerFenced() if self._line.random.random() < 0.5 else InvalidProducerEpoch()
        return state

    def _end(self, name: str, state: _Id, commit: bool) -> None:
        transaction = state.transaction
        assert transaction is not None
        self._line.tell(f"Kafka: transaction of {name} {'commits' if commit else 'aborts'}")
        transaction.aborted = not commit
        state.markers_left = len(transaction.logs) + 1
        for log in transaction.logs:
            self._line.later(self._line.chaos.latency_s(), self._marked, state, log, transaction)
        self._line.later(self._line.chaos.latency_s(), self._marked, state, None, transaction)

    def _marked(self, state: _Id, log: Log | None, transaction: Transaction) -> None:
        if log is not None:
            log.mark(transaction)
        elif not transaction.aborted:
            for group, offsets in transaction.offsets.items():
                self.groups.setdefault(group, {}).update(offsets)
        state.markers_left -= 1
        if not state.markers_left:
            state.transaction = None
            ending, state.ending = state.ending, []
            for future in ending:
                if not future.done():
                    future.set_result(None)


class Channel:
    """How one client reaches the broker: with latency, in bounded order, and sometimes for a long time not."""

    def __init__(self, line: Timeline, broker: Broker) -> None:
        self._line = line
        self._broker = broker

    async def ask(self, work: Callable[[], Any], fails: Exception | None = None) -> Any:
        """Has the broker do something and waits for the answer, which may be a future of the broker's.

        With `fails` the answer may be that error instead, whether or not the work was done.
        """
        future: asyncio.Future[Any] = self._line.loop.create_future()
        self._line.later(self._line.chaos.latency_s(), self._arrive, work, fails, future)
        return await future

    def _arrive(self, work: Callable[[], Any], fails: Exception | None, future: asyncio.Future[Any]) -> None:
        line, chaos = self._line, self._line.chaos
        if line.loop.time() < chaos.kafka_stalled_until_s:
            line.at(chaos.kafka_stalled_until_s, self._arrive, work, fails, future)
            return
        error = fails if fails is not None and chaos.kafka_fails() else None
        if error is not None and chaos.chance(0.5):
            line.later(chaos.latency_s(), _settle, future, error)
            return
        try:
            answer: Any = work()
        except KafkaError as refused:
            answer = refused
        if isinstance(answer, asyncio.Future):
            answer.add_done_callback(
                lambda done: line.later(chaos.latency_s(), _settle, future, error or done.result()),
                context=line.loop.outside,
            )
            return
        line.later(chaos.latency_s(), _settle, future, error or answer)


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
        future.exception()
    else:
        future.set_result(answer)
