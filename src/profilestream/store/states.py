"""All stored states of a generation, a page at a time: a walk over Redis's keys that reads and never writes.

SCAN gives every key that is there all the while, and at times one of them twice: who was seen is remembered by a hash
of the id, eight bytes each (`Seen`), so that every customer comes once. A page is one round trip: the states of the
customers that a step of SCAN has named, and the clocks of their shards, each read before its states.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import redis
import redis.cluster

from .connection import SyncClient, reaching
from .keys import Keys
from .metadata import Generation

KEYS_A_STEP: Final = 500
STATES_A_READ: Final = 250
_BUCKETS: Final = 1 << 10
_LOOSE_MAX: Final = 256


class StoredStates(NamedTuple):
    """Some customers of one shard with their states, and the shard's clock (ms; None before its first event)."""

    shard: int
    clock: int | None
    states: list[tuple[str, bytes]]


class StateWalk:
    """Walks over the states of one generation once. `share` tells how far it has come, from 0 to 1."""

    def __init__(self, client: SyncClient, namespace: str, generation: Generation) -> None:
        """`client` is one that gives bytes (`connect_sync`)."""
        self.share = 0.0
        self._client = client
        self._shards = [Keys(namespace, generation.name).shard(n) for n in range(generation.shards)]
        # Names of namespaces and generations have no characters that mean something in a pattern.
        self._pattern = f"{namespace}:{generation.name}:{{*}}:state:*"
        self._state = re.compile(rf"{namespace}:{generation.name}:\{{([0-9]+)\}}:state:(.*)".encode(), re.DOTALL)

    def pages(self) -> Iterator[StoredStates]:
        """Every customer who is there all the while, once. Raises ServerUnavailable when Redis cannot be reached."""
        seen = Seen()
        nodes = self._nodes()
        for done, node in enumerate(nodes):
            cursor = 0
            while True:
                with reaching(self._client):
                    reply: Any = node.scan(cursor, match=self._pattern, count=KEYS_A_STEP)
                cursor, keys = reply
                yield from self._read(node, self._new(keys, seen))
                share = 1.0 if cursor == 0 else walked(cursor)
                self.share = max(self.share, (done + share) / len(nodes))
                if cursor == 0:
                    break

    def _nodes(self) -> list[redis.Redis]:
        """Each server that has shards of ours."""
        client: Any = self._client
        if not isinstance(client, redis.cluster.RedisCluster):
            return [client]
        with reaching(self._client):
            cluster: Any = client  # parts of it are untyped
            names = dict.fromkeys(cluster.get_node_from_key(shard.head).name for shard in self._shards)
            return [cluster.get_redis_connection(cluster.get_node(node_name=name)) for name in names]

    def _new(self, keys: list[bytes], seen: Seen) -> dict[int, list[bytes]]:
        """The customers among the keys who were not seen before, by shard."""
        found: dict[int, list[bytes]] = {}
        for key in keys:
            match = self._state.match(key)
            if match and (shard := int(match[1])) < len(self._shards) and seen.add(match[2]):
                found.setdefault(shard, []).append(match[2])
        return found

    def _read(self, node: redis.Redis, customers: dict[int, list[bytes]]) -> Iterator[StoredStates]:
        if not customers:
            return
        pipeline = node.pipeline(transaction=False)
        parts = []
        for shard, ids in customers.items():
            keys = self._shards[shard]
            prefix = keys.state_prefix.encode()
            for start in range(0, len(ids), STATES_A_READ):
                some = ids[start : start + STATES_A_READ]
                parts.append((shard, some))
                pipeline.hget(keys.head, "clock")
                pipeline.mget([prefix + one for one in some])
        with reaching(self._client):
            replies: list[Any] = pipeline.execute()
        for n, (shard, ids) in enumerate(parts):
            clock, states = replies[2 * n], replies[2 * n + 1]
            # A customer who has gone meanwhile has no state any more.
            there = [(one.decode(), state) for one, state in zip(ids, states, strict=True) if state is not None]
            yield StoredStates(shard, None if clock is None else int(clock), there)


def walked(cursor: int) -> float:
    """How much of a server's keys a SCAN that has come to this cursor has behind it: it counts from the highest bit."""
    share, weight = 0.0, 0.5
    while cursor:
        share += weight * (cursor & 1)
        cursor >>= 1
        weight /= 2
    return share


class Seen:
    """Customers who were seen, by 64 bits of a hash: one more is taken for another with a chance of about n / 2^64."""

    def __init__(self) -> None:
        self._sorted = [array("Q") for _ in range(_BUCKETS)]
        self._loose: list[set[int]] = [set() for _ in range(_BUCKETS)]

    def add(self, customer: bytes) -> bool:
        """Whether the customer was not seen before."""
        hashed = int.from_bytes(blake2b(customer, digest_size=8).digest(), "big")
        bucket = hashed % _BUCKETS
        loose, ordered = self._loose[bucket], self._sorted[bucket]
        if hashed in loose:
            return False
        at = bisect_left(ordered, hashed)
        if at < len(ordered) and ordered[at] == hashed:
            return False
        loose.add(hashed)
        if len(loose) > _LOOSE_MAX:
            self._sorted[bucket] = array("Q", sorted([*ordered, *loose]))
            loose.clear()
        return True
