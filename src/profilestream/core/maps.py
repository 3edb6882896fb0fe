"""Aggregates that keep a map from values to counts or states, bounded in its number of keys."""

from __future__ import annotations

import heapq
from typing import Any

import msgspec

from profilestream.core.algebra import Aggregate, json_text
from profilestream.core.ordered import in_order

KEYS_MAX = 1_000

_decode = msgspec.json.decode


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
        in_order(state[0])
        return state

    def parts(self, state: list[Any]) -> int:
        return len(state[0])

    def missed(self, state: list[Any]) -> int:
        missed: int = state[1]
        return missed

    def value(self, state: list[Any]) -> list[Any]:
        counts = state[0]
        least = sorted(counts.values())[-self.size] if len(counts) > self.size else 0
        best = sorted([e for e in counts.items() if e[1] > least], key=lambda entry: (-entry[1], entry[0]))
        keys = [key for key, _ in best]
        if len(keys) < self.size and least:
            # Many have the count that is just enough: by their texts, without a look at the rest.
            keys += heapq.nsmallest(self.size - len(keys), [key for key, count in counts.items() if count == least])
        return [_decode(key) for key in keys]


def key_text(key: Any) -> str:
    """A value as a key of a `by=` object."""
    return key if type(key) is str else json_text(key)


class ByKey(Aggregate):
    """Any aggregate for each value of a field. State: [{key: state}, how many did not fit]; item: (key, item).

    The states of the inner aggregate have one form only, as those of all that may have `by=`.
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
            key = key_text(key)
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
        in_order(state[0])
        return state

    def parts(self, state: list[Any]) -> int:
        return len(state[0])

    def missed(self, state: list[Any]) -> int:
        missed: int = state[1]
        return missed

    def value(self, state: list[Any]) -> dict[str, Any]:
        inner, states = self.inner, state[0]
        if inner.is_plain:
            return dict(in_order(states))
        return {key: inner.value(state) for key, state in in_order(states).items()}
