"""All stored states of a generation, a page at a time: a walk over all shards that reads and never writes.

As `store/walk.py` walks over one shard for a worker, for programs without an event loop: each shard's set of customers
tells who is there, and a page is one Lua call, so that its states and the shard's clock are of one instant. The ids of
one shard are held at a time, and one page of states.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from .commits import read_head
from .connection import SyncClient, reaching
from .keys import Keys, ShardKeys
from .metadata import Generation
from .walk import CUSTOMERS_A_STEP, STATES

STATES_A_PAGE: Final = 250
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024


class StoredStates(NamedTuple):
    """Some customers of one shard with their states, and the shard's clock (ms; None before its first event)."""

    shard: int
    clock: int | None
    states: list[tuple[str, bytes]]


class StateWalk:
    """Walks over the states of one generation once. Every method raises ServerUnavailable without Redis."""

    def __init__(self, client: SyncClient, namespace: str, generation: Generation) -> None:
        """`client` is one that gives bytes (`connect_sync`)."""
        self._client: Any = client
        self._shards = [Keys(namespace, generation.name).shard(n) for n in range(generation.shards)]

    def count(self) -> int:
        """How many customers there are."""
        with reaching(self._client):
            return sum(self._client.scard(shard.customers) for shard in self._shards)

    def pages(self) -> Iterator[StoredStates]:
        """Every customer who is there all the while, once, shard by shard in order of the ids."""
        for number, shard in enumerate(self._shards):
            customers = self._customers(shard)
            done = 0
            while done < len(customers):
                some = customers[done : done + STATES_A_PAGE]
                page, read = self._page(number, shard, some)
                done += read
                yield page

    def _customers(self, shard: ShardKeys) -> list[bytes]:
        """The ids of a shard's customers in order; SSCAN may name one twice."""
        found = set[bytes]()
        cursor = 0
        while True:
            with reaching(self._client):
                cursor, names = self._client.sscan(shard.customers, cursor, count=CUSTOMERS_A_STEP)
            found.update(names)
            if cursor == 0:
                return sorted(found)

    def _page(self, number: int, shard: ShardKeys, customers: list[bytes]) -> tuple[StoredStates, int]:
        """The states of the first of these, as many as fit, and of how many that is."""
        prefix = shard.state_prefix.encode()
        keys = [shard.head, shard.outbox, shard.repairs, *(prefix + one for one in customers)]
        with reaching(self._client):  # who was told of what is not asked
            flat, _, *states = self._client.eval(STATES, len(keys), *keys, PAGE_BYTES_MAX, 0, "0-0", 0)
        # Who has gone meanwhile has no state any more.
        there = [(one.decode(), state) for one, state in zip(customers, states, strict=False) if state is not None]
        return StoredStates(number, read_head(list(flat)).clock, there), len(states)
