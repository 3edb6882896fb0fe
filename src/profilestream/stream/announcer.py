"""What was announced, and the one producer of a shard that may announce.

The truth for announcing is in Kafka: one transaction carries the changes of whole commits, the number and
direction of each pair (topic `announced`), and, with the last of these, where the shard was.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, InvalidProducerEpoch, KafkaError, ProducerFenced

from profilestream.core.errors import LogMismatch, ProfilestreamError
from profilestream.settings import Settings
from profilestream.store.commits import Mark
from profilestream.store.outbox import OutboxChange, OutboxCommit
from profilestream.stream.reading import last_record
from profilestream.stream.topics import unavailable
from profilestream.wire.changes import CONTENT_TYPE

POSITION = "position"
"""The header of a transaction's last record in topic `announced` that says where the shard was."""

MARKER = ("", "")
"""In place of customer and segment in the key of a record that opens a turn."""

_Sent = tuple[bytes, bytes, list[Any]]
_HEADERS = [CONTENT_TYPE]
_BATCH_BYTES_MAX = 512 * 1024
_REQUEST_TIMEOUT_MS = 10_000
_TRANSACTION_TIMEOUT_MS = 20_000
_OPEN_TIMEOUT_S = 25.0
_ANNOUNCE_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2.0


class Fenced(ProfilestreamError):
    """Another emitter, or a worker that repairs, has opened this shard's transactional id since."""


class AnnouncedPosition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a shard was at the last commit that was announced: generation, the commit's number and id (hex),
    the shard's clock (ms), the next offset of each topic, where a topic's log began when it was first read (if not
    at 0), the turn in which the generation was live, and the end of the shard's partition of topic `announced`.

    A marker opens a turn and announces nothing: its clock and positions are those that were announced last, in an
    earlier turn, by another generation perhaps; `cause` is that of the changes by which this one differs from it.
    """

    generation: str
    sequence: int
    commit: str
    clock: int | None = None
    positions: dict[str, int] = {}
    starts: dict[str, int] = {}
    turn: int = 1
    cause: Literal["", "backfill", "definition"] = ""
    offset: int = 0

    @property
    def mark(self) -> Mark:
        """What the shard's head is to say once this is known to be in its history."""
        return Mark(self.sequence, self.commit, self.offset)


class Announced(NamedTuple):
    """What one transaction did."""

    position: AnnouncedPosition
    changes: int


def transactional_id(namespace: str, shard: int) -> str:
    """The transactional id that whoever announces for `shard` must hold; opening it fences the last one."""
    return f"{namespace}.announce.{shard}"


def emitter_group(namespace: str) -> str:
    """The consumer group that shares the shards among emitters; it never commits an offset."""
    return f"{namespace}-emitter"


async def read_announced_position(settings: Settings, shard: int) -> AnnouncedPosition | None:
    """Where `shard` was when last announced; `None` when nothing ever was.

    Open the shard's transactional id first: only then can nobody change the answer any more.
    Raises `ServerUnavailable` when Kafka cannot be asked, `LogMismatch` when the header is not profilestream's.
    """
    assert settings.kafka is not None
    namespace = settings.namespace
    record = await last_record(settings.kafka, settings.announced_topic, shard, lambda r: _is_position(r, namespace))
    if record is None:
        return None
    try:
        position = msgspec.json.decode(dict(record.headers)[POSITION], type=AnnouncedPosition)
    except msgspec.DecodeError as error:
        raise LogMismatch(
            f"topic {settings.announced_topic}, partition {shard}, offset {record.offset}: not what an emitter wrote; "
            "does another program write there? Give this installation another --namespace and topics of its own"
        ) from error
    return msgspec.structs.replace(position, offset=record.offset + 1)


def _is_position(record: Any, namespace: str) -> bool:
    """Whether a record of topic `announced` ends a transaction of this namespace."""
    return POSITION in dict(record.headers) and (record.key or b"").startswith(_key(namespace)[:-1] + b",")


