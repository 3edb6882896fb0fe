"""`drop`: removes a generation that nobody uses any more, in the background of everything else.

Steps, each of which may be interrupted; the same command then goes on:

1. Its record in topic `generations` says "dropping": it cannot be promoted, nor rolled back to, and workers let it go.
   Refused for the live one, in the same transaction in which nobody else can make it live.
2. Nobody uses it: a `replay` of it ends by itself, no process is in its consumer group any more, Redis names another
   generation as live, and two seconds have passed, of which readers may remember the live one for one.
3. Its keys leave Redis, page by page, its description last.
4. Its consumer group and the ids of its topics leave Kafka.
5. Its record leaves topic `generations`. Until then whoever looks knows that it is being dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from profilestream.core.errors import NotFound, UsageError
from profilestream.settings import Settings
from profilestream.store.connection import AsyncClient, connect
from profilestream.store.metadata import Generation, read_generation, read_live, write_generation
from profilestream.store.removing import remove_generation
from profilestream.stream import generations
from profilestream.stream.forgetting import forget_group, forget_topic_ids, until_nobody_folds
from profilestream.stream.generations import Changed, Generations

DROPPING: Final = "dropping"
READERS_REMEMBER_S: Final = 2.0
"""Readers may remember for a second which generation is live; clocks and slow replies have another."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """What was dropped: how many keys Redis had of it."""

    name: str
    keys: int


async def may_be_dropped(settings: Settings, name: str) -> Generation | None:
    """The generation, as topic `generations` has it; None where only its keys are left.

    Raises UsageError for the live one, NotFound where there is nothing of that name.
    """
    assert settings.kafka is not None and settings.redis is not None
    known = await generations.read_all(settings.kafka, settings.generations_topic, settings.namespace)
    _refuse_live(known, name)
    client = connect(settings.redis)
    try:
        await _check_redis(client, settings, name)
        if name in known.by_name:
            return known.by_name[name]
        await read_generation(client, settings.namespace, name)
    except NotFound:
        there = ", ".join(sorted(known.by_name)) or "none"
        raise NotFound(f"namespace `{settings.namespace}` has no generation `{name}`; there are: {there}") from None
    finally:
        await client.aclose()
    return None


async def drop(
    settings: Settings,
    name: str,
    progress: Callable[[int], None] = lambda keys: None,
    after: Callable[[int], None] = lambda step: None,
) -> Dropped:
    """Drops a generation; `progress` is told how many keys are gone, `after` the number of each step done.

    Raises as `may_be_dropped`, and UsageError where a process still folds into it.
    """
    generation = await may_be_dropped(settings, name)
    kafka, topic, namespace = str(settings.kafka), settings.generations_topic, settings.namespace
    group = generations.group_of(namespace, name)
    client = connect(str(settings.redis))
    try:
        if generation is not None:
            await generations.change(kafka, topic, namespace, lambda known: _mark(known, name))
            await _mark_in_redis(client, namespace, generation)
        after(1)
        await until_nobody_folds(kafka, group, 2 * settings.session_timeout_ms / 1000)
        await _check_redis(client, settings, name)
        await asyncio.sleep(READERS_REMEMBER_S)
        after(2)
        keys = await remove_generation(client, namespace, name, progress)
        after(3)
        await forget_group(kafka, group)
        await forget_topic_ids(kafka, topic, namespace, name)
        after(4)
        await generations.change(kafka, topic, namespace, lambda known: _take_away(known, name))
        after(5)
    finally:
        await client.aclose()
    return Dropped(name, keys)


async def _mark_in_redis(client: AsyncClient, namespace: str, generation: Generation) -> None:
    """Redis's copy says so too, where there is one still."""
    try:
        await read_generation(client, namespace, generation.name)
    except NotFound:
        return
    await write_generation(client, namespace, replace(generation, state=DROPPING))


def _mark(known: Generations, name: str) -> Changed:
    _refuse_live(known, name)
    generation = known.by_name.get(name)
    return ({} if generation is None else {name: replace(generation, state=DROPPING)}), None


def _take_away(known: Generations, name: str) -> Changed:
    _refuse_live(known, name)
    return {name: None}, None


def _refuse_live(known: Generations, name: str) -> None:
    if known.live_name == name:
        raise UsageError(f"generation {name} is live; promote another one first, and it can be dropped")


async def _check_redis(client: AsyncClient, settings: Settings, name: str) -> None:
    """Raises UsageError where Redis, which readers go by, names it as live."""
    try:
        live = await read_live(client, settings.namespace)
    except NotFound:
        return
    if live == name:
        raise UsageError(
            f"Redis names generation {name} as live, whatever topic `{settings.generations_topic}` says; "
            "readers use it. Start a worker, which puts Redis right, and run the command again"
        )
