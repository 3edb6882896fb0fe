"""The nodes of an expression, typed and hashable: equal nodes are one thing to compute.

Two scopes share the nodes. In a *row* (a stream's condition, an aggregate's value, a `by`) the leaves are
`Field` and `Fact`; in a *profile* (traits, `enter`, `exit`) they are `Aggregate`. Absent is None
everywhere; logic has three values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal as OneOf

Kind = OneOf["number", "time", "duration", "string", "boolean", "list", "object", "json"]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """A constant: number, string, boolean, or a tuple of them (a list)."""

    value: int | float | str | bool | tuple[object, ...]
    kind: Kind

    # By text: to Python (1,) equals (True,), to the language it does not.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self.kind == other.kind and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash((self.kind, repr(self.value)))


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the row at hand; `None` where the event's type has no such field."""

    name: str
    kind: Kind
    integral: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact in an `attributes` event: the value set, or absent."""

    name: str
    kind: Kind = "json"
    integral: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows that an aggregate looks at: of which event types, whole events or their items, under a condition."""

    types: tuple[str, ...]
    items: bool = False
    condition: Node | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Where the same value is looked for, and for how long after it was seen (`unmatched`)."""

    stream: Stream
    value: Node
    within_ms: int


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate over a stream; `value`, `by` are row expressions, `over_ms` and `ago_ms` the window.

    One with an `answer` looks at a second stream too.
    """

    function: str
    stream: Stream
    value: Node | None
    kind: Kind
    integral: bool
    over_ms: int | None = None
    ago_ms: int = 0
    by: Node | None = None
    size: int = 0
    nullable: bool = True
    of: Kind = "json"
    """The kind of one value; with `by`, of each value in the object."""
    answer: Answer | None = None

    @property
    def types(self) -> tuple[str, ...]:
        """The event types that it looks at."""
        return self.stream.types if self.answer is None else self.stream.types + self.answer.stream.types


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`a op b` for + - * /; absent when either side is, or when a divisor is 0."""

    op: str
    left: Node
    right: Node
    kind: Kind
    integral: bool


@dataclass(frozen=True, slots=True)
class Compare:
    """`a op b` for < <= > >= == !=; unknown when a side is absent or the kinds differ."""

    op: str
    left: Node
    right: Node
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Contains:
    """`x in y` for a list, an object (its keys) or a literal list."""

    item: Node
    container: Node
    negated: bool
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Logic:
    """`and` / `or` of two or more conditions, three-valued."""

    op: str
    items: tuple[Node, ...]
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Not:
    """Three-valued negation."""

    item: Node
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Call:
    """A pure function of its arguments: has, default, len, lower, score, after, hour, weekday, date, item."""

    name: str
    args: tuple[Node, ...]
    kind: Kind
    integral: bool = False


@dataclass(frozen=True, slots=True)
class Since:
    """Clock minus a time, in milliseconds; with `days`, in whole days. The only nodes that read the clock."""

    time: Node
    days: bool
    kind: Kind
    integral: bool = True


@dataclass(frozen=True, slots=True)
class Instant:
    """The first instant at which `coefficient * now` exceeds (unless `strict`: reaches) `constant + terms`."""

    strict: bool
    coefficient: Fraction
    constant: Fraction
    terms: tuple[tuple[Fraction, Node], ...]
    kind: Kind = "time"
    integral: bool = True


@dataclass(frozen=True, slots=True)
class Elapsed:
    """`now - time >= at_least_ms`, to which `linear` brings every comparison in time; unknown without a time."""

    time: Node
    at_least_ms: int
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class InSegment:
    """Whether the customer is in another segment, once this instant's crossings of that one have happened."""

    name: str
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Sign:
    """-1, 0 or 1 as `left` is less than, equal to or greater than `right`; the index sees `left op right` so."""

    left: Node
    right: Node
    kind: Kind = "number"
    integral: bool = True


Node = (
    Literal
    | Field
    | Fact
    | Aggregate
    | Arithmetic
    | Compare
    | Contains
    | Logic
    | Not
    | Call
    | Since
    | Instant
    | Elapsed
    | InSegment
    | Sign
)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes that a node is computed from, in the same scope (an aggregate is a leaf)."""
    match node:
        case Arithmetic() | Compare() | Sign():
            return (node.left, node.right)
        case Contains():
            return (node.item, node.container)
        case Logic():
            return node.items
        case Not():
            return (node.item,)
        case Call():
            return node.args
        case Since() | Elapsed():
            return (node.time,)
        case Instant():
            return tuple(term for _, term in node.terms)
        case _:
            return ()


def substituted(node: Node, old: Node, new: Node) -> Node:
    """The node with another one in the place of each `old` below it."""
    if node == old:
        return new
    match node:
        case Arithmetic() | Compare() | Sign():
            left, right = substituted(node.left, old, new), substituted(node.right, old, new)
            return replace(node, left=left, right=right)
        case Contains():
            item, container = substituted(node.item, old, new), substituted(node.container, old, new)
            return replace(node, item=item, container=container)
        case Logic():
            return replace(node, items=tuple(substituted(item, old, new) for item in node.items))
        case Not():
            return replace(node, item=substituted(node.item, old, new))
        case Call():
            return replace(node, args=tuple(substituted(arg, old, new) for arg in node.args))
        case Since() | Elapsed():
            return replace(node, time=substituted(node.time, old, new))
        case Instant():
            return replace(node, terms=tuple((factor, substituted(term, old, new)) for factor, term in node.terms))
        case _:
            return node


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, parents first."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def size(node: Node) -> tuple[int, int]:
    """How many nodes, and how many one below another."""
    parts = depth = 0
    level = [node]
    while level:
        parts += len(level)
        depth += 1
        level = [child for n in level for child in children(n)]
    return parts, depth


def uses_clock(node: Node) -> bool:
    """Whether time alone can change the value without a window's help."""
    return any(isinstance(n, Since | Elapsed) for n in walk(node))


def segments(node: Node) -> Iterator[str]:
    """The segments that the node names by `in_segment`."""
    return (n.name for n in walk(node) if isinstance(n, InSegment))


def is_integral(node: Node) -> bool:
    """Whether the value, when there, is always an exact integer."""
    if isinstance(node, Literal):
        return type(node.value) is int
    return bool(getattr(node, "integral", False))


def aggregates(node: Node) -> Iterator[Aggregate]:
    """The aggregates that the node reads."""
    return (n for n in walk(node) if isinstance(n, Aggregate))
