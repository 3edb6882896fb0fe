"""Python source from expressions: one statement a node, equal nodes computed once.

Nothing of a user's text reaches the source but constants (through `repr`) and field names that the declarations
allow; everything else is a name made here. A scope that stands for something else than a profile's slots
gives its own `leaf`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from profilestream.core import expressions as x
from profilestream.core import words
from profilestream.core.expressions import Node

NUMERIC = ("number", "time", "duration")


@dataclass(frozen=True, slots=True)
class Atom:
    """A name or a constant in the source, and whether it may be None."""

    source: str
    nullable: bool


class Code:
    """The body of one function under construction, with the objects that its names stand for."""

    def __init__(
        self,
        leaf: Callable[[Code, Node], Atom],
        local: Mapping[str, Callable[[Any], Any]],
        item: Callable[[Code, x.Call], Atom | None] | None = None,
    ) -> None:
        """`item` may know a shorter way to `object['key']`."""
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}
        self.leaf = leaf
        self._item = item
        self._local = local
        self._memo: dict[Node, Atom] = {}
        self._indent = 1

    # Building blocks

    def line(self, text: str) -> None:
        self.lines.append("    " * self._indent + text)

    def object(self, value: Any) -> str:
        """A name for an object that the source cannot spell."""
        name = f"g{len(self.names)}"
        self.names[name] = value
        return name

    def new(self, source: str, nullable: bool) -> Atom:
        """A new variable with that value."""
        name = f"t{len(self.lines)}"
        self.line(f"{name} = {source}")
        return Atom(name, nullable)

    def block(self, head: str) -> _Block:
        """An indented block; what is computed inside is not known outside."""
        return _Block(self, head)

    def function(self, name: str, parameters: str) -> Callable[..., Any]:
        """The finished function."""
        body = "\n".join(self.lines) or "    pass"
        scope = dict(self.names)
        exec(compile(f"def {name}({parameters}):\n{body}\n", f"<profilestream {name}>", "exec"), scope)
        function: Callable[..., Any] = scope[name]
        return function

    # Nodes

    def atom(self, node: Node) -> Atom:
        """The value of a node: computed at the first call, remembered for equal nodes."""
        known = self._memo.get(node)
        if known is None:
            known = self._memo[node] = self._compute(node)
        return known

    def _compute(self, node: Node) -> Atom:
        match node:
            case x.Literal():
                return self._literal(node)
            case x.Field() | x.Fact() | x.Aggregate() | x.InSegment():
                return self.leaf(self, node)
            case x.Arithmetic():
                return self._arithmetic(node)
            case x.Compare():
                return self._compare(node)
            case x.Sign():
                a, b = self.atom(node.left), self.atom(node.right)
                sign = f"({a.source} > {b.source}) - ({a.source} < {b.source})"
                return self.new(_guard([a, b], sign), a.nullable or b.nullable)
            case x.Contains():
                return self._contains(node)
            case x.Logic():
                return self._logic(node)
            case x.Not():
                item = self._truth(node.item)
                return self.new(_guard([item], f"not {item.source}"), item.nullable)
            case x.Since():
                time = self.atom(node.time)
                value = f"(now - {time.source})" + (f" // {x.DAY_MS}" if node.days else "")
                return self.new(_guard([time], value), time.nullable)
            case x.Elapsed():
                time = self.atom(node.time)
                return self.new(_guard([time], f"now - {time.source} >= {node.at_least_ms}"), time.nullable)
            case x.Instant():
                constants = self.object((node.strict, node.coefficient, node.constant, tuple(f for f, _ in node.terms)))
                terms = "".join(f", {self.atom(term).source}" for _, term in node.terms)
                return self.new(f"{self.object(words.first_instant)}(*{constants}{terms})", True)
            case x.Call():
                return self._call(node)
        raise TypeError(f"no source for {type(node).__name__}")

    def _literal(self, node: x.Literal) -> Atom:
        if isinstance(node.value, tuple):
            return Atom(self.object(list(node.value)), False)
        return Atom(f"({node.value!r})" if isinstance(node.value, int | float) else repr(node.value), False)

    def _arithmetic(self, node: x.Arithmetic) -> Atom:
        a, b = self.atom(node.left), self.atom(node.right)
        if node.integral:
            value = self.new(_guard([a, b], f"{a.source} {node.op} {b.source}"), a.nullable or b.nullable)
        else:
            value = self.new(f"{self.object(words.arithmetic)}({node.op!r}, {a.source}, {b.source})", True)
        return self.new(f"{self.object(words.in_years)}({value.source})", True) if node.kind == "time" else value

    def _compare(self, node: x.Compare) -> Atom:
        a, b = self.atom(node.left), self.atom(node.right)
        plain = node.left.kind != "json" and node.right.kind != "json" and node.left.kind not in ("list", "object")
        if plain:
            return self.new(_guard([a, b], f"{a.source} {node.op} {b.source}"), a.nullable or b.nullable)
        if node.op in ("==", "!="):
            word = self.object(words.equal if node.op == "==" else words.unequal)
            return self.new(f"{word}({a.source}, {b.source})", True)
        return self.new(f"{self.object(words.ordered)}({node.op!r}, {a.source}, {b.source})", True)

    def _contains(self, node: x.Contains) -> Atom:
        a, b = self.atom(node.item), self.atom(node.container)
        found = self.new(f"{self.object(words.contains)}({a.source}, {b.source})", True)
        return self.new(_guard([found], f"not {found.source}"), True) if node.negated else found

    def _truth(self, node: Node) -> Atom:
        atom = self.atom(node)
        return self.new(f"{self.object(words.truth)}({atom.source})", True) if node.kind == "json" else atom

    def _logic(self, node: x.Logic) -> Atom:
        atoms = [self._truth(item) for item in node.items]
        if not any(a.nullable for a in atoms):
            return self.new(f" {node.op} ".join(a.source for a in atoms), False)
        decisive = "False" if node.op == "and" else "True"
        decided = " or ".join(f"{a.source} is {decisive}" for a in atoms)
        unknown = " or ".join(f"{a.source} is None" for a in atoms if a.nullable)
        other = "True" if node.op == "and" else "False"
        return self.new(f"{decisive} if {decided} else None if {unknown} else {other}", True)

    def _call(self, node: x.Call) -> Atom:
        if node.name == "item" and self._item is not None and (found := self._item(self, node)) is not None:
            return found
        args = [self.atom(a) for a in node.args]
        a = args[0]
        match node.name:
            case "has":
                return self.new(f"{a.source} is not None", False)
            case "default":
                if not a.nullable:
                    return a
                return self.new(f"{a.source} if {a.source} is not None else {args[1].source}", args[1].nullable)
            case "after":
                return self.new(f"{self.object(words.after)}({a.source}, {args[1].source})", False)
            case "score":
                breaks = self.object([n.value for n in node.args[1:] if isinstance(n, x.Literal)])
                return self.new(f"{self.object(words.score)}({a.source}, {breaks})", True)
            case "hour" | "weekday" | "date":
                return self.new(f"{self.object(self._local[node.name])}({a.source})", True)
        word = _WORDS[node.name]
        return self.new(f"{self.object(word)}({', '.join(arg.source for arg in args)})", True)


_WORDS: Final[Mapping[str, Callable[..., Any]]] = {
    "len": words.length, "lower": words.lower, "item": words.item,
    "number": words.number, "text": words.text, "truth": words.truth,
}  # fmt: skip


class _Block:
    """`with code.block('if c:')`: indents, and forgets what was computed inside."""

    def __init__(self, code: Code, head: str) -> None:
        self._code = code
        self._head = head

    def __enter__(self) -> None:
        self._code.line(self._head)
        self._code._indent += 1
        self._memo = self._code._memo
        self._code._memo = dict(self._memo)

    def __exit__(self, *_: object) -> None:
        self._code._memo = self._memo
        self._code._indent -= 1


def _guard(atoms: list[Atom], value: str) -> str:
    """The value, or None where one of the atoms is."""
    nullable = [a.source for a in atoms if a.nullable]
    if not nullable:
        return value
    return f"None if {' or '.join(f'{n} is None' for n in dict.fromkeys(nullable))} else {value}"
