"""Profiles at hand: those that a shard's updater has folded last; the others are one round trip away."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from profilestream.core.engine import Engine
from profilestream.core.profile import Profile
from profilestream.store.shard_store import ShardStore
from profilestream.wire.states import profile_of


class ProfileCache:
    """Keeps up to `profiles_max` of one updater, whose view of the shard they are: it ends with the updater."""

    def __init__(self, store: ShardStore, engine: Engine, profiles_max: int) -> None:
        self._store = store
        self._engine = engine
        self._profiles_max = profiles_max
        self._cached: OrderedDict[str, Profile] = OrderedDict()

    def get(self, customer_id: str) -> Profile | None:
        """The profile of a customer who does something now, if it is at hand."""
        profile = self._cached.get(customer_id)
        if profile is not None:
            self._cached.move_to_end(customer_id)
        return profile

    async def load(self, missing: Iterable[str], live: bool = True) -> dict[str, Profile]:
        """The profiles of customers that are not at hand, by id: stored ones, or new ones. Raises as the store does.

        Where the cache is full, those for whom time passes (not `live`) do not drive out those who do something.
        """
        wanted = list(missing)
        if not wanted:
            return {}
        cached, found = self._cached, dict[str, Profile]()
        for customer_id, state in zip(wanted, await self._store.load(wanted), strict=True):
            profile = found[customer_id] = profile_of(customer_id, state, self._engine)
            if live or len(cached) < self._profiles_max:
                cached[customer_id] = profile
        while len(cached) > self._profiles_max:
            # Safe while commits are in flight: a later load comes behind them on the same connection.
            cached.popitem(last=False)
        return found

    def replace(self, profiles: Mapping[str, Profile]) -> None:
        """Other profiles stand for these customers now; of those at hand, the former ones are let go."""
        self._cached |= {c: profile for c, profile in profiles.items() if c in self._cached}

    async def look_up(self, customers: Iterable[str]) -> dict[str, Profile]:
        """The profiles of customers for whom time passes, at hand or loaded, in their order."""
        wanted = list(customers)
        found = {c: self._cached[c] for c in wanted if c in self._cached}
        found |= await self.load([c for c in wanted if c not in found], live=False)
        return {c: found[c] for c in wanted}
