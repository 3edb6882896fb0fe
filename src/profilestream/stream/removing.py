"""Taking things away from a Kafka: topics with all that is in them. Only a rebuild of local servers does it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code

from profilestream.core.errors import ProfilestreamError
from profilestream.stream.topics import Admin, unavailable

GONE_S_MAX: Final = 30.0
_LOOK_S: Final = 0.1


async def remove_topics(kafka: str, topics: Iterable[str], group: str) -> None:
    """Deletes topics that are there, and returns when they are gone, with the group's offsets in them.

    Raises ProfilestreamError where Kafka refuses, or does not come to it in half a minute.
    """
    async with Admin(kafka) as admin:
        there = [name for name, info in (await admin.describe(topics)).items() if info is not None]
        if there:
            await _delete(kafka, there)
        deadline = asyncio.get_running_loop().time() + GONE_S_MAX
        while any((await admin.describe(topics)).values()) or any(
            topic in there for topic, _ in await admin.committed(group)
        ):
            if asyncio.get_running_loop().time() > deadline:
                raise ProfilestreamError(
                    f"Kafka at {kafka} did not delete {', '.join(there)} in {GONE_S_MAX:.0f} s; run the command again"
                )
            await asyncio.sleep(_LOOK_S)


async def _delete(kafka: str, topics: list[str]) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    try:
        await client.start()
        response: Any = await client.delete_topics(topics)
        for topic, code, *_ in response.topic_error_codes:
            refusal = for_code(code) if code else None
            if refusal is not None and not issubclass(refusal, UnknownTopicOrPartitionError):
                raise ProfilestreamError(f"Kafka at {kafka} does not delete topic `{topic}` ({refusal.__name__})")
    except KafkaError as error:
        raise unavailable(kafka, error) from None
    finally:
        await client.close()
