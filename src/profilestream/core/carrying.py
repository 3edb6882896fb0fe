"""From a profile under one set of definitions to the same customer's under another: what is unchanged is taken over.

The states of aggregates that both keep are moved to their new places, with their tiles and what an `ago` window does
not see yet. So are remembered ids, the count of events and their newest time. Memberships are moved by name, those of
changed segments too: who is in one stays in until the new conditions say otherwise. Aggregates that only the new
definitions have stay as they are in the profile that takes over. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from profilestream.core.changes_between import Changes
from profilestream.core.engine import Crossing, Engine
from profilestream.core.expressions import Aggregate
from profilestream.core.profile import Profile
from profilestream.core.slots import Slots


class Carrying:
    """Carries profiles of the engine `before` into ones of the engine `after`, whose definitions `changes` compare.

    An engine may watch some segments alone (`Engine`'s `watched`), as long as it watches those that are settled.
    """

    def __init__(self, before: Engine, after: Engine, changes: Changes) -> None:
        self._after = after
        self._places = _places(before.slots, after.slots, changes.kept)
        self._names = frozenset(s.name for s in changes.after.segments)
        self._waiting = frozenset(n for n in self._names if changes.keeps_waiting(n))

    def carry(self, former: Profile, profile: Profile, clock: int) -> Profile:
        """Takes over what is unchanged at the shard's clock (ms), to which `former` has been advanced.

        `profile` is one of the new engine, new or with what was folded for it from the log; it is given back, placed
        at the clock. States are moved, not copied: `former` is used up.
        """
        slots, tiles, pending = self._places
        for old, new in slots:
            profile.slots[new] = former.slots[old]
        for old, new in tiles:
            profile.tiles[new] = former.tiles[old]
        for old, new in pending:
            profile.pending[new] = former.pending[old]
        profile.revision = former.revision
        profile.event_time = former.event_time
        profile.as_of = clock
        profile.ids = former.ids
        profile.known = None
        profile.members = {name: m for name, m in former.members.items() if name in self._names}
        profile.held = {name: since for name, since in former.held.items() if name in self._waiting}
        return self._after.revive(profile)

    def new_profile(self, former: Profile, clock: int) -> Profile:
        """As `carry`, into a profile in which aggregates that only the new definitions have are as with no event."""
        return self.carry(former, self._after.slots.new_profile(former.customer_id), clock)

    def settle(self, profile: Profile, segments: Iterable[str], clock: int) -> list[Crossing]:
        """Looks at segments whose definitions changed, once, from the membership carried; gives who crosses at the
        clock. What is to wait for a dwell begins to wait."""
        crossings: list[Crossing] = []
        self._after.settle(profile, segments, clock, crossings)
        return crossings


def _places(before: Slots, after: Slots, kept: Iterable[Aggregate]) -> tuple[list[Any], list[Any], list[Any]]:
    """Pairs of places, the old and the new one, of the states of these aggregates: in slots, tiles and pending."""
    slots, tiles, pending = [], [], []
    for node in kept:
        old, new = before.by_node[node], after.by_node[node]
        slots.append((old.index, new.index))
        if old.window is not None and new.window is not None:
            tiles.append((old.window.tiles, new.window.tiles))
            if new.window.ago_ms:
                pending.append((old.window.pending, new.window.pending))
    return slots, tiles, pending
