"""The operators of the language: how what stands beside them is checked and typed."""

from __future__ import annotations

import ast
from typing import Final

from profilestream.core import expressions as x
from profilestream.core import words
from profilestream.core.checks import need, no_clock
from profilestream.core.expressions import Kind, Node
from profilestream.core.problems import fail, short
from profilestream.core.vocabulary import INTEGER_BITS_MAX, NUMERIC, A, arithmetic_hint, arithmetic_kind, comparable

_ARITHMETIC: Final = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARE: Final = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


def arithmetic_operator(tree: ast.BinOp) -> str:
    """The operator's text; fails for one that the language lacks."""
    op = _ARITHMETIC.get(type(tree.op))
    if op is None:
        fail(tree, "arithmetic is + - * / only")
    return op


def arithmetic(tree: ast.BinOp, op: str, left: Node, right: Node) -> Node:
    """`left op right`."""
    for side, node in ((tree.left, left), (tree.right, right)):
        if node.kind not in NUMERIC and node.kind != "json":
            fail(side, f"arithmetic is on numbers, times and durations, but `{short(side)}` is {A[node.kind]}")
    kind = arithmetic_kind(op, left.kind, right.kind)
    if kind is None:
        fail(tree, f"{A[left.kind]} {op} {A[right.kind]} has no meaning{arithmetic_hint(op, left.kind, right.kind)}")
    return x.Arithmetic(op, left, right, kind, op != "/" and x.is_integral(left) and x.is_integral(right))


def unary(tree: ast.UnaryOp, node: Node) -> Node:
    """`not`, and a sign, before a node."""
    if isinstance(tree.op, ast.Not):
        need(tree.operand, node, ("boolean",), "`not` takes a condition")
        return x.Not(node)
    if isinstance(tree.op, ast.USub | ast.UAdd):
        need(tree.operand, node, ("number", "duration"), "a sign stands before a number or a duration")
        if isinstance(tree.op, ast.UAdd):
            return node
        kind: Kind = "number" if node.kind == "json" else node.kind
        return folded(x.Arithmetic("-", x.Literal(0, kind), node, kind, x.is_integral(node)))
    fail(tree, "`~` is not part of the language; write `not`")


def compare(tree: ast.Compare, op: ast.cmpop, a: ast.expr, left: Node, b: ast.expr, right: Node) -> Node:
    """One comparison of `tree`: of `a`, which was read as `left`, with `b`, read as `right`."""
    if isinstance(op, ast.In | ast.NotIn):
        if right.kind not in ("list", "object", "json"):
            fail(b, f"`in` looks into a list or an object, but `{short(b)}` is {A[right.kind]}")
        no_clock(tree, left, right)
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
        no_clock(tree, left, right)
    return x.Compare(word, left, right)


def folded(node: Node) -> Node:
    """A node of constants alone becomes the constant; what has no value is left to give none when it is read."""
    if not isinstance(node, x.Arithmetic):
        return node
    if not isinstance(node.left, x.Literal) or not isinstance(node.right, x.Literal):
        return node
    value = words.arithmetic(node.op, node.left.value, node.right.value)
    if value is None or (isinstance(value, int) and value.bit_length() > INTEGER_BITS_MAX):
        return node
    return x.Literal(value, node.kind)
