"""Who would enter and leave segments under changed definitions: told from the present profiles, which are only read.

Every stored state is read once (`store/states.py`), advanced to its shard's clock under the live definitions, carried
into the new ones (`core/carrying.py`), and the segments that changed are settled from the membership that the customer
has: a member stays until `exit` holds, or, without one, `enter` no longer does; dwell, cooldown and sample hold
back as they do in a worker. That is what applying would do at that clock. Of segments that need what only the log has
nothing can be told, but how many members they have.
"""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from profilestream.core.carrying import Carrier
from profilestream.core.changes_between import Changes
from profilestream.core.definitions import Definitions
from profilestream.core.engine import Engine
from profilestream.core.profile import Profile
from profilestream.settings import Settings
from profilestream.store.connection import connect_sync
from profilestream.store.metadata import Generation
from profilestream.store.states import StateWalk
from profilestream.wire.states import decode_state

EXAMPLES: Final = 5

Crossed = Callable[[str, str, bool], None]
"""Told of each crossing: customer, segment, whether the customer would enter."""

Progress = Callable[[int, int], None]
"""Told how many customers have been looked at, and of how many."""


@dataclass(slots=True)
class Outcome:
    """What a changed definition does to one segment: how many `members` it has, would enter and leave at once.

    `waiting` would cross at the end of a dwell or a cooldown if the condition holds on. Examples are those whose ids
    come first. Where the log is needed it is not `told`, and only `members` says something.
    """

    told: bool = True
    members: int = 0
    entering: int = 0
    leaving: int = 0
    waiting: int = 0
    enter_examples: list[str] = field(default_factory=list)
    leave_examples: list[str] = field(default_factory=list)

    def cross(self, customer_id: str, enters: bool) -> None:
        """Counts one crossing."""
        if enters:
            self.entering += 1
        else:
            self.leaving += 1
        examples = self.enter_examples if enters else self.leave_examples
        if len(examples) < EXAMPLES or customer_id < examples[-1]:
            insort(examples, customer_id)
            del examples[EXAMPLES:]


@dataclass(slots=True)
class Sweep:
    """What was found. `customers` were looked at in `seconds`; `clocks` are those of the shards (ms), as read last."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    customers: int = 0
    clocks: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0


def sweep(
    settings: Settings,
    generation: Generation,
    changes: Changes,
    crossed: Crossed = lambda customer, segment, enters: None,
    progress: Progress = lambda done, total: None,
) -> Sweep:
    """Looks at every profile of the live generation, whose definitions are those that `changes` begins from.

    Raises ServerUnavailable without Redis, StateMismatch for states of other definitions.
    """
    assert settings.redis is not None
    found = Sweep()
    judge = Judge(settings, changes)
    found.outcomes = judge.outcomes
    if not judge.outcomes:
        return found
    client = connect_sync(settings.redis)
    started = time.monotonic()
    try:
        walk = StateWalk(client, settings.namespace, generation)
        total = walk.count()
        for page in walk.pages():
            for customer_id, state in page.states:
                profile = decode_state(state, customer_id, judge.engine)
                clock = profile.as_of if page.clock is None else max(page.clock, profile.as_of)
                for segment, enters in judge.look(profile, clock):
                    crossed(customer_id, segment, enters)
            found.customers += len(page.states)
            if page.clock is not None:
                found.clocks[page.shard] = max(page.clock, found.clocks.get(page.shard, page.clock))
            found.seconds = time.monotonic() - started
            progress(found.customers, max(total, found.customers))
    finally:
        client.close()
    return found


class Judge:
    """Judges profiles one after another. `engine` is the one to decode them with, `outcomes` what they come to."""

    def __init__(self, settings: Settings, changes: Changes) -> None:
        moved = [c for c in changes.segments if c.moves]
        self.outcomes = {c.name: Outcome(told=not c.needs) for c in moved}
        self._removed = [c.name for c in moved if c.after is None]
        wanted = _with_named(changes.after, (c.name for c in moved if c.after is not None and not c.needs))
        engine = engine_with(settings)
        watched = [n for n in (*wanted, *self.outcomes) if n in changes.before.by_segment]
        self.engine = engine(changes.before, watched=watched)
        self._carrier = Carrier(self.engine, engine(_narrowed(changes.after, wanted))) if wanted else None

    def look(self, profile: Profile, clock: int) -> Iterable[tuple[str, bool]]:
        """The segments that a customer would cross at a clock, and whether to enter. The profile is used up."""
        outcomes, customer_id = self.outcomes, profile.customer_id
        self.engine.advance(profile, clock, [])
        for name, membership in profile.members.items():
            if membership[0] % 2 and name in outcomes:
                outcomes[name].members += 1
        crossed = [(n, False) for n in self._removed if profile.members.get(n, (0, 0))[0] % 2]
        if self._carrier is not None:
            carried = self._carrier.carry(profile, None, clock)
            crossed += [(c.segment, c.crossing % 2 == 1) for c in carried.anew]
            for name in carried.profile.held:
                if name in outcomes:
                    outcomes[name].waiting += 1
        for name, enters in crossed:
            outcomes[name].cross(customer_id, enters)
        return crossed


def engine_with(settings: Settings) -> partial[Engine]:
    """Compiles definitions with a worker's limits."""
    return partial(
        Engine,
        ids_max=settings.remembered_ids_max,
        ids_ms_max=settings.remembered_ids_ms_max,
        keys_max=settings.map_keys_max,
    )


def _with_named(definitions: Definitions, names: Iterable[str]) -> dict[str, None]:
    """The segments of these names and all that they name, by way of others too."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting += definitions.by_segment[name].named_segments
    return found


def _narrowed(definitions: Definitions, names: Mapping[str, None]) -> Definitions:
    """The definitions with these segments alone and without traits: nothing else has to be carried."""
    segments = tuple(replace(s, named_traits=()) for s in definitions.segments if s.name in names)
    return replace(definitions, traits=(), by_trait={}, segments=segments, by_segment={s.name: s for s in segments})
