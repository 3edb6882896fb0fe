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

import hashlib
import heapq
import math
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import reduce
from typing import Any, ClassVar

import msgspec

State = Any
Value = Any

UNITS_PER_ONE = 10**9
"""Numbers that are not whole are summed as integers of 1e-9."""

KEYS_MAX = 1_000
DISTINCT_EXACT_MAX = 256


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

    def zero(self) -> State:
        raise NotImplementedError

    def add(self, state: State, item: Any) -> State:
        raise NotImplementedError

    def merge(self, a: State, b: State) -> State:
        raise NotImplementedError

    def value(self, state: State) -> Value:
        raise NotImplementedError

    def canonical(self, state: State) -> State:
        """The state with what has no order of its own (sets, maps) put in one, so that equal states have equal bytes."""
        return state

    def merge_all(self, states: Iterable[State]) -> State:
        """The merge of any number of states."""
        return reduce(self.merge, states, self.zero())


class Count(Aggregate):
    """How many rows. State: the number."""

    name = "count"
    summary = "how many rows"

    def zero(self) -> int:
        return 0

    def add(self, state: int, item: Any) -> int:
        return state + 1

    def merge(self, a: int, b: int) -> int:
        return a + b

    def value(self, state: int) -> int:
        return state


class Sum(Aggregate):
    """The exact sum; 0 of nothing. State: an integer, of 1e-9 when the field is not of whole numbers."""

    name = "sum"
    summary = "the exact sum; 0 of nothing"

    def __init__(self, integral: bool = True) -> None:
        self.integral = integral

    def zero(self) -> int:
        return 0

    def add(self, state: int, item: int | float) -> int:
        return state + item if self.integral else state + scaled(item)  # type: ignore[return-value]

    def merge(self, a: int, b: int) -> int:
        return a + b

    def value(self, state: int) -> int | float | None:
        return state if self.integral else unscaled(state)


class Mean(Aggregate):
    """Sum over count, the nearest float to the exact quotient. State: [sum, count]."""

    name = "mean"
    summary = "the mean, correctly rounded; absent of nothing"

    def __init__(self, integral: bool = True) -> None:
        self.integral = integral

    def zero(self) -> list[int]:
        return [0, 0]

    def add(self, state: list[int], item: int | float) -> list[int]:
        state[0] += item if self.integral else scaled(item)  # type: ignore[assignment]
        state[1] += 1
        return state

    def merge(self, a: list[int], b: list[int]) -> list[int]:
        return [a[0] + b[0], a[1] + b[1]]

    def value(self, state: list[int]) -> float | None:
        return quotient(state[0], state[1] if self.integral else state[1] * UNITS_PER_ONE)


class Min(Aggregate):
    """The least value. State: the value, or None."""

    name = "min"
    summary = "the least value"

    def zero(self) -> None:
        return None

    def add(self, state: Any, item: Any) -> Any:
        return item if state is None or item < state else state

    def merge(self, a: Any, b: Any) -> Any:
        return b if a is None else a if b is None or a <= b else b

    def value(self, state: Any) -> Any:
        return state


class Max(Aggregate):
    """The greatest value. State: the value, or None."""

    name = "max"
    summary = "the greatest value"

    def zero(self) -> None:
        return None

    def add(self, state: Any, item: Any) -> Any:
        return item if state is None or item > state else state

    def merge(self, a: Any, b: Any) -> Any:
        return b if a is None else a if b is None or a >= b else b

    def value(self, state: Any) -> Any:
        return state


def _later(a: list[Any], b: list[Any]) -> bool:
    """Whether b comes after a by (occurred_at, event_id, row), and by the value's text between equals."""
    if a[0] != b[0]:
        return bool(b[0] > a[0])
    if a[1] != b[1]:
        return bool(b[1] > a[1])
    if a[2] != b[2]:
        return bool(b[2] > a[2])
    return json_text(b[3]) > json_text(a[3])


