"""Groups of the segment index: one expression each, where its value lies for a profile, and who looks at that.

A profile keeps one *position* a group (`places`): a number, -1 where the expression is absent. When it moves, the
segments are found whose comparisons with that expression may have another truth than before:

    Ordered   constants c0 < c1 < ... cut a line: 2i between c(i-1) and ci, 2i + 1 at ci; 2i and 2i + 1 are cuts, too
    Timed     `now - time` on such a line: i cuts passed; the next one ahead is the instant at which to look again
    Equal     the number of the value in a table of the words that segments ask for; 0 is every other value
    Members   the numbers of the elements of a list, or of the keys of an object, that segments ask for; None is absent
    Inside    whether the customer is in a segment that other segments name
    Keyed     one line for each key of a map that segments ask for; a profile keeps those keys that are not at home,
              which is where a key lies that the map lacks

A segment that is an `and` of several comparisons names one of them as *guard*: a comparison for which few profiles
stand, such as equality with a word. The others are looked at only while the guard may be true: where it is false before
and after, so is the `and`; and where the guard itself changes, it is looked at.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from profilestream.core.events import FACTS
from profilestream.core.expressions import Node
from profilestream.core.words import NEVER, token

ABSENT: Final = -1
TOP: Final = 1 << 40
"""A position above every other."""

NOTHING: Final[dict[str, int]] = {}
"""What a profile keeps of a map in which nothing is away from home; never written to."""

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


class Owners:
    """Segments by the number of the cut, word or element that they look at, two sorted lists for each direction.

    `rise` has the comparisons that become true on the way up (with the word), `fall` those on the way down
    (without it).
    """

    __slots__ = ("fall_at", "fall_by", "rise_at", "rise_by")

    def __init__(self) -> None:
        self.rise_at: Any = []
        self.rise_by: Any = ()
        self.fall_at: Any = []
        self.fall_by: Any = ()

    def close(self) -> None:
        """Puts what was added, pairs of number and segment, into order."""
        self.rise_at, self.rise_by = _unzipped(self.rise_at)
        self.fall_at, self.fall_by = _unzipped(self.fall_at)

    def across(self, old: int, new: int, suspects: set[int]) -> None:
        """Cuts on a line: those between the two positions, each with both directions."""
        if old < 0 or new < 0:
            # Absent is unknown, and an unknown comparison is as good as false: only true ones matter.
            present = old if new < 0 else new
            suspects.update(self.rise_by[: bisect_left(self.rise_at, present)])
            suspects.update(self.fall_by[bisect_left(self.fall_at, present) :])
            return
        low, high = (old, new) if old < new else (new, old)
        if self.rise_at:
            suspects.update(self.rise_by[bisect_left(self.rise_at, low) : bisect_left(self.rise_at, high)])
        if self.fall_at:
            suspects.update(self.fall_by[bisect_left(self.fall_at, low) : bisect_left(self.fall_at, high)])

    def at(self, number: int, suspects: set[int]) -> None:
        """Those who look at one word."""
        for ats, by in ((self.rise_at, self.rise_by), (self.fall_at, self.fall_by)):
            if ats and (start := bisect_left(ats, number)) < len(ats) and ats[start] == number:
                suspects.update(by[start : bisect_right(ats, number)])

    def exchanged(self, old: int, new: int, suspects: set[int]) -> None:
        """Words: the former and the new one. What asks for another word is only moved by absence."""
        if old > 0:
            self.at(old, suspects)
        if new > 0:
            self.at(new, suspects)
        if old < 0 or new < 0:
            suspects.update(self.fall_by)

    def at_one(self, old: bool, new: bool, suspects: set[int]) -> None:
        """One thing that is so or not so: everybody looks at it."""
        suspects.update(self.rise_by)
        suspects.update(self.fall_by)

    def differing(self, old: tuple[int, ...] | None, new: tuple[int, ...] | None, suspects: set[int]) -> None:
        """Elements: those in one of the two and not in the other."""
        for number in set(old or ()).symmetric_difference(new or ()):
            self.at(number, suspects)
        if old is None or new is None:
            suspects.update(self.fall_by)


def _unzipped(pairs: list[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    pairs.sort()
    return tuple(at for at, _ in pairs), tuple(by for _, by in pairs)


class Sweep(NamedTuple):
    """How the positions of one kind of group are compared: `owners(those, old, new, suspects)` adds those who look at
    what differs, `reaches(numbers, old, new)` says whether anybody does, who look at these numbers."""

    owners: Callable[[Owners, Any, Any, set[int]], None]
    reaches: Callable[[tuple[int, ...], Any, Any], bool]


def _cut(numbers: tuple[int, ...], old: int, new: int) -> bool:
    if old < 0 or new < 0:
        return True
    low, high = (old, new) if old < new else (new, old)
    at = bisect_left(numbers, low)
    return at < len(numbers) and numbers[at] < high


def _always(numbers: tuple[int, ...], old: Any, new: Any) -> bool:
    return True


CUTS: Final = Sweep(Owners.across, _cut)
WORDS: Final = Sweep(Owners.exchanged, _always)
ELEMENTS: Final = Sweep(Owners.differing, _always)
ONE: Final = Sweep(Owners.at_one, _always)


class _Guarded(NamedTuple):
    """Who looks at a value under one guard: by the guard's tokens, and the numbers that any of them look at."""

    guard: Group
    one: bool
    by_token: dict[Any, Owners]
    numbers: tuple[int, ...]


