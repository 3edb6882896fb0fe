"""What an expression means, in plain words: "number of purchase events where kind is order, in the last 30 days"."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from profilestream.core import expressions as x
from profilestream.core.aggregates import AGGREGATES
from profilestream.core.events import BUILT_IN, FACTS
from profilestream.core.expressions import DAY_MS, HOUR_MS, MINUTE_MS, Node

_CHARACTERS_MAX: Final = 2_000
_WORD: Final = re.compile(r"\w[\w-]*")
_ITEMS_SHOWN: Final = 10

_OPERATORS: Final[Mapping[str, str]] = {
    "+": "plus", "-": "minus", "*": "times", "/": "divided by",
    "<": "is less than", "<=": "is at most", ">": "is more than", ">=": "is at least", "==": "is", "!=": "is not",
}  # fmt: skip
_EVERY: Final = frozenset(BUILT_IN) - {FACTS}
_UNITS: Final = ((DAY_MS, "day"), (HOUR_MS, "hour"), (MINUTE_MS, "minute"), (1_000, "second"), (1, "millisecond"))

_AGGREGATES: Final[Mapping[str, str]] = {
    "count": "number of {rows}",
    "sum": "sum of {value} of {rows}",
    "mean": "mean {value} of {rows}",
    "min": "least {value} of {rows}",
    "max": "greatest {value} of {rows}",
    "first": "{value} of the first {row}",
    "last": "{value} of the latest {row}",
    "latest": "{value}, as last stated",
    "mean_gap": "mean time between {rows}",
    "distinct": "number of different values of {value} among {rows}",
    "top": "the {size} most frequent values of {value} among {rows}",
    "streak": "days in a row with {rows}, up to today or yesterday",
    "unmatched": "values of {value} of {rows} without the same {answer} within {within}",
}
"""Any other aggregate is said by its summary."""


def meaning(node: Node, names: Mapping[Node, str] | None = None) -> str:
    """The expression in words, cut where it is very long; parts that have a name in `names` are called by it.

    The whole is never called by a name.
    """
    text = _Words(names or {}).whole(node)
    return text if len(text) <= _CHARACTERS_MAX else f"{text[:_CHARACTERS_MAX]}..."


def givers(node: Node) -> tuple[str, ...]:
    """The events of which an absent value needs some, in words."""
    words = _Words({})
    found = dict.fromkeys(words.source(a) for a in x.aggregates(node) if a.nullable)
    return tuple(found) or tuple(dict.fromkeys(words.source(a) for a in x.aggregates(node)))


class _Words:
    def __init__(self, names: Mapping[Node, str]) -> None:
        self._names = names

    def whole(self, node: Node) -> str:
        match node:
            case x.Literal():
                return _constant(node.value, node.kind)
            case x.Field():
                return "time" if node.name == "occurred_at" else node.name
            case x.Fact():
                return f"the fact {node.name}"
            case x.Aggregate():
                return self._aggregate(node)
            case x.Arithmetic(op="-", left=x.Literal(value=0)):
                return f"minus {self.part(node.right)}"
            case x.Arithmetic() | x.Compare():
                return f"{self.part(node.left)} {_OPERATORS[node.op]} {self.part(node.right)}"
            case x.Contains():
                return f"{self.part(node.item)} is {'not ' if node.negated else ''}{self._container(node.container)}"
            case x.Logic():
                return f" {node.op} ".join(self.part(item) for item in node.items)
            case x.Not():
                return f"not {self.part(node.item)}"
            case x.Since():
                return f"{'whole days' if node.days else 'time'} since {self.part(node.time)}"
            case x.InSegment():
                return f"is in segment {node.name}"
            case x.Call():
                return self._call(node)
        return "a computed value"

    def part(self, node: Node) -> str:
        """A part of something larger: by its name, or in brackets where it would run into what follows."""
        name = self._names.get(node)
        if name is not None:
            return name
        text = self.whole(node)
        joined = isinstance(node, x.Arithmetic | x.Logic) or (isinstance(node, x.Aggregate) and ", " in text)
        return f"({text})" if joined else text

    def _aggregate(self, node: x.Aggregate) -> str:
        value = "" if node.value is None else self.part(node.value)
        template = _AGGREGATES.get(node.function)
        if node.function == "top" and node.size == 1:
            template = "the most frequent value of {value} among {rows}"
        if template is None:
            summary = AGGREGATES[node.function].summary if node.function in AGGREGATES else node.function
            template = f"{summary}, of {'{value} of ' if value else ''}{{rows}}"
        rows, row = self._rows(node.stream, many=True), self._rows(node.stream, many=False)
        text = template.replace("{rows}", rows).replace("{row}", row)
        text = text.replace("{size}", f"{node.size:,}").replace("{value}", value)
        if node.answer is not None:
            answer = f"{self.part(node.answer.value)} of {self._rows(node.answer.stream, many=True)}"
            text = text.replace("{answer}", answer).replace("{within}", length(node.answer.within_ms))
        if node.by is not None:
            text += f", for each {self.part(node.by)}"
        return text + _window(node)

    def source(self, node: x.Aggregate) -> str:
        """The rows that an aggregate looks at, in its window."""
        if node.function == "latest" and isinstance(node.value, x.Fact):
            return f"{FACTS} events that set {node.value.name}"
        return self._rows(node.stream, many=True) + _window(node)

    def _rows(self, stream: x.Stream, many: bool) -> str:
        ending = "s" if many else ""
        if stream.items:
            text = f"purchase item{ending}"
        elif _EVERY.issubset(stream.types):
            text = f"event{ending} of any type" if many else "event of any type"
        else:
            text = f"{' or '.join(stream.types)} event{ending}"
        return text if stream.condition is None else f"{text} where {self.whole(stream.condition)}"

    def _container(self, node: Node) -> str:
        if isinstance(node, x.Literal):
            return f"one of {self.whole(node)}"
        return f"in {self.part(node)}"

    def _call(self, node: x.Call) -> str:
        first, *others = (self.part(a) for a in node.args)
        match node.name:
            case "has":
                return f"{first} is there"
            case "default":
                return f"{first}, or {others[0]} where that is absent"
            case "after":
                return f"{first} is there and {others[0]} absent or earlier"
            case "item":
                return f"{others[0]} in {first}"
            case "len":
                return f"length of {first}"
            case "lower":
                return f"{first} in lower case"
            case "score":
                return f"score 1 to {len(others) + 1} of {first}, by the breaks {', '.join(others)}"
            case "hour" | "weekday" | "date":
                return f"{node.name} of {first}"
            case "number":
                return first
        return f"{node.name} of {' and '.join((first, *others))}"


def _window(node: x.Aggregate) -> str:
    if node.over_ms is None:
        return ""
    span = length(node.over_ms)
    if not node.ago_ms:
        return f", in the last {span}"
    return f", in the {span} that ended {length(node.ago_ms)} ago"


def length(span_ms: int) -> str:
    """A duration in its largest whole unit: `30 days`, `1 hour`."""
    size, unit = next((s, u) for s, u in _UNITS if span_ms % s == 0)
    count = span_ms // size
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _constant(value: Any, kind: str) -> str:
    if isinstance(value, tuple):
        shown = [_constant(item, "json") for item in value[:_ITEMS_SHOWN]]
        return ", ".join([*shown, *([f"and {len(value) - _ITEMS_SHOWN:,} more"] if len(value) > _ITEMS_SHOWN else [])])
    if isinstance(value, bool):
        return json.dumps(value)
    if kind == "duration" and isinstance(value, int):
        return length(value)
    if isinstance(value, int):
        return f"{value:,}"
    text = str(value)
    if not isinstance(value, str) or _WORD.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())  # in quotes it is seen where it ends
