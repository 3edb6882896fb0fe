"""Sending dead letters again, each once: topic `redriven` says which were, in the transaction that sends them.

A letter is known by where its record stood: topic, partition, offset. The steps, each with the crash that it survives:

1. Open the installation's transactional id for this. A run that still sends is fenced; a transaction that a killed run
   left open is aborted, one that was being committed is complete, before this returns.
2. Read topic `redriven`: every letter that any run has sent.
3. One transaction carries records and their letters' marks. A kill before its commit leaves neither, one after it both.

So a run that is started again goes on where the last one was, whatever it selects.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, InvalidProducerEpoch, KafkaError, ProducerFenced

from profilestream.core.errors import LogMismatch, ProfilestreamError
from profilestream.settings import Settings
from profilestream.stream.places import Places
from profilestream.stream.reading import read_to_end
from profilestream.stream.topics import unavailable

REDRIVEN: Final = "redriven"
"""The header of a record that was sent again: `topic:partition:offset` of the first."""

_OPEN_TIMEOUT_S: Final = 30.0
_SEND_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 3.0
_BATCH_BYTES_MAX: Final = 256 * 1024
_RECORD_BYTES_MAX: Final = 64 * 1024 * 1024

Place = tuple[str, int, int]
"""Topic, partition and offset of the record that was refused."""


class Mark(msgspec.Struct, frozen=True):
    """When a letter was sent again (ms since 1970), and to which partition of which topic."""

    at_ms: int
    topic: str
    partition: int


class Outgoing(NamedTuple):
    """A letter's record on its way: where it stood, where it goes, and what it is."""

    place: Place
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """What the record carries besides key and value."""
        return [(REDRIVEN, "{}:{}:{}".format(*self.place).encode())]


async def read_marks(settings: Settings, wanted: Place | None = None) -> tuple[Places, Mark | None]:
    """Every letter of this namespace that was sent again, and the mark of `wanted` if it was.

    Raises LogMismatch for a record that no redrive wrote, ServerUnavailable.
    """
    found, mark, topic = Places(), None, settings.redriven_topic
    async for record in read_to_end(str(settings.kafka), topic):
        try:
            namespace, *place = msgspec.json.decode(record.key or b"", type=tuple[str, str, int, int])
            if namespace != settings.namespace:
                continue
            found.add((place[0], place[1], place[2]))  # type: ignore[arg-type]
            if wanted == tuple(place):
                mark = msgspec.json.decode(record.value or b"", type=Mark)
        except msgspec.DecodeError:
            raise LogMismatch(
                f"topic {topic}, partition {record.partition}, offset {record.offset}: not what a redrive wrote; does "
                "another program write there? Give this installation another PROFILESTREAM_REDRIVEN_TOPIC"
            ) from None
    return found, mark


class Redriver:
    """The one producer of an installation that sends dead letters again.

    One call of `open`, then `send` as often as needed, then `close`; after any error only `close`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: Any = None

    async def open(self) -> None:
        """Fences an earlier run and settles its transaction; raises ServerUnavailable."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka,
            transactional_id=f"{self._settings.namespace}.redrive",
            transaction_timeout_ms=60_000,
            max_request_size=_RECORD_BYTES_MAX,
            max_batch_size=_BATCH_BYTES_MAX,
        )
        try:
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                await self._producer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            raise unavailable(str(self._settings.kafka), error) from error

    async def send(self, letters: Sequence[Outgoing]) -> None:
        """All of them with their marks, in one transaction; returns when it is committed.

        Raises ServerUnavailable, ProfilestreamError where another run has begun since. Whether the letters were sent
        is then known to the next run alone.
        """
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self._transaction(letters)
        except TimeoutError as error:
            raise unavailable(str(self._settings.kafka), error) from error
        except (KafkaError, IllegalOperation, AssertionError) as error:
            raise self._reason(error) from error

    async def _transaction(self, letters: Sequence[Outgoing]) -> None:
        settings, send, encode = self._settings, self._producer.send, msgspec.json.encode
        now_ms = time.time_ns() // 1_000_000
        await self._producer.begin_transaction()
        waiting = []
        for letter in letters:
            waiting.append(await send(letter.topic, letter.value, letter.key, letter.partition, headers=letter.headers))
            key, mark = encode((settings.namespace, *letter.place)), Mark(now_ms, letter.topic, letter.partition)
            waiting.append(await send(settings.redriven_topic, encode(mark), key, 0))
        # All are acknowledged before the commit: the library would commit without one that failed.
        for result in await asyncio.gather(*waiting, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        await self._producer.commit_transaction()

    def _reason(self, error: BaseException) -> ProfilestreamError:
        """The library's later errors hide its first one, which its sender has."""
        task = self._producer._sender.sender_task
        first = task.exception() if task is not None and task.done() and not task.cancelled() else None
        cause: BaseException | None = first or error
        while cause is not None:
            if isinstance(cause, ProducerFenced | InvalidProducerEpoch):
                return ProfilestreamError("another redrive of this installation has begun since; this one ends")
            cause = cause.__cause__
        if isinstance(error, KafkaError) and not error.retriable:
            return ProfilestreamError(
                f"Kafka at {self._settings.kafka} refuses the records ({type(first or error).__name__}); see the "
                "broker's log and the topics' settings, and run the command again"
            )
        return unavailable(str(self._settings.kafka), error)

    async def close(self) -> None:
        """Lets the producer go; a transaction that is still open is aborted by the next `open`, or by Kafka."""
        producer, self._producer = self._producer, None
        if producer is not None:
            stopping = asyncio.ensure_future(producer.stop())
            await asyncio.wait({stopping}, timeout=_STOP_TIMEOUT_S)
            if stopping.done() and not stopping.cancelled():
                stopping.exception()
            else:
                stopping.cancel()
                await producer.client.close()
