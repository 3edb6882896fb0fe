"""The leaves of a condition: the parts that hold or not by themselves, and how `and`, `or`, `not` join them.

A leaf is a comparison (each link of `a < b < c` for itself), `in`, a call or a name. Its text is exactly that of the
file.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from profilestream.core import expressions as x
from profilestream.core.expressions import Node


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
class Joined:
    """Parts of a condition joined by one word, with every `not` pushed down to the leaves, which are `negated`."""

    word: Literal["and", "or"]
    parts: tuple[Tree, ...]


Tree = int | Joined
"""A leaf by its number in the order of the text, or parts joined."""


def leaves(text: str, node: Node) -> list[Leaf]:
    """The leaves of a condition in the order of its text; `node` is what the parser made of the text."""
    return take_apart(text, node)[0]


def take_apart(text: str, node: Node) -> tuple[list[Leaf], Tree]:
    """The leaves of a condition, as `leaves`, and how they are joined."""
    source = _Source(text.strip())
    tree = source.take_apart(ast.parse(text.strip(), mode="eval").body, node, False)
    return source.found, tree


class _Source:
    """A condition's text, from which the texts of its parts are cut by `ast`'s positions (in UTF-8)."""

    def __init__(self, text: str) -> None:
        self.found: list[Leaf] = []
        self._bytes = text.encode()
        self._lines = [0]
        for line in self._bytes.split(b"\n"):
            self._lines.append(self._lines[-1] + len(line) + 1)

    def take_apart(self, tree: ast.expr, node: Node, negated: bool) -> Tree:
        """Walks tree and node side by side: the parser keeps the shape of all that joins conditions."""
        match tree, node:
            case ast.BoolOp(op=op), x.Logic():
                pairs = zip(tree.values, node.items, strict=True)
                parts = tuple(self.take_apart(part, item, negated) for part, item in pairs)
                return Joined("or" if isinstance(op, ast.Or) is not negated else "and", parts)
            case ast.UnaryOp(op=ast.Not()), x.Not():
                return self.take_apart(tree.operand, node.item, not negated)
            case ast.Compare(), x.Logic():
                links = zip(self._links(tree), node.items, strict=True)
                parts = tuple(self._add(_leaf(text, item, negated, sided=True)) for text, item in links)
                return Joined("or" if negated else "and", parts)
            case _:
                text = self._cut(*self._span(tree))
                return self._add(_leaf(text, node, negated, sided=isinstance(tree, ast.Compare | ast.Call)))

    def _add(self, leaf: Leaf) -> int:
        self.found.append(leaf)
        return len(self.found) - 1

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
