"""What happened to one customer: a fold told step by step, with what each step changed. Pure.

The engine folds, as it does for a worker; a chronicle only looks at the values before and after. A step is one event,
or one instant at which time alone changes something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from profilestream.core.engine import Crossing, Engine, Handler
from profilestream.core.readout import Difference


class TraitChange(NamedTuple):
    """A trait's value before and after, as readers see it (times as texts); None where absent."""

    trait: str
    before: Any
    after: Any


@dataclass(slots=True)
class Step:
    """What one event changed, or time alone (`cause` None), when the shard's clock stood `at` (ms).

    `cause` is what `Chronicle.fold` was given. A step may have changed no trait and no segment.
    """

    at: int
    cause: Any
    traits: list[TraitChange] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)


class Chronicle:
    """One customer's fold. `profile` is the state after the last step, `values` its traits as readers see them."""

    def __init__(self, engine: Engine, customer_id: str) -> None:
        self.profile = engine.new_profile(customer_id)
        self.values: dict[str, Any] = {}
        self._engine = engine
        self._written: list[Any] = [None] * len(engine.definitions.traits)
        self._differences: dict[int, Difference] = {}

    def pass_time(self, clock: int) -> Iterator[Step]:
        """Every instant due at or before the clock (ms), in order; each is a step."""
        profile = self.profile
        while profile.due <= clock:
            step = Step(profile.due, None)
            self._engine.advance(profile, step.at, step.crossings)
            self._look(step)
            yield step

    def fold(self, event: Any, handler: Handler, clock: int, arrival: int, cause: Any) -> Step | None:
        """The step of an event, at the shard's clock, which it has moved already; None for a duplicate.

        Let time pass to the clock first (`pass_time`), unless `is_duplicate`.
        """
        step = Step(clock, cause)
        if not self._engine.fold(self.profile, event, handler, clock, arrival, step.crossings, cause):
            return None
        self._look(step)
        return step

    def is_duplicate(self, event: Any, handler: Handler, arrival: int) -> bool:
        """Whether the customer had the event before: no time passes by one that is not folded."""
        return self._engine.had(self.profile, event, handler, arrival)

    def _look(self, step: Step) -> None:
        """Notes which traits the step has changed."""
        profile, values = self.profile, self.values
        difference = self._differences.get(profile.changed)
        if difference is None:
            difference = self._engine.difference(profile.changed, msgspec.json.encode)
            self._differences[profile.changed] = difference
        fields: list[Any] = []
        gone: list[str] = []
        difference(profile.slots, profile.as_of, self._written, fields, gone)
        profile.changed = 0
        for name, put in zip(fields[::2], fields[1::2], strict=True):
            after = msgspec.json.decode(put) if isinstance(put, bytes | str) else put
            step.traits.append(TraitChange(name, values.get(name), after))
            values[name] = after
        step.traits += [TraitChange(name, values.pop(name, None), None) for name in gone]
