"""Why a customer is in a segment, or is not: its conditions with their values, and when time alone changes it.

A condition of a file is taken apart into its *leaves*: comparisons (each link of `a < b < c` for itself), `in`,
calls and names; `and`, `or` and `not` only join them. The text of a leaf is exactly that of the file. Pure, and
the profile that is explained is left as it was.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from profilestream.core import expressions as x
from profilestream.core import linear, words
from profilestream.core.definitions import Segment
from profilestream.core.engine import Crossing, Engine
from profilestream.core.expressions import Kind, Node
from profilestream.core.profile import Profile
from profilestream.core.times import TIME_MS_MAX

STEPS_MAX: Final = 10_000
"""How many due instants are looked at for the next change by time alone."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part of a condition that holds or not by itself; `negated` under an odd number of `not`.

    `left` and `right` are its two sides: of a comparison, of `in`, of `after(a, b)`. Of `has(x)` the left one is x
    and there is no other; of all else (a boolean trait, a fact) the left one is the leaf itself.
    """

    text: str
    node: Node
    left: Node
    right: Node | None
    negated: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """A leaf for one customer at one instant.

    `holds` is None when unknown. `value` and `threshold` are its left and right side as readers see them (times as
    RFC 3339 text, durations in ms, None where absent or where there is no such side). `distance` is value less
    threshold where both are numbers: in ms for times and durations, of which `kind` (the left side's) tells.
    `varies` says of value and threshold whether they are the customer's, not written out in the file.
    """

    text: str
    holds: bool | None
    value: Any
    threshold: Any
    kind: Kind
    negated: bool
    distance: int | float | None
    varies: tuple[bool, bool]

    @property
    def helps(self) -> bool | None:
        """Whether the leaf speaks for its condition: as `holds`, turned round under `not`."""
        return self.holds if self.holds is None or not self.negated else not self.holds


@dataclass(frozen=True, slots=True)
class Explanation:
    """One customer and one segment at the clock `at` (ms).

    `crossing` is the number of the last crossing and `crossed_at` its time (ms); 0 and None without one. `enters` and
    `leaves` say whether `enter` and `exit` hold (without `exit`: whether `enter` does not). `changes_at` (ms) is
    when time alone next changes the membership. None: it does not, if `looked_until` is None too; else the search
    was ended at that instant by its limit.
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
    """The explanations of the named segments (None: of all, in the file's order), as `explain_segment`."""
    clock = max(clock, profile.as_of)
    present = at_clock(engine, profile, clock)
    known = engine.definitions.by_segment
    segments = engine.definitions.segments if names is None else [known[name] for name in names]
    changes, looked_until = _first_changes(engine, copy.deepcopy(present), {s.name for s in segments}, steps_max)
    return [_explain(engine, present, s, clock, changes.get(s.name), looked_until) for s in segments]


def at_clock(engine: Engine, profile: Profile, clock: int) -> Profile:
    """A copy of the profile on which everything has happened that time alone brings by the clock (ms)."""
    present = copy.deepcopy(profile)
    engine.advance(present, clock, [])
    return present


def leaves(text: str, node: Node) -> list[Leaf]:
    """The leaves of a condition in the order of its text; `node` is what the parser made of the text."""
    source = text.strip()
    return list(_Source(source).leaves(ast.parse(source, mode="eval").body, node, False))


def _explain(
    engine: Engine, profile: Profile, segment: Segment, clock: int, changes_at: int | None, looked_until: int | None
) -> Explanation:
    crossing, crossed_at = profile.members.get(segment.name, (0, None))
    enter, leave = (
        leaves(text, node) if text and node is not None else []
        for text, node in zip(segment.texts, segment.conditions, strict=True)
    )
    conditions = _conditions(engine, profile, [*enter, *leave], clock)
    whole = (segment.enter,) if segment.exit is None else (segment.enter, segment.exit)
    holds = [value is True for value in engine.read(whole, profile, clock)]
    return Explanation(
        segment=segment.name,
        at=clock,
        member=crossing % 2 == 1,
        crossing=crossing,
        crossed_at=crossed_at,
        enters=holds[0],
        leaves=holds[1] if len(holds) > 1 else not holds[0],
        enter=conditions[: len(enter)],
        exit=conditions[len(enter) :],
        changes_at=changes_at,
        looked_until=None if changes_at is not None else looked_until,
    )


def _conditions(engine: Engine, profile: Profile, found: list[Leaf], clock: int) -> tuple[Condition, ...]:
    """The leaves with their values. Truth is taken from the clock's one form, as the engine takes it."""
    nothing = x.Literal(False, "boolean")
    sides = tuple(_readable(side) for leaf in found for side in (leaf.left, leaf.right or nothing))
    truths = engine.read(tuple(linear.normalise(leaf.node) for leaf in found), profile, clock)
    raw = engine.read(sides, profile, clock)
    shown = engine.read(sides, profile, clock, shown=True)
    return tuple(
        Condition(
            text=leaf.text,
            holds=words.truth(truths[i]),
            value=shown[2 * i],
            threshold=None if leaf.right is None else shown[2 * i + 1],
            kind=leaf.left.kind,
            negated=leaf.negated,
            distance=None if leaf.right is None else words.arithmetic("-", raw[2 * i], raw[2 * i + 1]),
            varies=(not isinstance(leaf.left, x.Literal), not isinstance(leaf.right, x.Literal | None)),
        )
        for i, leaf in enumerate(found)
    )


def _readable(side: Node) -> Node:
    """The side with facts that stand for times taken as numbers: of any other fact, `since` is absent.

    The engine never meets `since` itself, only what `linear` makes of it.
    """
    match side:
        case x.Since() if side.time.kind == "json":
            return replace(side, time=x.Call("number", (side.time,), "time"))
        case x.Arithmetic():
            return replace(side, left=_readable(side.left), right=_readable(side.right))
    return side


def _first_changes(
    engine: Engine, profile: Profile, names: set[str], steps_max: int
) -> tuple[dict[str, int], int | None]:
    """When time alone first changes each membership, and the instant at which the search met its limit, if so.

    The profile is the search's own: it goes from one due instant to the next.
    """
    changes: dict[str, int] = {}
    crossings: list[Crossing] = []
    for _ in range(steps_max):
        if profile.due > TIME_MS_MAX or len(changes) == len(names):
            return changes, None
        engine.advance(profile, profile.due, crossings)
        for crossing in crossings:
            if crossing.segment in names:
                changes.setdefault(crossing.segment, crossing.at)
        crossings.clear()
    return changes, None if profile.due > TIME_MS_MAX else profile.as_of


class _Source:
    """A condition's text, from which the texts of its parts are cut by `ast`'s positions (in UTF-8)."""

    def __init__(self, text: str) -> None:
        self._bytes = text.encode()
        self._lines = [0]
        for line in self._bytes.split(b"\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)

    def leaves(self, tree: ast.expr, node: Node, negated: bool) -> Iterator[Leaf]:
        """Walks tree and node side by side: the parser keeps the shape of all that joins conditions."""
        match tree, node:
            case ast.BoolOp(), x.Logic():
                for part, item in zip(tree.values, node.items, strict=True):
                    yield from self.leaves(part, item, negated)
            case ast.UnaryOp(op=ast.Not()), x.Not():
                yield from self.leaves(tree.operand, node.item, not negated)
            case ast.Compare(), x.Logic():
                for text, item in zip(self._links(tree), node.items, strict=True):
                    yield _leaf(text, item, negated, sided=True)
            case _:
                text = self._cut(*self._span(tree))
                yield _leaf(text, node, negated, sided=isinstance(tree, ast.Compare | ast.Call))

    def _links(self, tree: ast.Compare) -> Iterator[str]:
        """`a < b` and `b < c` of `a < b < c`, each side with the brackets around it."""
        inner = [self._span(side) for side in (tree.left, *tree.comparators)]
        start, end = self._span(tree)
        starts = [start, *(self._before(s) for s, _ in inner[1:])]
        ends = [*(self._behind(e) for _, e in inner[:-1]), end]
        return (self._cut(starts[i], ends[i + 1]) for i in range(len(tree.ops)))

    def _before(self, at: int) -> int:
        """The position with opening brackets before it taken in, as `ast` leaves them out."""
        head = self._bytes[:at].rstrip()
        while head.endswith(b"("):
            at, head = len(head) - 1, head[:-1].rstrip()
        return at

    def _behind(self, at: int) -> int:
        tail = self._bytes[at:].lstrip()
        while tail.startswith(b")"):
            at, tail = len(self._bytes) - len(tail) + 1, tail[1:].lstrip()
        return at

    def _span(self, tree: ast.expr) -> tuple[int, int]:
        assert tree.end_lineno is not None and tree.end_col_offset is not None
        return (
            self._lines[tree.lineno - 1] + tree.col_offset,
            self._lines[tree.end_lineno - 1] + tree.end_col_offset,
        )

    def _cut(self, start: int, end: int) -> str:
        return self._bytes[start:end].decode()


def _leaf(text: str, node: Node, negated: bool, *, sided: bool) -> Leaf:
    """`sided` is False for a name: what it stands for may have sides, but the text does not show them."""
    if sided:
        match node:
            case x.Compare():
                return Leaf(text, node, node.left, node.right, negated)
            case x.Contains():
                return Leaf(text, node, node.item, node.container, negated)
            case x.Call(name="after"):
                return Leaf(text, node, node.args[0], node.args[1], negated)
            case x.Call(name="has"):
                return Leaf(text, node, node.args[0], None, negated)
    return Leaf(text, node, node, None, negated)
