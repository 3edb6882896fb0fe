"""What a shard sends back to Kafka before it commits: dead letters, and strays for the topic `rekeyed`."""

from __future__ import annotations

from profilestream.settings import Settings
from profilestream.store.keys import shard_of
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.slices import Record
from profilestream.stream.sources import Accepted, place
from profilestream.stream.strays import stray_headers
from profilestream.wire.dead_letters import Rejection, headers


class Outward:
    """Collects records to send; `flush` sends them in order and returns when all are acknowledged."""

    def __init__(self, producer: ForwardingProducer, settings: Settings) -> None:
        self._producer = producer
        self._settings = settings
        self._waiting: list[tuple[str, bytes | None, Record, list[tuple[str, bytes]], int | None, int]] = []

    def dead_letter(self, record: Record, rejection: Rejection) -> None:
        """Key and value stay as they are; the headers say why and where."""
        said = headers(rejection, record.topic, record.partition, record.offset, record.timestamp)
        self._waiting.append((self._settings.dead_letters_topic, record.key, record, said, None, record.timestamp))

    def stray(self, found: Accepted, shards: int) -> None:
        """To the partition of the customer's shard, with the place that the record had first."""
        record = found.record
        topic, number, offset, timestamp_ms = place(record, found.origin)
        said = stray_headers(found.handler.name, topic, number, offset, timestamp_ms)
        customer_id = found.event.customer_id
        where = self._settings.rekeyed_topic, customer_id.encode()
        self._waiting.append((*where, record, said, shard_of(customer_id, shards), timestamp_ms))

    async def flush(self) -> None:
        """Raises as the producer does; what was collected is forgotten then, since it is read again."""
        waiting, self._waiting = self._waiting, []
        for topic, key, record, said, partition, timestamp_ms in waiting:
            if topic == self._settings.dead_letters_topic:
                await self._producer.send_dead_letter(topic, key, record.value, said, timestamp_ms)
            else:
                await self._producer.send(topic, key, record.value, said, timestamp_ms, partition)
        await self._producer.flush()
