"""Every aggregate of the language, found by reflection, in every way to write it; and strategies for its items.

The ways come from what the parser takes: rows, whole numbers, other numbers, facts; each with and without `by=`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from tests.property.shard import DAY, HOUR, MINUTE, T0, engine_of

from profilestream.core.aggregates import AGGREGATES, Aggregate, ByKey
from profilestream.core.engine import Engine
from profilestream.core.problems import DefinitionsError


@dataclass(frozen=True)
class Variant:
    """An aggregate as one expression makes it, with what its items look like."""

    text: str
    name: str
    engine: Engine
    items: st.SearchStrategy[Any]
    whole: bool
    size: int

    @property
    def aggregate(self) -> Aggregate:
        return self.engine.slots.all[0].aggregate

    def of(self, items: list[Any]) -> Any:
        """The state of these items, added one by one."""
        return reduce(self.aggregate.add, copy.deepcopy(items), self.aggregate.zero())


integers = st.integers(-5, 5) | st.integers(-(2**70), 2**70)
decimals = st.floats(-1e6, 1e6).map(lambda f: round(f, 9)) | st.floats(allow_nan=False, allow_infinity=False, width=32)
json_values = st.recursive(
    st.booleans() | integers | st.text(max_size=3) | st.sampled_from((0.5, 2.0, -1e300)),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=2), below, max_size=2),
    max_leaves=4,
)


WITHIN, OVER = 2 * HOUR, DAY
arguments = (
    "support", "support.rating", "support.sentiment", "attributes.x", "attributes.x, 3", "date(support.occurred_at)",
    "attributes.x, attributes.y, within='2h', over='24h'",
)  # fmt: skip
clocks = st.builds(
    lambda n, unit, d: T0 + n * unit + d,
    st.integers(-3, 30),
    st.sampled_from((MINUTE, HOUR, DAY)),
    st.sampled_from((-1, 0, 0, 1)),
)
"""Instants near each other and on the edges of tiles, waits and days."""

dates = st.sampled_from((-4_000, *range(-3, 30))).map(lambda n: str(date(2026, 1, 1) + timedelta(days=n)))


def item_strategy(engine: Engine) -> st.SearchStrategy[Any]:
    slot = engine.slots.all[0]
    node = slot.node
    if node.function == "streak":
        return dates
    if node.function == "unmatched":
        return st.tuples(clocks, st.integers(0, 1), st.integers(0, 2) | st.just("a")).map(list)
    inner = slot.aggregate.inner if isinstance(slot.aggregate, ByKey) else slot.aggregate
    adds = node.function in ("sum", "mean")
    if node.value is None or (node.value.kind == "number" and getattr(node.value, "integral", False)):
        items: st.SearchStrategy[Any] = integers
    elif node.value.kind == "json" and not adds:
        items = json_values | st.none() if node.function == "latest" else json_values
    else:
        items = integers | decimals
    if inner.ordered:
        items = st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 1), items).map(list)
    return st.tuples(st.sampled_from("abc") | json_values, items) if node.by is not None else items


def variants() -> list[Variant]:
    found = []
    for name in AGGREGATES:
        accepted = 0
        for argument in arguments:
            for by in ("", ", by=source"):
                text = f"{name}({argument}{by})"
                try:
                    engine = engine_of({"t": text})
                except DefinitionsError:
                    continue
                node = engine.slots.all[0].node
                if node.value is not None and node.value.kind == "string" and name != "streak":
                    continue
                accepted += 1
                whole = node.value is None or bool(getattr(node.value, "integral", False))
                found.append(Variant(text, name, engine, item_strategy(engine), whole, node.size))
        assert accepted, f"no way was found to write {name}()"
    return found


VARIANTS = variants()
a_few = settings(max_examples=max(10, settings().max_examples // 5))
"""Enough, as there are many variants."""

lists_of = st.data()


def draw_items(data: st.DataObject, variant: Variant) -> list[Any]:
    return data.draw(st.lists(variant.items, max_size=6))
