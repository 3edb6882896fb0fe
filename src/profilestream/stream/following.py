"""Follows the topic `generations`: what it says now, as soon as it says something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from profilestream.core.errors import ServerUnavailable
from profilestream.stream.generations import Generations
from profilestream.stream.topics import Admin, unavailable

POLL_MS: Final = 500
RETRY_S: Final = 1.0


async def follow_generations(
    kafka: str,
    topic: str,
    namespace: str,
    changed: Callable[[Generations], None],
    lost: Callable[[ServerUnavailable], None],
) -> None:
    """Works until cancelled: `changed` gets what the topic says, at the beginning and whenever it is something new.

    Each time it is read from its beginning to its end before `changed` hears of it, so nobody sees what it said once. A
    lost Kafka is waited for, and told to `lost`. Raises ProfilestreamError for records that cannot be read.
    """
    told: Generations | None = None
    while True:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=kafka,
            client_id="profilestream-generations",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        try:
            async with Admin(kafka) as admin:
                end = (await admin.end_offsets(topic)).get(0, 0)
            await consumer.start()
            place = TopicPartition(topic, 0)
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            found = Generations()
            while True:
                for record in (await consumer.getmany(place, timeout_ms=POLL_MS)).get(place, ()):
                    found = found.with_record(namespace, topic, record)
                if await consumer.position(place) >= end and found != told:
                    told = found
                    changed(found)
        except (KafkaError, ServerUnavailable, OSError) as error:
            lost(error if isinstance(error, ServerUnavailable) else unavailable(kafka, error))
            await asyncio.sleep(RETRY_S)
        finally:
            await consumer.stop()
