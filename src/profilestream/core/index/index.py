"""The segment index: which segments can have changed, found from thresholds rather than by evaluating all.

Every condition is a tree of comparisons (`shapes.py`). Comparisons of one expression share a group (`groups.py`),
in which a profile has a position; after an event only the segments are looked at that look at what lies between the old
and the new one. `a > b` is the sign of a - b against 0. Time is the same with `now - t` for the expression, and the
next cut ahead is the instant at which to look again. A segment that others name is a group too, which its crossings
move. All else (`has`, `after`, one text against another) is a group of its own truth.

So an event costs what the different expressions that it feeds cost, never what the constants, words, keys and
segments do; and what truly lies between old and new.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from profilestream.core import expressions as x
from profilestream.core import words
from profilestream.core.codegen import NUMERIC, Code
from profilestream.core.expressions import Node
from profilestream.core.index.comparisons import ABSENT, Atom, Group
from profilestream.core.index.groups import Equal, Inside, Members, Ordered
from profilestream.core.index.keyed import Keyed
from profilestream.core.index.shapes import Condition, Shapes, Test, joined, own
from profilestream.core.linear import FLIPPED
from profilestream.core.maps import ByKey
from profilestream.core.readout import PRESENT, compile_part, part_of, profile_code
from profilestream.core.slots import Slots
from profilestream.core.words import NEVER

Probe = Callable[[list[Any], list[Any], list[int], int, "set[int] | None", bool], None]
"""(slots, positions, flips, clock, suspects, whole): brings positions up to date and adds the segments to look at;
None for suspects only places. With `whole` all keys of maps are looked at, else those that the event has touched."""

NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
FUNCTION_GROUPS_MAX: Final = 200
"""How many groups one compiled function places: Python's compiler is slow on very long ones."""


