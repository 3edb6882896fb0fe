"""The kinds of groups: where the value of an expression lies for a profile, and who looks at that.

When a profile's position in a group moves, the segments are found whose comparisons may have another truth than before:

    Ordered   constants cut a line (`lines.py`), on which numbers or strings lie
    Timed     `now - time` on such a line: i cuts passed; the next one ahead is the instant at which to look again
    Equal     the number of the value in a table of the words that segments ask for; 0 is every other value
    Members   the numbers of the elements of a list, or of the keys of an object, that segments ask for; None is absent
    Inside    whether the customer is in a segment that other segments name
    Keyed     a line for each key of a map that segments ask for (`keyed.py`)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from profilestream.core.expressions import Node
from profilestream.core.index.comparisons import ABSENT, Atom, Group, Guard
from profilestream.core.index.dependents import Dependents
from profilestream.core.index.lines import Line, span_test
from profilestream.core.index.owners import ELEMENTS, ONE, WORDS
from profilestream.core.words import token


class Ordered(Group):
    """Numbers or strings on a line of constants."""

    def __init__(self, node: Node, place: int, timed: bool = False) -> None:
        super().__init__(node, place)
        self.timed = timed
        self.line = Line(timed)
        self._equal: set[Any] = set()

    def ask(self, atom: Atom) -> None:
        self.line.rank[atom.constant] = 0
        if atom.op == "==":
            self._equal.add(atom.constant)

    def order(self) -> None:
        self.line.order()

    def own(self, atom: Atom, segment: int, guard: Guard | None) -> None:
        self.line.own(atom.op, atom.constant, segment, guard)

    def close(self) -> None:
        self.line.dependents.close()

    def test(self, atom: Atom) -> tuple[str, tuple[Any, ...]]:
        return span_test("q[{}]", (self.place,), atom.op, *self.line.span(atom.op, atom.constant))

    def tokens(self, atom: Atom) -> tuple[Any, ...] | None:
        return (self.line.span("==", atom.constant)[0],) if atom.op == "==" else None

    @property
    def variety(self) -> int:
        return len(self._equal)


class Equal(Group):
    """One of the words that segments ask for, by its number."""

    def __init__(self, node: Node, place: int) -> None:
        super().__init__(node, place)
        self.table: dict[Any, int] = {}
        self.dependents = Dependents(WORDS)

    def ask(self, atom: Atom) -> None:
        for word in atom.constant:
            self.table.setdefault(word, len(self.table) + 1)

    def _numbers(self, atom: Atom) -> tuple[int, ...]:
        return tuple(sorted({self.table[word] for word in atom.constant}))

    def own(self, atom: Atom, segment: int, guard: Guard | None) -> None:
        for number in self._numbers(atom) or (0,):
            self.dependents.add(number, segment, atom.op == "in", guard)

    def close(self) -> None:
        self.dependents.close()

    def test(self, atom: Atom) -> tuple[str, tuple[Any, ...]]:
        numbers = self._numbers(atom)
        if len(numbers) == 1:
            return span_test("q[{}]", (self.place,), "==" if atom.op == "in" else "!=", numbers[0], numbers[0])
        if atom.op == "in":
            return "q[{}] in {}", (self.place, frozenset(numbers))
        return "q[{}] not in {}", (self.place, frozenset((ABSENT, *numbers)))

    def tokens(self, atom: Atom) -> tuple[Any, ...] | None:
        return self._numbers(atom) if atom.op == "in" else None

    @property
    def variety(self) -> int:
        return len(self.table)


class Members(Group):
    """Which of the elements that segments ask for are in a list, or among the keys of an object."""

    absent = None
    stands_for_one = False

    def __init__(self, node: Node, place: int) -> None:
        super().__init__(node, place)
        self.table: dict[Any, int] = {}
        self.dependents = Dependents(ELEMENTS)

    def ask(self, atom: Atom) -> None:
        self.table.setdefault(atom.constant, len(self.table) + 1)

    def own(self, atom: Atom, segment: int, guard: Guard | None) -> None:
        self.dependents.add(self.table[atom.constant], segment, atom.op == "in", guard)

    def close(self) -> None:
        self.dependents.close()

    def position(self, value: Any) -> tuple[int, ...] | None:
        """The numbers of the elements that are there; None where the value is absent, or neither list nor object."""
        if value.__class__ not in (list, dict, tuple):
            return None
        get = self.table.get
        found = {n for e in value if (n := get(e if e.__class__ is str else token(e)))}
        return tuple(sorted(found))

    def test(self, atom: Atom) -> tuple[str, tuple[Any, ...]]:
        word = "in" if atom.op == "in" else "not in"
        return f"(q[{{}}] is not None and {{}} {word} q[{{}}])", (self.place, self.table[atom.constant], self.place)

    def tokens(self, atom: Atom) -> tuple[Any, ...] | None:
        return (self.table[atom.constant],) if atom.op == "in" else None

    def active(self, position: Any, asked: Mapping[Any, Any]) -> Iterable[Any]:
        return position or ()

    @property
    def variety(self) -> int:
        return len(self.table)


class Inside(Group):
    """Whether the customer is in a segment that others name. No probe moves it: the crossing itself does."""

    absent = False

    def __init__(self, node: Node, place: int) -> None:
        super().__init__(node, place)
        self._dependents = Dependents(ONE)

    def ask(self, atom: Atom) -> None:
        pass

    def own(self, atom: Atom, segment: int, guard: Guard | None) -> None:
        self._dependents.add(1, segment, atom.op == "in", guard)

    def close(self) -> None:
        self._dependents.close()

    def test(self, atom: Atom) -> tuple[str, tuple[Any, ...]]:
        return "q[{}]" if atom.op == "in" else "not q[{}]", (self.place,)

    def turn(self, inside: bool, places: list[Any], suspects: set[int]) -> None:
        """The customer has crossed: adds the segments that name this one."""
        self._dependents.moved(places[self.place], inside, places, suspects)
        places[self.place] = inside