class Dependents:
    """Who looks at one value: always, or only while their guard may be true."""

    __slots__ = ("_by_guard", "_free", "_guarded", "_sweep")

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._by_guard: dict[Group, dict[Any, Owners]] = {}
        self._free: Owners | None = None
        self._guarded: tuple[_Guarded, ...] = ()

    def add(self, at: int, segment: int, rising: bool, guard: Guard | None) -> None:
        for owners in self._owners(guard):
            (owners.rise_at if rising else owners.fall_at).append((at, segment))

    def _owners(self, guard: Guard | None) -> Iterator[Owners]:
        if guard is None:
            self._free = self._free or Owners()
            yield self._free
            return
        group, tokens = guard
        by_token = self._by_guard.setdefault(group, {})
        for each in tokens:
            if each not in by_token:
                by_token[each] = Owners()
            yield by_token[each]

    def close(self) -> None:
        if self._free is not None:
            self._free.close()
        guarded = []
        for guard, by_token in self._by_guard.items():
            for owners in by_token.values():
                owners.close()
            numbers = {n for owners in by_token.values() for at in (owners.rise_at, owners.fall_at) for n in at}
            guarded.append(_Guarded(guard, guard.stands_for_one, by_token, tuple(sorted(numbers))))
        self._guarded, self._by_guard = tuple(guarded), {}

    def moved(self, old: Any, new: Any, places: list[Any], suspects: set[int]) -> None:
        """Adds the segments whose comparisons may differ between two positions."""
        sweep, reaches = self._sweep
        if self._free is not None:
            sweep(self._free, old, new, suspects)
        for guard, one, by_token, numbers in self._guarded:
            if not reaches(numbers, old, new):
                continue
            if one:
                owners = by_token.get(places[guard.place])
                if owners is not None:
                    sweep(owners, old, new, suspects)
                continue
            for each in guard.active(places[guard.place], by_token):
                owners = by_token.get(each)
                if owners is not None:
                    sweep(owners, old, new, suspects)


class Line:
    """Constants in order, and who looks at the cuts at them."""

    __slots__ = ("constants", "dependents", "home", "rank", "timed")

    def __init__(self, timed: bool) -> None:
        self.timed = timed
        self.constants: list[Any] = []
        self.rank: dict[Any, int] = {}
        self.dependents = Dependents(CUTS)
        self.home = ABSENT

    def order(self) -> None:
        """Once every constant is known."""
        self.constants = sorted(self.rank)
        self.rank = {constant: i for i, constant in enumerate(self.constants)}

    def position(self, value: Any) -> int:
        if value is None:
            return ABSENT
        if self.timed:
            return bisect_right(self.constants, value)
        return bisect_left(self.constants, value) + bisect_right(self.constants, value)

    def own(self, op: str, constant: Any, segment: int, guard: Guard | None) -> None:
        i, add = self.rank[constant], self.dependents.add
        below, above = (i, i) if self.timed else (2 * i, 2 * i + 1)
        if op in (">=", "=="):
            add(below, segment, True, guard)
        if op in (">", "!="):
            add(above, segment, True, guard)
        if op in ("<", "!="):
            add(below, segment, False, guard)
        if op in ("<=", "=="):
            add(above, segment, False, guard)

    def span(self, op: str, constant: Any) -> tuple[int, int]:
        """The lowest and the highest position at which the comparison is true; for != at which it is false."""
        i = self.rank[constant]
        if self.timed:
            return (i + 1, TOP) if op == ">=" else (0, i)
        at = 2 * i + 1
        return {">=": (at, TOP), ">": (at + 1, TOP), "<": (0, at - 1), "<=": (0, at)}.get(op, (at, at))


