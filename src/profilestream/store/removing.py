"""Taking a generation's keys away from Redis, in steps that hold nobody up."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from .connection import AsyncClient, reaching

KEYS_A_STEP: Final = 1_000


async def generations_there(client: AsyncClient, namespace: str) -> set[str]:
    """The names of all generations that have any key."""
    found: set[str] = set()

    def note(name: str, key: Any) -> None:
        found.add(name)

    await _walk(client, namespace, note)
    return found


async def remove_generations(
    client: AsyncClient, namespace: str, names: set[str], progress: Callable[[int], None]
) -> int:
    """Removes every key of these generations; gives how many there were."""
    removed = 0
    waiting: list[Any] = []

    def note(name: str, key: Any) -> None:
        if name in names:
            waiting.append(key)

    await _walk(client, namespace, note)
    with reaching(client):
        for start in range(0, len(waiting), KEYS_A_STEP):
            some = waiting[start : start + KEYS_A_STEP]
            pipeline = client.pipeline(transaction=False)
            for key in some:
                pipeline.unlink(key)
            await pipeline.execute()
            removed += len(some)
            progress(removed)
    return removed


async def _walk(client: AsyncClient, namespace: str, note: Callable[[str, Any], None]) -> None:
    """Names the generation of every key of the namespace."""
    form = re.compile(rf"{namespace}:([a-z0-9-]+):".encode())
    with reaching(client):
        async for key in client.scan_iter(match=f"{namespace}:*", count=KEYS_A_STEP):
            match = form.match(key if isinstance(key, bytes) else key.encode())
            if match:
                note(match[1].decode(), key)
