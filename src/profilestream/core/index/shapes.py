"""Conditions as the segment index reads them: `and` and `or` of comparisons, `not` pushed down to these.

An unknown comparison is as good as a false one, once no `not` is above it; so a condition is true exactly when this
tree, read with two values, is. Its truth is read off a profile's positions, no expression is computed for it.
Conditions of one shape share one compiled function, whatever constants and words they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from profilestream.core.index.comparisons import Atom, Group, Guard
from profilestream.core.index.groups import Equal


@dataclass(frozen=True, slots=True, eq=False)
class Junction:
    """`and` or `or` of two or more."""

    op: str
    items: tuple[Condition, ...]


Condition = Atom | Junction | bool


def joined(op: str, items: Iterator[Condition]) -> Condition:
    """The conditions under one `and` or `or`; equal ones below it are lifted, constants decided.

    `a == 'x' or a == 'y'` becomes `a in ['x', 'y']`, `a != 'x' and a != 'y'` its contrary.
    """
    decisive = op == "or"
    parts: list[Condition] = []
    for item in items:
        if item is decisive:
            return decisive
        if isinstance(item, bool):
            continue
        parts += item.items if isinstance(item, Junction) and item.op == op else (item,)
    if not parts:
        return not decisive
    parts = _words_together(parts, "in" if decisive else "not in")
    return parts[0] if len(parts) == 1 else Junction(op, tuple(parts))


def _words_together(parts: list[Condition], op: str) -> list[Condition]:
    """Comparisons of one expression with words, of which one is to be true (all are to be), as one with all of them."""
    words: dict[Group, tuple[Any, ...]] = {}
    others: list[Condition] = []
    for part in parts:
        if isinstance(part, Atom) and isinstance(part.group, Equal) and part.op == op:
            words[part.group] = words.get(part.group, ()) + part.constant
        else:
            others.append(part)
    return [*(Atom(group, op, constants) for group, constants in words.items()), *others]


def own(condition: Condition, segment: int, guard: Guard | None = None) -> None:
    """Tells each comparison's group that the segment looks at it, under the best guard that stands beside or above it.

    The guard itself is looked at under the guards above it only, so that no two of them wait for one another.
    """
    if isinstance(condition, Atom):
        condition.group.own(condition, segment, guard)
        return
    if isinstance(condition, bool):
        return
    best = guard
    chosen: Atom | None = None
    if condition.op == "and":
        for item in condition.items:
            if isinstance(item, Atom) and item.group.rarity > (1 if best is None else best[0].rarity):
                tokens = item.group.tokens(item)
                if tokens is not None:
                    best, chosen = (item.group, tokens), item
    for item in condition.items:
        own(item, segment, guard if item is chosen else best)


Holds = Callable[[list[Any], tuple[Any, ...]], bool]
"""(positions, arguments): whether a condition is true."""


class Shape:
    """The function for all conditions that differ in their arguments only; compiled when it is first asked."""

    __slots__ = ("_source", "holds")

    def __init__(self, source: str) -> None:
        self._source = source
        self.holds: Holds = self._first

    def _first(self, q: list[Any], a: tuple[Any, ...]) -> bool:
        scope: dict[str, Any] = {}
        exec(compile(f"def holds(q, a):\n    return {self._source}\n", "<profilestream shape>", "exec"), scope)
        self.holds = scope["holds"]
        return self.holds(q, a)


class Test(NamedTuple):
    """One condition: a shape and what is its own."""

    shape: Shape
    arguments: tuple[Any, ...]


class Shapes:
    """Every shape that the conditions of some segments have."""

    def __init__(self) -> None:
        self._shapes: dict[str, Shape] = {}

    def test(self, condition: Condition) -> Test:
        """The condition's test, once the groups are ordered."""
        arguments: list[Any] = []
        source = _source(condition, arguments)
        shape = self._shapes.get(source)
        if shape is None:
            shape = self._shapes[source] = Shape(source)
        return Test(shape, tuple(arguments))

    def __len__(self) -> int:
        return len(self._shapes)


def _source(condition: Condition, arguments: list[Any]) -> str:
    if isinstance(condition, bool):
        return str(condition)
    if isinstance(condition, Junction):
        return "(" + f" {condition.op} ".join([_source(item, arguments) for item in condition.items]) + ")"
    form, own_arguments = condition.group.test(condition)
    first = len(arguments)
    arguments += own_arguments
    return form.format(*(f"a[{n}]" for n in range(first, len(arguments))))
