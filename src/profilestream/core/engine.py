"""The engine: folds events into profiles and lets time pass over them, giving the crossings. Pure.

An engine is compiled once from definitions. `fold` and `advance` are all that changes a profile. Both find crossings
through the segment index; `evaluate` looks at every segment and is what the index is held to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from profilestream.core import expressions as x
from profilestream.core import words
from profilestream.core.aggregates import KEYS_MAX, Aggregate
from profilestream.core.definitions import Definitions, Segment, Trait
from profilestream.core.foresight import Foresight
from profilestream.core.index import Index, Probe
from profilestream.core.memberships import Crossing as Crossing
from profilestream.core.memberships import Memberships
from profilestream.core.profile import Profile
from profilestream.core.readout import Difference, Read, compile_difference, compile_differs, compile_read
from profilestream.core.remembered import IDS_MAX as IDS_MAX
from profilestream.core.remembered import IDS_MS_MAX, Remembered
from profilestream.core.rows import Fold, compile_fold
from profilestream.core.slots import Slots
from profilestream.core.words import NEVER

CLOCK: Final = 1
"""The bit of a profile's `changed` for what time alone has changed; each event type has a bit of its own above."""


class Handler(NamedTuple):
    """What the engine does with an event of one type."""

    name: str
    bit: int
    fold: Fold
    probe: Probe
    salt: bytes


def _hash_of(event: Any, handler: Handler) -> bytes:
    return blake2b(handler.salt + event.event_id.encode(), digest_size=8).digest()


def _with_named(definitions: Definitions, names: Iterable[str]) -> tuple[Segment, ...]:
    """The segments of these names and those that they name, in the file's order."""
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += definitions.by_segment[name].named_segments
    return tuple(s for s in definitions.segments if s.name in found)


