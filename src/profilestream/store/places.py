"""How far each shard of a generation is, for those who watch: only read."""

from __future__ import annotations

from itertools import chain

import orjson

from .commits import Head, read_head
from .connection import AsyncClient, reaching
from .keys import Keys
from .metadata import Generation


async def read_positions(client: AsyncClient, namespace: str, generation: Generation) -> dict[int, dict[str, int]]:
    """The next offset of each topic, by shard; {} for one that has no commit. Raises ServerUnavailable."""
    keys = Keys(namespace, generation.name)
    with reaching(client):
        pipeline = client.pipeline(transaction=False)
        for number in range(generation.shards):
            pipeline.hget(keys.shard(number).head, "positions")
        return {number: orjson.loads(found or b"{}") for number, found in enumerate(await pipeline.execute())}


async def read_heads(client: AsyncClient, namespace: str, generation: Generation) -> dict[int, Head]:
    """The head of each shard. Raises ServerUnavailable."""
    keys = Keys(namespace, generation.name)
    with reaching(client):
        pipeline = client.pipeline(transaction=False)
        for number in range(generation.shards):
            pipeline.hgetall(keys.shard(number).head)
        found = await pipeline.execute()
    return {number: read_head(list(chain.from_iterable(fields.items()))) for number, fields in enumerate(found)}


async def count_in_repair(client: AsyncClient, namespace: str, generation: Generation) -> int:
    """How many shards are in repair, or have no commit yet. Raises ServerUnavailable."""
    keys = Keys(namespace, generation.name)
    with reaching(client):
        pipeline = client.pipeline(transaction=False)
        for number in range(generation.shards):
            pipeline.hmget(keys.shard(number).head, "commit", "repair")
        return sum(repair is not None or commit is None for commit, repair in await pipeline.execute())
