"""Compiles what an event of one type does to a profile: one plain function a type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from profilestream.core import aggregates as agg
from profilestream.core import expressions as x
from profilestream.core import times, words
from profilestream.core.codegen import Atom, Code
from profilestream.core.events import EventType, Field
from profilestream.core.expressions import Node
from profilestream.core.maps import key_text
from profilestream.core.profile import Profile
from profilestream.core.slots import UNKNOWN, Slot, Slots, clocked_adder, window_adder

Fold = Callable[[Profile, list[Any], Any, int], None]
"""(profile, its slots, event, clock): adds the event to every slot that it concerns."""

Local = Mapping[str, Callable[[Any], Any]]


@dataclass(frozen=True, slots=True)
class _Feed:
    """A stream whose rows a slot takes in: its aggregate's own, or, as an `answer`, the second one."""

    slot: Slot
    stream: x.Stream
    value: Node | None
    answer: bool = False


def compile_fold(event_type: EventType, slots: Slots, local: Local, touched: Mapping[int, set[str]]) -> Fold:
    """The fold of one event type; the streams' conditions are evaluated once each.

    In `touched`, by slot, each key of a map that is fed is noted.
    """
    concerned = [f for s in slots.all for f in _feeds(s) if event_type.name in f.stream.types]
    code = Code(_event_leaf(event_type), local)
    if concerned:
        code.line("at = e.occurred_at")
    for condition, group in _by_condition([f for f in concerned if not f.stream.items]):
        _rows(code, condition, group, "0", touched)
    items = [f for f in concerned if f.stream.items]
    if items:
        with code.block("for row, r in enumerate(e.items or ()):"):
            code.leaf = _item_leaf(event_type)
            code._memo = {}  # a field of the event and one of the item may have the same name
            for condition, group in _by_condition(items):
                _rows(code, condition, group, "row", touched)
    if any(isinstance(f.slot.aggregate, agg.Clocked) for f in concerned):
        with code.block(f"if p.window_due == {UNKNOWN}:"):
            code.line(f"p.window_due = {code.object(slots.next_due)}(p, now)")
    return code.function(f"fold_{event_type.name}", "p, s, e, now")


def _feeds(slot: Slot) -> Iterator[_Feed]:
    node = slot.node
    yield _Feed(slot, node.stream, node.value)
    if node.answer is not None:
        yield _Feed(slot, node.answer.stream, node.answer.value, answer=True)


def _by_condition(feeds: list[_Feed]) -> list[tuple[Node | None, list[_Feed]]]:
    groups: dict[Node | None, list[_Feed]] = {}
    for feed in feeds:
        groups.setdefault(feed.stream.condition, []).append(feed)
    return list(groups.items())


def _rows(code: Code, condition: Node | None, feeds: list[_Feed], row: str, touched: Mapping[int, set[str]]) -> None:
    if condition is None:
        for feed in feeds:
            _add(code, feed, row, touched)
        return
    holds = code.atom(condition)
    with code.block(f"if {holds.source} is True:" if holds.nullable else f"if {holds.source}:"):
        for feed in feeds:
            _add(code, feed, row, touched)


def _add(code: Code, feed: _Feed, row: str, touched: Mapping[int, set[str]]) -> None:
    """One slot's share: its item computed, skipped where absent, and added."""
    slot, value_node = feed.slot, feed.value
    node = slot.node
    needed = []
    if node.function == "latest" and isinstance(value_node, x.Fact):
        said = code.new(f"{code.object(words.fact)}(e, {value_node.name!r})", True)
        head = f"if {said.source} is not {code.object(words.MISSING)}:"
        item = f"[at, e.event_id, {row}, {said.source}]"
        with code.block(head):
            _put(code, slot, item)
        return
    item = "at" if node.function == "mean_gap" else "None"
    also: list[str] = []
    if value_node is not None:
        value = code.atom(value_node)
        if value.nullable:
            needed.append(value)
        item = value.source
        if value_node.kind == "time" and node.function in ("top", "distinct", "unmatched"):
            item = f"{code.object(times.time_text)}({item})"
        elif value_node.kind == "json" and node.function in ("sum", "mean"):
            known = code.new(f"{code.object(words.number)}({item})", True)
            needed, item = [known], known.source
    if node.function in ("min", "max", "first", "last") and value_node is not None and _is_decimal(value_node):
        item = f"{code.object(words.plain)}({item})"
    if node.function == "streak" and value_node != _TODAY:
        # A day after the event's own is none on which something has been done.
        today = code.atom(_TODAY)
        needed.append(today)
        also.append(f"{item} <= {today.source}")
    if node.function == "unmatched":
        item = f"[at, {int(feed.answer)}, {item}]"
    if slot.aggregate.ordered or (node.by is not None and _inner(slot).ordered):
        item = f"[at, e.event_id, {row}, {item}]"
    text = ""
    if node.by is not None:
        key = code.atom(node.by)
        if key.nullable:
            needed.append(key)
        text = f"{code.object(times.time_text)}({key.source})" if node.by.kind == "time" else key.source
        item = f"({text}, {item})"
    conditions = [f"{n.source} is not None" for n in needed] + also
    with code.block(f"if {' and '.join(conditions) or 'True'}:"):
        _put(code, slot, item)
        if slot.index in touched:
            add = touched[slot.index].add
            code.line(f"{code.object(add)}({text if _is_text(node.by) else f'{code.object(key_text)}({text})'})")


