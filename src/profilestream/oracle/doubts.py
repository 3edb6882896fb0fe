"""What the naive reading cannot tell: where the log lacks events, a map may have been full, a count is an estimate."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from profilestream.oracle.aggregates import ProfileScope, unmatched_sides, valued_rows
from profilestream.oracle.definitions import Definitions, is_aggregate, is_call, keyword, outside_aggregates, window_of
from profilestream.oracle.expressions import RowScope, evaluate
from profilestream.oracle.history import ATTRIBUTES, PURCHASE, History
from profilestream.oracle.values import json_text

Doubt = Literal["not_in_log", "begins_later", "bounded", "estimated", "open"]
"""`open`: the contract does not say what a fact of any kind is as a time, in arithmetic, or in a list."""

KEYS_MAX: Final = 1_000
DISTINCT_EXACT_MAX: Final = 256
ANY_TIME: Final = 1 << 62


@dataclass(frozen=True)
class Gaps:
    """What may be missing: for each event type the latest time (ms) that an event had which the log no longer has
    (`ANY_TIME`: nobody knows), and for each trait since when (ms) it is complete, where it was not from the beginning.
    With `more_in_log` the log may have events that the profiles never saw, too. Aggregates that stand in no trait are
    complete since `others_since` (ms); None: from the beginning.
    """

    types: Mapping[str, int] = field(default_factory=dict)
    complete_since: Mapping[str, int] = field(default_factory=dict)
    more_in_log: bool = False
    others_since: int | None = None


class Doubts:
    """One customer's, at the clock of a scope. With `whole` the log has all of the customer's events all the same."""

    def __init__(self, scope: ProfileScope, gaps: Gaps, whole: bool, keys_max: int = KEYS_MAX) -> None:
        self._scope = scope
        self._gaps = gaps
        self._whole = whole
        self._keys_max = keys_max
        self._known: dict[int, Doubt | None] = {}

    def of(self, node: ast.expr, trait: str = "") -> Doubt | None:
        """The first doubt about an expression of the definitions, perhaps a `trait`; None where there is none."""
        definitions, since_ms = self._scope.definitions, self._gaps.complete_since
        if definitions.once("open", node, lambda: leaves_open(definitions, node)):
            return "open"
        if since_ms:
            for name in (n for n in {trait, *definitions.traits_behind(node)} if n in since_ms):
                calls = definitions.aggregates_behind(definitions.traits[name])
                if any(self._reaches(call, since_ms[name] - 1) for call in calls):
                    return "begins_later"
        if self._gaps.others_since is not None:
            begun = f"others {sorted(since_ms)}"
            others = definitions.once(begun, node, lambda: self._others(node))
            if any(self._reaches(call, self._gaps.others_since - 1) for call in others):
                return "begins_later"
        found = (self._of_call(call) for call in definitions.aggregates_behind(node))
        return next((doubt for doubt in found if doubt is not None), None)

    def _others(self, node: ast.expr) -> list[ast.Call]:
        """The aggregates of an expression that stand in no trait which is complete."""
        definitions = self._scope.definitions
        complete = [n for name, n in definitions.traits.items() if name not in self._gaps.complete_since]
        known = {ast.dump(call) for n in complete for call in definitions.aggregates_behind(n)}
        own = [n for n in outside_aggregates(node) if isinstance(n, ast.Call) and is_aggregate(n)]
        return [call for call in own if ast.dump(call) not in known]

    def of_trait(self, name: str) -> Doubt | None:
        """The first doubt about a trait."""
        return self.of(self._scope.definitions.traits[name], name)

    def _of_call(self, call: ast.Call) -> Doubt | None:
        if id(call) not in self._known:
            self._known[id(call)] = self._look(call)
        return self._known[id(call)]

    def _look(self, call: ast.Call) -> Doubt | None:
        if not self._whole and any(
            self._reaches(call, self._gaps.types[name]) for name in self._types(call) if name in self._gaps.types
        ):
            return "not_in_log"
        if keys(self._scope.history, call) > self._keys_max:
            return "bounded"
        value = self._scope.aggregate(call) if is_call(call, "distinct") else 0
        return "estimated" if value > DISTINCT_EXACT_MAX else None

    def _reaches(self, call: ast.Call, at_ms: int) -> bool:
        """Whether an event of that time or an earlier one may count."""
        window = window_of(call)
        return window is None or at_ms > self._scope.clock_ms - window.ago_ms - window.over_ms

    def _types(self, call: ast.Call) -> set[str]:
        """The event types that an aggregate looks at."""
        found: set[str] = set()
        if is_call(call, "latest"):
            return {ATTRIBUTES}
        for argument in call.args:
            streams = [n.value for n in ast.walk(argument) if isinstance(n, ast.Attribute)]
            for stream in streams or [argument]:
                if isinstance(stream, ast.Name | ast.Subscript):
                    base, _ = self._scope.definitions.stream(stream)
                    found |= self._types_of_base(base)
        return found

    def _types_of_base(self, base: str) -> set[str]:
        if base == "item":
            return {PURCHASE}
        if base == "event":
            return {t for t in self._gaps.types if t != ATTRIBUTES}
        return {base}


_TIMELY: Final = ("since", "days_since", "after", "hour", "weekday", "date")


def leaves_open(definitions: Definitions, node: ast.expr) -> bool:
    """Whether an expression does something with a fact of any kind of which only the engine says what it means."""
    roots = [node, *(definitions.traits[name] for name in definitions.traits_behind(node))]
    return any(
        _names_untyped_fact(definitions, part)
        for root in roots
        for part in outside_aggregates(root)
        if _asks_for_a_kind(part)
    )


def _asks_for_a_kind(part: ast.AST) -> bool:
    if isinstance(part, ast.Compare):
        listed = any(isinstance(op, ast.In | ast.NotIn) for op in part.ops)
        return listed or any(isinstance(n, ast.Attribute) and n.attr == "occurred_at" for n in ast.walk(part))
    return (
        isinstance(part, ast.BinOp)
        or (isinstance(part, ast.UnaryOp) and not isinstance(part.op, ast.Not))
        or any(is_call(part, word) for word in _TIMELY)
    )


def _names_untyped_fact(definitions: Definitions, part: ast.AST) -> bool:
    facts = (call.args[0] for call in definitions.aggregates_behind(part) if is_call(call, "latest"))
    typed = definitions.tables.get("attributes", {})
    return any(isinstance(fact, ast.Attribute) and fact.attr not in typed for fact in facts)


def keys(history: History, call: ast.Call) -> int:
    """How many keys the map of an aggregate has ever been offered, windows left out; 0 for one without a map."""
    by = keyword(call, "by")
    if is_call(call, "unmatched"):
        return len({json_text(value) for side in unmatched_sides(history, call) for _, value in side})
    assert isinstance(call.func, ast.Name)
    if by is None and call.func.id != "top":
        return 0
    valued = history.remembered(call, lambda: valued_rows(history, str(call.func.id), call.args[0]))  # type: ignore[attr-defined]
    if by is None:
        return len({json_text(value) for _, value in valued})
    found = (evaluate(by, RowScope(history.definitions, row.fields)) for row, _ in valued)
    return len({json_text(key) for key in found if key is not None})
