"""Distinct values: exact while they are few, a HyperLogLog beyond."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

from profilestream.core.algebra import Aggregate, json_text

DISTINCT_EXACT_MAX = 256


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

    def parts(self, state: Any) -> int:
        return len(state)

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
