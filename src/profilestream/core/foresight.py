"""What time alone will change next in a profile, and when: found by letting it pass over a copy of little.

A profile's own instants (`due`) are those at which anything inside it moves: a tile leaves a window, an event enters
one, `since(t)` passes a threshold. At many of them nothing changes that anybody sees: the greatest of thirty days stays
the greatest, `orders >= 2 and since(...)` fails all the same. Waking a profile for those is waste, so its timer is set
at the first instant that shows. The rest happens, at its own time, whenever the profile is looked at next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from profilestream.core import aggregates as agg
from profilestream.core import expressions as x
from profilestream.core.definitions import Trait
from profilestream.core.index import Index, Probe
from profilestream.core.memberships import Foreseen, Memberships
from profilestream.core.profile import Profile
from profilestream.core.readout import Differs
from profilestream.core.slots import Slots
from profilestream.core.words import NEVER

INSTANTS_MAX: Final = 8
"""So many of a profile's instants are looked at; where none of them shows, it wakes at the last one all the same."""

MERGED_MAX: Final = 4_000
"""So many parts of states are merged for one look, about: half a millisecond. A profile of which an instant would take
more, with the different values of a month of busy days, wakes at that instant without a look."""

DRAIN_MS_MAX: Final = 3_600_000
"""How long many profiles that are due at one instant are taken to keep a shard busy, at most."""


class Due(NamedTuple):
    """When time alone changes something next (ms; NEVER where nothing is to come).

    Before `wake` no value and no membership changes with no event. `urgent` is where a membership is expected to
    change: at `wake`, or so soon after it that it might wait behind others. An expectation that is wrong costs the
    order in which profiles have their turn, nothing else.
    """

    wake: int
    urgent: int


NOTHING: Final = Due(NEVER, NEVER)


class Foresight:
    """Looks ahead in the profiles of one engine.

    `fed` are the slots that segments read, `probe` is the index's for what time moves, `differs` makes what compares
    the values of some traits with what was written.
    """

    def __init__(
        self,
        slots: Slots,
        index: Index,
        memberships: Memberships,
        traits: Sequence[Trait],
        fed: set[int],
        probe: Probe,
        differs: Callable[[list[tuple[int, x.Node]]], Differs],
    ) -> None:
        self._slots = slots
        self._copied = index.copied
        self._memberships = memberships
        self._fed = fed
        self._probe = probe
        self._compile = differs
        self._bare: set[int] = set()
        self._readers: dict[int, list[tuple[int, x.Node]]] = {}
        self._differs: dict[int, Differs] = {}
        moving = {s.index for s in slots.all if s.moves}
        self._missed = {
            s.index: s.aggregate.missed for s in slots.all if type(s.aggregate).missed is not agg.Aggregate.missed
        }
        for number, trait in enumerate(traits):
            for place in {slots.by_node[a].index for a in x.aggregates(trait.node)} & moving:
                self._readers.setdefault(place, []).append((number, trait.node))
                if isinstance(trait.node, x.Aggregate) and _is_its_state(slots.all[place].aggregate):
                    self._bare.add(place)

    def of(self, profile: Profile) -> Due:
        """What is next for a profile of which `written` has the values of now."""
        at = profile.due
        if at >= NEVER:
            return NOTHING
        windows_at, held_at = profile.window_due, profile.held_due
        slots, positions, flips = profile.slots, profile.positions, profile.flips
        clocked_dues, merged = self._slots.clocked_dues(profile, profile.as_of), 0
        for _ in range(INSTANTS_MAX):
            shows, concerns = False, True
            if windows_at <= at:
                merged += self._slots.preview_cost(profile, at)
                if merged > MERGED_MAX:
                    return Due(at, at)
                moved = self._slots.preview(profile, at, clocked_dues)
                concerns = not self._fed.isdisjoint(moved)
                shows = self._shows(profile.slots, moved)
                if concerns or not shows:
                    slots = profile.slots.copy()
                    for place, state in moved.items():
                        slots[place] = state
                    shows = shows or self._seen(profile, slots, at, moved)
                concerns = concerns or held_at <= at or min(flips, default=NEVER) <= at
            if concerns:
                if flips is profile.flips:
                    positions, flips = self._copied(positions), flips.copy()
                met = self._met(profile, slots, positions, flips, at)
                if "crosses" in met:
                    return Due(at, at)
                shows = shows or "waits" in met
            if shows:
                return Due(at, self._soon(profile, slots, positions, flips, at))
            if windows_at <= at:
                clocked_dues = self._slots.clocked_dues(profile, at, clocked_dues)
                windows_at = min((self._slots.window_due_after(profile, at), *clocked_dues.values()))
            if held_at <= at:
                held_at = self._memberships.held_after(profile, at)
            following = min(windows_at, held_at, min(flips, default=NEVER))
            if following >= NEVER:
                return NOTHING
            at = following
        return Due(at, NEVER)

    def _shows(self, slots: list[Any], moved: dict[int, Any]) -> bool:
        """Whether a trait that is one slot's state and nothing else changes: the cheap and frequent case."""
        bare = self._bare
        for place, state in moved.items():  # noqa: SIM110 - a generator costs more than the rest of it
            if place in bare and state != slots[place]:
                return True
        return False

    def _seen(self, profile: Profile, slots: list[Any], at: int, moved: Iterable[int]) -> bool:
        """Whether any trait that reads these slots differs from what was written, or what did not fit into them."""
        written = profile.written
        assert written is not None
        for place in moved:
            if place in self._readers:
                missed = self._missed.get(place)
                if missed is not None and missed(slots[place]) != missed(profile.slots[place]):
                    return True
                differs = self._differs.get(place)
                if differs is None:
                    differs = self._differs[place] = self._compile(self._readers[place])
                if differs(slots, at, written):
                    return True
        return False

    def _met(
        self, profile: Profile, slots: list[Any], positions: list[Any], flips: list[int], at: int
    ) -> set[Foreseen]:
        """Moves on to an instant; gives what the segments do there."""
        suspects: set[int] = set()
        self._probe(slots, positions, flips, at, suspects, True)
        if profile.held_due <= at:
            suspects.update(self._memberships.over(profile, at))
        foreseen = self._memberships.foreseen
        return {foreseen(profile, number, positions, at) for number in suspects}

    def _soon(self, profile: Profile, slots: list[Any], positions: list[Any], flips: list[int], wake: int) -> int:
        """The next instant after `wake` at which `since` passes a threshold, or a waiting is over, with effect, where
        the profile might yet wait its turn then."""
        held_at = profile.held_due if profile.held_due > wake else NEVER
        for _ in range(INSTANTS_MAX):
            at = min(held_at, min(flips, default=NEVER))
            if at > wake + DRAIN_MS_MAX:
                return NEVER
            if flips is profile.flips:
                positions, flips = self._copied(positions), flips.copy()
            if "crosses" in self._met(profile, slots, positions, flips, at):
                return at
            if held_at <= at:
                held_at = self._memberships.held_after(profile, at)
        return NEVER


def _is_its_state(aggregate: agg.Aggregate) -> bool:
    """Whether equal states are equal values and the other way round."""
    return isinstance(aggregate, agg.Count | agg.Min | agg.Max) or (
        isinstance(aggregate, agg.Sum) and aggregate.integral
    )
