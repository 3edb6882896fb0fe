"""A definitions file, read with `tomllib` and `ast` and nothing else. It is taken to be a valid one."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from profilestream.oracle.sources import Reader, sources_of

T = TypeVar("T")

AGGREGATES = frozenset(
    (
        "count", "sum", "mean", "min", "max", "first", "last", "distinct", "top", "mean_gap", "latest",
        "streak", "unmatched",
    )
)  # fmt: skip

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
UNITS_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "y": 365 * DAY_MS}
TILES_MS = (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, DAY_MS, 7 * DAY_MS)


class UnsupportedError(Exception):
    """The oracle does not know this construct; it never guesses."""


@dataclass(frozen=True)
class Window:
    """`over=` and `ago=` of an aggregate, in milliseconds."""

    over_ms: int
    ago_ms: int = 0

    @cached_property
    def tile_ms(self) -> int:
        """The largest tile that is no longer than a twenty-fourth of the window, one minute at least."""
        return max((t for t in TILES_MS if t * 24 <= self.over_ms), default=MINUTE_MS)

    def counts(self, occurred_ms: int, clock_ms: int) -> bool:
        """Whether an event counts at `clock_ms`."""
        seen_from_ms = clock_ms - self.ago_ms
        return occurred_ms <= seen_from_ms and self._tile_start_ms(occurred_ms) > seen_from_ms - self.over_ms

    def instants(self, occurred_ms: int) -> tuple[int, int]:
        """When an event begins to count, and when it no longer does, by time alone."""
        return occurred_ms + self.ago_ms, self._tile_start_ms(occurred_ms) + self.over_ms + self.ago_ms

    def _tile_start_ms(self, occurred_ms: int) -> int:
        return occurred_ms - occurred_ms % self.tile_ms


def duration_ms(text: str) -> int:
    """`'30d'` in milliseconds."""
    return int(text[:-1]) * UNITS_MS[text[-1]]


@cache
def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a call's keyword, if it is there."""
    return next((k.value for k in call.keywords if k.arg == name), None)


@cache
def window_of(call: ast.Call) -> Window | None:
    """The window of an aggregate; None for all time."""
    over, ago = keyword(call, "over"), keyword(call, "ago")
    if over is None:
        return None
    assert isinstance(over, ast.Constant)
    ago_text = ago.value if isinstance(ago, ast.Constant) else "0m"
    return Window(duration_ms(str(over.value)), duration_ms(str(ago_text)))


@cache
def is_aggregate(node: ast.AST) -> bool:
    """Whether a node is the call of an aggregate."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in AGGREGATES


def is_call(node: ast.AST, name: str) -> bool:
    """Whether a node is a call of the word `name`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def outside_aggregates(node: ast.AST) -> Iterator[ast.AST]:
    """Every node of an expression, aggregates themselves included, what stands inside them left out."""
    yield node
    if not is_aggregate(node):
        for child in ast.iter_child_nodes(node):
            yield from outside_aggregates(child)


@dataclass(frozen=True)
class Segment:
    """One segment's conditions; `exit` may be missing. Lengths are 0 and the share is 1 where the file has none."""

    name: str
    enter: ast.expr
    exit: ast.expr | None
    dwell_ms: int = 0
    exit_dwell_ms: int = 0
    cooldown_ms: int = 0
    sample: Fraction = Fraction(1)

    def conditions(self) -> list[ast.expr]:
        """`enter`, and `exit` where there is one."""
        return [self.enter] if self.exit is None else [self.enter, self.exit]

    @cached_property
    def named(self) -> set[str]:
        """The segments that the conditions name."""
        calls = (n for c in self.conditions() for n in ast.walk(c) if is_call(n, "in_segment"))
        return {str(call.args[0].value) for call in calls if isinstance(call.args[0], ast.Constant)}  # type: ignore[attr-defined]

    @property
    def waits(self) -> bool:
        """Whether a crossing may come later than its condition."""
        return bool(self.dwell_ms or self.exit_dwell_ms or self.cooldown_ms)


