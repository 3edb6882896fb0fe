"""Conditions in time, brought to one form: `now - base >= n`.

A comparison with `since` is linear in the clock, `c * now + terms op 0`. It is rewritten so that the instant at
which it changes is computed from the profile alone: either `base` is a stored time and `n` a constant (many
thresholds on one time share a group), or `base` is that instant itself and `n` is 0. Exact in both cases: times
are whole milliseconds and other terms are summed as fractions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from profilestream.core import expressions as x
from profilestream.core.expressions import DAY_MS, Node
from profilestream.core.problems import ExpressionError

FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True)
class _Linear:
    """coefficient * now + constant + terms, each a factor with a node that is free of the clock."""

    coefficient: Fraction
    constant: Fraction
    terms: tuple[tuple[Fraction, Node], ...]

    def plus(self, other: _Linear, factor: Fraction | int) -> _Linear:
        return _Linear(
            self.coefficient + factor * other.coefficient,
            self.constant + factor * other.constant,
            self.terms + tuple((factor * f, node) for f, node in other.terms),
        )


def normalise(node: Node) -> Node:
    """The condition with every comparison in time as `Elapsed`; raises ExpressionError where it is not linear."""
    match node:
        case x.Logic():
            return replace(node, items=tuple(normalise(i) for i in node.items))
        case x.Not():
            return replace(node, item=normalise(node.item))
        case x.Compare() if x.uses_clock(node):
            return _comparison(node)
        case _:
            return node


def _comparison(node: x.Compare) -> Node:
    op, left, right = node.op, node.left, node.right
    if x.uses_clock(right) and not x.uses_clock(left):
        op, left, right = FLIPPED[op], right, left
    if isinstance(left, x.Since) and left.days:
        return _whole_days(op, left, right)
    form = _linear(left).plus(_linear(right), -1)
    if form.coefficient == 0:
        raise ExpressionError("the clock cancels out on both sides; compare the times themselves")
    if form.coefficient < 0:
        form, op = _NOTHING.plus(form, -1), FLIPPED[op]
    return _by_operator(op, lambda strict: _reached(form, strict))


def _by_operator(op: str, reached: Callable[[bool], x.Elapsed]) -> Node:
    """The comparison from its two instants: `reached(strict)` holds from the first with `>` or `>=` on."""
    match op:
        case ">":
            return reached(True)
        case ">=":
            return reached(False)
        case "<":
            return x.Not(reached(False))
        case "<=":
            return x.Not(reached(True))
        case "==":
            return x.Logic("and", (reached(False), x.Not(reached(True))))
        case _:
            return x.Logic("or", (x.Not(reached(False)), reached(True)))


def _reached(form: _Linear, strict: bool) -> x.Elapsed:
    """`c * now > sum` or `>= sum`, where the sum is what stands on the other side."""
    constant, terms = -form.constant, tuple((-factor, node) for factor, node in form.terms)
    if form.coefficient == 1 and len(terms) == 1 and terms[0][0] == 1 and x.is_integral(terms[0][1]):
        return x.Elapsed(terms[0][1], math.floor(constant) + 1 if strict else math.ceil(constant))
    return x.Elapsed(x.Instant(strict, form.coefficient, constant, terms), 0)


def _whole_days(op: str, since: x.Since, limit: Node) -> Node:
    if not isinstance(limit, x.Literal) or type(limit.value) not in (int, float):
        raise ExpressionError("days_since(t) is compared with a number that is written out; else use since(t)")
    days = Fraction(limit.value)  # type: ignore[arg-type]

    def reached(strict: bool) -> x.Elapsed:
        whole = math.floor(days) + 1 if strict else math.ceil(days)
        return _reached(_Linear(Fraction(1), Fraction(-whole * DAY_MS), ((Fraction(-1), since.time),)), strict=False)

    return _by_operator(op, reached)


def _linear(node: Node) -> _Linear:
    if isinstance(node, x.Literal):
        return _Linear(Fraction(0), Fraction(node.value), ())  # type: ignore[arg-type]
    if not x.uses_clock(node):
        return _Linear(Fraction(0), Fraction(0), ((Fraction(1), node),))
    if isinstance(node, x.Since):
        if node.days:
            raise ExpressionError("days_since(t) is compared alone with a number; in arithmetic use since(t)")
        return _Linear(Fraction(1), Fraction(0), ((Fraction(-1), node.time),))
    if isinstance(node, x.Arithmetic):
        if node.op in "+-":
            return _linear(node.left).plus(_linear(node.right), 1 if node.op == "+" else -1)
        left_is_factor = node.op == "*" and isinstance(node.left, x.Literal)
        factor, moving = (node.left, node.right) if left_is_factor else (node.right, node.left)
        if isinstance(factor, x.Literal) and factor.value:
            scale = Fraction(factor.value)  # type: ignore[arg-type]
            return _NOTHING.plus(_linear(moving), scale if node.op == "*" else 1 / scale)
    raise ExpressionError("a condition must be linear in time: since(t) plus or minus durations, times a constant")


_NOTHING = _Linear(Fraction(0), Fraction(0), ())
