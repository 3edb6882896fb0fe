"""Slots: one state of a profile for each different aggregate that the definitions name, with its window."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from profilestream.core import aggregates as agg
from profilestream.core import expressions as x
from profilestream.core.days import Days
from profilestream.core.profile import Profile
from profilestream.core.vocabulary import tile_ms
from profilestream.core.words import NEVER

PENDING_MAX: Final = 5_000
"""So many instants of events that an `ago` window does not see yet are kept exactly; what comes beyond them waits for
the end of its tile."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window's span, tile and distance from the clock in ms; `tiles` and `pending` are places in a profile.

    An event counts at clock t while its tile began after t - ago - span, and not before it is ago old.
    """

    slot: int
    tiles: int
    span_ms: int
    tile_ms: int
    ago_ms: int
    pending: int
    aggregate: agg.Aggregate


@dataclass(frozen=True, slots=True)
class Slot:
    """One aggregate's place in a profile and the algebra that fills it."""

    index: int
    node: x.Aggregate
    aggregate: agg.Aggregate
    window: Window | None

    @property
    def moves(self) -> bool:
        """Whether time alone may change the value."""
        return self.window is not None or isinstance(self.aggregate, agg.Clocked)


class Slots:
    """All slots of a set of definitions, in a fixed order; `layout` names the order and meaning of the states.

    `clocked` are places and aggregates of those whose values time alone changes without a window's tiles.
    """

    def __init__(self, nodes: Iterable[x.Aggregate], keys_max: int = agg.KEYS_MAX, timezone: str = "UTC") -> None:
        self.all: list[Slot] = []
        self._days = Days(timezone)
        self.windows: list[Window] = []
        self.by_node: dict[x.Aggregate, Slot] = {}
        self._pending = 0
        for node in nodes:
            if node not in self.by_node:
                self._add(node, keys_max)
        self._unordered = [
            (s.index, s.window, s.aggregate.canonical)
            for s in self.all
            if type(s.aggregate).canonical is not agg.Aggregate.canonical
        ]
        self.clocked = [(s.index, s.aggregate) for s in self.all if isinstance(s.aggregate, agg.Clocked)]
        self._plans = [(w, w.slot, w.tiles, w.tile_ms, w.span_ms + w.ago_ms, w.ago_ms, w.pending) for w in self.windows]
        self.layout = hashlib.sha256(repr([s.node for s in self.all]).encode()).hexdigest()[:8]

    def _add(self, node: x.Aggregate, keys_max: int) -> None:
        aggregate = _algebra(node, keys_max, self._days)
        window = None
        if node.over_ms is not None and not isinstance(aggregate, agg.Clocked):
            window = Window(
                len(self.all),
                len(self.windows),
                node.over_ms,
                tile_ms(node.over_ms),
                node.ago_ms,
                self._pending,
                aggregate,
            )
            self.windows.append(window)
            self._pending += bool(node.ago_ms)
        slot = Slot(len(self.all), node, aggregate, window)
        self.all.append(slot)
        self.by_node[node] = slot

    def new_profile(self, customer_id: str) -> Profile:
        """The profile of a customer of whom nothing is known."""
        return Profile(
            customer_id,
            [s.aggregate.zero() for s in self.all],
            [{} for _ in self.windows],
            [{} for _ in range(self._pending)],
        )

    def canonical(self, profile: Profile) -> tuple[list[Any], list[dict[int, Any]], list[dict[int, Any]]]:
        """Slots, tiles and pending with everything in one order: equal profiles have equal ones.

        Tiles are kept in order as they are made; here only sets and maps are put in order.
        """
        if not self._unordered:
            return profile.slots, profile.tiles, profile.pending
        slots, tiles, pending = list(profile.slots), list(profile.tiles), list(profile.pending)
        for index, window, canonical in self._unordered:
            slots[index] = canonical(slots[index])
            if window is not None:
                tiles[window.tiles] = {tile: canonical(state) for tile, state in tiles[window.tiles].items()}
                if window.ago_ms:
                    waiting = pending[window.pending]
                    pending[window.pending] = {at: canonical(state) for at, state in waiting.items()}
        return slots, tiles, pending

    def advance(self, profile: Profile, now: int) -> None:
        """Lets tiles that are too old at `now` go, and events that an `ago` window now sees come.

        Tiles and what is pending are in order, so that only the first of each need be looked at.
        """
        for w in self.windows:
            tiles = profile.tiles[w.tiles]
            seen = now - w.ago_ms
            if w.ago_ms:
                profile.slots[w.slot] = _admit(w, profile.pending[w.pending], tiles, profile.slots[w.slot], seen)
            last_dead = (seen - w.span_ms) // w.tile_ms
            if tiles and next(iter(tiles)) <= last_dead:
                profile.slots[w.slot] = _living(w, tiles, profile.slots[w.slot], last_dead)
                while tiles and (oldest := next(iter(tiles))) <= last_dead:
                    del tiles[oldest]
        for place, clocked in self.clocked:
            profile.slots[place] = clocked.expire(profile.slots[place], now)
        profile.window_due = self.next_due(profile, now)

    def clocked_dues(self, profile: Profile, now: int, known: Mapping[int, int] | None = None) -> dict[int, int]:
        """By slot, the next instant after `now` at which a clocked value changes with no event.

        What is `known` from earlier and still lies ahead is taken as it is: to find it may cost.
        """
        known = known or {}
        return {
            place: due if (due := known.get(place, now)) > now else clocked.due(profile.slots[place], now)
            for place, clocked in self.clocked
        }

    def preview(self, profile: Profile, now: int, clocked_dues: Mapping[int, int]) -> dict[int, Any]:
        """The states of the slots that will have changed by `now` with no event: what `advance` would make of them.

        Of clocked ones those whose value changes by then, as `clocked_dues` says.
        """
        moved: dict[int, Any] = {}
        for w, slot, place, length, lasts, ago, waiting in self._plans:
            tiles = profile.tiles[place]
            if ago and (pending := profile.pending[waiting]) and next(iter(pending)) + ago <= now:
                pending, tiles = pending.copy(), tiles.copy()
                moved[slot] = _admit(w, pending, tiles, profile.slots[slot], now - ago)
            if tiles and next(iter(tiles)) * length + lasts <= now:
                moved[slot] = _living(w, tiles, moved.get(slot, profile.slots[slot]), (now - lasts) // length)
        for place, due in clocked_dues.items():
            # The state is what it was; its value at another clock may be another.
            if due <= now:
                moved[place] = profile.slots[place]
        return moved

    def preview_cost(self, profile: Profile, now: int) -> int:
        """How many parts of states `preview` merges at `now`, about."""
        cost = 0
        for w, slot, place, length, lasts, _, _ in self._plans:
            if w.aggregate.unmerge is None:
                tiles = profile.tiles[place]
                if tiles and next(iter(tiles)) * length + lasts <= now:
                    cost += len(tiles) * w.aggregate.parts(profile.slots[slot])
        return cost

    def window_due_after(self, profile: Profile, now: int) -> int:
        """The next instant after `now` at which a window of the profile changes with no event."""
        due = NEVER
        for _, _, place, length, lasts, ago, waiting in self._plans:
            for tile in profile.tiles[place]:
                if (at := tile * length + lasts) > now:
                    due = min(due, at)
                    break
            if ago:
                for came in profile.pending[waiting]:
                    if (at := came + ago) > now:
                        due = min(due, at)
                        break
                    if (at := came // length * length + lasts) > now:
                        due = min(due, at)  # it will have come by now, and leaves with its tile
        return due

    def next_due(self, profile: Profile, now: int) -> int:
        """The next instant after `now` at which a window or a clocked value of the profile changes with no event."""
        due = NEVER
        for w in self.windows:
            tiles = profile.tiles[w.tiles]
            if tiles:
                due = min(due, next(iter(tiles)) * w.tile_ms + w.span_ms + w.ago_ms)
            if w.ago_ms and profile.pending[w.pending]:
                due = min(due, next(iter(profile.pending[w.pending])) + w.ago_ms)
        for place, clocked in self.clocked:
            due = min(due, clocked.due(profile.slots[place], now))
        return due

    def hold(self, profile: Profile, aggregates: Collection[x.Aggregate]) -> None:
        """Holds every window still but those of these aggregates: time passes over the others no more."""
        for slot in self.all:
            if (w := slot.window) is not None and slot.node not in aggregates:
                profile.tiles[w.tiles] = {}
                if w.ago_ms:
                    profile.pending[w.pending] = {}
        profile.window_due = self.next_due(profile, profile.as_of)


def _admit(w: Window, pending: dict[int, Any], tiles: dict[int, Any], state: Any, seen: int) -> Any:
    """Moves what an `ago` window now sees from what is pending into its tiles; gives the slot's state with it."""
    merge, zero = w.aggregate.merge, w.aggregate.zero
    while pending and (at := next(iter(pending))) <= seen:
        item = pending.pop(at)
        tile = at // w.tile_ms
        if tile * w.tile_ms > seen - w.span_ms:
            _put(tiles, tile, merge(tiles.get(tile, zero()), item))
            state = merge(state, item)
    return state


def _living(w: Window, tiles: dict[int, Any], state: Any, last_dead: int) -> Any:
    """A slot's state without the tiles up to `last_dead`: what they held is taken out of it where that can be done."""
    unmerge = w.aggregate.unmerge
    if unmerge is None:
        return w.aggregate.merge_all(state for tile, state in tiles.items() if tile > last_dead)
    for tile, gone in tiles.items():
        if tile > last_dead:
            break
        state = unmerge(state, gone)
    return state


UNKNOWN: Final = -NEVER
"""Stands for a profile's `window_due` until the end of a fold that put off the instant which was the next."""


def clocked_adder(place: int, aggregate: agg.Clocked) -> Callable[[Profile, int, Any], None]:
    """A function `(profile, clock, item)` that adds an item to a clocked slot.

    Only what the item concerns is asked for its next instant: the whole only where that was the next of all.
    """
    put, due_of = aggregate.put, aggregate.due_of

    def add_item(profile: Profile, clock: int, item: Any) -> None:
        slots = profile.slots
        before = due_of(slots[place], item, clock)
        slots[place] = put(slots[place], item, clock)
        after = due_of(slots[place], item, clock)
        if after <= profile.window_due:
            profile.window_due = after
        elif before == profile.window_due:
            profile.window_due = UNKNOWN

    return add_item


def window_adder(w: Window) -> Callable[[Profile, int, int, Any], None]:
    """A function `(profile, at, clock, item)` that adds an item to a windowed slot; too late an item is dropped."""
    add, zero, tile_length, span = w.aggregate.add, w.aggregate.zero, w.tile_ms, w.span_ms
    slot, place, ago, waiting = w.slot, w.tiles, w.ago_ms, w.pending

    def add_item(profile: Profile, at: int, clock: int, item: Any) -> None:
        tile = at // tile_length
        start = tile * tile_length
        if start <= clock - ago - span:
            return
        if ago and at > clock - ago:
            pending = profile.pending[waiting]
            if len(pending) * 2 >= PENDING_MAX and at not in pending:
                end = start + tile_length - 1
                if len(pending) >= PENDING_MAX or end in pending:
                    at = end
            _put(pending, at, add(pending[at] if at in pending else zero(), item))
            profile.window_due = min(profile.window_due, at + ago)
            return
        slots, tiles = profile.slots, profile.tiles[place]
        slots[slot] = add(slots[slot], item)
        if tile in tiles:
            tiles[tile] = add(tiles[tile], item)
            return
        _put(tiles, tile, add(zero(), item))
        if start + span + ago < profile.window_due:
            profile.window_due = start + span + ago

    return add_item


def _put(table: dict[int, Any], key: int, state: Any) -> None:
    """Sets a state and keeps the table's keys in order; a late key, which is rare, costs a sort."""
    late = key not in table and bool(table) and next(reversed(table)) > key
    table[key] = state
    if late:
        entries = sorted(table.items())
        table.clear()
        table.update(entries)


def _algebra(node: x.Aggregate, keys_max: int, days: Days) -> agg.Aggregate:
    kind = agg.AGGREGATES[node.function]
    inner: agg.Aggregate
    if kind in (agg.Sum, agg.Mean):
        assert node.value is not None
        inner = kind(x.is_integral(node.value))
    elif kind is agg.Top:
        inner = agg.Top(node.size, keys_max)
    elif kind is agg.Streak:
        inner = agg.Streak(days)
    elif kind is agg.Unmatched:
        assert node.answer is not None and node.over_ms is not None
        inner = agg.Unmatched(node.answer.within_ms, node.over_ms, keys_max)
    else:
        inner = kind()
    return agg.ByKey(inner, keys_max) if node.by is not None else inner
