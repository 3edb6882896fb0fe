"""The live generation, as a worker takes it up: Redis holds a copy that readers use, Kafka the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from profilestream.core.errors import NotFound, ServerUnavailable
from profilestream.settings import Settings
from profilestream.store.connection import check_server, connect, reaching
from profilestream.store.metadata import Generation, read_generation, read_live, set_live, write_generation
from profilestream.stream import generations

RETRY_S = 5.0


async def take_up(settings: Settings, report: Callable[[str], None]) -> Generation:
    """The live generation; a Redis that has no copy of it gets one.

    A lost Redis is waited for, with one line to `report`. Raises NotFound where there is no generation, StoreRefused
    for a Redis that cannot be used.
    """
    assert settings.kafka is not None and settings.redis is not None
    told = False
    while True:
        client = connect(settings.redis)
        try:
            with reaching(settings.redis):
                await check_server(client)
                try:
                    name = await read_live(client, settings.namespace)
                    return await read_generation(client, settings.namespace, name)
                except NotFound:
                    known = await generations.read_all(settings.kafka, settings.generations_topic, settings.namespace)
                    if known.live is None:
                        raise
                    await write_generation(client, settings.namespace, known.live)
                    await set_live(client, settings.namespace, known.live.name)
                    return known.live
        except ServerUnavailable as error:
            if not told:
                report(f"{error}; waiting for it")
            told = True
            await asyncio.sleep(RETRY_S)
        finally:
            await client.aclose()


async def reassert(settings: Settings, generation: Generation) -> None:
    """Writes the copy of the live generation again where Redis has lost it."""
    assert settings.redis is not None
    client = connect(settings.redis)
    try:
        try:
            await read_live(client, settings.namespace)
        except NotFound:
            await write_generation(client, settings.namespace, generation)
            await set_live(client, settings.namespace, generation.name)
    finally:
        await client.aclose()
