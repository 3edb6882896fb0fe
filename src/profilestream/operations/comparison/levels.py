"""Pages of profiles of two generations, read so that both have the same events of each customer.

Both shards go on while they are read. So the live page is read before and behind the other one: where the other shard
lies between the two, and a customer has had no event between them, both profiles are of the same events. Where both
stand still at the same positions, one look is enough. Whoever had an event just then is looked at again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from profilestream.store.connection import AsyncClient
from profilestream.store.keys import ShardKeys
from profilestream.store.snapshots import Snapshot, StoredProfile, read_snapshot

ROUNDS_MAX: Final = 5
WAIT_S_MAX: Final = 20.0
STILL_S_MAX: Final = 3.0
_LOOK_S: Final = 0.05

Positions = Mapping[str, int]


@dataclass(slots=True)
class Page:
    """Customers of whom both profiles are of the same events; `moving` had events all the while, `behind` could not be
    looked at since one of the shards stayed behind the other."""

    pairs: list[tuple[StoredProfile, StoredProfile]] = field(default_factory=list)
    moving: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)


class Levels:
    """One shard of both generations. `stuck` once one of them does not come to where the other is."""

    def __init__(self, client: AsyncClient, live: ShardKeys, other: ShardKeys) -> None:
        self.stuck = False
        self.waited = 0
        """How many pages had to wait."""
        self._client = client
        self._live = live
        self._other = other

    async def page(self, customer_ids: Sequence[str]) -> Page:
        """The pairs of these customers; raises ServerUnavailable."""
        page, left = Page(), list(customer_ids)
        for _ in range(ROUNDS_MAX):
            before = await self._read(self._live, left)
            other = await self._read(self._other, left)
            if _same(before, other):
                page.pairs += zip(before.profiles, other.profiles, strict=True)
                return page
            if self.stuck:
                page.behind += left
                return page
            self.waited += 1
            if _short(other, before.head.positions):
                if not await self._until(self._other, before.head.positions):
                    page.behind += left
                    return page
                other = await self._read(self._other, left)
            if not await self._until(self._live, other.head.positions):
                page.behind += left
                return page
            behind = await self._read(self._live, left)
            still = []
            for first, middle, last in zip(before.profiles, other.profiles, behind.profiles, strict=True):
                if first.fields.get("_revision") == last.fields.get("_revision"):
                    page.pairs.append((last, middle))
                else:
                    still.append(first.customer_id)
            left = still
            if not left:
                return page
        page.moving += left
        return page

    async def _read(self, keys: ShardKeys, customer_ids: Sequence[str]) -> Snapshot:
        return await read_snapshot(self._client, keys, customer_ids, ())

    async def _until(self, keys: ShardKeys, positions: Positions) -> bool:
        """Waits until a shard has come to these positions; False, and stuck from then on, where it does not."""
        deadline_s = time.monotonic() + WAIT_S_MAX
        moved_s, commit = time.monotonic(), ""
        while _short(snapshot := await self._read(keys, ()), positions):
            now_s = time.monotonic()
            if snapshot.head.commit != commit:
                moved_s, commit = now_s, snapshot.head.commit
            if now_s > deadline_s or now_s - moved_s > STILL_S_MAX:
                self.stuck = True
                return False
            await asyncio.sleep(_LOOK_S)
        return True


def _same(one: Snapshot, other: Snapshot) -> bool:
    """Whether both shards are at the same place in every topic that both read."""
    common = one.head.positions.keys() & other.head.positions.keys()
    return all(one.head.positions[topic] == other.head.positions[topic] for topic in common)


def _short(snapshot: Snapshot, positions: Positions) -> bool:
    """Whether a shard is behind these positions in a topic that it reads."""
    own = snapshot.head.positions
    return any(own[topic] < positions[topic] for topic in own.keys() & positions.keys())
