"""Compiles what is read off a profile: trait values, conditions, the expressions of the segment index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from profilestream.core import aggregates as agg
from profilestream.core import expressions as x
from profilestream.core import times, words
from profilestream.core.codegen import Atom, Code
from profilestream.core.expressions import Node
from profilestream.core.profile import Membership
from profilestream.core.slots import Slots

Local = Mapping[str, Callable[[Any], Any]]
Read = Callable[[list[Any], int, Mapping[str, Membership]], tuple[Any, ...]]
"""(slots, clock, memberships) -> one value for each node, None where absent."""

_NEVER_IN = (0,)


def profile_code(slots: Slots, local: Local) -> Code:
    """A function body in which an aggregate is read from the slots `s`, `now` is the clock, `m` the memberships."""

    def leaf(code: Code, node: Node) -> Atom:
        if isinstance(node, x.InSegment):
            return code.new(f"m.get({node.name!r}, {code.object(_NEVER_IN)})[0] % 2 == 1", False)
        assert isinstance(node, x.Aggregate)
        slot = slots.by_node[node]
        place = f"s[{slot.index}]"
        aggregate = slot.aggregate
        if isinstance(aggregate, agg.Clocked):
            return code.new(f"{code.object(aggregate.value_at)}({place}, now)", False)
        if isinstance(aggregate, agg.Count) or (isinstance(aggregate, agg.Sum) and aggregate.integral):
            return code.new(place, False)
        if isinstance(aggregate, agg.Min | agg.Max):
            return code.new(place, True)
        if isinstance(aggregate, agg.Last):
            return code.new(f"None if {place} is None else {place}[3]", True)
        return code.new(f"{code.object(aggregate.value)}({place})", node.nullable or isinstance(aggregate, agg.Sum))

    def item(code: Code, node: x.Call) -> Atom | None:
        """One key of a map, without making all of it."""
        of_map, key = node.args
        if not isinstance(of_map, x.Aggregate) or not isinstance(key, x.Literal):
            return None
        slot = slots.by_node[of_map]
        if not isinstance(slot.aggregate, agg.ByKey):
            return None
        states = code.new(f"s[{slot.index}][0]", False).source
        value = _value_of(code, slot.aggregate.inner, f"{states}[{key.value!r}]")
        return code.new(f"{value} if {key.value!r} in {states} else None", True)

    return Code(leaf, local, item=item)


def _value_of(code: Code, aggregate: agg.Aggregate, state: str) -> str:
    return state if aggregate.is_plain else f"{code.object(aggregate.value)}({state})"


def part_of(item: x.Call) -> Node:
    """What stands in an expression for one key's part of a map, whichever key it is."""
    return x.Field("part", item.kind)


PRESENT: Final[Node] = x.Field("present", "boolean")
"""Stands for: the map has the key."""

Part = Callable[[Any, list[Any], int], Any]
"""(the key's part of the map's state or None, slots, clock) -> the value of an expression that looks at it."""


def compile_part(template: Node, inner: agg.Aggregate, slots: Slots, local: Local) -> Part:
    """An expression in which `part_of` or PRESENT stands, for the map's parts of one aggregate."""

    def leaf(code: Code, node: Node) -> Atom:
        if node == PRESENT:
            return Atom("part is not None", False)
        if not isinstance(node, x.Field):
            return whole(code, node)
        return code.new(f"{_value_of(code, inner, 'part')} if part is not None else None", True)

    code = profile_code(slots, local)
    whole = code.leaf
    code.leaf = leaf
    atom = code.atom(template)
    code.line(f"return {atom.source}")
    return code.function("part", "part, s, now")


