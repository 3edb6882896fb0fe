"""Which values are amounts of money, read from their expressions.

An amount is an integer field that ends in `_minor`, of an event type with a currency. Sums, means and the like of
amounts are amounts; times a number they still are, divided by one another no longer: exponents of a unit are added
and subtracted as in dimensional analysis. What is not certain is a plain number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from profilestream.core import expressions as x
from profilestream.core.definitions import Definitions
from profilestream.core.events import EventType
from profilestream.core.expressions import Node
from profilestream.core.money import AMOUNT_SUFFIX

_KEEP_THE_UNIT: Final = frozenset(("sum", "mean", "min", "max", "first", "last", "latest", "top"))


def amounts(definitions: Definitions) -> frozenset[str]:
    """The names of the traits that are amounts, or lists of amounts, in minor units of the definitions' currency.

    None are where the definitions have no currency: the amounts may then be of several.
    """
    if definitions.money is None:
        return frozenset()
    return frozenset(t.name for t in definitions.traits if is_amount(t.node, definitions.types))


def is_amount(node: Node, types: Mapping[str, EventType]) -> bool:
    """Whether the value of an expression is an amount, or a list of amounts."""
    return _exponent(node, types, frozenset()) == 1


def _exponent(node: Node, types: Mapping[str, EventType], fields: frozenset[str]) -> int | None:
    """1: an amount, 0: none, other: a power of one; None: a literal, which is whatever it stands beside.

    `fields` are the amounts of the row at hand; outside aggregates there is none.
    """
    match node:
        case x.Literal():
            return None
        case x.Field(name=name):
            return int(name in fields)
        case x.Aggregate(function=function, value=value) if value is not None and function in _KEEP_THE_UNIT:
            return _exponent(value, types, _fields([types[name] for name in node.stream.types]))
        case x.Arithmetic():
            return _combined(node.op, _exponent(node.left, types, fields), _exponent(node.right, types, fields))
        case x.Call(name="default", args=(given, instead)):
            return _combined("+", _exponent(given, types, fields), _exponent(instead, types, fields))
        case x.Call(name="item", args=(container, _)):
            return _exponent(container, types, fields)
        case _:
            return 0


def _combined(op: str, left: int | None, right: int | None) -> int | None:
    if op in ("+", "-"):
        if left is None or right is None:
            return right if left is None else left
        return left if left == right else 0
    if left is None and right is None:
        return None
    return (left or 0) + (right or 0) if op == "*" else (left or 0) - (right or 0)


def _fields(types: Iterable[EventType]) -> frozenset[str]:
    """The fields that are amounts in each of the types that have them; those of items are among them."""
    named: set[str] = set()
    plain: set[str] = set()
    for one in types:
        own = list(one.by_name.values())
        found = [field for field in (*own, *(inner for field in own for inner in field.record)) if field.kind == "int"]
        names = {field.name for field in found if field.name.endswith(AMOUNT_SUFFIX)}
        if any(field.kind == "currency" for field in own):
            named |= names
        else:
            plain |= names
    return frozenset(named - plain)
