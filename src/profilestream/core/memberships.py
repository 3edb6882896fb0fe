"""Memberships: evaluates the segments that may have changed, and moves the customer into them and out of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, Final, Literal, NamedTuple

from profilestream.core import expressions as x
from profilestream.core.definitions import Definitions
from profilestream.core.dependence import by_dependence
from profilestream.core.index import Index
from profilestream.core.pacing import Pacing, is_sampled
from profilestream.core.profile import Membership, Profile
from profilestream.core.readout import Local, Read, compile_read
from profilestream.core.slots import Slots
from profilestream.core.words import NEVER

_NEVER_IN: Final = (0, 0)

Foreseen = Literal["", "waits", "crosses"]
"""What an instant does about a segment: nothing, its waiting begins or is broken off, the customer crosses."""


class Crossing(NamedTuple):
    """One customer's entering (`crossing` odd) or leaving of a segment; `at` is the clock in ms, `event` the cause."""

    segment: str
    crossing: int
    at: int
    values: dict[str, Any]
    event: Any


@dataclass(slots=True)
class _Judge:
    """One segment: its conditions, and the traits whose values its changes carry; `holds` is for `evaluate` alone."""

    name: str
    enter: x.Node
    leave: x.Node | None
    named: tuple[str, ...]
    pacing: Pacing | None = None
    holds: Read | None = None