class Index:
    """The groups of all segments, the probes that keep a profile's positions in them, and the conditions' truth there.

    An engine folds one event at a time: `touched` has, by slot, the keys of maps that the event at hand has fed, and is
    emptied by `forget`. `inside` are the groups of the segments that others name, which turn when these are crossed.
    """

    def __init__(self, segments: Iterable[tuple[Node, Node | None]], slots: Slots, local: Mapping[str, Any]) -> None:
        self._slots = slots
        self._local = local
        self._groups: dict[tuple[Any, ...], Group] = {}
        self.touched: dict[int, set[str]] = {}
        self.inside: dict[str, Inside] = {}
        conditions = [
            (self._condition(enter, False), None if leave is None else self._condition(leave, False))
            for enter, leave in segments
        ]
        self.groups = list(self._groups.values())
        self.flips = 0
        for group in self.groups:
            group.order()
        self._shapes = Shapes()
        self._tests: list[tuple[Test, Test | None]] = []
        for number, (enter, leave) in enumerate(conditions):
            own(enter, number)
            if leave is not None:
                own(leave, number)
            self._tests.append((self._shapes.test(enter), None if leave is None else self._shapes.test(leave)))
        for group in self.groups:
            group.close()
            if _is_timed(group):
                group.flip = self.flips
                self.flips += 1
        self._maps = [g.place for g in self.groups if isinstance(g, Keyed)]
        self._compiled = self._compile()

    def holds(self, number: int, places: list[Any]) -> tuple[bool, bool]:
        """Whether a segment's `enter` and its `exit` are true at a profile's positions; without an `exit`, that `enter`
        is not true stands for it."""
        enter, leave = self._tests[number]
        entered = enter.shape.holds(places, enter.arguments)
        return entered, not entered if leave is None else leave.shape.holds(places, leave.arguments)

    @property
    def shapes(self) -> int:
        """How many shapes the conditions have."""
        return len(self._shapes)

    def forget(self) -> None:
        """The event at hand is done with."""
        for keys in self.touched.values():
            keys.clear()

    def nowhere(self) -> list[Any]:
        """Positions of which nothing is known: every expression absent."""
        return [g.absent for g in self.groups]

    def copied(self, positions: list[Any]) -> list[Any]:
        """Positions that a probe may move without moving these."""
        copy = positions.copy()
        for place in self._maps:
            if copy[place]:
                copy[place] = copy[place].copy()
        return copy

    # Reading conditions

    def _condition(self, node: Node, negated: bool) -> Condition:
        """A condition with `not` pushed down to the comparisons; there unknown and false are the same."""
        match node:
            case x.Logic():
                op = node.op if not negated else "and" if node.op == "or" else "or"
                return joined(op, (self._condition(item, negated) for item in node.items))
            case x.Not():
                return self._condition(node.item, not negated)
            case x.Literal(kind="boolean"):
                return bool(node.value) != negated
            case x.Elapsed():
                return self._line(node.time, "<" if negated else ">=", node.at_least_ms, timed=True)
            case x.InSegment():
                return self._inside(node, negated)
            case x.Compare():
                return self._comparison(node, negated)
            case x.Contains():
                return self._contains(node, negated)
            case _:
                return self._truth(node, negated)

    def _comparison(self, node: x.Compare, negated: bool) -> Condition:
        op, left, right = node.op, node.left, node.right
        if isinstance(left, x.Literal):
            op, left, right = FLIPPED[op], right, left
        if negated:
            op = NEGATED[op]
        if (left.kind in NUMERIC and right.kind in NUMERIC) or _one_is_number(left, right):
            left, right = _as(left, "number"), _as(right, "number")
            if isinstance(right, x.Literal):
                return self._line(left, op, right.value)
            return self._line(x.Sign(left, right), op, 0)
        if isinstance(right, x.Literal) and right.kind == "string" and left.kind in ("string", "json"):
            if op not in ("==", "!="):
                return self._line(_as(left, "string"), op, right.value)
            if _only_part(left) is None:
                return self._word(_as(left, "string"), op == "==", (right.value,))
        if isinstance(right, x.Literal) and right.kind == "boolean" and left.kind in ("boolean", "json"):
            return self._truth(left, bool(right.value) == (op != "=="))
        return self._truth(node, negated)

    def _contains(self, node: x.Contains, negated: bool) -> Condition:
        item, container, inside = node.item, node.container, node.negated == negated
        if isinstance(container, x.Literal) and isinstance(container.value, tuple):
            return self._word(item, inside, tuple(words.token(v) for v in container.value))
        if isinstance(item, x.Literal) and item.kind in ("string", "number", "boolean"):
            if not _is_map(container):
                group = self._group(Members, "members", container)
                return _asked(Atom(group, "in" if inside else "not in", words.token(item.value)))
            if item.kind == "string":
                part = x.Call("item", (container, item), "boolean")
                return self._keyed(PRESENT, part, ">=" if inside else "<", 1, False)
        return self._truth(node, negated)

    def _inside(self, node: x.InSegment, negated: bool) -> Condition:
        group = self._group(Inside, "inside", node)
        assert isinstance(group, Inside)
        self.inside[node.name] = group
        return _asked(Atom(group, "not in" if negated else "in", True))

    def _truth(self, node: Node, negated: bool) -> Condition:
        """What is nothing but true or false, such as `has(x)` and `a == b`."""
        part = _only_part(node)
        if part is not None:
            template = x.substituted(node, part, part_of(part))
            if template.kind == "boolean" and _stands_alone(template):
                # A line of two: false is 0 and true is 1.
                return self._keyed(template, part, "<" if negated else ">=", 1, False)
        group = self._group(Equal, "truth", _as(node, "boolean"))
        return _asked(Atom(group, "in", (not negated,)))

    def _word(self, node: Node, inside: bool, constants: tuple[Any, ...]) -> Condition:
        return _asked(Atom(self._group(Equal, "word", node), "in" if inside else "not in", constants))

    def _line(self, node: Node, op: str, constant: Any, timed: bool = False) -> Condition:
        part = _only_part(node)
        if part is not None:
            template = x.substituted(node, part, part_of(part))
            if _is_strict(template) or (not timed and _stands_alone(template)):
                return self._keyed(template, part, op, constant, timed)
        return _asked(Atom(self._group(Ordered, "timed" if timed else "line", node, timed), op, constant))

    def _keyed(self, template: Node, part: x.Call, op: str, constant: Any, timed: bool) -> Condition:
        """A comparison with one key's part of a map, in one group with those of all other keys."""
        of_map, key = part.args
        assert isinstance(of_map, x.Aggregate) and isinstance(key, x.Literal)
        name = ("keyed", timed, of_map, template)
        group = self._groups.get(name)
        if group is None:
            slot = self._slots.by_node[of_map]
            assert isinstance(slot.aggregate, ByKey)
            alone = _stands_alone(template)
            touched = self.touched.setdefault(slot.index, set()) if alone else None
            value = compile_part(template, slot.aggregate.inner, self._slots, self._local)
            home = None if not alone else False if template == PRESENT else value(None, [], 0)
            group = Keyed(of_map, len(self._groups), timed, value, home, touched)
            self._add(name, group, of_map, template)
        return _asked(Atom(group, op, constant, str(key.value)))

    def _group(self, kind: type[Group], name: str, node: Node, *more: Any) -> Group:
        found = self._groups.get((name, node))
        if found is None:
            found = kind(node, len(self._groups), *more)
            self._add((name, node), found, node)
        return found

    def _add(self, name: tuple[Any, ...], group: Group, *nodes: Node) -> None:
        """A new group, with what may move it."""
        read = [self._slots.by_node[a] for node in nodes for a in x.aggregates(node)]
        group.types = frozenset(t for slot in read for t in slot.node.types)
        group.clock = _is_timed(group) or any(slot.moves for slot in read)
        self._groups[name] = group

    # Probing

    def probe(self, concerns: Callable[[frozenset[str], bool], bool]) -> Probe:
        """A function that brings up to date the positions of the groups that `concerns` names, by the event types that
        move them and whether time alone does."""
        probes = [p for (types, clock), several in self._compiled.items() if concerns(types, clock) for p in several]
        if len(probes) == 1:
            return probes[0]

        def each(
            s: list[Any], q: list[Any], flips: list[int], now: int, suspects: set[int] | None, whole: bool
        ) -> None:
            for probe in probes:
                probe(s, q, flips, now, suspects, whole)

        return each

    def _compile(self) -> dict[tuple[frozenset[str], bool], list[Probe]]:
        """Groups that the same events move stand in the same functions, so that each is compiled once."""
        alike: dict[tuple[frozenset[str], bool], list[Group]] = {}
        for group in self.groups:
            if isinstance(group, Inside):
                continue
            alike.setdefault((group.types, group.clock), []).append(group)
        compiled: dict[tuple[frozenset[str], bool], list[Probe]] = {}
        for moved_by, groups in alike.items():
            compiled[moved_by] = []
            for start in range(0, len(groups), FUNCTION_GROUPS_MAX):
                code = profile_code(self._slots, self._local)
                for group in groups[start : start + FUNCTION_GROUPS_MAX]:
                    self._probe_group(code, group)
                compiled[moved_by].append(code.function("probe", "s, q, flips, now, suspects, whole"))
        return compiled

    def _probe_group(self, code: Code, group: Group) -> None:
        if isinstance(group, Keyed):
            assert isinstance(group.node, x.Aggregate)
            state = f"s[{self._slots.by_node[group.node].index}]"
            code.line(f"{code.object(group.probe)}({state}, s, q, flips, now, suspects, whole)")
            return
        value = code.atom(group.node)
        place = f"q[{group.place}]"
        if isinstance(group, Members):
            dependents = group.dependents
            position = code.new(f"{code.object(group.position)}({value.source})", False).source
        elif isinstance(group, Equal):
            dependents = group.dependents
            key = value.source
            if group.node.kind not in (*NUMERIC, "string", "boolean"):
                key = f"{code.object(words.token)}({key})"
            found = f"{code.object(group.table)}.get({key}, 0)"
            position = code.new(f"-1 if {value.source} is None else {found}" if value.nullable else found, False).source
        else:
            assert isinstance(group, Ordered)
            dependents = group.line.dependents
            if group.line.timed:
                position = _timed_position(code, group, value.source)
            else:
                found = _line_position(code, group.line.constants, value.source)
                position = code.new(
                    f"-1 if {value.source} is None else {found}" if value.nullable else found, False
                ).source
        with code.block(f"if {position} != {place}:"):
            moved = f"{code.object(dependents.moved)}({place}, {position}, q, suspects)"
            code.line(f"if suspects is not None: {moved}")
            code.line(f"{place} = {position}")


