"""`init`: makes the topics and the first generation. Repeatable: what is there already is kept.

The order survives a crash at any point, because each step is found done or not done by the next run:

1. topics              nothing depends on them yet
2. topic `generations` from here on the generation exists, and its definitions are fixed
3. the live generation from here on workers fold
4. Redis               a copy; written again by the next `init`, or by a worker
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from profilestream.core.counting import counted
from profilestream.core.errors import NotFound, ProfilestreamError, UsageError
from profilestream.settings import Settings
from profilestream.store.connection import AsyncClient, check_server, connect
from profilestream.store.metadata import Generation, read_generation, read_live, set_live, write_generation
from profilestream.stream import generations
from profilestream.stream.generations import FIRST, Generations, Live
from profilestream.stream.topic_layout import Shards, check_existing, decide_shards, plan_topics
from profilestream.stream.topics import Admin, Report
from profilestream.wire.times import format_time


@dataclass(frozen=True, slots=True)
class InitResult:
    """What `init` found and did.

    `made` is False when the generation was there already. `limited_topics` are the event topics whose
    retention or compaction takes records away: traits over them cannot be rebuilt from the log.
    `forwarded_topics` have another number of partitions than there are shards.
    """

    generation: Generation
    made: bool
    created_topics: tuple[str, ...]
    kept_topics: tuple[str, ...]
    limited_topics: tuple[str, ...]
    forwarded_topics: tuple[str, ...]


async def initialise(
    settings: Settings,
    definitions_text: str,
    fingerprint: str,
    events: Sequence[str],
    shards: int | None,
    report: Report,
) -> InitResult:
    """Makes what is missing and tells it line by line to `report`.

    `events` are the topics that events arrive on; `shards` is None where nothing was asked for.
    Definitions are the same when their fingerprints are: a changed comment is no other file.

    Raises UsageError without addresses or for a bad number, ServerUnavailable and StoreRefused for servers
    that cannot be used, and ProfilestreamError where a generation exists with other definitions or shards.
    """
    kafka, redis = server_addresses(settings)
    client = connect(redis)
    try:
        await check_server(client)
        known = await generations.read_all(kafka, settings.generations_topic, settings.namespace)
        _check_generation(settings.namespace, known.live, fingerprint, shards)
        if not known.by_name:
            await _check_redis_is_new(client, settings)
        decided, topics = await make_topics(settings, events, shards or _shards(known), report)
        generation, made = await _make_generation(settings, known, definitions_text, fingerprint, decided.count)
        copied = await copy_to_redis(client, settings.namespace, generation)
    finally:
        await client.aclose()
    if made:
        report(f"made generation {generation.name} with {generation.shards} shards; it is live")
    elif copied:
        report(f"wrote generation {generation.name} to Redis again")
    elif not topics.created:
        report(f"nothing to do: generation {generation.name} is live with these definitions")
    return InitResult(generation, made, topics.created, topics.kept, topics.limited, decided.forwarded)


def server_addresses(settings: Settings) -> tuple[str, str]:
    """Kafka's and Redis's; raises UsageError where one was not given."""
    for name, address in (("Kafka", settings.kafka), ("Redis", settings.redis)):
        if not address:
            raise UsageError(
                f"no address of {name}: give --{name.lower()}, set PROFILESTREAM_{name.upper()}, "
                "or start servers with `profilestream local up`"
            )
    return str(settings.kafka), str(settings.redis)


def _shards(known: Generations) -> int | None:
    """The shards of the live generation, or of one that a crash kept from becoming live."""
    generation = known.live or next(iter(known.by_name.values()), None)
    return generation.shards if generation else None


def _check_generation(namespace: str, live: Generation | None, fingerprint: str, shards: int | None) -> None:
    if live is None:
        return
    if live.fingerprint != fingerprint:
        raise ProfilestreamError(
            f"namespace `{namespace}` has generation {live.name} with other definitions ({live.fingerprint}; "
            f"this file is {fingerprint}); `profilestream plan FILE` tells what the file would change, and on local "
            "servers `profilestream init FILE --rebuild` folds everything again under it"
        )
    if shards is not None and shards != live.shards:
        raise ProfilestreamError(
            f"generation {live.name} has {live.shards} shards, which do not change; "
            f"leave out --shards {shards}, or begin anew under another --namespace"
        )


async def _check_redis_is_new(client: AsyncClient, settings: Settings) -> None:
    """A Redis with a generation that the log does not know belongs to another Kafka; that would mix them."""
    name = await _live_in_redis(client, settings.namespace)
    if name is not None:
        raise ProfilestreamError(
            f"Redis has generation {name} of namespace `{settings.namespace}`, but Kafka at {settings.kafka} "
            f"knows none (topic `{settings.generations_topic}`); check that both "
            "addresses belong together, or use another --namespace or an empty Redis"
        )


@dataclass(frozen=True, slots=True)
class _Topics:
    created: tuple[str, ...]
    kept: tuple[str, ...]
    limited: tuple[str, ...]


async def make_topics(
    settings: Settings, events: Sequence[str], asked: int | None, report: Report
) -> tuple[Shards, _Topics]:
    """Makes every topic that is not there, and tells which were made and which were kept."""
    async with Admin(str(settings.kafka)) as admin:
        there = await admin.describe(events)
        decided = decide_shards([info for info in there.values() if info], asked)
        plans = plan_topics(settings, events, decided.count)
        found = await admin.describe(plan.name for plan in plans)
        check_existing(plans, found, settings.changes_topic)
        created = []
        for plan in plans:
            if found[plan.name] is not None:
                continue
            if await admin.create(plan.name, plan.partitions, plan.config, plan.wishes):
                created.append(plan.name)
    kept = tuple(plan.name for plan in plans if plan.name not in created)
    limited = tuple(name for name in events if (info := there[name]) and info.retention_is_limited)
    if decided.reason and created:
        report(decided.reason)
    if created:
        report(f"made {counted(len(created), 'topic')}: {', '.join(created)}")
    if kept and created:
        report(f"kept {counted(len(kept), 'topic')}: {', '.join(kept)}")
    if limited:
        report(
            f"warning: {', '.join(limited)}: records are not kept for ever (retention.ms, retention.bytes or "
            "compaction); what was folded from records that are gone cannot be rebuilt"
        )
    return decided, _Topics(tuple(created), kept, limited)


async def _make_generation(
    settings: Settings, known: Generations, text: str, fingerprint: str, shards: int
) -> tuple[Generation, bool]:
    """The live generation, made where there is none; a crash between its two records is made good."""
    if known.live is not None:
        return known.live, False
    kafka, topic, namespace = str(settings.kafka), settings.generations_topic, settings.namespace
    generation = Generation(
        name=FIRST,
        shards=shards,
        definitions=text,
        fingerprint=fingerprint,
        created_at=format_time(time.time_ns() // 1_000_000),
        state="live",
    )
    await generations.publish(kafka, topic, namespace, generation)
    await generations.publish_live(kafka, topic, namespace, Live(generation.name))
    # Another `init` at the same moment may have written after us: the last one counts for both.
    live = (await generations.read_all(kafka, topic, namespace)).live
    _check_generation(namespace, live, fingerprint, shards)
    return live or replace(generation, turn=1), True


async def copy_to_redis(client: AsyncClient, namespace: str, generation: Generation) -> bool:
    """Makes Redis say what the topic says; True when it had to be written."""
    try:
        same_meta = await read_generation(client, namespace, generation.name) == generation
    except NotFound:
        same_meta = False
    same_live = await _live_in_redis(client, namespace) == generation.name
    if not same_meta:
        await write_generation(client, namespace, generation)
    if not same_live:
        await set_live(client, namespace, generation.name)
    return not (same_meta and same_live)


async def _live_in_redis(client: AsyncClient, namespace: str) -> str | None:
    try:
        return await read_live(client, namespace)
    except NotFound:
        return None
