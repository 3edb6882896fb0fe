"""Faust's transport for slices: whole slices of a fetch instead of a message a record.

Faust hosts the worker (assignment, agents, lifecycle). Its stock path makes tasks and objects for every message;
here the consumer hands on what one fetch gave for a partition as one message whose value is a `Slice`. Where to
read from is the heads' affair: after every assignment the consumer seeks to where its assignee says, and what it
commits to Kafka are the positions that the assignee has written, for dashboards only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, cast

import aiokafka
import faust
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, server_list
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import Transport as FaustTransport
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from profilestream.stream.bounds import Bounds
from profilestream.stream.slices import Slice

FETCH_BYTES = (64 * 1024, 1024 * 1024)
"""The least and the most that is fetched of a partition at once; a greater record comes alone."""

ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""What one answer of a broker holds at most, of all partitions."""

METADATA_AGE_MS_MAX = 10_000
"""So soon a topic is noticed that comes back; the group lets go of one that vanishes."""

IDLE_S = 0.005
NOTE = "read from "
"""Before the offset from which a partition was first read, in a committed offset's metadata."""


class Assignee(Protocol):
    """Who works on what is assigned, and knows where each partition is to be read from."""

    async def begin(self, assignment: set[TP]) -> None:
        """Takes over an assignment. Whoever works on a partition then seeks to where it goes on."""

    async def revoked(self, partitions: set[TP]) -> None:
        """Lets everything go; what is assigned anew comes by `begin`."""

    async def take(self, piece: Slice) -> None:
        """Takes what was fetched, slice by slice."""

    def committed(self) -> Mapping[TP, tuple[int, int]]:
        """Of each partition the next offset that is safely past, and the one from which it was first read."""

    def out_of_range(self, partitions: Iterable[TP]) -> None:
        """The log has nothing at the place where these partitions were to be read on."""


class SliceScheduler:
    """Faust's order of consuming: slice after slice, as they were fetched."""

    def iterate(self, records: Mapping[TP, Slice]) -> Iterator[tuple[TP, Slice]]:
        return iter(records.items())


class SliceConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread that fetches: read_committed, with Faust's assignor, telling where each fetch began."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # What lies between the last record handed on and the place where the next fetch begins was seen:
        # markers and aborted records, unless the place was moved.
        self._handed: dict[TP, int] = {}
        self._after: dict[TP, int] = {}

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        self._assignor = self.app.assignor
        return aiokafka.AIOKafkaConsumer(
            bootstrap_servers=server_list(transport.url, transport.default_port),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            # Nobody but the heads says where to read on.
            auto_offset_reset="none",
            isolation_level="read_committed",
            metadata_max_age_ms=METADATA_AGE_MS_MAX,
            max_partition_fetch_bytes=self.app.fetch_bytes_max,
            fetch_max_bytes=ANSWER_BYTES_MAX,
            max_poll_interval_ms=int((conf.broker_max_poll_interval or 0) * 1000),
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            fetch_max_wait_ms=500,
            check_crcs=conf.broker_check_crcs,
        )

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> dict[TP, Slice]:
        partitions = active_partitions or set()
        assigned = self.assigned_now()
        for tp, position in self.positions(partitions).items():
            if position != self._after.get(tp):
                # Not where the last fetch ended: a new assignment, or a seek.
                self._handed[tp] = position
        try:
            fetched = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        except OffsetOutOfRangeError as error:
            lost = error.args[0] if error.args and isinstance(error.args[0], Mapping) else {}
            beyond = [TP(tp.topic, tp.partition) for tp in lost]
            # This is the fetching thread, and whoever works on them lives in the other.
            self.parent_loop.call_soon_threadsafe(self.consumer.assignee.out_of_range, beyond)
            return {}
        except NoOffsetForPartitionError:
            return {}
        # Assigned anew while it waited: these records may be from committed offsets, far from what was handed on.
        moved = self.assigned_now() is not assigned
        slices = {}
        for tp, records in fetched.items():
            if records:
                first = records[0].offset
                slices[tp] = Slice(tp.topic, tp.partition, first if moved else self._handed.get(tp, first), records)
                self._handed[tp] = records[-1].offset + 1
        self._after.update(self.positions(partitions))
        return slices

    def handed_on(self, tp: TP) -> tuple[int | None, int | None]:
        """The offset after the last record handed on, and the consumer's position, which may be past markers."""
        return self._handed.get(tp), self._after.get(tp)

    def end_known(self, tp: TP) -> tuple[int | None, int | None]:
        consumer = self._ensure_consumer()
        if tp not in consumer.assignment():
            return None, None
        return consumer.last_stable_offset(tp), consumer.last_poll_timestamp(tp)

    async def seek_each(self, places: Mapping[TP, int]) -> None:
        """Seeks, in this thread; partitions that are no longer assigned are passed over."""
        assigned = self.assignment()
        for tp, offset in places.items():
            if tp in assigned:
                self.seek(tp, offset)
                self._handed[tp] = self._after[tp] = offset

    def assigned_now(self) -> Any:
        """aiokafka's assignment, another object after each rebalance; None without one."""
        subscription = self._ensure_consumer()._subscription.subscription
        return subscription.assignment if subscription is not None else None

    def positions(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The consumer's next offset of each partition that has one; past markers and aborted records."""
        assignment = self.assigned_now()
        found: dict[TP, int] = {}
        for tp in partitions:
            state = assignment.state_value(tp) if assignment is not None and tp in assignment.tps else None
            if state is not None and state.has_valid_position:
                found[tp] = state.position
        return found

    async def committed(self, partitions: list[TP]) -> dict[TP, OffsetAndMetadata]:
        """What the group has committed of partitions, with the notes."""
        found: dict[TP, OffsetAndMetadata] = await self.call_thread(self._committed, partitions)
        return found

    async def _committed(self, partitions: list[TP]) -> dict[TP, OffsetAndMetadata]:
        # The consumer's own `committed` asks the same, and leaves the notes out.
        found = await self._ensure_consumer()._coordinator.fetch_committed_offsets(partitions)
        return {TP(tp.topic, tp.partition): one for tp, one in found.items() if one.offset >= 0}

    async def _commit(self, offsets: Mapping[TP, OffsetAndMetadata]) -> bool:
        """Commits for dashboards, for the forwarder, and the notes; what fails is committed the next time."""
        assigned = self.assignment()
        try:
            await self._ensure_consumer().commit(
                {aiokafka.TopicPartition(*tp): one for tp, one in offsets.items() if tp in assigned}
            )
        except (KafkaError, IllegalStateError):
            return False
        return True


class SliceConsumer(FaustConsumer):  # type: ignore[misc]
    """Faust's consumer without its bookkeeping of every offset: the heads hold the positions."""

    app: Any
    _thread: SliceConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        transport = cast(Any, self.transport)
        self._bounds = Bounds(server_list(transport.url, transport.default_port), self.app.conf.broker_client_id)

    async def on_stop(self) -> None:
        await super().on_stop()
        await self._bounds.close()

    def _new_consumer_thread(self) -> SliceConsumerThread:
        return SliceConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        last = record.records[-1]
        return ConsumerMessage(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000, last.timestamp_type,
            (), None, record, None, 0, 0, tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def _wait_next_records(self, timeout: float) -> Any:
        # With every inbox full Faust would sleep for a second; a shard empties one within milliseconds.
        while self.flow_active and not self._get_active_partitions() and self._buffered_partitions:
            if self.should_stop:
                break
            await asyncio.sleep(IDLE_S)
        return await super()._wait_next_records(timeout)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        await self.assignee.begin(self.assignment())
        return {}

    async def seek_all(self, places: Mapping[TP, int]) -> None:
        """Seeks; slices fetched before may still arrive, and are told by where they begin."""
        for tp in places:
            self._read_offset[tp] = None
        await self._thread.call_thread(self._thread.seek_each, dict(places))

    def handed_on(self, tp: TP) -> tuple[int | None, int | None]:
        return self._thread.handed_on(tp)

    def end_known(self, tp: TP) -> tuple[int | None, int | None]:
        """The end of a partition as Kafka last told it, and when that was (wall clock, ms)."""
        return self._thread.end_known(tp)

    async def begin_offsets(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The first offset of each partition's log."""
        return await self._bounds.begins(partitions)

    async def committed_offsets(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The group's committed offset of each partition that has one."""
        return {tp: one.offset for tp, one in (await self._thread.committed(list(partitions))).items()}

    async def first_offsets(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """From which offset on the group has read each partition, where it has read it before and noted that."""
        found = await self._thread.committed(list(partitions))
        return {tp: int(first) for tp, one in found.items() if (first := one.metadata.removeprefix(NOTE)).isdigit()}

    async def end_offsets(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The end of each partition's log, as a reader of committed records sees it."""
        return await self._bounds.ends(partitions)

    @property
    def assignee(self) -> Assignee:
        return cast(Assignee, self.app.assignee)

    # Faust's own acknowledgements would expand every offset of a slice.

    def track_message(self, message: Any) -> None:
        return None

    def ack(self, message: Any) -> bool:
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        return None

    def verify_event_path(self, now: float, tp: TP) -> None:
        return None

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        assigned = self.assignment()
        offsets = {
            tp: OffsetAndMetadata(offset, f"{NOTE}{first}")
            for tp, (offset, first) in self.assignee.committed().items()
            if tp in assigned
        }
        return bool(await self._thread.commit(offsets)) if offsets else False


class SliceTransport(FaustTransport):  # type: ignore[misc]
    """`app.transport = SliceTransport(app.conf.broker_consumer, app)`."""

    Consumer = SliceConsumer


class Untouched(faust.Schema):  # type: ignore[misc]
    """Hands on key and value as they are."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        return message.value