class Last(Aggregate):
    """The value of the latest row by (occurred_at, event_id). State: that item, or None."""

    name = "last"
    summary = "the value of the latest row"
    ordered = True

    def zero(self) -> None:
        return None

    def add(self, state: Any, item: list[Any]) -> Any:
        return item if state is None or item[0] > state[0] or _later(state, item) else state

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return b if _later(a, b) else a

    def value(self, state: Any) -> Any:
        return None if state is None else state[3]


class First(Last):
    """The value of the earliest row by (occurred_at, event_id). State: that item, or None."""

    name = "first"
    summary = "the value of the earliest row"

    def add(self, state: Any, item: list[Any]) -> Any:
        return item if state is None or _later(item, state) else state

    def merge(self, a: Any, b: Any) -> Any:
        if a is None or b is None:
            return b if a is None else a
        return a if _later(a, b) else b


class Latest(Last):
    """`last` for a fact: an item with the value None (unset) counts, and makes the fact absent."""

    name = "latest"
    summary = "the fact as last stated; absent once unset"


class MeanGap(Aggregate):
    """Mean time between rows: (last - first) / (count - 1). State: [count, first, last] in ms; item: the time."""

    name = "mean_gap"
    summary = "the mean time between rows; absent below two"

    def zero(self) -> list[int]:
        return [0, 0, 0]

    def add(self, state: list[int], item: int) -> list[int]:
        if state[0] == 0:
            state[1] = state[2] = item
        elif item > state[2]:
            state[2] = item
        elif item < state[1]:
            state[1] = item
        state[0] += 1
        return state

    def merge(self, a: list[int], b: list[int]) -> list[int]:
        if not a[0] or not b[0]:
            return list(a if a[0] else b)
        return [a[0] + b[0], min(a[1], b[1]), max(a[2], b[2])]

    def value(self, state: list[int]) -> float | None:
        return quotient(state[2] - state[1], state[0] - 1) if state[0] > 1 else None


class Distinct(Aggregate):
    """How many different values: exact to 256, beyond that a HyperLogLog with 4,096 registers.

    State: a set of 64-bit hashes (an array on the wire), or the registers as bytes. The standard error beyond
    256 is 1.04 / sqrt(4096) = 1.6 %. The state is a function of the set of values alone. Source: Flajolet et
    al., "HyperLogLog: the analysis of a near-optimal cardinality estimation algorithm" (2007), with the
    bias-free estimator of Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017).
    """

    name = "distinct"
    summary = "how many different values; exact to 256, then within 1.6 % (standard error)"
    _bits = 12

    def zero(self) -> set[int]:
        return set()

    def add(self, state: Any, item: Any) -> Any:
        hashed = int.from_bytes(hashlib.blake2b(json_text(item).encode(), digest_size=8).digest(), "big")
        if type(state) is bytes:
            return self._register(state, (hashed,))
        if type(state) is not set:
            state = set(state)
        state.add(hashed)
        return state if len(state) <= DISTINCT_EXACT_MAX else self._register(bytes(1 << self._bits), state)

    def merge(self, a: Any, b: Any) -> Any:
        if type(a) is bytes and type(b) is bytes:
            return bytes(map(max, a, b))
        if type(a) is bytes:
            return self._register(a, b)
        if type(b) is bytes:
            return self._register(b, a)
        union = set(a).union(b)
        return union if len(union) <= DISTINCT_EXACT_MAX else self._register(bytes(1 << self._bits), union)

    def canonical(self, state: Any) -> Any:
        return state if type(state) is bytes else sorted(state)

    def value(self, state: Any) -> int:
        return self._estimate(state) if type(state) is bytes else len(state)

    def _register(self, registers: bytes, hashes: Iterable[int]) -> bytes:
        low = 64 - self._bits
        changed = bytearray(registers)
        for hashed in hashes:
            index = hashed >> low
            rank = low - (hashed & ((1 << low) - 1)).bit_length() + 1
            if rank > changed[index]:
                changed[index] = rank
        return bytes(changed)

    def _estimate(self, registers: bytes) -> int:
        m, q = 1 << self._bits, 64 - self._bits
        counts = [0] * (q + 2)
        for rank in registers:
            counts[rank] += 1
        z = m * _tau(1 - counts[q + 1] / m)
        for k in range(q, 0, -1):
            z = 0.5 * (z + counts[k])
        z += m * _sigma(counts[0] / m)
        return round(m * m / (2 * math.log(2) * z))


