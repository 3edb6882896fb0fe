"""Pages of two generations that go on while they are read: a pair is always of the same events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilestream.operations.comparison import levels
from profilestream.operations.comparison.levels import Levels
from profilestream.store.commits import Head
from profilestream.store.snapshots import Snapshot, StoredProfile

CUSTOMERS = ("a", "b", "c")
TOPICS = ("t", "u")
Record = tuple[str, int, str]
"""Topic, offset, customer."""


class World:
    """Two shards that fold the same log in orders of their own; between two reads each may take some more records."""

    def __init__(self, logs: dict[str, list[str]], draw: Any, ends: tuple[int, int]) -> None:
        self.logs = logs
        self.at = {side: dict.fromkeys(TOPICS, 0) for side in ("live", "other")}
        self.left = dict(zip(("live", "other"), ends, strict=True))
        self.draw = draw

    def read(self, side: str, customer_ids: Sequence[str]) -> Snapshot:
        for one in ("live", "other"):
            for _ in range(min(self.left[one], self.draw(st.integers(0, 2)))):
                open_ = [t for t in TOPICS if self.at[one][t] < len(self.logs[t])]
                if open_:
                    self.at[one][self.draw(st.sampled_from(open_))] += 1
                    self.left[one] -= 1
        positions = dict(self.at[side])
        profiles = []
        for customer_id in customer_ids:
            own = [(t, n) for t in TOPICS for n in range(positions[t]) if self.logs[t][n] == customer_id]
            fields = {"_revision": str(len(own)).encode(), "events": repr(own).encode()} if own else {}
            profiles.append(StoredProfile(customer_id, fields, None, None, {}))
        return Snapshot(Head(commit=repr(positions), positions=positions), profiles)


class Simulated(Levels):
    """Levels on such a world: `keys` is the side."""

    def __init__(self, world: World) -> None:
        super().__init__(cast(Any, None), cast(Any, "live"), cast(Any, "other"))
        self._world = world

    async def _read(self, keys: Any, customer_ids: Sequence[str]) -> Snapshot:
        return self._world.read(keys, customer_ids)


logs = st.fixed_dictionaries({t: st.lists(st.sampled_from(CUSTOMERS), max_size=8) for t in TOPICS})


@given(logs, st.data(), st.integers(0, 20), st.integers(0, 20))
def test_a_pair_is_of_the_same_events_and_everybody_is_accounted_for(
    logs: dict[str, list[str]], data: st.DataObject, live: int, other: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "_LOOK_S", 0)
        patch.setattr(levels, "STILL_S_MAX", 0.002)
        patch.setattr(levels, "ROUNDS_MAX", data.draw(st.sampled_from((1, 2, 5))))
        page = asyncio.run(Simulated(World(logs, data.draw, (live, other))).page(CUSTOMERS))
    for one, two in page.pairs:
        assert (one.customer_id, one.fields) == (two.customer_id, two.fields)
    told = sorted([one.customer_id for one, _ in page.pairs] + page.moving + page.behind)
    assert told == sorted(CUSTOMERS)


def test_a_shard_that_stays_behind_is_waited_for_once_and_customers_are_left_out() -> None:
    world = World({"t": ["a", "b"], "u": []}, lambda strategy: 0, (0, 0))
    world.at["live"]["t"] = 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "STILL_S_MAX", 0.002)
        simulated = Simulated(world)
        page = asyncio.run(simulated.page(CUSTOMERS))
        assert (page.behind, page.pairs, simulated.stuck) == (list(CUSTOMERS), [], True)
        patch.setattr(levels, "STILL_S_MAX", 60.0)
        assert asyncio.run(simulated.page(CUSTOMERS)).behind == list(CUSTOMERS)
