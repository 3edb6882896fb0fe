"""The segment index: which segments can have changed, found from thresholds rather than by evaluating all.

Every condition is a tree of comparisons. Comparisons of one numeric expression with constants form a group, whose
constants cut the numbers into intervals; a profile keeps the interval of its present value, and only the segments
that own a cut between the old and the new interval are looked at. `a > b` is the sign of a - b against 0. Time
is the same with `now - t` for the expression, and the next cut ahead is the instant at which to look again. All
else (strings, lists, has) is kept as its truth, and its segments looked at when that changes.

Positions: an expression with constants c0 < c1 < ... has 2i for "between c(i-1) and ci" and 2i + 1 for "equal to ci",
so each of the two cuts at a constant has its own number; -1 is absent. A time group has i for "i cuts passed".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from profilestream.core import expressions as x
from profilestream.core.codegen import NUMERIC, Code
from profilestream.core.expressions import Node
from profilestream.core.linear import FLIPPED
from profilestream.core.readout import profile_code
from profilestream.core.slots import Slots
from profilestream.core.words import NEVER

Probe = Callable[[list[Any], list[Any], list[int], int, set[int]], None]
"""(slots, positions, flips, clock, suspects): brings positions up to date and adds the segments to look at."""

NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


@dataclass(slots=True)
class Group:
    """One expression and what depends on where its value lies.

    `rising[j]` are the segments with a comparison that becomes true when the value goes up through cut j, `falling[j]`
    those for which it becomes true on the way down.
    """

    node: Node
    place: int
    kind: str
    flip: int = -1
    constants: list[Any] = field(default_factory=list)
    rising: dict[Any, set[int]] = field(default_factory=dict)
    falling: dict[Any, set[int]] = field(default_factory=dict)
    owners: set[int] = field(default_factory=set)
    cuts: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    def close(self) -> None:
        """Orders the cuts, once every segment has said what it owns."""
        keys = self.rising.keys() | self.falling.keys()
        if self.kind == "time":
            self.constants = sorted(keys)
            order = self.constants
        else:
            self.constants = sorted({constant for constant, _ in keys})
            order = [(c, side) for c in self.constants for side in (0, 1)]
        self.cuts = [(tuple(self.rising.get(k, ())), tuple(self.falling.get(k, ()))) for k in order]

    def moved(self, old: int, new: int, suspects: set[int]) -> None:
        """Adds the segments whose comparisons may differ between two positions."""
        if old == -1 or new == -1:
            # Absent is unknown, and an unknown comparison is as good as false: only true ones matter.
            present = max(old, new)
            for rising, _ in self.cuts[:present]:
                suspects.update(rising)
            for _, falling in self.cuts[present:]:
                suspects.update(falling)
            return
        for rising, falling in self.cuts[min(old, new) : max(old, new)]:
            suspects.update(rising)
            suspects.update(falling)


class Index:
    """The groups of all segments, and the probes that keep a profile's positions in them."""

    def __init__(self, segments: Iterable[tuple[Node, Node | None]], slots: Slots, local: Mapping[str, Any]) -> None:
        self._slots = slots
        self._local = local
        self._groups: dict[tuple[str, Node], Group] = {}
        for number, (enter, leave) in enumerate(segments):
            self._collect(enter, number, False)
            if leave is not None:
                self._collect(leave, number, False)
        self.groups = list(self._groups.values())
        timed = [g for g in self.groups if g.kind == "time"]
        for flip, group in enumerate(timed):
            group.flip = flip
        self.flips = len(timed)
        for group in self.groups:
            group.close()

    # Collecting

    def _collect(self, node: Node, segment: int, negated: bool) -> None:
        """Walks a condition with `not` pushed down to the comparisons; there unknown and false are the same."""
        match node:
            case x.Logic():
                for item in node.items:
                    self._collect(item, segment, negated)
            case x.Not():
                self._collect(node.item, segment, not negated)
            case x.Elapsed():
                group = self._group("time", node.time)
                (group.falling if negated else group.rising).setdefault(node.at_least_ms, set()).add(segment)
            case x.Compare() if node.left.kind in NUMERIC and node.right.kind in NUMERIC:
                self._numeric(node.op, node.left, node.right, segment, negated)
            case x.Compare() if _one_is_number(node):
                self._numeric(node.op, _as_number(node.left), _as_number(node.right), segment, negated)
            case x.Literal():
                pass
            case _:
                self._group("truth", node).owners.add(segment)

    def _numeric(self, op: str, left: Node, right: Node, segment: int, negated: bool) -> None:
        if isinstance(left, x.Literal):
            op, left, right = FLIPPED[op], right, left
        if negated:
            op = NEGATED[op]
        constant: Any = 0
        if isinstance(right, x.Literal):
            group, constant = self._group("number", left), right.value
        else:
            group = self._group("number", x.Sign(left, right))
        below, above = (constant, 0), (constant, 1)
        for cut, side in {
            ">=": [(below, group.rising)],
            ">": [(above, group.rising)],
            "<": [(below, group.falling)],
            "<=": [(above, group.falling)],
            "==": [(below, group.rising), (above, group.falling)],
            "!=": [(below, group.falling), (above, group.rising)],
        }[op]:
            side.setdefault(cut, set()).add(segment)

    def _group(self, kind: str, node: Node) -> Group:
        key = (kind, node)
        if key not in self._groups:
            self._groups[key] = Group(node, len(self._groups), kind)
        return self._groups[key]

    # Probing

    def probe(self, concerns: Callable[[Group], bool]) -> Probe:
        """A function that brings the positions of the groups that `concerns` names up to date."""
        code = profile_code(self._slots, self._local)
        for group in self.groups:
            if concerns(group):
                self._probe_group(code, group)
        return code.function("probe", "s, places, flips, now, suspects")

    def _probe_group(self, code: Code, group: Group) -> None:
        value = code.atom(group.node)
        if group.kind == "truth":
            position = value.source
        elif group.kind == "time":
            position = self._time_position(code, group, value.source)
        else:
            low, high, constants = code.object(bisect_left), code.object(bisect_right), code.object(group.constants)
            found = f"{low}({constants}, {value.source}) + {high}({constants}, {value.source})"
            if len(group.constants) == 1:
                constant = f"({group.constants[0]!r})"
                found = f"({value.source} >= {constant}) + ({value.source} > {constant})"
            position = code.new(f"-1 if {value.source} is None else {found}" if value.nullable else found, False).source
        place = f"places[{group.place}]"
        with code.block(f"if {position} != {place}:" if group.kind != "truth" else f"if {position} is not {place}:"):
            if group.kind == "truth":
                code.line(f"suspects.update({code.object(tuple(group.owners))})")
            else:
                code.line(f"{code.object(group.moved)}({place}, {position}, suspects)")
            code.line(f"{place} = {position}")

    def _time_position(self, code: Code, group: Group, base: str) -> str:
        """The number of cuts passed; sets the instant of the next one."""
        constants = code.object(group.constants)
        position = f"q{group.place}"
        with code.block(f"if {base} is None:"):
            code.line(f"{position} = -1; flips[{group.flip}] = {NEVER}")
        with code.block("else:"):
            code.line(f"{position} = {code.object(bisect_right)}({constants}, now - {base})")
            after = f"{base} + {constants}[{position}] if {position} < {len(group.constants)} else {NEVER}"
            code.line(f"flips[{group.flip}] = {after}")
        return position

    def nowhere(self) -> list[Any]:
        """Positions of which nothing is known: every expression absent."""
        return [None if g.kind == "truth" else -1 for g in self.groups]


def _one_is_number(node: x.Compare) -> bool:
    """A fact of any kind against a number: to the index, absent unless it is one."""
    kinds = (node.left.kind, node.right.kind)
    return "json" in kinds and any(k in NUMERIC for k in kinds)


def _as_number(node: Node) -> Node:
    return x.Call("number", (node,), "number") if node.kind == "json" else node
