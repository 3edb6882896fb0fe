"""The way to one partition: batches that are sent one after the other, in the order in which they were filled.

One batch at a time is under way to a partition. That costs little, for the client library sends one request
at a time to a broker anyway, and it is why nothing follows a batch that was refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

from profilestream.core.errors import ProfilestreamError

LINGER_S: Final = 0.005
BATCH_OVERHEAD_BYTES: Final = 61
RECORD_OVERHEAD_BYTES: Final = 64

Headers = Sequence[tuple[str, bytes]]


class Owner(Protocol):
    """What a lane needs of its producer."""

    def create_batch(self) -> Any:
        """An empty batch of the client library."""

    async def submit(self, batch: Any, topic: str, partition: int) -> None:
        """Writes one batch and returns when it is acknowledged; raises ProfilestreamError when refused."""

    def began(self, future: asyncio.Future[None], size: int) -> None:
        """Notes that bytes wait for acknowledgement."""

    def finished(self, future: asyncio.Future[None], size: int, records: int, failure: BaseException | None) -> None:
        """Notes that a batch is acknowledged or has failed."""


class Batch:
    """Records that travel and are acknowledged together."""

    __slots__ = ("builder", "future", "records", "size")

    def __init__(self, builder: Any, future: asyncio.Future[None]) -> None:
        self.builder = builder
        self.future = future
        self.records = 0
        self.size = 0


class Lane:
    """The way to one partition: an open batch, closed ones in order, and one task that sends them in turn."""

    def __init__(self, owner: Owner, topic: str, partition: int, bytes_max: int) -> None:
        self._owner = owner
        self._topic = topic
        self._partition = partition
        self._bytes_max = bytes_max
        self._open: Batch | None = None
        self._closed: deque[Batch] = deque()
        self._task: asyncio.Task[None] | None = None
        self._linger: asyncio.TimerHandle | None = None

    def add(
        self, key: bytes | None, value: bytes | None, headers: Headers, timestamp_ms: int | None, size: int
    ) -> asyncio.Future[None]:
        """Puts a record into the open batch, or into a new one when that is full."""
        record = {"timestamp": timestamp_ms, "key": key, "value": value, "headers": list(headers)}
        batch = self._open
        full = batch is not None and batch.size + size > self._bytes_max
        if batch is None or full or batch.builder.append(**record) is None:
            self.close_batch()
            batch = self._open_batch()
            batch.builder.append(**record)
        batch.records += 1
        batch.size += size
        self._owner.began(batch.future, size)
        return batch.future

    def _open_batch(self) -> Batch:
        loop = asyncio.get_running_loop()
        self._open = Batch(self._owner.create_batch(), loop.create_future())
        self._linger = loop.call_later(LINGER_S, self.close_batch)
        return self._open

    def close_batch(self) -> None:
        """Puts the open batch in line to be sent."""
        self._end_open_batch()
        if self._closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._send_closed())

    async def _send_closed(self) -> None:
        """Sends the closed batches one after the other: order is what this class is for."""
        while self._closed:
            batch = self._closed[0]
            try:
                await self._owner.submit(batch.builder, self._topic, self._partition)
            except BaseException as error:
                self.abandon(error, cancel=False)
                if not isinstance(error, ProfilestreamError):
                    raise
                return
            self._closed.popleft()
            self._settle(batch, None)

    def abandon(self, error: BaseException, cancel: bool = True) -> None:
        """Fails everything that is not acknowledged."""
        if cancel and self._task is not None:
            self._task.cancel()
        self._end_open_batch()
        while self._closed:
            self._settle(self._closed.popleft(), error)

    def _end_open_batch(self) -> None:
        """Moves the open batch to the closed ones."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._open is not None:
            self._closed.append(self._open)
            self._open = None

    def _settle(self, batch: Batch, failure: BaseException | None) -> None:
        if not batch.future.done():
            if failure is None:
                batch.future.set_result(None)
            else:
                stopped = ProfilestreamError("the producer was stopped")
                batch.future.set_exception(failure if isinstance(failure, Exception) else stopped)
                batch.future.exception()  # whoever flushes is told; a future that nobody looks at is no news
        self._owner.finished(batch.future, batch.size, batch.records, failure)


def record_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """The most bytes that a record takes in a batch of its own, its batch's header included."""
    return (
        BATCH_OVERHEAD_BYTES
        + RECORD_OVERHEAD_BYTES
        + len(key or b"")
        + len(value or b"")
        + sum(len(name) * 4 + len(text) + 10 for name, text in headers)
    )
