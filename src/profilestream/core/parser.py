"""Streams and aggregates from text, and the three kinds of text that a definitions file holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager

from profilestream.core import expressions as x
from profilestream.core.checks import need
from profilestream.core.events import FACTS
from profilestream.core.expressions import Node
from profilestream.core.grammar import Grammar
from profilestream.core.problems import fail, short, suggestion
from profilestream.core.vocabulary import (
    BY_ALLOWED,
    NUMERIC,
    TOP_SIZE_MAX,
    WINDOW_MS_MAX,
    A,
    aggregate_kind,
    span_ms,
    span_text,
    tile_ms,
)


class Parser(Grammar):
    """Reads one text each: a trait, a condition of a segment, a stream."""

    def trait(self, text: str) -> Node:
        """A trait's expression: any kind, but no `since`."""
        return self._read(text, self._trait)

    def condition(self, text: str) -> Node:
        """A segment's `enter` or `exit`: true, false or unknown."""
        return self._read(text, self._condition)

    def stream(self, text: str) -> x.Stream:
        """A stream: a type, `item`, `event` or a named stream, with `[condition]` or without."""
        return self._read(text, self._stream)

    # Streams and aggregates

    def is_stream(self, tree: ast.expr) -> bool:
        while isinstance(tree, ast.Subscript):
            tree = tree.value
        return isinstance(tree, ast.Name) and (
            tree.id in self.types or tree.id in self.streams or tree.id in ("item", "event")
        )

    def _stream(self, tree: ast.expr) -> x.Stream:
        if isinstance(tree, ast.Subscript):
            base = self._stream(tree.value)
            with self._rows_of(base):
                condition = self._condition(tree.slice)
            return x.Stream(base.types, base.items, _both(base.condition, condition))
        if not isinstance(tree, ast.Name):
            fail(tree, f"`{short(tree)}` is not a stream; write a type or a stream's name, such as `purchase`")
        name = tree.id
        if name in self.streams:
            return self.streams[name]
        if name == "item":
            return x.Stream(("purchase",), items=True)
        if name == "event":
            return x.Stream(tuple(t for t in self.types if t != FACTS))
        if name in self.types:
            return x.Stream((name,))
        if name in self.trait_names:
            fail(tree, f"`{name}` is a trait; an aggregate looks at a stream of events")
        fail(tree, f"unknown stream `{name}`{suggestion(name, (*self.streams, *self.types, 'item', 'event'))}")

    @contextmanager
    def _rows_of(self, stream: x.Stream) -> Iterator[None]:
        before, self._row = self._row, stream
        try:
            yield
        finally:
            self._row = before

    def _value(self, tree: ast.expr, name: str) -> tuple[x.Stream, Node]:
        """An aggregate's value: `stream.field`, or a function of it, such as hour(order.occurred_at)."""
        found: list[ast.Attribute] = [
            n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and self.is_stream(n.value)
        ]
        if not found:
            if self.is_stream(tree):
                fail(tree, f"{name}() takes a value: {name}({short(tree)}.field)")
            roots = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
            if roots:
                self._stream(roots[0].value)
            fail(tree, f"{name}() takes a stream's value, such as {name}(purchase.amount_minor)")
        stream = self._stream(found[0].value)
        for other in found[1:]:
            if self._stream(other.value) != stream:
                fail(other, "one aggregate looks at one stream")
        with self._rows_of(stream):
            if name == "latest":
                if stream.types != (FACTS,) or tree is not found[0]:
                    fail(tree, "latest() takes a fact: latest(attributes.name)")
                return stream, self.fact(found[0].attr)
            return stream, self._node(_Rows(found).visit(tree))

    def aggregate(self, tree: ast.Call, name: str) -> Node:
        if name == "streak":
            return self._streak(tree)
        if name == "unmatched":
            return self._unmatched(tree)
        rows_only = name in ("count", "mean_gap")
        least = 2 if name == "top" else 1
        if len(tree.args) != least or any(isinstance(a, ast.Starred) for a in tree.args):
            usage = "top(stream.field, 3)" if name == "top" else f"{name}({'stream' if rows_only else 'stream.field'})"
            fail(tree, f"{name}() is written {usage}")
        value: Node | None = None
        if rows_only:
            if isinstance(tree.args[0], ast.Attribute) and self.is_stream(tree.args[0].value):
                fail(tree.args[0], f"{name}() looks at rows, not at a field: {name}({short(tree.args[0].value)})")
            stream = self._stream(tree.args[0])
        else:
            stream, value = self._value(tree.args[0], name)
        if name in ("sum", "mean") and value is not None:
            need(tree.args[0], value, ("number", "duration"), f"{name}() adds numbers")
        if name in ("min", "max") and value is not None:
            need(tree.args[0], value, (*NUMERIC, "string"), f"{name}() orders numbers, times and strings")
            if value.kind == "json":
                fail(tree.args[0], f"{name}() needs one kind of value: give the fact a type under [attributes]")
        size = self._size(tree.args[1]) if name == "top" else 0
        over, ago, by = self._clauses(tree, name, stream)
        kind, integral = aggregate_kind(name, value)
        nullable = name not in ("count", "sum", "distinct", "top")
        if by is not None:
            return x.Aggregate(name, stream, value, "object", False, over, ago, by, size, False, kind)
        return x.Aggregate(name, stream, value, kind, integral, over, ago, None, size, nullable, kind)

    def _streak(self, tree: ast.Call) -> Node:
        if len(tree.args) != 1 or isinstance(tree.args[0], ast.Starred):
            fail(tree, "streak() is written streak(date(stream.occurred_at))")
        if tree.keywords:
            fail(
                tree.keywords[0].value,
                f"streak() has no {tree.keywords[0].arg}=: it counts the days in a row up to the clock, however many",
            )
        argument = tree.args[0]
        if self.is_stream(argument):
            fail(argument, f"streak() counts days: streak(date({short(argument)}.occurred_at))")
        if isinstance(argument, ast.Attribute) and self.is_stream(argument.value):
            fail(argument, f"streak() counts days: streak(date({short(argument)}))")
        stream, value = self._value(argument, "streak")
        if not isinstance(value, x.Call) or value.name != "date" or not isinstance(value.args[0], x.Field | x.Fact):
            fail(argument, "streak() counts the days of a stream's time: streak(date(stream.occurred_at))")
        kind, integral = aggregate_kind("streak", value)
        return x.Aggregate("streak", stream, value, kind, integral, nullable=False, of=kind)

    def _unmatched(self, tree: ast.Call) -> Node:
        clauses = {k.arg: k.value for k in tree.keywords}
        usage = "unmatched(view.sku, item.sku, within='2d', over='30d')"
        if len(tree.args) != 2 or any(isinstance(a, ast.Starred) for a in tree.args):
            fail(tree, f"unmatched() is written {usage}: what was seen, and what would answer it")
        for keyword in tree.keywords:
            if keyword.arg not in ("within", "over"):
                fail(keyword.value, f"unmatched() has no {keyword.arg}=; it has within= and over=")
        for clause, meaning in (("within", "how soon the same value must follow"), ("over", "how far back it looks")):
            if clause not in clauses:
                fail(tree, f"unmatched() needs {clause}=, {meaning}: {usage}")
        (stream, value), (other, answer) = (self._value(a, "unmatched") for a in tree.args)
        for argument, node in zip(tree.args, (value, answer), strict=True):
            if isinstance(node, x.Literal):
                fail(argument, "unmatched() takes a stream's value, such as view.sku")
        if value.kind != answer.kind and "json" not in (value.kind, answer.kind):
            fail(
                tree,
                "unmatched() looks for the same value, but "
                f"`{short(tree.args[0])}` is {A[value.kind]} and `{short(tree.args[1])}` {A[answer.kind]}",
            )
        within, over = self._span(clauses["within"], "within"), self._span(clauses["over"], "over")
        if within + tile_ms(over) > over:
            fail(
                clauses["within"],
                f"within= is at most over= less a tile of it ({span_text(tile_ms(over))}): "
                "what leaves the window sooner never shows",
            )
        kind, integral = aggregate_kind("unmatched", value)
        return x.Aggregate(
            "unmatched", stream, value, kind, integral, over, nullable=False, of=value.kind,
            answer=x.Answer(other, answer, within),
        )  # fmt: skip

    def _size(self, tree: ast.expr) -> int:
        node = self._node(tree)
        if not isinstance(node, x.Literal) or type(node.value) is not int or not 1 <= node.value <= TOP_SIZE_MAX:
            fail(tree, f"top() gives 1 to {TOP_SIZE_MAX} values: top(stream.field, 3)")
        return node.value

    def _clauses(self, tree: ast.Call, name: str, stream: x.Stream) -> tuple[int | None, int, Node | None]:
        clauses = {k.arg: k.value for k in tree.keywords}
        for keyword in tree.keywords:
            if keyword.arg not in ("over", "ago", "by"):
                if keyword.arg == "within":
                    fail(keyword.value, f"{name}() has no within=; only unmatched() has")
                fail(keyword.value, f"`{keyword.arg}=` is unknown; an aggregate has over=, ago= and by=")
        over = self._span(clauses["over"], "over") if "over" in clauses else None
        ago = self._span(clauses["ago"], "ago") if "ago" in clauses else 0
        if ago:
            if over is None:
                fail(clauses["ago"], "ago= says how far back a window ends: it needs over= too")
            if ago % tile_ms(over):
                fail(clauses["ago"], f"ago= must be a multiple of the window's tile, {span_text(tile_ms(over))}")
        by: Node | None = None
        if "by" in clauses:
            if name not in BY_ALLOWED:
                fail(clauses["by"], f"{name}() has no by=; {', '.join(BY_ALLOWED)} have")
            with self._rows_of(stream):
                by = self._node(clauses["by"])
            if isinstance(by, x.Literal):
                fail(clauses["by"], "by= takes a field's name without quotes: by=category")
            if by.kind in ("list", "object"):
                fail(clauses["by"], f"by= takes a field with one value, not {A[by.kind]}")
        return over, ago, by

    def _span(self, tree: ast.expr, clause: str) -> int:
        text = tree.value if isinstance(tree, ast.Constant) and isinstance(tree.value, str) else ""
        length = span_ms(text)
        if length is None:
            fail(tree, f"{clause}= takes a number and a unit in quotes: '15m', '24h', '30d', '1y'")
        if length > WINDOW_MS_MAX:
            fail(tree, f"{clause}= is at most '10y'")
        return length


def _both(before: Node | None, condition: Node) -> Node:
    """Two conditions on one stream, side by side: any number of them stands no deeper than two."""
    if before is None:
        return condition
    parts = before.items if isinstance(before, x.Logic) and before.op == "and" else (before,)
    return x.Logic("and", (*parts, condition))


class _Rows(ast.NodeTransformer):
    """Turns the `stream.field`s of an aggregate's value into bare fields."""

    def __init__(self, found: list[ast.Attribute]) -> None:
        self.found = found

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if any(node is f for f in self.found):
            return ast.copy_location(ast.Name(node.attr, ast.Load()), node)
        return node
