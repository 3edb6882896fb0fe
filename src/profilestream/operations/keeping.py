"""What the log still has of a shard, as Kafka tells it."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka.errors import KafkaError

from profilestream.operations.retention import Kept
from profilestream.settings import Settings
from profilestream.store.commits import Head
from profilestream.store.metadata import Generation
from profilestream.stream.archive import Archive
from profilestream.stream.topic_ids import TopicIds
from profilestream.stream.topics import Admin, unavailable


async def read_kept(
    settings: Settings,
    generation: Generation,
    shard: int,
    head: Head,
    topics: Iterable[str],
    archive: Archive | None = None,
) -> list[Kept]:
    """What the log still has of the shard, or an archive before it, topic by topic, in the order in which they are
    merged.

    Topics that are forwarded whole are in the topic of forwarded records; what a shard folded is in its positions.
    Raises ServerUnavailable, LogMismatch where archive and log do not join.
    """
    kafka = str(settings.kafka)
    ids = TopicIds(kafka, settings.generations_topic, settings.namespace, generation.name)
    found = []
    try:
        await ids.read()
        async with Admin(kafka) as admin:
            bounds = await admin.bounds(head.positions, shard)
        for topic in topics:
            if (position := head.positions.get(topic)) is not None:
                begin, end = bounds.get(topic, (0, -1))
                if archive is not None:
                    begin = archive.begin_with(topic, shard, begin)
                anew = position > end or await ids.is_other(topic)
                first = head.starts.get(topic, 0)
                found.append(Kept(topic, first, position if anew else begin, position, made_anew=anew))
    except KafkaError as error:
        raise unavailable(kafka, error) from None
    return found