class Memberships:
    """The segments of a set of definitions; whether their conditions hold is read off the places in the index."""

    def __init__(self, definitions: Definitions, slots: Slots, local: Local, index: Index) -> None:
        self._definitions = definitions
        self._slots = slots
        self._local = local
        self._judges = [_Judge(s.name, s.enter, s.exit, s.named_traits, s.pacing) for s in definitions.segments]
        self._numbers = {s.name: n for n, s in enumerate(definitions.segments)}
        self._index = index
        self._order = self._by_dependence()
        self._ranks = sorted(range(len(self._order)), key=self._order.__getitem__)
        self._read_trait: dict[str, Read] = {}

    def settle(self, profile: Profile, suspects: set[int], now: int, crossings: list[Crossing], cause: Any) -> None:
        """Evaluates the segments that may have changed, each behind those that it names, and those that follow it
        when it crosses; crossings come in the file's order."""
        if not self._index.inside:
            crossed = [number for number in suspects if self._crosses(profile, number, now)]
        else:
            crossed = self._cross_in_order(profile, suspects, now)
        if profile.held_due <= now:
            profile.held_due = self.first_held(profile)
        if crossed:
            profile.packed_members = None
        known: dict[str, Any] = {}
        for number in sorted(crossed):
            judge = self._judges[number]
            values = self._values(judge, profile, now, known)
            crossings.append(Crossing(judge.name, profile.members[judge.name][0], now, values, cause))

    def _cross_in_order(self, profile: Profile, suspects: set[int], now: int) -> list[int]:
        crossed, inside = [], self._index.inside
        waiting = [self._ranks[number] for number in suspects]
        heapify(waiting)
        while waiting:
            number = self._order[heappop(waiting)]
            if not self._crosses(profile, number, now):
                continue
            crossed.append(number)
            name = self._judges[number].name
            if name in inside:
                followers: set[int] = set()
                inside[name].turn(profile.members[name][0] % 2 == 1, profile.positions, followers)
                for follower in followers - suspects:
                    heappush(waiting, self._ranks[follower])
                suspects |= followers
        return crossed

    def _crosses(self, profile: Profile, number: int, now: int) -> bool:
        """Looks at one segment and, where it is time, moves the customer into or out of it."""
        judge, members = self._judges[number], profile.members
        enter, leave = self._index.holds(number, profile.positions)
        membership = members.get(judge.name)
        crosses = leave if membership is not None and membership[0] % 2 else enter and not leave
        if judge.pacing is not None:
            crosses = self._in_time(profile, judge, judge.pacing, crosses, now)
        if crosses:
            members[judge.name] = [1 if membership is None else membership[0] + 1, now]
        return crosses

    def foreseen(self, profile: Profile, number: int, places: list[Any], now: int) -> Foreseen:
        """What `settle` would do about one segment at places in the index and a clock that are yet to come."""
        judge = self._judges[number]
        enter, leave = self._index.holds(number, places)
        membership = profile.members.get(judge.name)
        crosses = leave if membership is not None and membership[0] % 2 else enter and not leave
        if judge.pacing is None:
            return "crosses" if crosses else ""
        waits = judge.name in profile.held
        if not self._may_cross(profile, judge.name, judge.pacing, crosses):
            return "waits" if waits else ""
        if judge.pacing.crosses_at(membership, profile.held.get(judge.name, now)) <= now:
            return "crosses"
        return "" if waits else "waits"

    def place(self, profile: Profile) -> None:
        """Completes the places of a profile that was read: where it is in which segment, what waits."""
        for name, group in self._index.inside.items():
            profile.positions[group.place] = profile.members.get(name, _NEVER_IN)[0] % 2 == 1
        profile.held_due = self.first_held(profile)

    def evaluate(self, profile: Profile, now: int) -> list[str]:
        """The segments that the profile belongs in at a clock, by looking at every one of them.

        What `held` says is taken as true: since when a condition holds cannot be seen from the present alone.
        """
        found: dict[str, Membership] = {}
        for number in self._order:
            judge = self._judges[number]
            enter, leave = (judge.holds or self._judge(judge))(profile.slots, now, found)
            membership = profile.members.get(judge.name)
            inside = membership is not None and membership[0] % 2 == 1
            crosses = leave if inside else enter and not leave
            if judge.pacing is not None:
                crosses = self._may_cross(profile, judge.name, judge.pacing, crosses) and (
                    judge.pacing.crosses_at(membership, profile.held.get(judge.name, now)) <= now
                )
            if inside != crosses:
                found[judge.name] = [1, now]
        return [judge.name for judge in self._judges if judge.name in found]

    def reconcile(self, profile: Profile, announced: Mapping[str, int], clock: int) -> list[Crossing] | None:
        """Makes the crossing numbers go on from what subscribers were told; None where nothing had to change.

        `announced` has the last number announced of some segments, 0 where none was. A membership that is what was
        announced takes that number; any other is a crossing that subscribers have yet to hear of, numbered one more,
        now: for them times must not go back, whenever it came about in this history. Of a segment that these
        definitions do not have, those who were told to be in it leave. A customer without an event is in none, and
        keeps numbers.
        """
        crossings = []
        renumbered, differing = self.agree(profile, announced, clock)
        for name in differing:
            number, values = announced[name] + 1, {}
            if name in self._numbers:
                profile.members[name] = [number, clock]
                values = self._values(self._judges[self._numbers[name]], profile, clock, {})
            crossings.append(Crossing(name, number, clock, values, None))
        if not crossings and not renumbered:
            return None
        self._renumbered(profile)
        return crossings

    def agree(self, profile: Profile, announced: Mapping[str, int], clock: int) -> tuple[bool, list[str]]:
        """Gives memberships that are what was announced the announced number: whether that changed any, and the names
        of the segments of which it is not so; first those that these definitions do not have, then in their order."""
        members, renumbered = profile.members, False
        differing = [name for name in sorted(announced.keys() - self._numbers.keys()) if announced[name] % 2]
        for name in sorted(announced.keys() & self._numbers.keys(), key=self._numbers.__getitem__):
            number, since = members.get(name, (0, clock))
            if number % 2 != announced[name] % 2:
                differing.append(name)
            elif number != announced[name]:
                renumbered = True
                members[name] = [announced[name], since]
        if renumbered:
            self._renumbered(profile)
        return renumbered, differing

    def _renumbered(self, profile: Profile) -> None:
        profile.members = {name: of for name, of in profile.members.items() if of[0] or self._cools(name)}
        profile.packed_members = None
        profile.held_due = self.first_held(profile)  # a cooldown counts from the leaving that subscribers know

    def _cools(self, name: str) -> bool:
        """Whether a leaving is kept of which no number is left: its own time still keeps the customer out."""
        number = self._numbers.get(name)
        pacing = None if number is None else self._judges[number].pacing
        return pacing is not None and pacing.cooldown_ms > 0

    def of_nobody(self, places: list[Any]) -> set[int]:
        """The numbers of the segments whose conditions for entering hold at the places of a profile with no event."""
        found = set()
        for number in range(len(self._judges)):
            enter, leave = self._index.holds(number, places)
            if enter and not leave:
                found.add(number)
        return found

    # What waits

    def _in_time(self, profile: Profile, judge: _Judge, pacing: Pacing, holds: bool, now: int) -> bool:
        """Whether the crossing comes now; if its condition holds but must hold longer, since when is remembered."""
        name, held, membership = judge.name, profile.held, profile.members.get(judge.name)
        if not self._may_cross(profile, name, pacing, holds):
            if name in held and pacing.crosses_at(membership, held.pop(name)) <= profile.held_due:
                profile.held_due = now  # the next one is looked for when all are settled
            return False
        at = pacing.crosses_at(membership, held.get(name, now))
        if at <= now:
            held.pop(name, None)
            return True
        if name not in held:
            held[name] = now
            profile.held_due = min(profile.held_due, at)
        return False

    def _may_cross(self, profile: Profile, name: str, pacing: Pacing, holds: bool) -> bool:
        """Whether the condition of the next crossing holds; nobody who is not in the sample enters."""
        if not holds or pacing.sample is None or name in profile.held or profile.members.get(name, _NEVER_IN)[0] % 2:
            return holds
        return is_sampled(name, profile.customer_id, pacing.sample)

    def _held(self, profile: Profile) -> Iterator[tuple[int, int]]:
        """(instant, segment's number) of each crossing that waits for time alone."""
        for name, since in profile.held.items():
            number = self._numbers.get(name)
            if number is not None and (pacing := self._judges[number].pacing) is not None:
                yield pacing.crosses_at(profile.members.get(name), since), number

    def first_held(self, profile: Profile) -> int:
        return min((at for at, _ in self._held(profile)), default=NEVER)

    def held_after(self, profile: Profile, now: int) -> int:
        """The first instant after `now` at which a waiting of now is over."""
        return min((at for at, _ in self._held(profile) if at > now), default=NEVER)

    def over(self, profile: Profile, now: int) -> list[int]:
        """The segments whose waiting is over at an instant."""
        return [number for at, number in self._held(profile) if at <= now]

    # Inside

    def _by_dependence(self) -> list[int]:
        """All segments, each behind those that it names."""
        if not self._index.inside:
            return list(range(len(self._judges)))
        return [self._numbers[n] for n in by_dependence({s.name: s.named_segments for s in self._definitions.segments})]

    def _judge(self, judge: _Judge) -> Read:
        """Compiles a segment's conditions as they stand."""
        leave = judge.leave if judge.leave is not None else x.Not(judge.enter)
        read = compile_read((judge.enter, leave), self._slots, self._local)
        if judge.leave is None:
            judge.holds = lambda slots, now, members: ((e := read(slots, now, members)[0] is True), not e)
        else:
            judge.holds = lambda slots, now, members: tuple(v is True for v in read(slots, now, members))
        return judge.holds

    def _values(self, judge: _Judge, profile: Profile, now: int, known: dict[str, Any]) -> dict[str, Any]:
        """The traits that a segment names, as readers see them; those that were read at this instant are `known`."""
        for name in judge.named:
            if name not in known:
                read = self._read_trait.get(name)
                if read is None:
                    node = self._definitions.by_trait[name].node
                    read = self._read_trait[name] = compile_read((node,), self._slots, self._local, shown=True)
                known[name] = read(profile.slots, now, profile.members)[0]
        return {name: value for name in judge.named if (value := known[name]) is not None}
