"""The demo on servers that are not its own: it touches nothing that is there, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from profilestream.core.errors import ProfilestreamError
from profilestream.operations.initialise import InitResult, initialise
from profilestream.settings import Settings
from profilestream.store.connection import connect, reaching
from profilestream.stream.topic_layout import event_topics
from profilestream.stream.topics import Admin, Report, unavailable
from profilestream.wire.definitions import parse_definitions

KEYS_A_BATCH = 1_000


def own_names(settings: Settings, name: str) -> Settings:
    """The settings with a namespace of this name, and topics that begin with it for what profilestream writes."""
    topics = {
        field: f"{name}-{Settings.model_fields[field].default}"
        for field in Settings.model_fields
        if field.endswith("_topic")
    }
    return settings.model_copy(update={"namespace": name, **topics})


async def event_topics_there(kafka: str, definitions: str) -> list[str]:
    """Those event topics that exist already: they hold, or will hold, someone's events."""
    names = event_topics(parse_definitions(definitions))
    async with Admin(kafka) as admin:
        found = await admin.describe(names)
    return [name for name, info in found.items() if info is not None]


async def make(settings: Settings, definitions: str, made: list[str], report: Report) -> InitResult:
    """Makes the topics and the generation as `profilestream init` does; adds the topics made to `made`.

    An interruption waits until that is done, so that what was made is known and can be removed. Raises
    ProfilestreamError when an event topic was there already.
    """
    found = parse_definitions(definitions, "the demo's definitions")
    making = asyncio.ensure_future(
        initialise(settings, found.text, found.fingerprint, event_topics(found), None, report)
    )
    try:
        result = await asyncio.shield(making)
    except asyncio.CancelledError:
        made.extend((await making).created_topics)
        raise
    made.extend(result.created_topics)
    taken = set(event_topics(found)) - set(result.created_topics)
    if taken:
        raise taken_topics(str(settings.kafka), sorted(taken))
    return result


def taken_topics(kafka: str, topics: Sequence[str]) -> ProfilestreamError:
    """The error for event topics that are someone else's."""
    return ProfilestreamError(
        f"Kafka at {kafka} has the event topics {', '.join(topics)} already, and the demo touches nothing that is "
        "there; without addresses, in a new folder, `profilestream demo` starts servers of its own"
    )


async def remove(settings: Settings, topics: Sequence[str]) -> None:
    """Deletes these topics, and every key of the namespace.

    Raises ServerUnavailable when a server does not answer any more.
    """
    await _remove_topics(str(settings.kafka), topics)
    client = connect(str(settings.redis))
    try:
        with reaching(client):
            keys = []
            async for key in client.scan_iter(match=f"{settings.namespace}:*", count=KEYS_A_BATCH):
                keys.append(key)
            for start in range(0, len(keys), KEYS_A_BATCH):
                pipeline = client.pipeline(transaction=False)
                for key in keys[start : start + KEYS_A_BATCH]:
                    pipeline.unlink(key)
                await pipeline.execute()
    finally:
        await client.aclose()


async def _remove_topics(kafka: str, topics: Sequence[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    try:
        await admin.start()
        if topics:
            await admin.delete_topics(list(topics))
    except KafkaError as error:
        raise unavailable(kafka, error) from None
    finally:
        await admin.close()
