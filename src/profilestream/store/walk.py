"""A walk over all customers of a shard, also of another generation's: their states, a page at a time.

The shard's set `customers` names everybody; the commit that writes a customer's first state adds the name. Who is in it
when a listing begins is in the listing, whatever happens meanwhile (SSCAN promises that). In order of their ids
a walk can be taken up again anywhere. A page is one Lua call (`states.lua`): states and head are of one instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from .commits import Head, read_head
from .keys import ShardKeys
from .outbox import script
from .pipeline import PipelinedConnection

STATES: Final = script("states")
CUSTOMERS_A_STEP: Final = 1_000


class Page(NamedTuple):
    """States of the first of the customers asked for, None for one who is gone, and the shard's head at that time."""

    head: Head
    states: list[bytes | None]


class ShardWalk:
    """Reads one shard, on a connection to the server that has its slot; raises ServerUnavailable when that is lost."""

    def __init__(self, pipeline: PipelinedConnection, keys: ShardKeys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def customers(self) -> list[bytes]:
        """The ids of all customers, in UTF-8, in order."""
        found = set[bytes]()
        cursor = b"0"
        while True:
            cursor, names = await self._pipeline.send("SSCAN", self._keys.customers, cursor, "COUNT", CUSTOMERS_A_STEP)
            found.update(names)
            if cursor == b"0":
                return sorted(found)

    async def page(self, customers: Sequence[bytes], bytes_max: int) -> Page:
        """States of as many of these as weigh no more than that together, one at least."""
        prefix = self._keys.state_prefix.encode()
        keys: list[Any] = [prefix + customer for customer in customers]
        head, *states = await self._pipeline.send("EVAL", STATES, 1 + len(keys), self._keys.head, *keys, bytes_max)
        return Page(read_head(head), states)
