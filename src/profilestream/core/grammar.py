"""The grammar of expressions: Python's syntax through `ast`, typed, never run as code.

What may stand where is told here, what names mean in `scope.py`, how operators and functions are checked and typed in
`operators.py` and `functions.py`. What stands inside a stream or an aggregate is read by `Parser`, which completes this
class. Every mistake is an `ExpressionError` with its place in the text; nothing else is raised, for any text.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable
from typing import TypeVar

from profilestream.core import expressions as x
from profilestream.core.aggregates import AGGREGATES
from profilestream.core.checks import IN_SEGMENT_STANDS, need, no_segments
from profilestream.core.events import FACTS
from profilestream.core.expressions import DAY_MS, Kind, Node
from profilestream.core.functions import FUNCTIONS
from profilestream.core.operators import arithmetic, arithmetic_operator, compare, folded, unary
from profilestream.core.problems import ExpressionError, TooLarge, fail, short, suggestion
from profilestream.core.scope import Scope
from profilestream.core.syntax import read_text
from profilestream.core.vocabulary import DEPTH_MAX, INTEGER_BITS_MAX, NODES_MAX, SCALES, USAGE

T = TypeVar("T")


class Grammar(Scope):
    """Reads expressions against what names mean."""

    _depth = 0
    _nodes = 0
    """How deep the part at hand stands in its text, and how many have been read of that."""

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
        need(tree, node, ("boolean",), "a condition is true or false")
        return node

    def _node(self, tree: ast.expr) -> Node:
        self._depth += 1
        self._grow(tree, 1)
        if self._depth > DEPTH_MAX:
            raise TooLarge("nested too deeply; use traits for its parts", tree.lineno - 1, tree.col_offset)
        try:
            return folded(self._dispatch(tree))
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
                return unary(tree, self._node(tree.operand))
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
            return self.field(tree, name)
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
        op = arithmetic_operator(tree)
        left, right = self._nodes_of((tree.left, tree.right))
        return arithmetic(tree, op, left, right)

    def _comparison(self, tree: ast.Compare) -> Node:
        sides = [tree.left, *tree.comparators]
        nodes = self._nodes_of(sides)
        no_segments(sides, nodes)
        parts: list[Node] = []
        for i, op in enumerate(tree.ops):
            parts.append(compare(tree, op, sides[i], nodes[i], sides[i + 1], nodes[i + 1]))
        return parts[0] if len(parts) == 1 else x.Logic("and", tuple(parts))

    def _logic(self, tree: ast.BoolOp) -> Node:
        word = "and" if isinstance(tree.op, ast.And) else "or"

        def condition(value: ast.expr) -> Node:
            node = self._node(value)
            need(value, node, ("boolean",), f"`{word}` joins conditions")
            return node

        return x.Logic(word, tuple(self._nodes_of(tree.values, condition)))

    def _subscript(self, tree: ast.Subscript) -> Node:
        named = isinstance(tree.value, ast.Name) and tree.value.id in self.trait_names
        if self.is_stream(tree.value) and not named:
            fail(tree, f"`{short(tree)}` is a stream: put it into an aggregate, such as count({short(tree)})")
        node = self._node(tree.value)
        need(tree.value, node, ("object",), "only an object has ['keys']")
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
        no_segments(tree.args, nodes)
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
