"""One record by its place: what a dead letter could not carry still stands in its topic, as long as that keeps it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from profilestream.stream.topics import Admin, unavailable

_READ_MS: Final = 1_000
_READS_MAX: Final = 15


class Originals:
    """Reads single committed records. Use as `async with Originals("host:port") as originals`.

    Raises ServerUnavailable where Kafka does not answer.
    """

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._consumer: Any = None
        self._bounds: dict[str, tuple[dict[int, int], dict[int, int]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def read(self, topic: str, partition: int, offset: int) -> Any:
        """The record (aiokafka's) at that place; None where it is no longer there, or never was."""
        if topic not in self._bounds:
            async with Admin(self._kafka) as admin:
                self._bounds[topic] = await admin.begin_offsets(topic), await admin.end_offsets(topic)
        begins, ends = self._bounds[topic]
        if not begins.get(partition, 0) <= offset < ends.get(partition, 0):
            return None
        try:
            return await self._read(TopicPartition(topic, partition), offset)
        except KafkaError as error:
            raise unavailable(self._kafka, error) from None

    async def _read(self, partition: TopicPartition, offset: int) -> Any:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                bootstrap_servers=self._kafka,
                client_id="profilestream-originals",
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                max_partition_fetch_bytes=64 * 1024,  # a record that is larger comes all the same
            )
            await self._consumer.start()
        self._consumer.assign([partition])
        self._consumer.seek(partition, offset)
        for _ in range(_READS_MAX):
            slices = await self._consumer.getmany(partition, timeout_ms=_READ_MS, max_records=1)
            for records in slices.values():
                return records[0] if records[0].offset == offset else None
            if await self._consumer.position(partition) > offset:
                return None  # a hole: compacted, or a transaction that was aborted
        return None