def _asked(atom: Atom) -> Atom:
    atom.group.ask(atom)
    return atom


def _is_timed(group: Group) -> bool:
    return (isinstance(group, Ordered) and group.line.timed) or (isinstance(group, Keyed) and group.timed)


def _line_position(code: Code, constants: list[Any], value: str) -> str:
    if len(constants) == 1:
        constant = f"({constants[0]!r})"
        return f"({value} >= {constant}) + ({value} > {constant})"
    low, high, cuts = code.object(bisect_left), code.object(bisect_right), code.object(constants)
    return f"{low}({cuts}, {value}) + {high}({cuts}, {value})"


def _timed_position(code: Code, group: Ordered, base: str) -> str:
    """The number of cuts passed; sets the instant of the next one."""
    constants = code.object(group.line.constants)
    position = f"q{group.place}"
    with code.block(f"if {base} is None:"):
        code.line(f"{position} = {ABSENT}; flips[{group.flip}] = {NEVER}")
    with code.block("else:"):
        code.line(f"{position} = {code.object(bisect_right)}({constants}, now - {base})")
        after = f"{base} + {constants}[{position}] if {position} < {len(group.line.constants)} else {NEVER}"
        code.line(f"flips[{group.flip}] = {after}")
    return position


def _as(node: Node, kind: x.Kind) -> Node:
    """A fact of any kind as one of a kind: absent unless it is."""
    if node.kind != "json":
        return node
    return x.Call({"number": "number", "string": "text", "boolean": "truth"}[kind], (node,), kind)


def _one_is_number(left: Node, right: Node) -> bool:
    kinds = (left.kind, right.kind)
    return "json" in kinds and any(k in NUMERIC for k in kinds)


def _is_map(node: Node) -> bool:
    return isinstance(node, x.Aggregate) and node.by is not None


def _only_part(node: Node) -> x.Call | None:
    """The one key of one map that the expression looks at, if it is one."""
    found: x.Call | None = None
    for below in x.walk(node):
        if isinstance(below, x.Call) and below.name == "item" and _is_map(below.args[0]):
            if found is not None and below != found:
                return None
            found = below
    return found


def _stands_alone(template: Node) -> bool:
    """Whether nothing but the key's part decides the value."""
    return not any(True for _ in x.aggregates(template))


def _is_strict(template: Node) -> bool:
    """Whether the value is absent wherever the key's part is, whatever else there is."""
    match template:
        case x.Field():
            return True
        case x.Arithmetic() | x.Sign() | x.Instant():
            return any(_is_strict(child) for child in x.children(template))
        case x.Call() if template.name in _STRICT:
            return _is_strict(template.args[0])
        case _:
            return False


_STRICT: Final = ("number", "text", "lower", "len", "score", "hour", "weekday", "date")
