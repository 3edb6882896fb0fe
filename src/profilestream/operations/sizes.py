"""How many customers a generation has, by its shards' sets of them."""

from __future__ import annotations

from profilestream.store.connection import AsyncClient, reaching
from profilestream.store.keys import Keys
from profilestream.store.metadata import Generation


async def count_customers(client: AsyncClient, namespace: str, generation: Generation) -> int:
    """How many customers a generation has; raises ServerUnavailable."""
    keys = Keys(namespace, generation.name)
    with reaching(client):
        pipeline = client.pipeline(transaction=False)
        for shard in range(generation.shards):
            pipeline.scard(keys.shard(shard).customers)
        return sum(await pipeline.execute())
