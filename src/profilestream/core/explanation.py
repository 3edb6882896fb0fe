"""Why a customer is in a segment, or is not: its conditions with their values, and when time alone changes it.

A condition of a file is taken apart into its leaves (`leaves`); the fewest of them that would have to turn say what
the answer hangs on (`ways`). Pure, and the profile that is explained is left as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from profilestream.core.conditions import Condition, Part, read_conditions
from profilestream.core.definitions import Segment
from profilestream.core.engine import Engine
from profilestream.core.expressions import Node
from profilestream.core.leaves import Leaf, Tree, take_apart
from profilestream.core.outlook import STEPS_MAX, Outlook, look_ahead
from profilestream.core.pacing import Pacing, is_sampled
from profilestream.core.profile import Profile
from profilestream.core.ways import Way, nearest_way

WATCHED_MAX: Final = 100
"""Of so many segments at once it is also looked when time turns each condition."""

_AT_ONCE: Final = 200
"""Segments whose conditions are read by one compiled function."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One customer and one segment at the clock `at` (ms).

    `crossing` is the number of the last crossing and `crossed_at` its time (ms); 0 and None without one. `enters` and
    `leaves` say whether `enter` and `exit` hold (without `exit`: whether `enter` does not). `changes_at` (ms) is
    when time alone next changes the membership. None: it does not, if `looked_until` is None too; else the search
    was ended at that instant by its limit. `because` are the conditions that time will have turned by then (none where
    something else does it). The conditions that `decide` are the nearest way to another answer, for a member out, for
    others in; `one_of_several`: other ways are as good, or longer.

    With `pacing`: `held_since` (ms) is since when the condition of the next crossing (entering, or for a member
    leaving) holds, where the crossing waits for its dwell or for the end of a cooldown; `crosses_at` (ms) is when it
    then comes, if the condition holds on. Before `cools_until` (ms; None: no cooldown now) one who left cannot enter.
    `sampled` says whether the customer is in the segment's sample (None: it takes everybody).
    """

    segment: str
    at: int
    member: bool
    crossing: int
    crossed_at: int | None
    enters: bool
    leaves: bool
    enter: tuple[Condition, ...]
    exit: tuple[Condition, ...]
    changes_at: int | None
    looked_until: int | None = None
    because: tuple[str, ...] = ()
    one_of_several: bool = False
    pacing: Pacing | None = None
    held_since: int | None = None
    crosses_at: int | None = None
    cools_until: int | None = None
    sampled: bool | None = None

    @property
    def since(self) -> int | None:
        """When a member entered (ms)."""
        return self.crossed_at if self.member else None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The leaves of `enter`, then those of `exit`, as the file has them."""
        return self.enter + self.exit


def explain_segment(engine: Engine, profile: Profile, segment_name: str, clock: int) -> Explanation:
    """The explanation of one segment at a clock (ms), once everything due by then has happened.

    Where the profile's own clock is later, that one is taken. Raises KeyError for a segment that the definitions
    do not have.
    """
    return explain_segments(engine, profile, clock, [segment_name])[0]


def explain_segments(
    engine: Engine, profile: Profile, clock: int, names: Iterable[str] | None = None, steps_max: int = STEPS_MAX
) -> list[Explanation]:
    """The explanations of the named segments (None: of all, in the file's order), as `explain_segment`.

    Of more than `WATCHED_MAX` segments no condition's own instant is looked for (`turns_at`, `because`).
    """
    clock = max(clock, profile.as_of)
    present = at_clock(engine, profile, clock)
    known = engine.definitions.by_segment
    segments = engine.definitions.segments if names is None else [known[name] for name in names]
    taken = [_Taken(segment) for segment in segments]
    watched = {t.segment.name: t.leaves for t in taken} if len(taken) <= WATCHED_MAX else {}
    outlook = look_ahead(engine, present, [s.name for s in segments], watched, steps_max)
    found: list[Explanation] = []
    for first in range(0, len(taken), _AT_ONCE):
        some = taken[first : first + _AT_ONCE]
        conditions = iter(read_conditions(engine, present, [leaf for t in some for leaf in t.parted()], clock))
        wholes = iter(engine.read(tuple(whole for t in some for whole in t.wholes()), present, clock))
        for one in some:
            mine = [next(conditions) for _ in one.leaves]
            holds = [next(wholes) is True for _ in one.wholes()]
            found.append(_explain(present, one, clock, mine, holds, outlook))
    return found


