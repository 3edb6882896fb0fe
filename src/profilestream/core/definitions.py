"""Definitions: what a file declares, read, typed and named; every mistake of a file at once.

`define` takes the file's tables as plain data (shapes are checked where the file is read) and a function that
tells where each text stands, and gives `Definitions`, from which a program is compiled.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from profilestream.core import expressions as x
from profilestream.core import linear
from profilestream.core.aggregates import AGGREGATES
from profilestream.core.declarations import read_money, read_sources, read_types
from profilestream.core.dependence import circles
from profilestream.core.events import FACTS, NAME, EventType, Field
from profilestream.core.expressions import Kind, Node
from profilestream.core.money import Money
from profilestream.core.pacing import Pacing, read_pacing
from profilestream.core.parser import Parser
from profilestream.core.problems import DefinitionsError, ExpressionError, Problem
from profilestream.core.sources import Source
from profilestream.core.vocabulary import RESERVED

Place = Callable[[tuple[str, ...]], tuple[int, int]]
"""From a path of keys (`("traits", "orders")`) to the 1-based line and column of its value; (0, 0) if unknown."""

TRAITS_MAX: Final = 2_000
SEGMENTS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Trait:
    """A named value of a profile."""

    name: str
    text: str
    node: Node


@dataclass(frozen=True, slots=True)
class Segment:
    """A named group of customers; `conditions` are the texts' nodes, `enter` and `exit` in the clock's one form.

    `named_segments` are those that the conditions name by `in_segment`; without `pacing` a customer crosses at once.
    """

    name: str
    description: str
    texts: tuple[str, str | None]
    conditions: tuple[Node, Node | None]
    enter: Node
    exit: Node | None
    named_traits: tuple[str, ...]
    named_segments: tuple[str, ...] = ()
    pacing: Pacing | None = None


@dataclass(frozen=True, slots=True)
class Definitions:
    """One definitions file, understood. Equal `fingerprint`s mean the same profiles and segments."""

    text: str
    timezone: str
    types: Mapping[str, EventType]
    sources: tuple[Source, ...]
    """Every topic that is consumed, that of `commands` too."""
    facts: Mapping[str, Field]
    """The declarations of typed facts."""
    money: Money | None
    """The one currency of all amounts; None: amounts are taken as they are."""
    traits: tuple[Trait, ...]
    segments: tuple[Segment, ...]
    fingerprint: str
    by_trait: Mapping[str, Trait] = field(repr=False)
    by_segment: Mapping[str, Segment] = field(repr=False)


def define(tables: Mapping[str, Any], text: str, file: str, place: Place) -> Definitions:
    """The definitions that the tables declare.

    Raises DefinitionsError with every problem of the file.
    """
    reader = _Reader(tables, place)
    timezone = reader.timezone()
    money = read_money(tables.get("settings") or {}, reader.problem)
    sources = read_sources(tables, reader.types, reader.problem)
    reader.read_streams()
    traits = reader.read_traits()
    segments = reader.read_segments()
    if reader.problems:
        raise DefinitionsError(file, reader.problems)
    return Definitions(
        text=text,
        timezone=timezone,
        types=reader.types,
        sources=sources,
        facts=reader.facts,
        money=money,
        traits=traits,
        segments=segments,
        fingerprint=fingerprint(tables),
        by_trait={t.name: t for t in traits},
        by_segment={s.name: s for s in segments},
    )


def fingerprint(tables: Mapping[str, Any]) -> str:
    """Twelve hex digits of what the tables mean for profiles and segments, whatever their comments and layout."""
    meaning = {
        "settings": tables.get("settings") or {},
        "streams": tables.get("streams") or {},
        "traits": sorted((tables.get("traits") or {}).items()),
        "segments": list((tables.get("segments") or {}).items()),
        "types": tables.get("types") or {},
        "sources": tables.get("sources") or {},
        "attributes": tables.get("attributes") or {},
    }
    canonical = json.dumps(meaning, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class _Reader:
    """Reads table after table and collects problems; a text that failed once is not reported through others."""

    def __init__(self, tables: Mapping[str, Any], place: Place) -> None:
        self.tables = tables
        self.place = place
        self.problems: list[Problem] = []
        self.types: dict[str, EventType] = read_types(tables, self.problem)
        self.facts = {f.name: f for f in self.types[FACTS].by_name["set"].record}
        self.texts: Mapping[str, str] = tables.get("traits") or {}
        self.nodes: dict[str, Node | None] = {}
        self.open: list[str] = []
        segments: Mapping[str, Any] = tables.get("segments") or {}
        self.parser = Parser(self.types, self.facts, {}, tuple(self.texts), self._trait, segments)

    def problem(self, path: tuple[str, ...], message: str, line: int = 0, column: int = 0) -> None:
        at, start = self.place(path)
        if at:
            at, start = at + line, (column + 1 if line else start + column)
        self.problems.append(Problem(at, start, message))

    def _mistaken(self, path: tuple[str, ...], error: ExpressionError) -> None:
        for one in error.all:
            self.problem(path, one.message, one.line, one.column)

    def timezone(self) -> str:
        name: str = (self.tables.get("settings") or {}).get("timezone") or "UTC"
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            self.problem(("settings", "timezone"), f'unknown time zone `{name}`; write one such as "Europe/Berlin"')
            return "UTC"
        return name

    def name_stands(self, table: str, name: str) -> bool:
        if NAME.match(name) and name not in RESERVED:
            return True
        if NAME.match(name):
            self.problem((table, name), f"`{name}` is a word of the language; choose another name")
        else:
            self.problem(
                (table, name), f"`{name}`: a name is lower-case letters, digits and _, 1 to 64, a letter first"
            )
        return False

    def read_streams(self) -> None:
        for name, text in (self.tables.get("streams") or {}).items():
            path = ("streams", name)
            if name in self.types or name in ("item", "event"):
                self.problem(path, f"`{name}` is there already, as what every stream starts from; choose another name")
                continue
            if not self.name_stands("streams", name):
                continue
            try:
                self.parser.streams[name] = self.parser.stream(text)
            except ExpressionError as error:
                self._mistaken(path, error)
                # Any stand-in will do: what reads the stream is still checked for its own mistakes.
                self.parser.streams[name] = x.Stream(tuple(self.types))

    def read_traits(self) -> tuple[Trait, ...]:
        if len(self.texts) > TRAITS_MAX:
            self.problem(("traits",), f"{len(self.texts):,} traits; at most {TRAITS_MAX:,}")
            return ()
        for name in self.texts:
            if self.name_stands("traits", name):
                self._read_trait(name)
        return tuple(
            Trait(name, self.texts[name], node) for name in self.texts if (node := self.nodes.get(name)) is not None
        )

    def _trait(self, name: str) -> Node:
        """A trait's node for an expression that names it; its own mistakes are reported at its own place."""
        if name in self.open:
            circle = " -> ".join([*self.open[self.open.index(name) :], name])
            raise ExpressionError(f"traits go round in a circle: {circle}")
        if name not in self.nodes:
            self._read_trait(name)
        node = self.nodes[name]
        return _UNKNOWN if node is None else node

    def _read_trait(self, name: str) -> None:
        if name in self.nodes:
            return
        self.open.append(name)
        suspended = self.parser.suspend()
        try:
            self.nodes[name] = self.parser.trait(self.texts[name])
        except ExpressionError as error:
            self.nodes[name] = None
            self._mistaken(("traits", name), error)
        finally:
            self.parser.resume(suspended)
            self.open.pop()

    def read_segments(self) -> tuple[Segment, ...]:
        tables: Mapping[str, Any] = self.tables.get("segments") or {}
        if len(tables) > SEGMENTS_MAX:
            self.problem(("segments",), f"{len(tables):,} segments; at most {SEGMENTS_MAX:,}")
            return ()
        read = []
        for name, table in tables.items():
            if not NAME.match(name):
                self.name_stands("segments", name)
                continue
            pacing = read_pacing(table, partial(self._of_segment, name))
            if "enter" not in table:
                continue  # its shape is at fault, and that is said already
            enter = self._condition(("segments", name, "enter"), table["enter"])
            leave = self._condition(("segments", name, "exit"), table["exit"]) if table.get("exit") else None
            if enter is None or (leave is None and table.get("exit")):
                continue
            texts = (table["enter"], table.get("exit"))
            read.append(
                Segment(
                    name=name,
                    description=table.get("description") or "",
                    texts=texts,
                    conditions=(enter[0], leave[0] if leave else None),
                    enter=enter[1],
                    exit=leave[1] if leave else None,
                    named_traits=tuple(n for n in _names(texts) if n in self.texts),
                    named_segments=tuple(dict.fromkeys(n for c in (enter, leave) if c for n in x.segments(c[0]))),
                    pacing=pacing,
                )
            )
        for circle in circles({s.name: s.named_segments for s in read}):
            self.problem(("segments", circle[0], "enter"), f"segments go round in a circle: {' -> '.join(circle)}")
        return tuple(read)

    def _of_segment(self, name: str, key: str, message: str) -> None:
        self.problem(("segments", name, key), message)

    def _condition(self, path: tuple[str, ...], text: str) -> tuple[Node, Node] | None:
        try:
            node = self.parser.condition(text)
            return node, linear.normalise(node)
        except ExpressionError as error:
            self._mistaken(path, error)
            return None


_UNKNOWN: Final = x.Call("item", (x.Literal("", "string"), x.Literal("", "string")), "json")
"""Stands for a trait that has a mistake of its own: of any kind, so that nothing else is blamed."""


def _names(texts: tuple[str, str | None]) -> list[str]:
    """The names in two conditions, in order of appearance."""
    found: dict[str, None] = {}
    for text in texts:
        if text:
            names = [n for n in _outside_aggregates(ast.parse(text.strip(), mode="eval")) if isinstance(n, ast.Name)]
            for name in sorted(names, key=lambda n: (n.lineno, n.col_offset)):
                found[name.id] = None
    return list(found)


def _outside_aggregates(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those inside aggregates, where names are fields, and the names of functions."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            stack += [] if node.func.id in AGGREGATES else node.args
        else:
            stack += ast.iter_child_nodes(node)


def kind_of_trait(trait: Trait) -> Kind:
    """The kind of the trait's values."""
    return trait.node.kind
