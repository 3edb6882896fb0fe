"""A comparison of a condition, and the group of all those that compare the same expression with something.

For each expression a profile has one *position* (`places`): a number, -1 where the expression is absent. What positions
are there, which of them make a comparison true, and who looks at one that moves, is the group's own (`groups.py`).

A segment that is an `and` of several comparisons names one of them as *guard*: a comparison for which few profiles
stand, such as equality with a word. The others are looked at only while the guard may be true: where it is false before
and after, so is the `and`; and where the guard itself changes, it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from profilestream.core.events import FACTS
from profilestream.core.expressions import Node

ABSENT: Final = -1

FACT_IS_KEPT: Final = 20
"""How much better than what events change all the time a fact of a customer is as a guard."""

Guard = tuple["Group", tuple[Any, ...]]
"""A group, and those of its tokens under which the guarding comparison may be true."""


@dataclass(frozen=True, slots=True, eq=False)
class Atom:
    """One comparison, `not` applied already: of a group's expression (for a map: of one key's) with a constant."""

    group: Group
    op: str
    constant: Any
    key: str = ""


class Group:
    """One expression of the index. `types` and `clock` say what may move it: events of which types, time alone."""

    absent: Any = ABSENT
    stands_for_one = True
    """Whether a profile stands for one token at a time, which is then its position."""
    timed = False
    """Whether positions are on a line of time: then `flip` is the place of the instant at which one moves next."""

    def __init__(self, node: Node, place: int) -> None:
        self.node = node
        self.place = place
        self.flip = -1
        self.types: frozenset[str] = frozenset()
        self.clock = False

    def ask(self, atom: Atom) -> None:
        """Notes what a comparison asks for, before `order`."""
        raise NotImplementedError

    def order(self) -> None:
        """Once every comparison has asked."""

    def own(self, atom: Atom, segment: int, guard: Guard | None) -> None:
        """Notes that a segment looks at a comparison, after `order` and before `close`."""
        raise NotImplementedError

    def close(self) -> None:
        """Once every segment has said what it owns."""

    def test(self, atom: Atom) -> tuple[str, tuple[Any, ...]]:
        """The comparison's truth from positions `q`: source with {} for each argument, and the arguments."""
        raise NotImplementedError

    def tokens(self, atom: Atom) -> tuple[Any, ...] | None:
        """The tokens of which one is `active` whenever the comparison is true; None where that says too little."""
        return None

    def active(self, position: Any, asked: Mapping[Any, Any]) -> Iterable[Any]:
        """The tokens for which a profile stands, as far as they are asked for, where it may stand for several."""
        return (position,)

    @property
    def variety(self) -> int:
        """How many tokens there are; the more, the fewer profiles stand for one."""
        return 0

    @property
    def rarity(self) -> int:
        """How good a guard the group gives: few profiles stand for one of its tokens, and these seldom change."""
        return self.variety * (FACT_IS_KEPT if self.types == {FACTS} else 1)
