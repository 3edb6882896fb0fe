"""Where the logs of partitions begin and end, asked on a connection of its own.

Kafka answers the requests of one connection in their order. On the connection that fetches, a question would wait until
the fetch before it is answered, which without new records takes half a second; and every shard asks when it begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaTimeoutError
from faust.types import TP

from profilestream.stream.topics import learn

REQUEST_TIMEOUT_MS: Final = 10_000
CLOSE_S_MAX: Final = 1.0
ANSWER_S_MAX: Final = 15.0


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
        return await self._ask("beginning_offsets", partitions)

    async def ends(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The offset after the last committed record of each partition."""
        return await self._ask("end_offsets", partitions)

    async def close(self) -> None:
        """Lets the connection go, in bounded time."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.wait({asyncio.ensure_future(consumer.stop())}, timeout=CLOSE_S_MAX)

    async def _ask(self, method: str, partitions: Iterable[TP]) -> dict[TP, int]:
        """Asks in bounded time: a client that learns of topics waits for its own next look at the cluster, and that may
        be minutes away. Whoever asks next connects anew."""
        asked = list(partitions)
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                consumer = await self._connected()
                await learn(consumer, asked)
                found = await getattr(consumer, method)(asked)
        except TimeoutError:
            await self.close()
            raise KafkaTimeoutError(f"no answer about {method} within {ANSWER_S_MAX:.0f} s") from None
        return {TP(tp.topic, tp.partition): offset for tp, offset in found.items()}

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
