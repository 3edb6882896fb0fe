"""What is asked of the parts of an expression, whatever they stand in. Each raises ExpressionError at its place."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Final

from profilestream.core import expressions as x
from profilestream.core.expressions import Kind, Node
from profilestream.core.problems import fail, short
from profilestream.core.vocabulary import A

IN_SEGMENT_STANDS: Final = "`in_segment` stands only in conditions (enter and exit), joined by and, or, not"


def need(tree: ast.expr, node: Node, kinds: tuple[Kind, ...], what: str) -> None:
    """The part is, or may be, of one of the kinds; `what` is said of one that is not."""
    if node.kind not in kinds and node.kind != "json":
        fail(tree, f"{what}, but `{short(tree)}` is {A[node.kind]}")


def no_segments(trees: Iterable[ast.expr], nodes: Iterable[Node]) -> None:
    """None of the parts asks whether the customer is in a segment."""
    for tree, node in zip(trees, nodes, strict=True):
        if any(x.segments(node)):
            fail(tree, IN_SEGMENT_STANDS)


def no_clock(tree: ast.expr, *nodes: Node) -> None:
    """None of the parts moves with the clock."""
    if any(x.uses_clock(n) for n in nodes):
        fail(tree, "a condition must be linear in time: compare since(t) with a duration")
