"""From conditions to comparisons: each expression that these compare with something gets a group.

`a > b` is the sign of a - b against 0. Time is the same with `now - t` for the expression, and the next cut ahead is
the instant at which to look again. What looks at one key of a map shares a group with all that asks the same of other
keys. A segment that others name is a group too. All else (`has`, `after`, one text against another) is a group of its
own truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from profilestream.core import expressions as x
from profilestream.core import words
from profilestream.core.codegen import NUMERIC
from profilestream.core.expressions import Node
from profilestream.core.index.comparisons import Atom, Group
from profilestream.core.index.groups import Equal, Inside, Members, Ordered
from profilestream.core.index.keyed import Keyed
from profilestream.core.index.shapes import Condition, joined
from profilestream.core.linear import FLIPPED
from profilestream.core.maps import ByKey
from profilestream.core.readout import PRESENT, compile_part, part_of
from profilestream.core.slots import Slots

NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


class Reading:
    """Conditions are read one by one; then `groups` has the groups of all, `inside` those of the segments that others
    name, and `touched`, by slot, a set for each map whose keys are looked at alone."""

    def __init__(self, slots: Slots, local: Mapping[str, Any]) -> None:
        self._slots = slots
        self._local = local
        self._groups: dict[tuple[Any, ...], Group] = {}
        self.touched: dict[int, set[str]] = {}
        self.inside: dict[str, Inside] = {}

    @property
    def groups(self) -> list[Group]:
        """The groups so far, each at its place."""
        return list(self._groups.values())

    def condition(self, node: Node, negated: bool = False) -> Condition:
        """A condition with `not` pushed down to the comparisons; there unknown and false are the same."""
        match node:
            case x.Logic():
                op = node.op if not negated else "and" if node.op == "or" else "or"
                return joined(op, (self.condition(item, negated) for item in node.items))
            case x.Not():
                return self.condition(node.item, not negated)
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
        group.clock = group.timed or any(slot.moves for slot in read)
        self._groups[name] = group


def _asked(atom: Atom) -> Atom:
    atom.group.ask(atom)
    return atom


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
