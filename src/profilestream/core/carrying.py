"""Carries profiles from one engine's definitions into another's, without a look at the log. Pure.

What both definitions fold in the same way is taken over as it is: states of aggregates with their tiles and what is
pending, remembered ids, revision, times. So are memberships, with their numbers and what waits. Then the segments that
mean something else are settled anew, from the membership that the customer has: who belongs where by the new
definitions crosses now, all others stay.

An aggregate of which there is nothing to take over is *fresh*: its state comes from the customer's own profile under
the new definitions, folded from the log up to the same positions, or is that of nothing.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from profilestream.core.definitions import Segment
from profilestream.core.engine import Crossing, Engine
from profilestream.core.profile import Membership, Profile
from profilestream.core.slots import Slot
from profilestream.core.unchanged import Unchanged


class Carried(NamedTuple):
    """A profile under the new definitions. `due` are crossings that had fallen due by the former ones, `anew` those
    that the new definitions make, now."""

    profile: Profile
    due: list[Crossing]
    anew: list[Crossing]


class Carrier:
    """From `former` into `new`, two engines with the same limits.

    `fresh` are the slots of the new engine for which the former has no state; `moves_segments` says whether any segment
    has to be settled anew.
    """

    def __init__(self, former: Engine, new: Engine, unchanged: Unchanged | None = None) -> None:
        self._former = former
        self._new = new
        self.unchanged = unchanged or Unchanged(former.definitions, new.definitions)
        self._pairs: list[tuple[Slot, Slot, bool]] = []
        self.fresh: list[Slot] = []
        taken: set[int] = set()
        for slot in new.slots.all:
            node = self.unchanged.state_of(slot.node)
            if node is None:
                self.fresh.append(slot)
                continue
            source = former.slots.by_node[node]
            self._pairs.append((source, slot, source.index in taken))
            taken.add(source.index)
        standings = self.unchanged.segments
        self._known = standings.keys()
        self._held = {s.name for s in new.definitions.segments if self._waits_on(s)}
        self._unsettled = {n for n, s in enumerate(new.definitions.segments) if standings[s.name] != "same"}

    def _waits_on(self, segment: Segment) -> bool:
        """Whether a crossing that waits waits on: its condition is the same, and nobody draws lots anew."""
        before = self._former.definitions.by_segment.get(segment.name)
        if before is None or segment.pacing is None or self.unchanged.segments[segment.name] not in ("same", "alike"):
            return False
        return before.pacing is not None and before.pacing.sample == segment.pacing.sample

    @property
    def moves_segments(self) -> bool:
        return bool(self._unsettled)

    def carry(self, former: Profile, own: Profile | None, now: int) -> Carried:
        """A customer's profile as the new definitions have it at a clock (ms), which is not before either profile's.

        `former` is the profile under the former engine, `own` what the new engine has folded of the customer, if that
        is anything: of it the fresh states are taken. Both are used up. Where nothing is fresh and no segment moves,
        the state is that of `former` to the byte, its clock too.
        """
        due: list[Crossing] = []
        anew: list[Crossing] = []
        stored = own is not None and own.stored
        if own is not None and not own.revision:
            own = None
        if not former.revision:
            return Carried(own or self._numbers_alone(former, stored), due, anew)
        stands_still = not self.fresh and not self._unsettled
        as_of = former.as_of
        if not stands_still:
            self._former.advance(former, now, due)
            if own is not None:
                self._new.advance(own, now, [])
            as_of = now
        profile = self._new.slots.new_profile(former.customer_id)
        for source, slot, shared in self._pairs:
            _take(former, source, profile, slot, shared)
        if own is not None:
            for slot in self.fresh:
                _take(own, slot, profile, slot, False)
        profile.as_of, profile.stored = as_of, stored
        profile.revision, profile.event_time, profile.ids = former.revision, former.event_time, former.ids
        if own is not None:
            # Of types that the former definitions did not read, only the own profile knows.
            profile.revision = max(profile.revision, own.revision)
            profile.event_time = max(profile.event_time, own.event_time)
            profile.ids = self._new.remembered.joined(former.ids, own.ids)
        profile.members = {name: list(m) for name, m in former.members.items() if name in self._known}
        profile.held = {name: since for name, since in former.held.items() if name in self._held}
        self._new.revive(profile)
        if self._unsettled:
            self._new.settle(profile, self._unsettled, now, anew)
        return Carried(profile, [c for c in due if c.segment in self._known], anew)

    def _numbers_alone(self, former: Profile, stored: bool) -> Profile:
        """Of a customer without an event only the last numbers announced are known."""
        profile = self._new.new_profile(former.customer_id)
        profile.members = {name: list(m) for name, m in former.members.items() if name in self._known}
        profile.stored = stored
        return profile


def _take(source: Profile, at: Slot, profile: Profile, slot: Slot, shared: bool) -> None:
    """Takes an aggregate's state over, with its tiles and what is pending; a copy where another slot has it too."""

    def own(state: Any) -> Any:
        return copy.deepcopy(state) if shared else state

    profile.slots[slot.index] = own(source.slots[at.index])
    before, after = at.window, slot.window
    if before is not None and after is not None:
        profile.tiles[after.tiles] = own(source.tiles[before.tiles])
        if before.ago_ms:
            profile.pending[after.pending] = own(source.pending[before.pending])


def moved_memberships(before: dict[str, Membership], after: dict[str, Membership]) -> list[tuple[str, int, bool]]:
    """(segment, since, whether a member) of each membership that readers see change; `since` is 0 for what is gone."""
    moved = []
    for name in sorted(before.keys() | after.keys()):
        had, has = (m.get(name, (0, 0)) for m in (before, after))
        if has[0] % 2 and (not had[0] % 2 or had[1] != has[1]):
            moved.append((name, has[1], True))
        elif had[0] % 2 and not has[0] % 2:
            moved.append((name, 0, False))
    return moved
