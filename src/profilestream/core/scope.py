"""What names mean where a text stands: types, facts, streams, traits, segments, and the fields of the row at hand."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping

from profilestream.core import expressions as x
from profilestream.core.events import COMMON, FACTS, EventType, Field
from profilestream.core.expressions import Kind, Node
from profilestream.core.problems import fail, suggestion
from profilestream.core.vocabulary import KIND_OF_FIELD


class Scope:
    """The names of a definitions file; `trait_of` gives another trait's expression by name."""

    def __init__(
        self,
        types: Mapping[str, EventType],
        facts: Mapping[str, Field] | None = None,
        streams: Mapping[str, x.Stream] | None = None,
        trait_names: tuple[str, ...] = (),
        trait_of: Callable[[str], Node] | None = None,
        segment_names: Collection[str] = (),
    ) -> None:
        self.types = types
        self.facts = dict(facts or {})
        self.streams = dict(streams or {})
        self.trait_names = trait_names
        self.trait_of = trait_of
        self.segment_names = segment_names
        self._row: x.Stream | None = None

    @property
    def in_row(self) -> bool:
        """Whether the text at hand is about a stream's rows rather than about a profile."""
        return self._row is not None

    def fact(self, name: str) -> x.Fact:
        """A customer's fact, of the kind that the file gives it."""
        declared = self.facts.get(name)
        if declared is None:
            return x.Fact(name)
        return x.Fact(name, KIND_OF_FIELD[declared.kind], declared.kind in ("int", "time"))

    def field(self, tree: ast.expr, name: str) -> Node:
        """A field of the row at hand, typed over all of the stream's types."""
        row = self._row
        assert row is not None
        if row.types == (FACTS,):
            common = next((f for f in COMMON if f.name == name), None)
            if common is None:
                return self.fact(name)
            return x.Field(name, KIND_OF_FIELD[common.kind], common.kind == "int")
        found: dict[str, tuple[Kind, bool]] = {}
        known: set[str] = set()
        for type_name in row.types:
            fields = dict(self.types[type_name].by_name)
            if row.items:
                fields |= {f.name: f for f in fields["items"].record}
                known.add("amount_minor")
            known |= fields.keys()
            if row.items and name == "amount_minor":
                found[type_name] = ("number", True)
            elif name in fields:
                kind = fields[name].kind
                found[type_name] = (KIND_OF_FIELD[kind], kind in ("int", "time"))
        if not found:
            what = "an item" if row.items else "an event" if len(row.types) > 1 else f"`{row.types[0]}`"
            if name in self.trait_names:
                fail(tree, f"`{name}` is a trait; a stream's condition sees the event's own fields only")
            fail(tree, f"{what} has no field `{name}`{suggestion(name, known)}")
        kinds = set(found.values())
        if len(kinds) == 1:
            return x.Field(name, *kinds.pop())
        return x.Field(name, "json")