@dataclass
class Definitions:
    """Everything of a definitions file that decides an answer."""

    text: str
    timezone: ZoneInfo = field(init=False)
    streams: dict[str, ast.expr] = field(init=False)
    traits: dict[str, ast.expr] = field(init=False)
    segments: list[Segment] = field(init=False)
    tables: dict[str, Any] = field(init=False)
    _readers: dict[str, Reader] = field(init=False, default_factory=dict)
    _topic_readers: dict[str, Reader] = field(init=False, default_factory=dict)
    _once: dict[tuple[str, int], Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        document = self.tables = tomllib.loads(self.text)
        settings = document.get("settings", {})
        self.timezone = ZoneInfo(settings.get("timezone", "UTC"))
        self.streams = {name: parse(text) for name, text in document.get("streams", {}).items()}
        self.traits = {name: parse(text) for name, text in document.get("traits", {}).items()}
        self.segments = [
            Segment(
                name,
                parse(s["enter"]),
                parse(s["exit"]) if "exit" in s else None,
                **{f"{key}_ms": duration_ms(s.get(key, "0m")) for key in ("dwell", "exit_dwell", "cooldown")},
                sample=Fraction(s.get("sample", 1)),
            )
            for name, s in document.get("segments", {}).items()
        ]

    def reader(self, type_name: str) -> Reader:
        """What reads the events of a type in its own words."""
        if type_name not in self._readers:
            self._readers[type_name] = Reader(self.tables, type_name)
        return self._readers[type_name]

    def source(self, topic: str) -> tuple[str, Reader]:
        """The type of a topic's events, and what reads its records."""
        type_name, source = self._sources[topic]
        if source is None:
            return type_name, self.reader(type_name)
        if topic not in self._topic_readers:
            self._topic_readers[topic] = Reader(self.tables, type_name, source)
        return type_name, self._topic_readers[topic]

    @property
    def type_of_topic(self) -> dict[str, str]:
        """The type of each topic's events."""
        return {topic: type_name for topic, (type_name, _) in self._sources.items()}

    @cached_property
    def _sources(self) -> dict[str, tuple[str, Mapping[str, Any] | None]]:
        return sources_of(self.tables)

    def stream(self, node: ast.expr) -> tuple[str, list[ast.expr]]:
        """The base of a stream (a type, `item` or `event`) and every condition on it."""
        if isinstance(node, ast.Name):
            if node.id in self.streams:
                return self.stream(self.streams[node.id])
            return node.id, []
        if isinstance(node, ast.Subscript):
            base, conditions = self.stream(node.value)
            return base, [*conditions, node.slice]
        raise UnsupportedError(f"not a stream: {ast.unparse(node)}")

    def named_traits(self, conditions: list[ast.expr]) -> list[str]:
        """The traits that conditions name themselves, in order, each once."""
        names = [n.id for c in conditions for n in outside_aggregates(c) if isinstance(n, ast.Name)]
        return [n for n in dict.fromkeys(names) if n in self.traits]

    @cached_property
    def segments_by_need(self) -> list[Segment]:
        """The segments, each behind those that it names."""
        ordered: list[Segment] = []
        waiting = list(self.segments)
        while waiting:
            known = {s.name for s in ordered}
            ready = next(s for s in waiting if s.named <= known)
            waiting.remove(ready)
            ordered.append(ready)
        return ordered

    @cached_property
    def decisive(self) -> list[ast.AST]:
        """Every node that segments depend on: their conditions' and those of the traits behind them."""
        conditions = [c for s in self.segments for c in s.conditions()]
        waiting, reached = self.named_traits(conditions), set[str]()
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += self.named_traits([self.traits[name]])
        roots = [*conditions, *(self.traits[name] for name in self.traits if name in reached)]
        return [node for root in roots for node in outside_aggregates(root)]

    @cached_property
    def decisive_windows(self) -> set[Window]:
        """The windows whose passing may move a segment."""
        found = (window_of(n) for n in self.decisive if isinstance(n, ast.Call) and is_aggregate(n))
        return {w for w in found if w is not None}

    @cached_property
    def decisive_waits_ms(self) -> set[int]:
        """How long `unmatched` waits, wherever that may move a segment."""
        found = (keyword(n, "within") for n in self.decisive if is_call(n, "unmatched") and isinstance(n, ast.Call))
        return {duration_ms(str(n.value)) for n in found if isinstance(n, ast.Constant)}

    @cached_property
    def streaks_decide(self) -> bool:
        """Whether a midnight may move a segment."""
        return any(is_call(n, "streak") for n in self.decisive)

    @cached_property
    def comparisons(self) -> list[MovingComparison]:
        """Every comparison that segments depend on and that may flip while nothing happens."""
        found: list[MovingComparison] = []
        for node in self.decisive:
            if not isinstance(node, ast.Compare):
                continue
            listed = any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
            for left, right in pairwise([node.left, *node.comparators]):
                behind = [*self._behind(left), *self._behind(right)]
                counters = tuple(n for n in behind if is_call(n, "days_since"))
                sinces = any(is_call(n, "since") for n in behind)
                linear = not listed and all(_is_linear(n) for n in behind)
                if sinces and (counters or not linear):
                    raise UnsupportedError(f"not linear in time: {ast.unparse(node)}")
                if sinces or counters:
                    found.append(MovingComparison(left, right, _arguments(counters), linear))
        return found

    @cached_property
    def loose_day_counters(self) -> list[ast.expr]:
        """The argument of every `days_since` that stands in no comparison: it may matter on any day."""
        compared = {id(a) for c in self.comparisons for a in c.day_counters}
        counters = [n for n in self.decisive if is_call(n, "days_since")]
        return [a for a in _arguments(counters) if id(a) not in compared]

    def aggregates_behind(self, node: ast.AST) -> list[ast.Call]:
        """Every aggregate of one of these definitions' expressions, of the traits that it names, and of theirs."""
        return self.once(
            "aggregates",
            node,
            lambda: [n for n in self._behind(node) if isinstance(n, ast.Call) and is_aggregate(n)],
        )

    def traits_behind(self, node: ast.AST) -> set[str]:
        """The traits that one of these definitions' expressions names, and that those name."""
        return self.once(
            "traits",
            node,
            lambda: {n.id for n in self._behind(node) if isinstance(n, ast.Name) and n.id in self.traits},
        )

    def once(self, what: str, node: ast.AST, read: Callable[[], T]) -> T:
        """What `read` gives for a node of these definitions, read once."""
        if (what, id(node)) not in self._once:
            self._once[what, id(node)] = read()
        found: T = self._once[what, id(node)]
        return found

    def _behind(self, node: ast.AST) -> Iterator[ast.AST]:
        """Every node of an expression and of the traits that it names, and of theirs."""
        for part in outside_aggregates(node):
            yield part
            if isinstance(part, ast.Name) and part.id in self.traits:
                yield from self._behind(self.traits[part.id])


@dataclass(frozen=True)
class MovingComparison:
    """Two sides that time moves: in a straight line by `since`, or day by day by `days_since` (of whose
    arguments `day_counters` consists). Where it is not linear, it may flip on any day.
    """

    left: ast.expr
    right: ast.expr
    day_counters: tuple[ast.expr, ...]
    linear: bool


def _arguments(calls: Iterable[ast.AST]) -> tuple[ast.expr, ...]:
    return tuple(call.args[0] for call in calls if isinstance(call, ast.Call))


def _is_linear(node: ast.AST) -> bool:
    """Whether a node leaves a line a line. (A product of two lines is an error of the definitions.)"""
    if isinstance(node, ast.Call) and not is_aggregate(node):
        return any(is_call(node, word) for word in ("since", "days_since", "minutes", "hours", "days"))
    if isinstance(node, ast.Subscript):
        return is_aggregate(node.value)  # one key of a `by=`: a value as any other
    return not isinstance(node, ast.BoolOp | ast.Compare)


def parse(text: str) -> ast.expr:
    """One expression of a definitions file."""
    return ast.parse(" ".join(text.split()), mode="eval").body
