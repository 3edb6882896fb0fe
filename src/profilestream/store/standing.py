"""Where one customer and the shard stand at one moment: the state, and the head that it belongs to. Only read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from .commits import Head, read_head
from .connection import AsyncClient, reaching
from .keys import ShardKeys

READS_MAX: Final = 20
PAGE_ENTRIES: Final = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """A shard's head and the stored state of one customer (None: none). With `level` both are of one commit."""

    head: Head
    state: bytes | None
    level: bool


async def read_standing(client: AsyncClient, keys: ShardKeys, customer_id: str) -> Standing:
    """Reads the head before and behind the state, until both are the same; on a busy shard at most `READS_MAX` times.

    Raises ServerUnavailable.
    """
    with reaching(client):
        for _ in range(READS_MAX):
            pipeline = client.pipeline(transaction=False)
            pipeline.hgetall(keys.head)
            pipeline.get(keys.state(customer_id))
            pipeline.hgetall(keys.head)
            before, state, after = await pipeline.execute()
            level = before.get(b"commit") == after.get(b"commit")
            if level:
                break
    return Standing(read_head(list(chain.from_iterable(before.items()))), state, level)


async def waiting_changes(client: AsyncClient, keys: ShardKeys, customer_id: str) -> AsyncIterator[bytes]:
    """The values of a customer's changes that wait in the outbox, oldest first; raises ServerUnavailable."""
    wanted, start = customer_id.encode(), "-"
    while True:
        with reaching(client):
            page: Any = await client.xrange(keys.outbox, min=start, count=PAGE_ENTRIES)
        for _, fields in page:
            if fields[b"customer"] == wanted:
                yield fields[b"value"]
        if len(page) < PAGE_ENTRIES:
            return
        start = f"({page[-1][0].decode()}"