def _sigma(x: float) -> float:
    if x == 1:
        return math.inf
    y, z = 1.0, x
    while True:
        x *= x
        before = z
        z += x * y
        y += y
        if z == before:
            return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z = 1.0, 1 - x
    while True:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
        if z == before:
            return z / 3


class Top(Aggregate):
    """The most frequent values. State: [{JSON text: count}, how many did not fit].

    At most `keys_max` different values are kept; a further one is only counted, the one result that may depend
    on order.
    """

    name = "top"
    summary = "the k most frequent values, then by the text of the value"

    def __init__(self, size: int = 1, keys_max: int = KEYS_MAX) -> None:
        self.size = size
        self.keys_max = keys_max

    def zero(self) -> list[Any]:
        return [{}, 0]

    def add(self, state: list[Any], item: Any) -> list[Any]:
        counts = state[0]
        key = json_text(item)
        present = counts.get(key)
        if present is not None:
            counts[key] = present + 1
        elif len(counts) < self.keys_max:
            counts[key] = 1
        else:
            state[1] += 1
        return state

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        counts, missed = dict(a[0]), a[1] + b[1]
        for key, count in b[0].items():
            if key in counts or len(counts) < self.keys_max:
                counts[key] = counts.get(key, 0) + count
            else:
                missed += count
        return [counts, missed]

    def canonical(self, state: list[Any]) -> list[Any]:
        return [dict(sorted(state[0].items())), state[1]]

    def value(self, state: list[Any]) -> list[Any]:
        if not state[0]:
            return []
        best = heapq.nsmallest(self.size, state[0].items(), key=lambda entry: (-entry[1], entry[0]))
        return [_decode(key) for key, _ in best]


_decode = msgspec.json.decode


class ByKey(Aggregate):
    """Any aggregate for each value of a field. State: [{key: state}, how many did not fit]; item: (key, item).

    The keys are the strings themselves, or the JSON text of other values; at most `keys_max` of them.
    """

    name = "by"
    summary = "the aggregate for each value of a field, as an object"

    def __init__(self, inner: Aggregate, keys_max: int = KEYS_MAX) -> None:
        self.inner = inner
        self.keys_max = keys_max

    def zero(self) -> list[Any]:
        return [{}, 0]

    def add(self, state: list[Any], item: tuple[Any, Any]) -> list[Any]:
        key, value = item
        if type(key) is not str:
            key = json_text(key)
        states = state[0]
        if key in states:
            states[key] = self.inner.add(states[key], value)
        elif len(states) < self.keys_max:
            states[key] = self.inner.add(self.inner.zero(), value)
        else:
            state[1] += 1
        return state

    def merge(self, a: list[Any], b: list[Any]) -> list[Any]:
        inner, missed = self.inner, a[1] + b[1]
        # Merged with nothing first, so that the new state shares no part with its arguments.
        states = {key: inner.merge(inner.zero(), state) for key, state in a[0].items()}
        for key, state in b[0].items():
            if key in states or len(states) < self.keys_max:
                states[key] = inner.merge(states.get(key, inner.zero()), state)
            else:
                missed += 1
        return [states, missed]

    def canonical(self, state: list[Any]) -> list[Any]:
        return [{key: self.inner.canonical(state[0][key]) for key in sorted(state[0])}, state[1]]

    def value(self, state: list[Any]) -> dict[str, Any]:
        inner = self.inner
        return {key: inner.value(state[0][key]) for key in sorted(state[0])}


AGGREGATES: dict[str, type[Aggregate]] = {
    c.name: c for c in (Count, Sum, Mean, Min, Max, First, Last, Latest, MeanGap, Distinct, Top)
}
"""The aggregates of the language by name (`by` is a clause, not a function)."""