def compile_read(nodes: Iterable[Node], slots: Slots, local: Local, shown: bool = False) -> Read:
    """One function for many values, equal parts computed once; `shown` gives times as texts, as readers see them."""
    code = profile_code(slots, local)
    values = []
    for node in nodes:
        atom = code.atom(node)
        source = atom.source
        if node.kind == "time" and not isinstance(node, x.Aggregate):
            source = f"{code.object(words.in_years)}({source})"
        if shown and node.kind == "time":
            source = f"{code.object(_time_shown)}({source})"
        elif shown and _holds_times(node):
            source = f"{code.object(_times_shown)}({source})"
        elif shown and node.kind in ("number", "duration", "json") and not _is_bounded(node):
            source = f"{code.object(words.finite)}({source})"
        values.append(source)
    code.line(f"return ({''.join(v + ', ' for v in values)})")
    return code.function("read", "s, now, m")


def _time_shown(at_ms: Any) -> str | None:
    return None if at_ms is None else times.time_text(at_ms)


def _times_shown(stamps: dict[str, int]) -> dict[str, str]:
    return {key: times.time_text(at_ms) for key, at_ms in stamps.items()}


Difference = Callable[[list[Any], int, list[Any], list[Any], list[str]], None]
"""(slots, clock, written, fields, removed): appends name and JSON of each value that differs from `written`, which
holds what was written last by trait; names of values that have become absent go to `removed`."""


def compile_difference(
    traits: Iterable[tuple[str, int, Node]], slots: Slots, local: Local, encode: Callable[[Any], bytes]
) -> Difference:
    """One function that compares the values of traits (name, place in `written`, node) with what was written."""
    code = profile_code(slots, local)
    for name, place, node in traits:
        value, nullable, put = _written_form(code, node, encode)
        was = f"w[{place}]"
        with code.block(f"if {value} != {was}:"):
            if nullable:
                with code.block(f"if {value} is None:"):
                    code.line(f"gone.append({name!r})")
                with code.block("else:"):
                    code.line(f"f += ({name!r}, {put})")
            else:
                code.line(f"f += ({name!r}, {put})")
            code.line(f"{was} = {value}")
    return code.function("difference", "s, now, w, f, gone")


Differs = Callable[[list[Any], int, list[Any]], bool]
"""(slots, clock, written): whether any value differs from what was written last."""


def compile_differs(
    traits: Iterable[tuple[int, Node]], slots: Slots, local: Local, encode: Callable[[Any], bytes]
) -> Differs:
    """One function that tells whether `compile_difference` would find anything in the traits (place, node)."""
    code = profile_code(slots, local)
    for place, node in traits:
        value, _, _ = _written_form(code, node, encode)
        code.line(f"if {value} != w[{place}]: return True")
    code.line("return False")
    return code.function("differs", "s, now, w")


def _written_form(code: Code, node: Node, encode: Callable[[Any], bytes]) -> tuple[str, bool, str]:
    """What is compared with what was written, whether it may be None, and what it is in Redis, as sources."""
    atom = code.atom(node)
    value, nullable = atom.source, atom.nullable
    text, finite = code.object(encode), code.object(words.finite)
    if node.kind in ("list", "object", "json", "boolean"):
        # Python's == would take true for 1, and a list for the one it was changed from.
        shown = f"{code.object(_times_shown)}({value})" if _holds_times(node) else f"{finite}({value})"
        json = f"{text}({shown})"
        value = code.new(f"None if {shown} is None else {json}" if nullable else json, nullable).source
        return value, nullable, value
    if node.kind == "time":
        if not isinstance(node, x.Aggregate):
            value, nullable = code.new(f"{code.object(words.in_years)}({value})", True).source, True
        return value, nullable, f"{code.object(words.time_json)}({value})"
    if _is_bounded(node):
        return value, nullable, value
    if node.kind != "string":
        value, nullable = code.new(f"{finite}({value})", True).source, True
    return value, nullable, value if x.is_integral(node) else f"{text}({value})"


def _is_bounded(node: Node) -> bool:
    """Whether the value is an integer that events alone keep small: counts, sums, and what they hold."""
    return isinstance(node, x.Aggregate) and x.is_integral(node)


def _holds_times(node: Node) -> bool:
    return isinstance(node, x.Aggregate) and node.by is not None and node.of == "time"