class Announcer:
    """The transactional producer of one shard.

    One call of `open`, then `announce` as often as there are commits, then `close`; after any error only
    `close`. A failed or timed out `announce` may or may not have happened: the next `open` settles which.
    """

    def __init__(self, settings: Settings, shard: int) -> None:
        self._settings = settings
        self._shard = shard
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> AnnouncedPosition | None:
        """Fence every earlier holder, settle its open transaction, then read what was announced."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka,
            transactional_id=transactional_id(self._settings.namespace, self._shard),
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            max_batch_size=_BATCH_BYTES_MAX,
            retry_backoff_ms=50,
        )
        try:
            async with _limited(self._settings, _OPEN_TIMEOUT_S):
                await self._producer.start()
        except AssertionError as error:  # aiokafka's, for a broker that is gone again once it has answered
            raise unavailable(str(self._settings.kafka), error) from error
        return await read_announced_position(self._settings, self._shard)

    async def announce(self, generation: str, commits: Sequence[OutboxCommit], turn: int = 1) -> Announced:
        """Announce the changes of whole `commits` (at least one) in one transaction.

        Raises `Fenced`, `ServerUnavailable` and aiokafka's errors.
        """
        head = commits[-1].head
        position = AnnouncedPosition(
            generation, head.sequence, head.commit, head.clock, head.positions, head.starts, turn
        )
        changes = [change for commit in commits for change in commit.changes]
        records = _announced_records(self._settings.namespace, position, changes)
        return Announced(await self._write(position, _change_records(changes), records), len(changes))

    async def mark(self, marker: AnnouncedPosition) -> AnnouncedPosition:
        """Open a turn: write its marker, in a transaction of its own. Raises as `announce` does."""
        record = _key(self._settings.namespace, *MARKER), b"{}", [(POSITION, msgspec.json.encode(marker))]
        return await self._write(marker, (), [record])

    async def _write(
        self, position: AnnouncedPosition, changes: Iterable[_Sent], announced: Iterable[_Sent]
    ) -> AnnouncedPosition:
        assert self._producer is not None, "open comes first"
        try:
            async with _limited(self._settings, _ANNOUNCE_TIMEOUT_S):
                return await self._transaction(self._producer, position, changes, announced)
        except (KafkaError, IllegalOperation, AssertionError) as error:
            # aiokafka checks its states: once its sender died, the first error is the sender's, not ours.
            raise _first_error(self._producer, error) from error

    async def close(self) -> None:
        """Let the producer go; a transaction that is still open is settled by the next `open` or Kafka."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _close(producer)

    async def _transaction(
        self,
        producer: AIOKafkaProducer,
        position: AnnouncedPosition,
        changes: Iterable[_Sent],
        announced: Iterable[_Sent],
    ) -> AnnouncedPosition:
        settings = self._settings
        await producer.begin_transaction()
        # All batches are acknowledged before the commit: aiokafka would commit without one that failed.
        _, offset = await _all_or_first_error(
            self._send(producer, settings.changes_topic, changes),
            self._send(producer, settings.announced_topic, announced),
        )
        await producer.commit_transaction()
        return msgspec.structs.replace(position, offset=offset)

    async def _send(self, producer: AIOKafkaProducer, topic: str, records: Iterable[_Sent]) -> int:
        """Send all records to the shard's partition in few large batches; the offset after the last, if any."""
        batch = producer.create_batch()
        for key, value, headers in records:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                await self._send_batch(producer, batch, topic)
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=headers)
        return await self._send_batch(producer, batch, topic) if batch.record_count() else 0

    async def _send_batch(self, producer: AIOKafkaProducer, batch: Any, topic: str) -> int:
        acknowledged = await (await producer.send_batch(batch, topic, partition=self._shard))
        return int(acknowledged.offset) + int(batch.record_count())


def _change_records(changes: Iterable[OutboxChange]) -> Iterable[_Sent]:
    """Changes without a value count as announced, and subscribers are not told."""
    return ((change.customer, change.value, _HEADERS) for change in changes if change.value)


def _announced_records(namespace: str, position: AnnouncedPosition, changes: Sequence[OutboxChange]) -> Iterable[_Sent]:
    encode = msgspec.json.encode
    for left, change in zip(range(len(changes) - 1, -1, -1), changes, strict=True):
        value = {"crossing": change.crossing, "change": change.change, "generation": position.generation}
        # Compaction keeps the newest record of a partition, and with it where the shard was.
        headers = [] if left else [(POSITION, encode(position))]
        yield _key(namespace, change.customer.decode(), change.segment.decode()), encode(value), headers


def _key(*parts: str) -> bytes:
    return msgspec.json.encode(parts)


async def _all_or_first_error(*awaitables: Any) -> list[Any]:
    """Wait for all, so that no future is left with an error that nobody reads, then raise the first error."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@asynccontextmanager
async def _limited(settings: Settings, timeout_s: float) -> AsyncIterator[None]:
    """aiokafka retries for as long as it takes; here a lost server is an error in bounded time."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise unavailable(str(settings.kafka), error) from error


def _first_error(producer: AIOKafkaProducer, error: BaseException) -> BaseException:
    """The error that started it: `Fenced` for every way in which Kafka says that the id was opened anew."""
    sender = producer._sender.sender_task
    if sender is not None and sender.done() and not sender.cancelled() and sender.exception() is not None:
        error = sender.exception()
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ProducerFenced | InvalidProducerEpoch):
            return Fenced("another process has opened this shard's transactional id")
        cause = cause.__cause__
    return error


async def _close(producer: AIOKafkaProducer) -> None:
    """Stop at once: aiokafka's own `stop` first sends what is left, and waits for a lost server to take it.

    Nothing is left that counts: `announce` returns only when Kafka has everything.
    """
    producer._closed = True
    sender = producer._sender.sender_task
    for _ in range(20):
        if sender is None or sender.done():
            break
        sender.cancel()  # it hands each further cancellation on to one of its requests
        await asyncio.wait({sender}, timeout=0.05)
    closing = asyncio.ensure_future(producer.client.close())
    await asyncio.wait({closing}, timeout=_CLOSE_TIMEOUT_S)
    closing.cancel()
    # Read the errors that nobody waits for any more, or Python reports each as never retrieved.
    unsent = [batch for batches in producer._message_accumulator._batches.values() for batch in batches]
    futures = [closing, sender, producer._txn_manager._transaction_waiter]
    for future in (*futures, *(batch._drain_waiter for batch in unsent), *(batch.future for batch in unsent)):
        if future is not None and future.done() and not future.cancelled():
            future.exception()