class Engine:
    """Definitions compiled. `ids_max` and `ids_ms_max` bound the remembered event ids, `keys_max` the keys of a map.

    With `watched` only these segments, and those that they name, are looked at: for questions about some of very many.
    Traits and states are the same.
    """

    def __init__(
        self,
        definitions: Definitions,
        *,
        ids_max: int = IDS_MAX,
        ids_ms_max: int = IDS_MS_MAX,
        keys_max: int = KEYS_MAX,
        watched: Collection[str] | None = None,
    ) -> None:
        self.definitions = definitions
        self.remembered = Remembered(ids_max, ids_ms_max)
        self._local = words.local_words(definitions.timezone)
        nodes = [t.node for t in definitions.traits]
        for segment in definitions.segments:
            nodes += [segment.enter] if segment.exit is None else [segment.enter, segment.exit]
        self.slots = Slots((a for node in nodes for a in x.aggregates(node)), keys_max, definitions.timezone)
        seen = definitions if watched is None else replace(definitions, segments=_with_named(definitions, watched))
        self.index = Index(((s.enter, s.exit) for s in seen.segments), self.slots, self._local)
        self._memberships = Memberships(seen, self.slots, self._local, self.index)
        self.handlers: Mapping[str, Handler] = {
            name: self._handler(name, CLOCK << (n + 1)) for n, name in enumerate(definitions.types)
        }
        self._moving = {s.index for s in self.slots.all if s.moves}
        self._probe_clock = self.index.probe(lambda types, clock: clock)
        self._probe_all = self.index.probe(lambda types, clock: True)
        self._read_all: Read | None = None
        self._bits = self._trait_bits()
        self._bounded = {
            s.index: s.aggregate.missed for s in self.slots.all if type(s.aggregate).missed is not Aggregate.missed
        }
        self._new_positions, self._new_suspects = self._beginning()

    # Profiles

    def new_profile(self, customer_id: str) -> Profile:
        """The profile of a customer before the first event."""
        profile = self.slots.new_profile(customer_id)
        profile.positions = list(self._new_positions)
        profile.flips = [NEVER] * self.index.flips
        profile.changed = -1
        return profile

    def revive(self, profile: Profile) -> Profile:
        """Completes a profile of which the stored part is there: places it in the index at its own clock."""
        profile.positions = self.index.nowhere()
        profile.flips = [NEVER] * self.index.flips
        self._probe_all(profile.slots, profile.positions, profile.flips, profile.as_of, None, True)
        self._memberships.place(profile)
        profile.window_due = self.slots.next_due(profile, profile.as_of)
        self._set_due(profile)
        profile.changed = -1
        return profile

    # What changes a profile

    def fold(
        self,
        profile: Profile,
        event: Any,
        handler: Handler,
        clock: int,
        arrival: int,
        crossings: list[Crossing],
        cause: Any,
    ) -> bool:
        """Folds one event at the shard's clock, which the event has moved already; False for a duplicate.

        Whatever fell due at or before the clock happens first. `arrival` is the record's timestamp in ms.
        """
        hashed = _hash_of(event, handler)
        if self.remembered.had(profile, hashed, arrival):
            return False
        if profile.due <= clock:
            self.advance(profile, clock, crossings)
        slots = profile.slots
        suspects = set(self._new_suspects) if profile.revision == 0 else set()
        handler.fold(profile, slots, event, clock)
        profile.revision += 1
        if event.occurred_at > profile.event_time or profile.revision == 1:
            profile.event_time = event.occurred_at
        profile.as_of = clock
        profile.changed |= handler.bit
        # The first event places the profile: what depends on time alone has had no instant set yet.
        first = profile.revision == 1
        probe = self._probe_all if first else handler.probe
        probe(slots, profile.positions, profile.flips, clock, suspects, first)
        if self.index.touched:
            self.index.forget()
        if suspects:
            self._memberships.settle(profile, suspects, clock, crossings, cause)
        self._set_due(profile)
        return True

    def had(self, profile: Profile, event: Any, handler: Handler, arrival: int) -> bool:
        """Whether the event is a duplicate, which `fold` would not fold; nothing changes."""
        return self.remembered.counts(profile.ids, _hash_of(event, handler), arrival)

    def advance(self, profile: Profile, clock: int, crossings: list[Crossing]) -> None:
        """Lets time pass: every instant due at or before the clock happens, in order, at its own time.

        Raises RuntimeError where an instant leads to none after it: a mistake in here, that would else never end.
        """
        while profile.due <= clock:
            now = profile.due
            if profile.window_due <= now:
                self.slots.advance(profile, now)
            suspects: set[int] = set()
            self._probe_clock(profile.slots, profile.positions, profile.flips, now, suspects, True)
            if profile.held_due <= now:
                suspects.update(self._memberships.over(profile, now))
            profile.as_of = now
            profile.changed |= CLOCK
            if suspects:
                self._memberships.settle(profile, suspects, now, crossings, None)
            self._set_due(profile)
            if profile.due <= now:
                raise RuntimeError("time does not pass: what is due next does not lie after what has just happened")

    def reconcile(self, profile: Profile, announced: Mapping[str, int], clock: int) -> list[Crossing] | None:
        """Makes the crossing numbers go on from what subscribers were told; None where nothing had to change.

        `announced` has the last number announced of some segments, 0 where none was. A membership that is what was
        announced takes that number; any other is a crossing that subscribers have yet to hear of, numbered one more,
        now: for them times must not go back, whenever it came about in this history.
        """
        crossings = self._memberships.reconcile(profile, announced, clock)
        if crossings is not None:
            self._set_due(profile)
        return crossings

    def agree(self, profile: Profile, announced: Mapping[str, int], clock: int) -> tuple[bool, list[str]]:
        """Takes the announced number of each membership that is what was announced, and leaves all others: whether
        any number changed, and the segments of those others."""
        renumbered, differing = self._memberships.agree(profile, announced, clock)
        if renumbered:
            self._set_due(profile)
        return renumbered, differing

    def settle(self, profile: Profile, segments: Collection[int], now: int, crossings: list[Crossing]) -> None:
        """Looks at segments (their places in the file's order) of which nobody has looked whether the profile, which
        stands at this clock, belongs in them; it crosses now, or begins to wait."""
        self._memberships.settle(profile, set(segments), now, crossings, None)
        self._set_due(profile)

    # What is read off a profile

    def foresight(self, encode: Callable[[Any], bytes]) -> Foresight:
        """What looks ahead in profiles that are written with the same `encode` (as `difference`)."""
        conditions = [node for s in self.definitions.segments for node in (s.enter, s.exit) if node is not None]
        fed = {self.slots.by_node[a].index for node in conditions for a in x.aggregates(node)}
        differs = partial(compile_differs, slots=self.slots, local=self._local, encode=encode)
        return Foresight(
            self.slots, self.index, self._memberships, self.definitions.traits, fed, self._probe_clock, differs
        )

    def changed_traits(self, changed: int) -> list[Trait]:
        """The traits that may differ after such changes (a profile's `changed`); all of them for -1."""
        return [t for t in self.definitions.traits if changed == -1 or self._bits[t.name] & changed]

    def difference(self, changed: int, encode: Callable[[Any], bytes]) -> Difference:
        """A function that finds what differs of those traits from what was written; `encode` gives JSON."""
        places = {t.name: n for n, t in enumerate(self.definitions.traits)}
        traits = [(t.name, places[t.name], t.node) for t in self.changed_traits(changed)]
        return compile_difference(traits, self.slots, self._local, encode)

    def values(self, profile: Profile) -> dict[str, Any]:
        """Every trait that is there, as readers see it (times as texts)."""
        if self._read_all is None:
            nodes = [t.node for t in self.definitions.traits]
            self._read_all = compile_read(nodes, self.slots, self._local, shown=True)
        shown = self._read_all(profile.slots, profile.as_of, profile.members)
        return {t.name: v for t, v in zip(self.definitions.traits, shown, strict=True) if v is not None}

    def read(self, nodes: tuple[x.Node, ...], profile: Profile, now: int, shown: bool = False) -> tuple[Any, ...]:
        """The values of expressions at a clock."""
        return self.reader(nodes, shown)(profile, now)

    def reader(self, nodes: tuple[x.Node, ...], shown: bool = False) -> Callable[[Profile, int], tuple[Any, ...]]:
        """A function that reads the values of expressions off a profile at a clock, many times."""
        read = compile_read(nodes, self.slots, self._local, shown)
        return lambda profile, now: read(profile.slots, now, profile.members)

    def ahead(self, profile: Profile, nodes: Iterable[x.Node]) -> Profile:
        """A copy of the profile to carry forward, on which time moves only what these expressions read.

        All else that is read off it is worth nothing.
        """
        copied = copy.deepcopy(profile)
        self.slots.hold(copied, {a for node in nodes for a in x.aggregates(node)})
        self._set_due(copied)
        return copied

    def conditions(self, names: Iterable[str]) -> Iterator[x.Node]:
        """What decides who is in these segments, those that they name included."""
        for segment in _with_named(self.definitions, names):
            yield segment.enter
            if segment.exit is not None:
                yield segment.exit

    def moves(self, node: x.Node) -> bool:
        """Whether time alone may change the value of an expression."""
        return (
            x.uses_clock(node)
            or any(x.segments(node))
            or any(self.slots.by_node[a].index in self._moving for a in x.aggregates(node))
        )

    def evaluate(self, profile: Profile, now: int) -> list[str]:
        """The segments that the profile belongs in at a clock, by looking at every one of them.

        What `held` says is taken as true: since when a condition holds cannot be seen from the present alone.
        """
        return self._memberships.evaluate(profile, now)

    def missed(self, profile: Profile) -> dict[str, int]:
        """For each trait whose bounded map was full: how many values did not fit."""
        slots = profile.slots
        counts = {place: count for place, missed in self._bounded.items() if (count := missed(slots[place]))}
        if not counts:
            return {}
        found = {}
        for trait in self.definitions.traits:
            places = {self.slots.by_node[a].index for a in x.aggregates(trait.node)}
            if count := sum(counts.get(place, 0) for place in places):
                found[trait.name] = count
        return found

    # Inside

    def _set_due(self, profile: Profile) -> None:
        due = min(profile.window_due, profile.held_due)
        for flip in profile.flips:
            if flip < due:
                due = flip
        profile.due = due

    def _handler(self, name: str, bit: int) -> Handler:
        fold = compile_fold(self.definitions.types[name], self.slots, self._local, self.index.touched)
        probe = self.index.probe(lambda types, clock: name in types)
        return Handler(name, bit, fold, probe, name.encode() + b"\0")

    def _trait_bits(self) -> dict[str, int]:
        bits = {}
        for trait in self.definitions.traits:
            read = {self.slots.by_node[a] for a in x.aggregates(trait.node)}
            bits[trait.name] = CLOCK if any(s.moves for s in read) else 0
            for slot in read:
                for type_name in slot.node.types:
                    bits[trait.name] |= self.handlers[type_name].bit
        return bits

    def _beginning(self) -> tuple[list[Any], set[int]]:
        """Where a profile with no event stands in the index, and the segments that hold for it even so."""
        profile = self.slots.new_profile("")
        positions = self.index.nowhere()
        self._probe_all(profile.slots, positions, [NEVER] * self.index.flips, 0, None, True)
        return positions, self._memberships.of_nobody(positions)
