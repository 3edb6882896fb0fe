"""Where a subscriber's partitions stand: what was passed, what is committed, where each goes on after a move."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from profilestream.core.errors import LogMismatch, UsageError
from profilestream.stream.changes import ReceivedChange

STOP_S: Final = 3.0

_REMOVED: Final = (
    "what lies between was removed before it was read, or the topic was made anew. Set the group's offsets with "
    "Kafka's own tools, or take another group"
)


class Placing:
    """Partitions that are assigned, and the offsets in them.

    `passed` holds the offset after the last record handed out (or passed over), `committed` what the group has
    committed as far as this subscriber knows. `placed` says that every partition reads on from the right place, so
    that what is fetched may be handed out.
    """

    def __init__(self, group: str | None, start: str) -> None:
        self.passed: dict[TopicPartition, int] = {}
        self.committed: dict[TopicPartition, int] = {}
        self.assignment: frozenset[TopicPartition] | None = None
        self.placed = False
        self._leaving = False
        self._moves = 0
        self._group = group
        self._start = start

    @property
    def in_order(self) -> bool:
        """Whether offsets may be committed: all are placed, or are about to leave and still ours."""
        return self.placed or self._leaving

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Takes partitions over; of those that were there before, what was passed is remembered."""
        self._moves += 1
        self.assignment = frozenset(partitions)
        self.passed = {p: offset for p, offset in self.passed.items() if p in self.assignment}
        self.placed = False

    def begin_leaving(self) -> None:
        """From now on nothing is handed out; commits are still taken."""
        self._moves += 1
        self.assignment = None
        self.placed = False
        self._leaving = True

    def end_leaving(self) -> None:
        """The partitions are no longer ours, until some are assigned."""
        self._leaving = False

    def lose(self) -> None:
        """All partitions are somebody else's from now on, with what was not committed in them."""
        self.begin_leaving()
        self.end_leaving()
        self.passed = {}

    async def place(self, consumer: Any) -> None:
        """Moves each partition to where it goes on: what is committed, or what was passed here already if that is more.

        A partition without a committed offset begins at the start. Where that is the end it is committed at once: a
        crash before the first commit would else lose what comes in between. Raises aiokafka's errors, and LogMismatch
        where the log does not have what was committed.
        """
        moves, partitions = self._moves, list(self.assignment or ())
        committed = await self._read_committed(consumer, partitions)
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition, offset in committed.items():
            if not begins[partition] <= offset <= ends[partition]:
                raise LogMismatch(
                    f"topic {partition.topic}, partition {partition.partition}: group {self._group} has reached "
                    f"{offset}, but the log goes from {begins[partition]} to {ends[partition]}; {_REMOVED}"
                )
        new = {p: ends[p] for p in partitions if self._start == "end" and p not in committed}
        if moves != self._moves:
            return
        for partition in partitions:
            base = committed.get(partition, new.get(partition, begins[partition]))
            self.passed[partition] = max(base, self.passed.get(partition, 0))
            consumer.seek(partition, self.passed[partition])
        self.committed = committed
        if new and self._group is not None:
            await consumer.commit(new)
            self.committed.update(new)
        self.placed = moves == self._moves

    async def _read_committed(self, consumer: Any, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self._group is None:
            return {}
        found = await asyncio.gather(*(consumer.committed(partition) for partition in partitions))
        return {p: offset for p, offset in zip(partitions, found, strict=True) if offset is not None}

    def uncommitted(self, in_hand: tuple[TopicPartition, int] | None = None) -> dict[TopicPartition, int]:
        """What is to be committed so that everything passed is, but for a change that is still in hand."""
        offsets = dict(self.passed)
        if in_hand is not None and in_hand[0] in offsets:
            offsets[in_hand[0]] = in_hand[1]
        return self._ahead(offsets)

    async def pass_ends(self, consumer: Any, pending: Any) -> None:
        """Counts the end of a transaction behind the last record as passed; it is no record, but a lag for dashboards.

        `pending` is a record that was fetched and not handed out yet.
        """
        held = None if pending is None else TopicPartition(pending.topic, pending.partition)
        for partition in list(self.passed) if self.placed else ():
            if partition != held:
                with suppress(IllegalStateError):
                    self.passed[partition] = max(self.passed[partition], await consumer.position(partition))

    def up_to(self, change: ReceivedChange) -> dict[TopicPartition, int]:
        """What is to be committed so that `change` is, with all before it in its partition."""
        partition = TopicPartition(change.topic, change.partition)
        if partition not in self.passed:
            return {}
        if change.offset >= self.passed[partition]:
            raise UsageError("a change can be committed by the subscriber that handed it out, and not before")
        return self._ahead({partition: change.offset + 1})

    def _ahead(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Those offsets that are further than what is committed: a commit never goes back."""
        return {p: offset for p, offset in offsets.items() if offset > self.committed.get(p, -1)}

    def out_of_range(self, topic: str, error: KafkaError) -> LogMismatch:
        """The error for a log that changed while it was read; names the partitions and where they were to go on."""
        named = error.args[0] if error.args and isinstance(error.args[0], Mapping) else self.passed
        places = ", ".join(f"partition {p.partition} at {offset}" for p, offset in sorted(named.items()))
        return LogMismatch(f"topic {topic}: the log no longer has what comes next ({places}); {_REMOVED}")


async def stop_quickly(consumer: Any) -> None:
    """Stops an aiokafka consumer; a lost Kafka, or a group that waits for somebody else, is not waited for."""
    stopping = asyncio.ensure_future(consumer.stop())
    done, _ = await asyncio.wait({stopping}, timeout=STOP_S)
    if done:
        if not stopping.cancelled():
            stopping.exception()  # a group that could not be told: it notices by itself
        return
    coordinator = consumer._coordinator
    tasks = (getattr(coordinator, name, None) for name in ("_coordination_task", "_heartbeat_task"))
    for task in (stopping, *tasks):
        if task is not None:
            task.cancel()
    closing = asyncio.ensure_future(consumer._client.close())
    await asyncio.wait({closing, stopping}, timeout=STOP_S)
    for task in (closing, stopping):
        if task.done() and not task.cancelled():
            task.exception()


def check_arguments(
    group: str | None,
    segments: Collection[str] | None,
    customers: Collection[str] | None,
    start: str,
    auto_commit: bool,
) -> None:
    """Raises UsageError for a subscriber that cannot be meant."""
    if group is not None and (not group or group.endswith("-emitter")):
        raise UsageError(
            f"`{group}` cannot be a subscriber's group: names that end in -emitter are those of emitters, and an empty "
            "one is none; give it the name of the service that subscribes"
        )
    if auto_commit and group is None:
        raise UsageError("auto_commit needs a group: without one nothing is remembered")
    if isinstance(segments, str):
        raise UsageError(f"segments is a collection of names; write [{segments!r}]")
    if isinstance(customers, str):
        raise UsageError("customers is a collection of ids; put the one into a list")
    if start not in ("beginning", "end"):
        raise UsageError(f"start is `{start}`; give `beginning` or `end`")
