"""Which generation is live, as Redis tells readers: a copy of what topic `generations` says, kept true by workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from profilestream.core.errors import NotFound, ServerUnavailable, StoreRefused
from profilestream.settings import Settings
from profilestream.store.connection import AsyncClient, check_server, connect, reaching
from profilestream.store.metadata import (
    Generation,
    claim_live,
    parse_live,
    read_generation,
    read_live,
    write_generation,
)
from profilestream.stream import generations
from profilestream.stream.generations import Generations

RETRY_S = 5.0


async def take_up(settings: Settings, report: Callable[[str], None]) -> Generations:
    """What topic `generations` says; Redis gets a copy where it says something else.

    A lost Redis is waited for, with one line to `report`. Raises NotFound where no generation is live, StoreRefused for
    a Redis that cannot be used.
    """
    assert settings.kafka is not None and settings.redis is not None
    told = False
    while True:
        client = connect(settings.redis)
        try:
            with reaching(settings.redis):
                await check_server(client)
                known = await generations.read_all(settings.kafka, settings.generations_topic, settings.namespace)
                if known.live is None:
                    parse_live(settings.namespace, None)  # raises
                await assert_live(client, settings.namespace, known)
                return known
        except ServerUnavailable as error:
            if not told:
                report(f"{error}; waiting for it")
            told = True
            await asyncio.sleep(RETRY_S)
        finally:
            await client.aclose()


async def assert_live(client: AsyncClient, namespace: str, known: Generations) -> bool:
    """Makes Redis name the generation that the topic names, where Redis was set back or a promotion was broken off in
    between; True when it had to be written.

    Who reads the topic late must not undo a promotion: a Redis that knows of a later turn is left as it is, and so is
    one that names another generation than a moment ago. Raises as Redis does.
    """
    live = known.live
    if live is None:
        return False
    try:
        named = await read_live(client, namespace)
    except NotFound:
        named = ""
    there = await _read(client, namespace, named) if named else None
    if there == live or (there is not None and there.turn > live.turn):
        return False
    if there is None or there.name != live.name or there.turn <= live.turn:
        await write_generation(client, namespace, live)
    return await claim_live(client, namespace, live.name, named)


async def _read(client: AsyncClient, namespace: str, name: str) -> Generation | None:
    try:
        return await read_generation(client, namespace, name)
    except (NotFound, StoreRefused):
        return None
