"""`init FILE --rebuild`: everything is folded again under edited definitions, on servers of this machine.

Nothing that was announced is kept: the topics that profilestream writes are emptied, and a generation of the next
number begins at the first event. It is for trying definitions, where nobody else reads. Steps, each of which may be
interrupted; the same command then goes on:

1. The next generation is written to topic `generations`, not live yet.
2. The topics that profilestream writes are deleted, with the emitter's positions in them, and made again.
3. The next generation goes live, in the topic and then in Redis.
4. Other generations are taken out of the topic, and last their keys out of Redis.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from profilestream.core.counting import counted
from profilestream.core.definitions import Definitions
from profilestream.core.errors import UsageError
from profilestream.operations.initialise import copy_to_redis, initialise, make_topics, server_addresses
from profilestream.settings import Settings
from profilestream.store.addresses import parse_address
from profilestream.store.connection import AsyncClient, check_server, connect
from profilestream.store.metadata import Generation
from profilestream.store.removing import generations_there, remove_generations
from profilestream.stream import generations
from profilestream.stream.announcer import emitter_group
from profilestream.stream.generations import Generations, Live
from profilestream.stream.removing import remove_topics
from profilestream.stream.topic_layout import event_topics
from profilestream.stream.topics import Admin, Report
from profilestream.wire.times import format_time

_LOOPBACK: Final = re.compile(r"(127\.[0-9]+\.[0-9]+\.[0-9]+|localhost|\[::1\]|::1)\Z")
_NUMBER: Final = re.compile(r"g([0-9]{1,9})\Z")

Step = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild has made: the generation that is live now, and how many keys of others were removed."""

    generation: Generation
    removed_keys: int


async def rebuild(
    settings: Settings, definitions: Definitions, report: Report, after: Step = lambda n: None
) -> Rebuilt:
    """Begins anew with these definitions; `after` is told the number of each step done.

    A namespace without a generation is initialised. Raises UsageError where a server is not on this machine, or a
    worker or an emitter runs; else as `initialise`.
    """
    kafka, redis = server_addresses(settings)
    _check_local(kafka, redis)
    client = connect(redis)
    try:
        await check_server(client)
        known = await generations.read_all(kafka, settings.generations_topic, settings.namespace)
        if known.live is None:
            topics = event_topics(definitions)
            made = await initialise(settings, definitions.text, definitions.fingerprint, topics, None, report)
            return Rebuilt(made.generation, 0)
        await _check_stopped(settings, kafka, known)
        there = await generations_there(client, settings.namespace)
        if known.live.fingerprint == definitions.fingerprint and ({*known.by_name, *there} - {known.live.name}):
            report(f"an interrupted rebuild goes on: generation {known.live.name} has these definitions already")
            await copy_to_redis(client, settings.namespace, known.live)
            return await _finish(settings, client, kafka, known.live, known, report, after)
        generation = await _begin(settings, kafka, known, there, definitions, report)
        after(1)
        await _empty(settings, kafka, definitions, generation, report)
        after(2)
        generation = replace(generation, turn=known.turn + 1)
        live = Live(generation.name, generation.turn)
        await generations.publish_live(kafka, settings.generations_topic, settings.namespace, live)
        await copy_to_redis(client, settings.namespace, generation)
        after(3)
        return await _finish(settings, client, kafka, generation, known, report, after)
    finally:
        await client.aclose()


def _check_local(kafka: str, redis: str) -> None:
    """Raises UsageError unless both servers are on this machine."""
    hosts = [server.rpartition(":")[0] for server in kafka.split(",")]
    address = parse_address(redis)
    hosts += [host for host, _ in address.hosts] or [urlsplit(address.url).hostname or "localhost"]  # none: a file's
    for host in hosts:
        if not _LOOPBACK.match(host.strip()):
            raise UsageError(
                "--rebuild empties the topic of segment changes, so it is for servers on this machine only, and one "
                "of these is not; there, give the changed definitions another --namespace with topics of its own"
            )


async def _check_stopped(settings: Settings, kafka: str, known: Generations) -> None:
    groups = {f"{settings.namespace}-{name}": "worker" for name in known.by_name}
    groups[emitter_group(settings.namespace)] = "emitter"
    async with Admin(kafka) as admin:
        running = {program for group, program in groups.items() if await admin.group_members(group)}
    if running:
        raise UsageError(
            f"a running {' and a running '.join(sorted(running))} would fold and announce meanwhile; stop it "
            "(Ctrl-C; one that was killed is forgotten by Kafka within a minute) and run the command again"
        )


async def _begin(
    settings: Settings,
    kafka: str,
    known: Generations,
    there: set[str],
    definitions: Definitions,
    report: Report,
) -> Generation:
    """The next generation in the topic: a new one, or the one that an interrupted run has written."""
    assert known.live is not None
    for generation in known.by_name.values():
        if generation.state == "rebuilding" and generation.fingerprint == definitions.fingerprint:
            return generation
    if known.live.fingerprint == definitions.fingerprint:
        report("these are the definitions that are live already; folding everything again all the same")
    numbers = [int(match[1]) for name in {*known.by_name, *there} if (match := _NUMBER.match(name))]
    generation = Generation(
        name=f"g{max(numbers, default=1) + 1}",
        shards=known.live.shards,
        definitions=definitions.text,
        fingerprint=definitions.fingerprint,
        created_at=format_time(time.time_ns() // 1_000_000),
        state="rebuilding",
    )
    await generations.publish(kafka, settings.generations_topic, settings.namespace, generation)
    return generation


async def _empty(
    settings: Settings, kafka: str, definitions: Definitions, generation: Generation, report: Report
) -> None:
    """Deletes what profilestream has written to its own topics, and makes the topics again, and new event topics.

    Topic `redriven` stays: the records that were sent again stand in the event topics still, and are folded again.
    """
    own = (settings.changes_topic, settings.announced_topic, settings.rekeyed_topic, settings.dead_letters_topic)
    await remove_topics(kafka, own, emitter_group(settings.namespace))
    report(f"emptied {', '.join(own)}")
    await make_topics(settings, event_topics(definitions), generation.shards, lambda line: None)


async def _finish(
    settings: Settings,
    client: AsyncClient,
    kafka: str,
    generation: Generation,
    known: Generations,
    report: Report,
    after: Step,
) -> Rebuilt:
    """Takes everything else out of the topic and out of Redis."""
    live = replace(generation, state="live")
    await generations.publish(kafka, settings.generations_topic, settings.namespace, live)
    await copy_to_redis(client, settings.namespace, live)
    for name in known.by_name:
        if name != live.name:
            await generations.remove(kafka, settings.generations_topic, settings.namespace, name)
    after(4)
    others = await generations_there(client, settings.namespace) - {live.name}
    removed = await remove_generations(client, settings.namespace, others, lambda count: None)
    keys = counted(removed, "key")
    report(f"generation {live.name} is live, in {counted(live.shards, 'shard')}; {keys} of earlier ones removed")
    return Rebuilt(live, removed)
