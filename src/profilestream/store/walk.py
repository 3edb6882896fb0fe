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


class Untold(NamedTuple):
    """A change that subscribers have not been told: its place in the outbox ("" in `repairs`), and the number that was
    announced last before it."""

    place: str
    customer: bytes
    segment: str
    before: int


class Page(NamedTuple):
    """States of the first of the customers asked for, None for one who is gone, and the shard's head at that time;
    `untold` as it was asked for."""

    head: Head
    states: list[bytes | None]
    untold: list[Untold]


class ShardWalk:
    """Reads one shard, on a connection to the server that has its slot; raises ServerUnavailable when that is lost."""

    def __init__(self, pipeline: PipelinedConnection, keys: ShardKeys) -> None:
        self._pipeline = pipeline
        self._keys = keys

    async def customers(self, after: str = "") -> list[bytes]:
        """The ids of all customers, in UTF-8, in order; only those behind `after`."""
        found, least = set[bytes](), after.encode()
        cursor = b"0"
        while True:
            cursor, names = await self._pipeline.send("SSCAN", self._keys.customers, cursor, "COUNT", CUSTOMERS_A_STEP)
            found.update(name for name in names if name > least)
            if cursor == b"0":
                return sorted(found)

    async def page(
        self,
        customers: Sequence[bytes],
        bytes_max: int,
        changes_max: int = 0,
        known: str = "0-0",
        segments: Sequence[str] = (),
    ) -> Page:
        """States of as many of these as weigh no more than that together, one at least.

        Of changes that wait in the outbox behind the `known` one, of whatever customers, `untold` has `changes_max` at
        most; of a shard in repair also what is kept of these customers' memberships in `segments`.
        """
        keys = self._keys
        states: list[Any] = [keys.state_prefix.encode() + customer for customer in customers]
        named: list[Any] = [len(segments), *segments, *(customers if segments else ())]
        head, untold, *found = await self._pipeline.send(
            "EVAL", STATES, 3 + len(states), keys.head, keys.outbox, keys.repairs, *states,
            bytes_max, changes_max, known, *named,
        )  # fmt: skip
        at = iter(untold)
        return Page(
            read_head(head),
            found,
            [Untold(p.decode(), c, s.decode(), int(n)) for p, c, s, n in zip(at, at, at, at, strict=True)],
        )
