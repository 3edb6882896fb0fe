"""The grammar of expressions: Python's syntax through `ast`, typed, never run as code.

What stands inside a stream or an aggregate is read by `Parser`, which completes this class. Every mistake is an
`ExpressionError` with its place in the text; nothing else is raised, for any text.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, TypeVar

from profilestream.core import expressions as x
from profilestream.core import words
from profilestream.core.aggregates import AGGREGATES
from profilestream.core.events import COMMON, FACTS, EventType, Field
from profilestream.core.expressions import DAY_MS, Kind, Node
from profilestream.core.functions import FUNCTIONS, IN_SEGMENT_STANDS
from profilestream.core.problems import ExpressionError, TooLarge, fail, short, suggestion
from profilestream.core.syntax import read_text
from profilestream.core.vocabulary import (
    DEPTH_MAX,
    INTEGER_BITS_MAX,
    KIND_OF_FIELD,
    NODES_MAX,
    NUMERIC,
    SCALES,
    USAGE,
    A,
    arithmetic_hint,
    arithmetic_kind,
    comparable,
)

_ARITHMETIC: Final = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARE: Final = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}

T = TypeVar("T")


class Grammar:
    """Reads expressions against what names mean; `trait_of` gives another trait's expression by name."""

    def __init__(
        self,
        types: Mapping[str, EventType],
        facts: Mapping[str, Field] | None = None,
        streams: Mapping[str, x.Stream] | None = None,
        trait_names: tuple[str, ...] = (),
        trait_of: Callable[[str], Node] | None = None,
        segment_names: Collection[str] = (),
    ) -> None:
        self.types = types
        self.facts = dict(facts or {})
        self.streams = dict(streams or {})
        self.trait_names = trait_names
        self.trait_of = trait_of
        self.segment_names = segment_names
        self._row: x.Stream | None = None
        self._depth = 0
        self._nodes = 0

    @property
    def in_row(self) -> bool:
        """Whether the text at hand is about a stream's rows rather than about a profile."""
        return self._row is not None

    def suspend(self) -> tuple[x.Stream | None, int, int]:
        """Lays the text at hand aside, to read another one first."""
        state = self._row, self._depth, self._nodes
        self._row = None
        return state

    def resume(self, state: tuple[x.Stream | None, int, int]) -> None:
        self._row, self._depth, self._nodes = state

    # What `Parser` adds

    def is_stream(self, tree: ast.expr) -> bool:
        """Whether the tree names a stream, with a condition or without."""
        raise NotImplementedError

    def aggregate(self, tree: ast.Call, name: str) -> Node:
        """The aggregate that a call means."""
        raise NotImplementedError

    # Texts and trees

    def _read(self, text: str, read: Callable[[ast.expr], T]) -> T:
        self._depth = self._nodes = 0
        return read_text(text, read)

    def _trait(self, tree: ast.expr) -> Node:
        node = self._node(tree)
        if x.uses_clock(node):
            fail(tree, "`since` and `days_since` stand only in conditions (enter and exit), where time may pass")
        if any(x.segments(node)):
            fail(tree, IN_SEGMENT_STANDS)
        if isinstance(node, x.Literal):
            fail(tree, "a trait is computed from events; this is a constant")
        return node

    def _condition(self, tree: ast.expr) -> Node:
        node = self._node(tree)
        self.need(tree, node, ("boolean",), "a condition is true or false")
        return node

    def _node(self, tree: ast.expr) -> Node:
        self._depth += 1
        self._grow(tree, 1)
        if self._depth > DEPTH_MAX:
            raise TooLarge("nested too deeply; use traits for its parts", tree.lineno - 1, tree.col_offset)
        try:
            return self._fold(self._dispatch(tree))
        finally:
            self._depth -= 1

    def _grow(self, tree: ast.expr, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            what = f"with the traits that it names it has more than {NODES_MAX:,} parts; make it smaller"
            raise TooLarge(what, tree.lineno - 1, tree.col_offset)

    def _nodes_of(self, trees: Iterable[ast.expr], read: Callable[[ast.expr], Node] | None = None) -> list[Node]:
        """The node of each part; the mistakes of all of them at once."""
        found: list[Node] = []
        errors: list[ExpressionError] = []
        for tree in trees:
            try:
                found.append((read or self._node)(tree))
            except TooLarge:
                raise
            except ExpressionError as error:
                errors += error.all
        if errors:
            first, *others = errors
            raise ExpressionError(first.message, first.line, first.column, tuple(others))
        return found

    def _dispatch(self, tree: ast.expr) -> Node:
        match tree:
            case ast.Constant():
                return self._literal(tree)
            case ast.Name():
                return self._name(tree)
            case ast.Attribute():
                return self._attribute(tree)
            case ast.BinOp():
                return self._arithmetic(tree)
            case ast.UnaryOp():
                return self._unary(tree)
            case ast.Compare():
                return self._comparison(tree)
            case ast.BoolOp():
                return self._logic(tree)
            case ast.Call():
                return self._call(tree)
            case ast.Subscript():
                return self._subscript(tree)
            case ast.List() | ast.Tuple() | ast.Set():
                return self._list(tree)
        fail(tree, f"`{short(tree)}` is not part of the language; see the reference of expressions")

    def need(self, tree: ast.expr, node: Node, kinds: tuple[Kind, ...], what: str) -> None:
        if node.kind not in kinds and node.kind != "json":
            fail(tree, f"{what}, but `{short(tree)}` is {A[node.kind]}")

    def _fold(self, node: Node) -> Node:
        """A node of constants alone becomes the constant; what has no value is left to give none when it is read."""
        if not isinstance(node, x.Arithmetic):
            return node
        if not isinstance(node.left, x.Literal) or not isinstance(node.right, x.Literal):
            return node
        value = words.arithmetic(node.op, node.left.value, node.right.value)
        if value is None or (isinstance(value, int) and value.bit_length() > INTEGER_BITS_MAX):
            return node
        return x.Literal(value, node.kind)

    # Leaves

    def _literal(self, tree: ast.Constant) -> Node:
        value = tree.value
        if type(value) is bool:
            return x.Literal(value, "boolean")
        if type(value) is str:
            try:
                value.encode()
            except UnicodeEncodeError:
                fail(tree, "a string with half of a surrogate pair cannot equal any text")
            return x.Literal(value, "string")
        if type(value) is int and value.bit_length() > INTEGER_BITS_MAX:
            fail(tree, "a number of more than 300 digits; write a smaller one")
        if type(value) is int or (type(value) is float and math.isfinite(value)):
            return x.Literal(value, "number")
        if value is None:
            fail(tree, "`None` is never needed: test for absence with has(x)")
        if type(value) is float:
            fail(tree, "a number beyond what a float holds; write a smaller one")
        fail(tree, f"`{short(tree)}` is not a constant of the language (numbers, strings, True, False)")

    def _list(self, tree: ast.List | ast.Tuple | ast.Set) -> Node:
        items = [self._node(element) for element in tree.elts]
        for element, item in zip(tree.elts, items, strict=True):
            if not isinstance(item, x.Literal) or item.kind == "list":
                fail(element, "a list holds constants only")
        return x.Literal(tuple(item.value for item in items if isinstance(item, x.Literal)), "list")

    def _name(self, tree: ast.Name) -> Node:
        name = tree.id
        if name in ("true", "false"):
            return x.Literal(name == "true", "boolean")
        if self._row is not None:
            return self._field(tree, name)
        if name in self.trait_names and self.trait_of is not None:
            node = self.trait_of(name)
            parts, depth = x.size(node)
            self._grow(tree, parts)
            if self._depth + depth > 2 * DEPTH_MAX:
                fail(tree, "traits build on traits too deeply; shorten the chain")
            return node
        if name in self.streams or name in self.types or name in ("item", "event"):
            fail(tree, f"`{name}` is a stream: put it into an aggregate, such as count({name})")
        if name in AGGREGATES or name in FUNCTIONS or name in SCALES:
            fail(tree, f"`{name}` is a function: write {name}(...)")
        fail(tree, f"unknown trait `{name}`{suggestion(name, self.trait_names)}")

    def fact(self, name: str) -> x.Fact:
        """A customer's fact, of the kind that the file gives it."""
        declared = self.facts.get(name)
        if declared is None:
            return x.Fact(name)
        return x.Fact(name, KIND_OF_FIELD[declared.kind], declared.kind in ("int", "time"))

    def _field(self, tree: ast.expr, name: str) -> Node:
        """A field of the row in scope, typed over all of the stream's types."""
        row = self._row
        assert row is not None
        if row.types == (FACTS,):
            common = next((f for f in COMMON if f.name == name), None)
            if common is None:
                return self.fact(name)
            return x.Field(name, KIND_OF_FIELD[common.kind], common.kind == "int")
        found: dict[str, tuple[Kind, bool]] = {}
        known: set[str] = set()
        for type_name in row.types:
            fields = dict(self.types[type_name].by_name)
            if row.items:
                fields |= {f.name: f for f in fields["items"].record}
                known.add("amount_minor")
            known |= fields.keys()
            if row.items and name == "amount_minor":
                found[type_name] = ("number", True)
            elif name in fields:
                kind = fields[name].kind
                found[type_name] = (KIND_OF_FIELD[kind], kind in ("int", "time"))
        if not found:
            what = "an item" if row.items else "an event" if len(row.types) > 1 else f"`{row.types[0]}`"
            if name in self.trait_names:
                fail(tree, f"`{name}` is a trait; a stream's condition sees the event's own fields only")
            fail(tree, f"{what} has no field `{name}`{suggestion(name, known)}")
        kinds = set(found.values())
        if len(kinds) == 1:
            return x.Field(name, *kinds.pop())
        return x.Field(name, "json")

    def _attribute(self, tree: ast.Attribute) -> Node:
        if self._row is not None:
            fail(tree, f"write the field alone: `{tree.attr}`")
        stream = ast.unparse(tree.value)
        if stream in self.trait_names:
            fail(tree, f"`{stream}` is a trait and has no fields; for an object write {stream}['{tree.attr}']")
        word = "latest" if stream == FACTS else "last"
        fail(tree, f"`{short(tree)}` is a stream's field: put it into an aggregate, such as {word}({short(tree)})")

    # Operators

    def _arithmetic(self, tree: ast.BinOp) -> Node:
        op = _ARITHMETIC.get(type(tree.op))
        if op is None:
            fail(tree, "arithmetic is + - * / only")
        left, right = self._nodes_of((tree.left, tree.right))
        for side, node in ((tree.left, left), (tree.right, right)):
            if node.kind not in NUMERIC and node.kind != "json":
                fail(side, f"arithmetic is on numbers, times and durations, but `{short(side)}` is {A[node.kind]}")
        kind = arithmetic_kind(op, left.kind, right.kind)
        if kind is None:
            fail(
                tree, f"{A[left.kind]} {op} {A[right.kind]} has no meaning{arithmetic_hint(op, left.kind, right.kind)}"
            )
        return x.Arithmetic(op, left, right, kind, op != "/" and x.is_integral(left) and x.is_integral(right))

    def _unary(self, tree: ast.UnaryOp) -> Node:
        node = self._node(tree.operand)
        if isinstance(tree.op, ast.Not):
            self.need(tree.operand, node, ("boolean",), "`not` takes a condition")
            return x.Not(node)
        if isinstance(tree.op, ast.USub | ast.UAdd):
            self.need(tree.operand, node, ("number", "duration"), "a sign stands before a number or a duration")
            if isinstance(tree.op, ast.UAdd):
                return node
            kind: Kind = "number" if node.kind == "json" else node.kind
            return self._fold(x.Arithmetic("-", x.Literal(0, kind), node, kind, x.is_integral(node)))
        fail(tree, "`~` is not part of the language; write `not`")

    def _comparison(self, tree: ast.Compare) -> Node:
        sides = [tree.left, *tree.comparators]
        nodes = self._nodes_of(sides)
        self._no_segments(sides, nodes)
        parts: list[Node] = []
        for i, op in enumerate(tree.ops):
            parts.append(self._compare(tree, op, sides[i], nodes[i], sides[i + 1], nodes[i + 1]))
        return parts[0] if len(parts) == 1 else x.Logic("and", tuple(parts))

    def _compare(self, tree: ast.Compare, op: ast.cmpop, a: ast.expr, left: Node, b: ast.expr, right: Node) -> Node:
        if isinstance(op, ast.In | ast.NotIn):
            if right.kind not in ("list", "object", "json"):
                fail(b, f"`in` looks into a list or an object, but `{short(b)}` is {A[right.kind]}")
            self._no_clock(tree, left, right)
            return x.Contains(left, right, isinstance(op, ast.NotIn))
        if isinstance(op, ast.Is | ast.IsNot):
            fail(tree, "write == or !=, and has(x) to test for absence")
        word = _COMPARE[type(op)]
        if {left.kind, right.kind} == {"time", "number"}:
            time, number = (a, b) if left.kind == "time" else (b, a)
            fail(
                tree,
                f"`{short(time)}` is a time and `{short(number)}` a number; compare since({short(time)}) with days(n)",
            )
        if "json" not in (left.kind, right.kind) and not comparable(left.kind, right.kind):
            fail(tree, f"{A[left.kind]} is never compared with {A[right.kind]}: `{short(a)}` {word} `{short(b)}`")
        if word in ("<", "<=", ">", ">=") and {left.kind, right.kind} & {"boolean", "list", "object"}:
            fail(tree, f"`{word}` orders numbers, times, durations and strings, not {A[left.kind]}")
        if left.kind not in NUMERIC or right.kind not in NUMERIC:
            self._no_clock(tree, left, right)
        return x.Compare(word, left, right)

    def _no_segments(self, trees: Iterable[ast.expr], nodes: Iterable[Node]) -> None:
        for tree, node in zip(trees, nodes, strict=True):
            if any(x.segments(node)):
                fail(tree, IN_SEGMENT_STANDS)

    def _no_clock(self, tree: ast.expr, *nodes: Node) -> None:
        if any(x.uses_clock(n) for n in nodes):
            fail(tree, "a condition must be linear in time: compare since(t) with a duration")

    def _logic(self, tree: ast.BoolOp) -> Node:
        word = "and" if isinstance(tree.op, ast.And) else "or"

        def condition(value: ast.expr) -> Node:
            node = self._node(value)
            self.need(value, node, ("boolean",), f"`{word}` joins conditions")
            return node

        return x.Logic(word, tuple(self._nodes_of(tree.values, condition)))

    def _subscript(self, tree: ast.Subscript) -> Node:
        named = isinstance(tree.value, ast.Name) and tree.value.id in self.trait_names
        if self.is_stream(tree.value) and not named:
            fail(tree, f"`{short(tree)}` is a stream: put it into an aggregate, such as count({short(tree)})")
        node = self._node(tree.value)
        self.need(tree.value, node, ("object",), "only an object has ['keys']")
        key = self._node(tree.slice)
        if not isinstance(key, x.Literal) or key.kind != "string":
            fail(tree.slice, "a key is a string in quotes: object['key']")
        kind: Kind = "json"
        if isinstance(node, x.Aggregate) and node.by is not None:
            kind = node.of
        return x.Call("item", (node, key), kind)

    # Calls

    def _call(self, tree: ast.Call) -> Node:
        if not isinstance(tree.func, ast.Name):
            fail(tree, f"`{short(tree.func)}` is not a function of the language")
        name = tree.func.id
        if name in AGGREGATES:
            if self._row is not None:
                fail(tree, f"`{name}` looks at streams and cannot stand inside a stream's condition or value")
            return self.aggregate(tree, name)
        if name in SCALES:
            return self._scale(tree, name)
        build = FUNCTIONS.get(name)
        if build is None:
            if name in self.trait_names:
                fail(tree, f"`{name}` is a trait, not a function: write it without brackets")
            fail(tree, f"unknown function `{name}`{suggestion(name, (*AGGREGATES, *FUNCTIONS, *SCALES))}")
        if tree.keywords:
            fail(tree, f"{name}() takes no `{tree.keywords[0].arg}=`; only aggregates have over=, ago= and by=")
        for argument in tree.args:
            if isinstance(argument, ast.Starred):
                fail(argument, "`*` has no meaning here")
        usage, least, most = USAGE[name]
        if not least <= len(tree.args) <= most:
            fail(tree, f"{name}() is written {usage}")
        nodes = tuple(self._nodes_of(tree.args))
        self._no_segments(tree.args, nodes)
        if name not in ("since", "days_since"):
            for argument, node in zip(tree.args, nodes, strict=True):
                if x.uses_clock(node):
                    fail(argument, f"a condition must be linear in time: `since` cannot stand inside {name}()")
        return build(self, tree, nodes)

    def _scale(self, tree: ast.Call, name: str) -> Node:
        if len(tree.args) != 1 or tree.keywords:
            fail(tree, f"{name}() is written {name}(30)")
        node = self._node(tree.args[0])
        if not isinstance(node, x.Literal) or not isinstance(node.value, int | float) or node.kind != "number":
            fail(tree.args[0], f"{name}() takes a number that is written out, such as {name}(30)")
        length = node.value * SCALES[name]
        if abs(length) > 1000 * 365 * DAY_MS:
            fail(tree, "a duration is at most 1,000 years")
        if length != int(length):
            fail(tree, "a duration is a whole number of milliseconds")
        return x.Literal(int(length), "duration")
