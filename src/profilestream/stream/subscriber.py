"""Segment changes for a program: an async iterator that goes on where its group has committed.

    async with ChangeSubscriber("localhost:9092", "mailer") as changes:
        async for change in changes:
            send_mail(change.customer_id)
            await changes.commit()

What it promises:

1. Only what was announced is seen (`read_committed`), each change of a customer after the one before it.
2. Nothing is lost: a commit covers what was handed out before it and never more, so what was in hand at a crash is
   handed out again. What comes twice is recognised by `id`: customer, segment, crossing.
3. While partitions move between subscribers of a group, each waits (at most `handover_s`) until the change in hand is
   done with. So whoever commits after each change sees none twice but after a crash.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Literal, Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, OffsetOutOfRangeError

from profilestream.core.errors import NotFound, ProfilestreamError, UsageError
from profilestream.stream.changes import ChangeFilter, ReceivedChange, place_of, received
from profilestream.stream.subscription import Placing, check_arguments, stop_quickly
from profilestream.stream.topics import Admin, Report, wait_for_kafka

COMMIT_INTERVAL_S: Final = 1.0
FETCH_BYTES_MAX: Final = 4 * 1024 * 1024
PARTITION_BYTES_MAX: Final = 256 * 1024

_POLL_MS: Final = 1_000
_CHECK_S: Final = 5.0
_LAST_COMMIT_S: Final = 2.0
_RETRY_S: Final = 0.2
_NEVER_MS: Final = 2**31 - 1

_log = logging.getLogger("profilestream")


class ChangeSubscriber:
    """The segment changes of one topic, one after the other, without end.

    Subscribers of one `group` share the partitions, and go on where the group has committed; a new group begins
    at the `start` of the topic, or with `start="end"` at what comes from the first wait for a change on. Without a
    group it reads everything alone and remembers nothing. With `segments` or `customers` only changes of these are
    handed out; the others count as handed out when they are passed. Without a group the partitions of other customers
    are not read at all.

    Commits are explicit, by `commit`. With `auto_commit`, a change counts as done when the next one is asked for, and
    once a second and at `close` everything done is committed, never the change in hand.

    A lost Kafka is waited for, with one line to `report` (default: a warning to the logger `profilestream`). Memory is
    bounded: at most 256 KiB (or one record) a partition wait. A handler that keeps a change for longer than
    `handling_s_max` gives its partitions to other subscribers until it asks for the next.

    The methods belong to one event loop; one task iterates. Errors are raised by iteration and by `commit`:
    LogMismatch where the log no longer has what comes next, ProfilestreamError for a change that cannot be read or
    where Kafka refuses. `foreign_records` counts records that were no segment change; they are passed over, and
    each partition's first is reported.
    """

    def __init__(
        self,
        kafka: str,
        group: str | None = None,
        *,
        topic: str = "segment-changes",
        segments: Collection[str] | None = None,
        customers: Collection[str] | None = None,
        start: Literal["beginning", "end"] = "beginning",
        auto_commit: bool = False,
        handover_s: float = 10.0,
        handling_s_max: float = 300.0,
        session_timeout_ms: int = 10_000,
        report: Report | None = None,
    ) -> None:
        """Connects to nothing yet; raises UsageError for arguments that cannot be meant."""
        check_arguments(group, segments, customers, start, auto_commit)
        self.foreign_records = 0
        self._kafka = kafka
        self._group = group
        self._topic = topic
        self._only = ChangeFilter(
            None if segments is None else frozenset(segments), None if customers is None else frozenset(customers)
        )
        self._auto_commit = auto_commit
        self._handover_s = handover_s
        self._handling_s_max = handling_s_max
        self._session_timeout_ms = session_timeout_ms
        self._report = report or _log.warning
        self._placing = Placing(group, start)
        self._settling = asyncio.Lock()
        self._consumer: Any = None
        self._ending = self._closed = self._away = False
        self._limit: asyncio.TimerHandle | None = None
        self._pending: Any = None
        self._waiting: asyncio.Task[None] | None = None
        self._in_hand: tuple[TopicPartition, int] | None = None
        self._came_back = asyncio.Event()
        self._came_back.set()
        self._heard_s = self._committed_s = 0.0
        self._reported: set[TopicPartition] = set()

    async def start(self) -> None:
        """Connects and joins the group; waits for a Kafka that is away. Raises NotFound without the topic."""
        await wait_for_kafka(self._kafka, self._report)
        async with Admin(self._kafka) as admin:
            info = (await admin.describe([self._topic]))[self._topic]
        if info is None:
            raise NotFound(f"Kafka at {self._kafka} has no topic {self._topic}; `profilestream init` makes it")
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._kafka,
            client_id="profilestream-subscriber",
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_bytes=FETCH_BYTES_MAX,
            max_partition_fetch_bytes=PARTITION_BYTES_MAX,
            session_timeout_ms=self._session_timeout_ms,
            rebalance_timeout_ms=int(self._handover_s * 1000) + self._session_timeout_ms,
            max_poll_interval_ms=_NEVER_MS,  # the library's own clock stops at the first error; see _let_go
        )
        await self._consumer.start()
        if self._group is None:
            partitions = [TopicPartition(self._topic, number) for number in self._only.partitions(info.partitions)]
            self._consumer.assign(partitions)
            self._placing.assigned(partitions)
            await self._reaching(self._settle)
        else:
            self._consumer.subscribe([self._topic], listener=_Listener(self))

    def stop(self) -> None:
        """Ends the iteration once the change in hand is done with, at once where none is; for signal handlers.

        The change in hand can still be committed; `close` comes after.
        """
        self._ending = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def close(self) -> None:
        """Ends the iteration and leaves the group; takes a few seconds at most, also when Kafka is away.

        With `auto_commit` everything that is done is committed first; the change in hand is not.
        """
        if self._closed:
            return
        self.stop()
        self._closed = True
        if self._consumer is None:
            return
        if self._limit is not None:
            self._limit.cancel()
        if self._auto_commit:
            with suppress(TimeoutError, ProfilestreamError):  # what is not committed is handed out again
                async with asyncio.timeout(_LAST_COMMIT_S):
                    await self._commit_done()
        self._came_back.set()
        await stop_quickly(self._consumer)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReceivedChange:
        self._came_back_to_us()
        while not self._ending:
            if self._auto_commit and asyncio.get_running_loop().time() - self._committed_s >= COMMIT_INTERVAL_S:
                await self._commit_done()
            record = await self._next_record()
            if record is None:
                continue
            change = received(record)
            self._pending = None
            partition = TopicPartition(record.topic, record.partition)
            self._placing.passed[partition] = record.offset + 1
            if change is None:
                self._count_foreign(record, partition)
            elif self._only.accepts(change):
                self._in_hand = partition, record.offset
                self._came_back.clear()
                if self._group is not None:
                    self._limit = asyncio.get_running_loop().call_later(self._handling_s_max, self._let_go)
                return change
        raise StopAsyncIteration

    async def commit(self, change: ReceivedChange | None = None) -> None:
        """Says that everything handed out so far is done with, or with `change` it and all before it in its partition.

        What belongs to partitions that went to another subscriber meanwhile is left out: it is handed out there again.
        Returns when Kafka has it; waits for a Kafka that is away. Raises UsageError without a group, and for a change
        that was not handed out here.
        """
        if self._group is None:
            raise UsageError("a subscriber without a group remembers nothing; give it a group to commit")
        while not self._closed:
            if not self._placing.in_order:
                await self._reaching(self._settle)
            if change is None:
                if self._pending is None and self._waiting is None and self._placing.placed:
                    self._pending = await self._poll(0)
                await self._placing.pass_ends(self._consumer, self._pending)
            offsets = self._placing.uncommitted() if change is None else self._placing.up_to(change)
            if not offsets or await self._sent(offsets):
                return
        raise UsageError("this subscriber is closed; commit before, or end the iteration with `stop`")

    # Reading

    def _came_back_to_us(self) -> None:
        """The change in hand is done with, as far as moves of partitions are concerned."""
        self._in_hand = None
        self._came_back.set()
        if self._limit is not None:
            self._limit.cancel()

    def _let_go(self) -> None:
        """A handler takes too long, or hangs: others get the partitions until the next change is asked for."""
        if self._closed:
            return
        self._report(
            f"group {self._group}: a change is in hand for {self._handling_s_max:g} s; until it is done with, other "
            "subscribers have this one's partitions"
        )
        self._away = True
        self._pending = None
        self._placing.lose()
        self._consumer.unsubscribe()

    async def _next_record(self) -> Any:
        """The next record, not yet passed; None where partitions have moved or nothing came for a while."""
        if self._pending is None and self._placing.placed:
            self._pending = await self._poll(0)
        if self._pending is None:
            task = self._waiting = asyncio.create_task(self._wait())
            try:
                await asyncio.wait({task})
            finally:
                self._waiting = None
                task.cancel()
            if not task.cancelled():
                task.result()
        return self._pending

    async def _wait(self) -> None:
        """Waits for a record, or until it is time to look around."""
        await self._reaching(self._settle)
        self._pending = await self._poll(_POLL_MS)
        now_s = asyncio.get_running_loop().time()
        if self._pending is None and now_s - self._heard_s >= _CHECK_S:
            # The client library reconnects by itself, but without a word.
            await wait_for_kafka(self._kafka, self._report)
        elif self._pending is None:
            return
        self._heard_s = now_s

    async def _reaching(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does what needs Kafka; where that takes long, begins again when Kafka answers."""
        while True:
            try:
                async with asyncio.timeout(_CHECK_S):
                    return await work()
            except TimeoutError:
                await wait_for_kafka(self._kafka, self._report)

    async def _poll(self, timeout_ms: int) -> Any:
        """One record, or None; what comes while partitions move is dropped, since it is read again."""
        try:
            slices = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=1)
        except OffsetOutOfRangeError as error:
            if self._placing.placed:
                raise self._placing.out_of_range(self._topic, error) from None
            return None
        except KafkaError as error:
            if self._placing.placed and not error.retriable:
                raise self._refused(error) from error
            return None
        return next((records[0] for records in slices.values()), None) if self._placing.placed else None

    async def _settle(self) -> None:
        """Returns when there are partitions, each placed where this subscriber goes on."""
        async with self._settling:
            while not self._placing.placed:
                if self._away:
                    self._away = False
                    self._consumer.subscribe([self._topic], listener=_Listener(self))
                try:
                    if self._placing.assignment is None:
                        await self._poll(_POLL_MS)  # as long as there are none it waits for them
                    else:
                        await self._placing.place(self._consumer)
                except (CommitFailedError, IllegalStateError):
                    await asyncio.sleep(_RETRY_S)  # partitions move again
                except KafkaError as error:
                    if not error.retriable:
                        raise self._refused(error) from error
                    await asyncio.sleep(_RETRY_S)

    def _count_foreign(self, record: Any, partition: TopicPartition) -> None:
        self.foreign_records += 1
        if partition not in self._reported:
            self._reported.add(partition)
            self._report(f"{place_of(record)}: not a segment change, passed over; only emitters should write there")

    # Committing

    async def _commit_done(self) -> None:
        """Commits everything that is done; the change in hand is not."""
        self._committed_s = asyncio.get_running_loop().time()
        await self._placing.pass_ends(self._consumer, self._pending)
        if self._placing.in_order and (offsets := self._placing.uncommitted(self._in_hand)):
            await self._sent(offsets)

    async def _sent(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Whether Kafka took the offsets; False where partitions have moved meanwhile."""
        try:
            await self._reaching(lambda: self._consumer.commit(dict(offsets)))
        except (CommitFailedError, IllegalStateError):
            await asyncio.sleep(_RETRY_S)
            return False
        except KafkaError as error:
            raise self._refused(error) from error
        self._placing.committed.update(offsets)
        return True

    def _refused(self, error: KafkaError) -> ProfilestreamError:
        return ProfilestreamError(
            f"Kafka at {self._kafka} refuses topic {self._topic} to group {self._group} ({type(error).__name__}); "
            "check that this user may read both, and that only subscribers use the group"
        )

    # Called by the listener

    async def _partitions_leave(self) -> None:
        """Hands nothing out any more, and lets the change in hand be done with."""
        if self._placing.assignment is None:
            return  # they were let go before
        self._pending = None
        self._placing.begin_leaving()
        try:
            async with asyncio.timeout(self._handover_s):
                await self._came_back.wait()
        except TimeoutError:
            self._report(
                f"group {self._group}: a change is in hand for {self._handover_s:g} s while partitions move; another "
                "subscriber may receive it too"
            )
        if self._auto_commit:
            await self._commit_done()
        self._placing.end_leaving()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """What the client library tells; it passes over errors in silence, so nothing here raises."""

    def __init__(self, subscriber: ChangeSubscriber) -> None:
        self._subscriber = subscriber

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        if revoked:
            await self._subscriber._partitions_leave()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._subscriber._placing.assigned(assigned)