def _is_text(by: Node | None) -> bool:
    return by is not None and by.kind in ("string", "time")


_TODAY: Final = x.Call("date", (x.Field("occurred_at", "time", True),), "string")
"""The day of the event itself."""


def _is_decimal(value: Node) -> bool:
    return value.kind == "number" and not x.is_integral(value)


def _inner(slot: Slot) -> agg.Aggregate:
    return slot.aggregate.inner if isinstance(slot.aggregate, agg.ByKey) else slot.aggregate


def _put(code: Code, slot: Slot, item: str) -> None:
    place = f"s[{slot.index}]"
    if slot.window is not None:
        code.line(f"{code.object(window_adder(slot.window))}(p, at, now, {item})")
        return
    if isinstance(slot.aggregate, agg.Clocked):
        code.line(f"{code.object(clocked_adder(slot.index, slot.aggregate))}(p, now, {item})")
        return
    plain = _PLAIN.get(type(slot.aggregate))
    if plain is None or not getattr(slot.aggregate, "integral", True):
        code.line(f"{place} = {code.object(slot.aggregate.add)}({place}, {item})")
        return
    add = code.object(slot.aggregate.add)
    for text in plain.format(s=place, v=item, add=add).splitlines():
        code.line(text)


_PLAIN: Final[Mapping[type[agg.Aggregate], str]] = {
    agg.Count: "{s} += 1",
    agg.Sum: "{s} += {v}",
    agg.Mean: "m = {s}; m[0] += {v}; m[1] += 1",
    agg.Min: "m = {s}\nif m is None or {v} < m: {s} = {v}",
    agg.Max: "m = {s}\nif m is None or {v} > m: {s} = {v}",
    # The item is only made where its time decides nothing, or decides for it.
    agg.Last: "m = {s}\nif m is None or at >= m[0]: {s} = {add}(m, {v})",
    agg.First: "m = {s}\nif m is None or at <= m[0]: {s} = {add}(m, {v})",
}
"""`add` of the aggregates that most events meet, written out: {s} is the state's place, {v} the item."""


def _event_leaf(event_type: EventType) -> Callable[[Code, Node], Atom]:
    fields = event_type.by_name

    def leaf(code: Code, node: Node) -> Atom:
        if isinstance(node, x.Fact):
            return code.new(f"{code.object(words.fact_value)}(e, {node.name!r})", True)
        assert isinstance(node, x.Field)
        field = fields.get(node.name)
        if field is None:
            return Atom("None", True)
        return code.new(f"e.{field.attribute}", _nullable(field))

    return leaf


def _item_leaf(event_type: EventType) -> Callable[[Code, Node], Atom]:
    record = {f.name: f for f in event_type.by_name["items"].record}
    event_leaf = _event_leaf(event_type)

    def leaf(code: Code, node: Node) -> Atom:
        assert isinstance(node, x.Field)
        if node.name == "amount_minor":
            return code.new(f"{code.object(words.item_amount)}(r)", True)
        if node.name in record:
            return code.new(f"r.{record[node.name].attribute}", _nullable(record[node.name]))
        return event_leaf(code, node)

    return leaf


def _nullable(field: Field) -> bool:
    return not field.required and field.default is None
