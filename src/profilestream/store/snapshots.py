"""Customers as they stand in Redis, with the head of their shard at the same instant. Only read.

A profile is what folding the log up to the head's positions has made of it; read apart they would not belong together.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .commits import Head, read_head
from .connection import AsyncClient, reaching
from .keys import ShardKeys
from .outbox import script

SNAPSHOT: Final = script("snapshot")
CUSTOMERS_A_PAGE: Final = 100
SCORES_A_PAGE: Final = 20_000
"""Customers times segments that one call looks up: some milliseconds of Redis's time."""
KEYS_A_STEP: Final = 1_000


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """One customer: the readable hash (empty: none), the state, the timer (ms), by segment the time of entering that
    the sorted set of members has (ms), and whether the shard's set of customers has the name."""

    customer_id: str
    fields: Mapping[str, bytes]
    state: bytes | None
    timer: int | None
    entered: Mapping[str, int]
    named: bool = True

    @property
    def is_there(self) -> bool:
        """Whether there is a profile. A state alone may keep the numbers of crossings that were announced once."""
        return bool(self.fields)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A page of customers, in the order in which they were asked for, at the shard's head."""

    head: Head
    profiles: list[StoredProfile]


async def read_snapshot(
    client: AsyncClient, keys: ShardKeys, customer_ids: Sequence[str], segments: Sequence[str]
) -> Snapshot:
    """The customers, with all memberships of the named segments; one call. Raises ServerUnavailable."""
    names = [keys.head, keys.timers, keys.customers, *(keys.segment(name) for name in segments)]
    for customer_id in customer_ids:
        names += (keys.profile(customer_id), keys.state(customer_id))
    with reaching(client):
        reply: Any = await client.eval(SNAPSHOT, len(names), *names, len(segments), *customer_ids)
    head, found, scores = reply
    profiles = []
    for number, (customer_id, (flat, state, timer, named)) in enumerate(zip(customer_ids, found, strict=True)):
        entered = {
            name: int(own[number]) for name, own in zip(segments, scores, strict=False) if own[number] is not None
        }
        fields = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
        at = None if timer is None else int(timer)
        profiles.append(StoredProfile(customer_id, fields, state, at, entered, bool(named)))
    return Snapshot(read_head(head), profiles)


async def snapshots(
    client: AsyncClient, keys: ShardKeys, customer_ids: Sequence[str], segments: Sequence[str]
) -> AsyncIterator[Snapshot]:
    """The customers page by page, each page at its own instant; raises ServerUnavailable."""
    size = max(1, min(CUSTOMERS_A_PAGE, SCORES_A_PAGE // max(1, len(segments))))
    for start in range(0, len(customer_ids), size):
        yield await read_snapshot(client, keys, customer_ids[start : start + size], segments)


async def customers_of(client: AsyncClient, keys: ShardKeys) -> AsyncIterator[str]:
    """The id of everybody in a shard's set of customers; who comes meanwhile may be left out, and some told twice."""
    with reaching(client):
        async for name in client.sscan_iter(keys.customers, count=KEYS_A_STEP):
            yield (name if isinstance(name, bytes) else name.encode()).decode()


async def profiles_of(client: AsyncClient, keys: ShardKeys) -> AsyncIterator[str]:
    """The id of everybody in a shard who has a profile, by a walk over all keys of Redis, whatever the set says."""
    prefix = keys.profile_prefix.encode()
    with reaching(client):
        async for key in client.scan_iter(match=f"{keys.profile_prefix}*", count=KEYS_A_STEP):
            name: Any = key if isinstance(key, bytes) else key.encode()
            yield name.removeprefix(prefix).decode()