def at_clock(engine: Engine, profile: Profile, clock: int) -> Profile:
    """A copy of the profile on which everything has happened that time alone brings by the clock (ms)."""
    present = copy.deepcopy(profile)
    engine.advance(present, clock, [])
    return present


class _Taken:
    """A segment taken apart: the leaves of `enter`, then those of `exit`, and how each of the two is joined."""

    def __init__(self, segment: Segment) -> None:
        (enter_text, leave_text), (enter, leave) = segment.texts, segment.conditions
        self.segment = segment
        self.leaves, self.enter = take_apart(enter_text, enter)
        self.entering, self.exit = len(self.leaves), None
        if leave_text and leave is not None:
            leaving, self.exit = take_apart(leave_text, leave)
            self.leaves += leaving

    def parted(self) -> Iterator[tuple[Part, Leaf]]:
        return (("enter" if n < self.entering else "exit", leaf) for n, leaf in enumerate(self.leaves))

    def wholes(self) -> tuple[Node, ...]:
        leave = self.segment.exit
        return (self.segment.enter,) if leave is None else (self.segment.enter, leave)

    def way(self, conditions: list[Condition], member: bool) -> Way:
        """The nearest way out for a member, in for anybody else."""
        enter = _way(self.enter, conditions[: self.entering], not member)
        if self.exit is None:
            return enter
        leave = _way(self.exit, conditions[self.entering :], member)
        leave = replace(leave, turned=tuple(n + self.entering for n in leave.turned))
        return leave if member else enter.and_also(leave)


def _reasons(taken: _Taken, member: bool, outlook: Outlook) -> list[int]:
    """The leaves that bring the change: a member leaves by those of `exit`, where there is one."""
    turned = outlook.because.get(taken.segment.name, ())
    return [n for n in turned if taken.exit is None or not member or n >= taken.entering]


def _way(tree: Tree, conditions: list[Condition], wanted: bool) -> Way:
    return nearest_way(tree, [c.helps is True for c in conditions], [c.weight for c in conditions], wanted)


def _explain(
    profile: Profile, taken: _Taken, clock: int, conditions: list[Condition], holds: list[bool], outlook: Outlook
) -> Explanation:
    name = taken.segment.name
    crossing, crossed_at = profile.members.get(name, (0, None))
    member = crossing % 2 == 1
    way = taken.way(conditions, member)
    conditions = [
        replace(one, decides=n in way.turned, turns_at=outlook.turns.get((name, n))) for n, one in enumerate(conditions)
    ]
    changes_at = outlook.changes.get(name)
    pacing, membership = taken.segment.pacing or Pacing(), profile.members.get(name)
    held_since, cools_until = profile.held.get(name), pacing.cools_until(membership)
    return Explanation(
        segment=name,
        at=clock,
        member=member,
        crossing=crossing,
        crossed_at=crossed_at if crossing else None,
        enters=holds[0],
        leaves=holds[1] if len(holds) > 1 else not holds[0],
        enter=tuple(conditions[: taken.entering]),
        exit=tuple(conditions[taken.entering :]),
        changes_at=changes_at,
        looked_until=None if changes_at is not None else outlook.looked_until,
        because=tuple(dict.fromkeys(conditions[n].text for n in _reasons(taken, member, outlook))),
        one_of_several=way.one_of_several,
        pacing=taken.segment.pacing,
        held_since=held_since,
        crosses_at=None if held_since is None else pacing.crosses_at(membership, held_since),
        cools_until=None if cools_until is None or cools_until <= clock else cools_until,
        sampled=None if pacing.sample is None else is_sampled(name, profile.customer_id, pacing.sample),
    )
