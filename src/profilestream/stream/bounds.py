"""Where the logs of partitions begin and end, asked on a connection of its own.

Kafka answers the requests of one connection in their order. On the connection that fetches, a question would wait until
the fetch before it is answered, which without new records takes half a second; and every shard asks when it begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from faust.types import TP

from profilestream.stream.topics import learn

REQUEST_TIMEOUT_MS: Final = 10_000
CLOSE_S_MAX: Final = 1.0


class Bounds:
    """Answers as a reader of committed records sees it. Connects when first asked; raises as Kafka's clients do."""

    def __init__(self, kafka: Any, client_id: str) -> None:
        """`kafka` is one address (host:port) or several."""
        self._kafka = kafka
        self._client_id = client_id
        self._consumer: Any = None
        self._connecting = asyncio.Lock()

    async def begins(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The first offset of each partition that is still there."""
        consumer, asked = await self._ready(partitions)
        return _by_partition(await consumer.beginning_offsets(asked))

    async def ends(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The offset after the last committed record of each partition."""
        consumer, asked = await self._ready(partitions)
        return _by_partition(await consumer.end_offsets(asked))

    async def close(self) -> None:
        """Lets the connection go, in bounded time."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=CLOSE_S_MAX)

    async def _ready(self, partitions: Iterable[TP]) -> tuple[Any, list[TP]]:
        consumer, asked = await self._connected(), list(partitions)
        await learn(consumer, asked)
        return consumer, asked

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._consumer is None:
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._kafka,
                    client_id=self._client_id,
                    enable_auto_commit=False,
                    isolation_level="read_committed",
                    request_timeout_ms=REQUEST_TIMEOUT_MS,
                )
                try:
                    await consumer.start()
                except BaseException:
                    await consumer.stop()
                    raise
                self._consumer = consumer
            return self._consumer


def _by_partition(found: Any) -> dict[TP, int]:
    return {TP(tp.topic, tp.partition): offset for tp, offset in found.items()}
