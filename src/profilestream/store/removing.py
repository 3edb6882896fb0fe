"""Taking a generation's keys away from Redis, in steps that hold nobody up.

Keys are found by SCAN and unlinked a page at a time: what a key held is freed by a thread of Redis's own. With `rests`
there is a pause behind each page, four times as long as the page took, so that Redis has most of its time for others.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any, Final

from .connection import AsyncClient, reaching
from .keys import Keys

KEYS_A_STEP: Final = 1_000
KEYS_A_PAGE: Final = 200
KEYS_A_QUIET_STEP: Final = 250
"""Of a SCAN beside the traffic of others: one over 1,000 keys takes some milliseconds, in which nobody is answered."""
REST_FACTOR: Final = 4
REST_S_MAX: Final = 1.0


async def generations_there(client: AsyncClient, namespace: str) -> set[str]:
    """The names of all generations that have any key."""
    found: set[str] = set()
    form = re.compile(rf"{namespace}:([a-z0-9-]+):".encode())
    with reaching(client):
        async for key in client.scan_iter(match=f"{namespace}:*", count=KEYS_A_STEP):
            match = form.match(key if isinstance(key, bytes) else key.encode())
            if match:
                found.add(match[1].decode())
    return found


async def remove_generations(
    client: AsyncClient, namespace: str, names: set[str], progress: Callable[[int], None]
) -> int:
    """Removes every key of these generations as fast as it goes; gives how many there were."""
    removed = 0
    for name in sorted(names):
        removed += await remove_generation(client, namespace, name, _behind(progress, removed), rests=False)
    return removed


async def remove_generation(
    client: AsyncClient, namespace: str, name: str, progress: Callable[[int], None], *, rests: bool = True
) -> int:
    """Removes every key of a generation, its description last; gives how many there were.

    May be broken off anywhere and begun again. Raises ServerUnavailable, UsageError for a name that is none.
    """
    keys = Keys(namespace, name)
    removed = 0
    while found := await _remove_once(client, keys, rests, _behind(progress, removed)):
        removed += found  # a key that came while SCAN went round may have been passed
    with reaching(client):
        removed += int(await client.unlink(keys.meta))
    return removed


def _behind(progress: Callable[[int], None], before: int) -> Callable[[int], None]:
    """Tells progress how many are gone, those before included."""
    return lambda keys: progress(before + keys)


async def _remove_once(client: AsyncClient, keys: Keys, rests: bool, progress: Callable[[int], None]) -> int:
    removed = 0
    page: list[Any] = []
    meta, pattern = keys.meta.encode(), f"{keys.namespace}:{keys.generation}:*"
    with reaching(client):
        async for key in client.scan_iter(match=pattern, count=KEYS_A_QUIET_STEP if rests else KEYS_A_STEP):
            if (key if isinstance(key, bytes) else key.encode()) == meta:
                continue
            page.append(key)
            if len(page) >= KEYS_A_PAGE:
                removed += await _unlink(client, page, rests)
                page.clear()
                progress(removed)
        if page:
            removed += await _unlink(client, page, rests)
            progress(removed)
    return removed


async def _unlink(client: AsyncClient, page: list[Any], rests: bool) -> int:
    began_s = time.monotonic()
    pipeline = client.pipeline(transaction=False)
    for key in page:
        pipeline.unlink(key)
    gone: int = sum(await pipeline.execute())
    if rests:
        await asyncio.sleep(min(REST_S_MAX, REST_FACTOR * (time.monotonic() - began_s)))
    return gone
