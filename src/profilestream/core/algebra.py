"""Aggregates: each a noun with an algebra.

    zero() -> state                   the state of nothing
    add(state, item) -> state         one more item; may change `state` in place
    merge(a, b) -> state              of two disjoint sets of items; new, its arguments are left alone
    value(state) -> value or None     what readers see; None is absent

`merge` is associative and commutative with `zero()` as its neutral element, and `add(s, x)` equals
`merge(s, add(zero(), x))`; so no order of arrival, slicing or merging of profiles can change a value. States
are made of what msgpack holds. The one exception is stated where it is: a bounded map that is full.

An item is the row's value; `ordered` aggregates take `[occurred_at, event_id, row, value]`, so that ties
break in one way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import reduce
from typing import Any, ClassVar

import msgspec

State = Any
Value = Any

UNITS_PER_ONE = 10**9
"""Numbers that are not whole are summed as integers of 1e-9."""


def scaled(number: int | float) -> int:
    """A number in units of 1e-9, half to even, from its shortest decimal text."""
    if type(number) is int:
        return number * UNITS_PER_ONE
    return int(_WIDE.multiply(Decimal(repr(number)), UNITS_PER_ONE).quantize(Decimal(1), ROUND_HALF_EVEN, _WIDE))


def unscaled(units: int) -> int | float | None:
    """The number for a count of 1e-9: an integer where it is one, else the nearest float."""
    whole, rest = divmod(units, UNITS_PER_ONE)
    if not rest:
        return whole
    return quotient(units, UNITS_PER_ONE)


def quotient(a: int, b: int) -> float | None:
    """The float nearest to a / b; None when b is 0 or the quotient is beyond floats."""
    try:
        return a / b
    except (ZeroDivisionError, OverflowError):
        return None


def json_text(value: Any) -> str:
    """The value's JSON text, by which ties of `top` break; 2.0 and 2 are one number and one text."""
    if type(value) is float and value.is_integer():
        value = int(value)
    try:
        return msgspec.json.encode(value, order="deterministic").decode()
    except OverflowError:
        return str(value)


_WIDE = Context(prec=700, Emax=999_999, Emin=-999_999)


class Aggregate:
    """The algebra; a subclass is one aggregate of the language, found by its `name`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    ordered: ClassVar[bool] = False
    unmerge: Callable[[State, State], State] | None = None
    """Where there is one: `unmerge(merge(a, b), b)` is `a`, exactly. It spares a window merging all tiles that stay."""

    @property
    def is_plain(self) -> bool:
        """Whether the state is the value."""
        return False

    def zero(self) -> State:
        raise NotImplementedError

    def add(self, state: State, item: Any) -> State:
        raise NotImplementedError

    def merge(self, a: State, b: State) -> State:
        raise NotImplementedError

    def value(self, state: State) -> Value:
        raise NotImplementedError

    def canonical(self, state: State) -> State:
        """The state with its sets and maps put in order, so that equal states have equal bytes."""
        return state

    def merge_all(self, states: Iterable[State]) -> State:
        """The merge of any number of states."""
        return reduce(self.merge, states, self.zero())

    def parts(self, state: State) -> int:
        """How many parts a merge goes through, about: what it costs."""
        return 1

    def missed(self, state: State) -> int:
        """How many values did not fit into a bounded map; 0 for what keeps everything."""
        return 0


class Clocked(Aggregate):
    """An aggregate whose value depends on the clock `now` (ms) too; `due` tells when time alone changes it.

        put(state, item, now) -> state    one more item that arrives at the clock; may change `state` in place
        value_at(state, now) -> value     in place of `value`
        due(state, now) -> ms             the first instant after the clock at which the value is another, or NEVER
        due_of(state, item, now) -> ms    the same of that part of the value alone which the item may change
        expire(state, now) -> state       without what can no longer matter; may change `state` in place

    A profile without such an aggregate pays nothing for it.
    """

    def put(self, state: State, item: Any, now: int) -> State:
        return self.add(state, item)

    def value_at(self, state: State, now: int) -> Value:
        raise NotImplementedError

    def due(self, state: State, now: int) -> int:
        raise NotImplementedError

    def due_of(self, state: State, item: Any, now: int) -> int:
        return self.due(state, now)

    def expire(self, state: State, now: int) -> State:
        return state
