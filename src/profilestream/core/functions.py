"""The functions of the language: how a call is checked and typed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Final

from profilestream.core import expressions as x
from profilestream.core.checks import IN_SEGMENT_STANDS, need
from profilestream.core.expressions import Kind, Node
from profilestream.core.problems import fail, short, suggestion
from profilestream.core.scope import Scope
from profilestream.core.vocabulary import A, comparable

Build = Callable[[Scope, ast.Call, tuple[Node, ...]], Node]


def _since(days: bool) -> Build:
    def build(scope: Scope, tree: ast.Call, args: tuple[Node, ...]) -> Node:
        if scope.in_row:
            fail(tree, "`since` stands only in conditions (enter and exit), where time may pass")
        need(tree.args[0], args[0], ("time",), "since() takes a time")
        if x.uses_clock(args[0]):
            fail(tree, "since() takes a time of the past, not one that moves with the clock")
        time = args[0]
        if time.kind == "json":
            # A fact of any kind is a time only where it is a number, of milliseconds.
            time = x.Call("number", (time,), "time")
        return x.Since(time, days, "number" if days else "duration")

    return build


def _of_time(name: str, kind: Kind) -> Build:
    def build(scope: Scope, tree: ast.Call, args: tuple[Node, ...]) -> Node:
        need(tree.args[0], args[0], ("time",), f"{name}() takes a time")
        return x.Call(name, args, kind, kind == "number")

    return build


def _after(scope: Scope, tree: ast.Call, args: tuple[Node, ...]) -> Node:
    for argument, node in zip(tree.args, args, strict=True):
        need(argument, node, ("time",), "after() compares two times")
    return x.Call("after", args, "boolean")


def _has(scope: Scope, tree: ast.Call, args: tuple[Node, ...]) -> Node:
    return x.Call("has", args, "boolean")


def _default(scope: Scope, tree: ast.Call, args: tuple[Node, ...]) -> Node:
    a, b = args[0].kind, args[1].kind
    if "json" in (a, b):
        return x.Call("default", args, "json")
    if a != b and not comparable(a, b):
        fail(
            tree,
            "default() takes two of one kind, but "
            f"`{short(tree.args[0])}` is {A[a]} and `{short(tree.args[1])}` {A[b]}",
        )
    return x.Call("default", args, a, x.is_integral(args[0]) and x.is_integral(args[1]))


def _len(scope: Scope, tree: ast.Call, args: tuple[Node, ...]) -> Node:
    need(tree.args[0], args[0], ("list", "object", "string"), "len() takes a list, an object or a string")
    return x.Call("len", args, "number", True)


def _lower(scope: Scope, tree: ast.Call, args: tuple[Node, ...]) -> Node:
    need(tree.args[0], args[0], ("string",), "lower() takes a string")
    return x.Call("lower", args, "string")


def _score(scope: Scope, tree: ast.Call, args: tuple[Node, ...]) -> Node:
    need(tree.args[0], args[0], ("number", "duration"), "score() takes a number")
    breaks = []
    for argument, node in zip(tree.args[1:], args[1:], strict=True):
        if not isinstance(node, x.Literal) or not comparable(
            args[0].kind if args[0].kind != "json" else "number", node.kind
        ):
            fail(argument, "the breaks of score() are numbers that are written out, lowest first")
        breaks.append(node.value)
    if breaks != sorted(breaks):
        fail(tree, "the breaks of score() go from the lowest to the highest")
    return x.Call("score", args, "number", True)


def _in_segment(scope: Scope, tree: ast.Call, args: tuple[Node, ...]) -> Node:
    if scope.in_row:
        fail(tree, IN_SEGMENT_STANDS)
    (name,) = args
    if not isinstance(name, x.Literal) or not isinstance(name.value, str):
        fail(tree.args[0], "in_segment() takes a segment's name in quotes: in_segment('vip')")
    if name.value not in scope.segment_names:
        known = scope.segment_names
        if len(known) > _COMPARED_MAX:
            known = [n for n in known if n[:2] == name.value[:2]][:_COMPARED_MAX]
        fail(tree.args[0], f"unknown segment `{name.value}`{suggestion(name.value, known)}")
    return x.InSegment(name.value)


_COMPARED_MAX: Final = 1_000
"""Of more names than so many only those that begin alike are compared with an unknown one."""

FUNCTIONS: Final[Mapping[str, Build]] = {
    "since": _since(days=False),
    "days_since": _since(days=True),
    "after": _after,
    "hour": _of_time("hour", "number"),
    "weekday": _of_time("weekday", "number"),
    "date": _of_time("date", "string"),
    "has": _has,
    "default": _default,
    "len": _len,
    "lower": _lower,
    "score": _score,
    "in_segment": _in_segment,
}