class Group:
    """One expression of the index. `types` and `clock` say what may move it: events of which types, time alone."""

    absent: Any = ABSENT
    stands_for_one = True
    """Whether a profile stands for one token at a time, which is then its position."""

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


class Ordered(Group):
    """Numbers or strings on a line of constants."""

    def __init__(self, node: Node, place: int, timed: bool = False) -> None:
        super().__init__(node, place)
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


def span_test(place: str, where: tuple[Any, ...], op: str, low: int, high: int) -> tuple[str, tuple[Any, ...]]:
    """The test for a span of positions."""
    if op == "!=":
        return f"-1 != {place} != {{}}", (*where, low)
    if low == high:
        return f"{place} == {{}}", (*where, low)
    if high == TOP:
        return f"{place} >= {{}}", (*where, low)
    return f"0 <= {place} <= {{}}", (*where, high)


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


class Keyed(Group):
    """Each key of a map on a line of its own; `value` gives what a segment compares, from the key's part of the state.

    `touched` has the keys that the event at hand has fed; with time, all keys of the map may have moved.
    """

    absent = NOTHING
    stands_for_one = False

    def __init__(
        self,
        node: Node,
        place: int,
        timed: bool,
        value: Callable[[Any, list[Any], int], Any],
        home: Any,
        touched: set[str] | None,
    ) -> None:
        """`touched` None: the value depends on more than the map, so that each event moves all keys."""
        super().__init__(node, place)
        self.lines: dict[str, Line] = {}
        self.timed = timed
        self._value = value
        self._home = home
        self._touched = touched

    def ask(self, atom: Atom) -> None:
        self.lines.setdefault(atom.key, Line(self.timed)).rank[atom.constant] = 0

    def order(self) -> None:
        for line in self.lines.values():
            line.order()
            line.home = line.position(self._home)

    def own(self, atom: Atom, segment: int, guard: Guard | None) -> None:
        self.lines[atom.key].own(atom.op, atom.constant, segment, guard)

    def close(self) -> None:
        for line in self.lines.values():
            line.dependents.close()

    def test(self, atom: Atom) -> tuple[str, tuple[Any, ...]]:
        line = self.lines[atom.key]
        where = (self.place, atom.key, line.home)
        return span_test("q[{}].get({}, {})", where, atom.op, *line.span(atom.op, atom.constant))

    def tokens(self, atom: Atom) -> tuple[Any, ...] | None:
        line = self.lines[atom.key]
        low, high = line.span(atom.op, atom.constant)
        at_home = low <= line.home <= high if atom.op != "!=" else line.home not in (ABSENT, low)
        return None if at_home else (atom.key,)

    def active(self, position: Any, asked: Mapping[Any, Any]) -> Iterable[Any]:
        return position.keys() & asked.keys()  # type: ignore[no-any-return]

    @property
    def variety(self) -> int:
        return len(self.lines)

    def probe(
        self, state: Any, s: list[Any], q: list[Any], flips: list[int], now: int, suspects: set[int] | None, whole: bool
    ) -> None:
        """Brings the keys' positions up to date: of all keys, or of those that the event has touched."""
        states, lines, away = state[0], self.lines, q[self.place]
        keys: Collection[str]
        if whole or self.timed or self._touched is None:
            keys = [k for k in states if k in lines] if len(states) < len(lines) else [k for k in lines if k in states]
            if away:
                keys = {*keys, *away}
        else:
            keys = self._touched
        flip = NEVER
        for key in keys:
            line = lines.get(key)
            if line is None:
                continue
            new = line.home
            if key in states:
                value = self._value(states[key], s, now)
                if not self.timed:
                    new = line.position(value)
                elif value is not None:
                    new = bisect_right(line.constants, now - value)
                    if new < len(line.constants):
                        flip = min(flip, value + line.constants[new])
            old = away.get(key, line.home)
            if new == old:
                continue
            if suspects is not None:
                line.dependents.moved(old, new, q, suspects)
            if away is NOTHING:
                away = q[self.place] = {}
            if new == line.home:
                del away[key]
            else:
                away[key] = new
        if self.timed:
            flips[self.flip] = flip
