"""The value of an expression, where absence is SQL's NULL.

`evaluate` walks the tree. A scope says what a name and an aggregate mean: a row's fields inside a stream's
condition, the customer's traits elsewhere.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Protocol

from profilestream.oracle.definitions import DAY_MS, HOUR_MS, MINUTE_MS, Definitions, UnsupportedError, is_aggregate
from profilestream.oracle.values import (
    Duration,
    Time,
    Value,
    arithmetic,
    conjunction,
    contains,
    disjunction,
    equals,
    is_before,
    is_number,
    negation,
)

SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Scope(Protocol):
    """What names and aggregates mean, and what time it is."""

    definitions: Definitions
    now_ms: int

    def name(self, name: str) -> Value:
        """The value of a name."""

    def attribute(self, node: ast.Attribute) -> Value:
        """The value of `something.field`."""

    def aggregate(self, call: ast.Call) -> Value:
        """The value of an aggregate."""

    def inside(self, segment: str) -> bool:
        """Whether the customer is in a segment."""


class RowScope:
    """Inside a stream's condition or an aggregate's argument: names are the row's fields."""

    now_ms = 0

    def __init__(self, definitions: Definitions, fields: Mapping[str, Value]) -> None:
        self.definitions = definitions
        self.fields = fields

    def name(self, name: str) -> Value:
        """A field of the row."""
        return self.fields.get(name)

    def attribute(self, node: ast.Attribute) -> Value:
        """`stream.field`: a field of the row, which is the stream's."""
        return self.fields.get(node.attr)

    def aggregate(self, call: ast.Call) -> Value:
        """There are no aggregates inside rows."""
        raise UnsupportedError(f"an aggregate inside a row: {ast.unparse(call)}")

    def inside(self, segment: str) -> bool:
        """Nor are there segments."""
        raise UnsupportedError(f"a segment inside a row: {segment}")


def evaluate(node: ast.expr, scope: Scope) -> Value:
    """The value of an expression in a scope; None when it is absent or unknown."""
    match node:  # the frequent ones first
        case ast.Name():
            return scope.name(node.id)
        case ast.Constant():
            return node.value
        case ast.Compare():
            return _compare(node, scope)
        case ast.BoolOp():
            parts = [_truth(evaluate(v, scope)) for v in node.values]
            return conjunction(parts) if isinstance(node.op, ast.And) else disjunction(parts)
        case ast.Call() if is_aggregate(node):
            return scope.aggregate(node)
        case ast.Call(func=ast.Name(id="in_segment"), args=[ast.Constant(value=segment)]):
            return scope.inside(str(segment))
        case ast.Call(func=ast.Name(id=word)) if word in WORDS:
            return WORDS[word](scope, *[evaluate(a, scope) for a in node.args])
        case ast.BinOp():
            sides = evaluate(node.left, scope), evaluate(node.right, scope)
            return arithmetic(SIGNS[type(node.op)], *sides)
        case ast.Attribute():
            return scope.attribute(node)
        case ast.UnaryOp(op=ast.Not()):
            return negation(_truth(evaluate(node.operand, scope)))
        case ast.UnaryOp(op=ast.USub()):
            return _minus(evaluate(node.operand, scope))
        case ast.UnaryOp(op=ast.UAdd()):
            return evaluate(node.operand, scope)
        case ast.List() | ast.Tuple() | ast.Set():
            return [evaluate(e, scope) for e in node.elts]
        case ast.Subscript():
            return _subscript(evaluate(node.value, scope), evaluate(node.slice, scope))
    raise UnsupportedError(ast.unparse(node))


def _truth(value: Value) -> bool | None:
    """Only true and false are conditions; anything else is unknown."""
    return value if isinstance(value, bool) else None


def _minus(value: Value) -> Value:
    if isinstance(value, Duration):
        return Duration(-value.ms)
    return 0 - value if is_number(value) else None  # what is nothing has no sign


def _compare(node: ast.Compare, scope: Scope) -> bool | None:
    sides = [evaluate(s, scope) for s in (node.left, *node.comparators)]
    return conjunction([_compare_two(op, a, b) for op, (a, b) in zip(node.ops, pairwise(sides), strict=True)])


def _compare_two(op: ast.cmpop, a: Value, b: Value) -> bool | None:
    match op:
        case ast.Eq():
            return equals(a, b)
        case ast.NotEq():
            return negation(equals(a, b))
        case ast.Lt():
            return is_before(a, b)
        case ast.Gt():
            return is_before(b, a)
        case ast.LtE():
            return negation(is_before(b, a))
        case ast.GtE():
            return negation(is_before(a, b))
        case ast.In():
            return contains(b, a)
        case ast.NotIn():
            return negation(contains(b, a))
    raise UnsupportedError(ast.dump(op))


def _subscript(container: Value, key: Value) -> Value:
    if isinstance(container, dict) and isinstance(key, str):
        return container.get(key)
    if isinstance(container, list) and is_number(key) and -len(container) <= key < len(container):
        return container[key]
    return None


def _local(scope: Scope, t: Value) -> datetime | None:
    if not isinstance(t, Time):
        return None
    return (_EPOCH + timedelta(milliseconds=t.ms)).astimezone(scope.definitions.timezone)


def _since(scope: Scope, t: Value) -> Value:
    return Duration(scope.now_ms - t.ms) if isinstance(t, Time) else None


def _days_since(scope: Scope, t: Value) -> Value:
    return (scope.now_ms - t.ms) // DAY_MS if isinstance(t, Time) else None


def _after(scope: Scope, a: Value, b: Value) -> bool | None:
    """a exists, and b is absent or earlier."""
    if a is None:
        return False
    return True if b is None else is_before(b, a)


def _length_of(unit_ms: int) -> Callable[..., Value]:
    return lambda scope, n: arithmetic("*", n, Duration(unit_ms))


def _hour(scope: Scope, t: Value) -> Value:
    moment = _local(scope, t)
    return None if moment is None else moment.hour


def _weekday(scope: Scope, t: Value) -> Value:
    moment = _local(scope, t)
    return None if moment is None else moment.weekday()


def _date(scope: Scope, t: Value) -> Value:
    moment = _local(scope, t)
    return None if moment is None else moment.date().isoformat()


def _score(scope: Scope, x: Value, *breaks: Value) -> Value:
    """1 + the number of breaks that x reaches."""
    if x is None:
        return None
    reached = [negation(is_before(x, b)) for b in breaks]
    return None if None in reached else 1 + reached.count(True)


WORDS: dict[str, Callable[..., Value]] = {
    "since": _since,
    "days_since": _days_since,
    "after": _after,
    "minutes": _length_of(MINUTE_MS),
    "hours": _length_of(HOUR_MS),
    "days": _length_of(DAY_MS),
    "hour": _hour,
    "weekday": _weekday,
    "date": _date,
    "has": lambda scope, x: x is not None,
    "default": lambda scope, x, y: y if x is None else x,
    "len": lambda scope, x: len(x) if isinstance(x, str | list | dict) else None,
    "lower": lambda scope, x: x.lower() if isinstance(x, str) else None,
    "score": _score,
}
