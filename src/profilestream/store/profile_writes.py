"""What a folded profile changes in Redis: readable fields that differ, the state, the timers."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from ..core.engine import Crossing, Engine
from ..core.ordered import in_order
from ..core.profile import Profile
from ..core.readout import Difference
from ..core.times import TIME_MS_MAX, time_text
from ..wire.states import encode_state
from ..wire.values import encode_value
from .commits import ProfileWrite

DIFFERENCES_MAX: Final = 256
"""So many mixtures of event types have a function of their own, which compares only the traits that they feed."""


class Unsent(NamedTuple):
    """What has been found to differ from Redis: values are name, JSON, name, JSON ...; `urgent` as in a write."""

    rewrite: bool
    values: list[Any]
    removed: list[str]
    urgent: int | None


class ProfileWriter:
    """Writes of profiles under one engine's definitions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._foresight = engine.foresight(_json)
        self._differences: dict[int, Difference] = {}
        self._nothing = [None] * len(engine.definitions.traits)

    def pass_time(self, profile: Profile, clock: int, crossings: list[Crossing], instants_max: int) -> int:
        """Lets time pass for a profile that was written as it is, instant by instant up to a clock.

        It stands at the last of them then, so `as_of` and all else follow from its events and the clock, and not from
        how often it was looked at on the way. Gives how many there were; it stops after `instants_max`, still due.
        """
        passed = 0
        while profile.wake <= clock and passed < instants_max:
            self._engine.advance(profile, profile.wake, crossings)
            self._look(profile)
            passed += 1
        return passed

    def write(self, profile: Profile, members_changed: bool) -> ProfileWrite:
        """The write that brings Redis from what was written last to the profile; what it says is then remembered.

        A profile that was read or made anew has no memory of what was written, so its hash is written whole.
        Of a customer without an event only the state is written, so readers see no profile.
        """
        is_new = not profile.stored
        profile.stored = True
        if not profile.revision:
            return ProfileWrite(profile.customer_id, encode_state(profile, self._engine), is_new=is_new)
        if profile.unsent is None or profile.changed:
            self._look(profile)
        rewrite, values, removed, urgent = profile.unsent
        profile.unsent = None
        fields: list[Any] = [
            "_revision", profile.revision,
            "_as_of", time_text(profile.as_of),
            "_event_time", time_text(profile.event_time),
            *values,
        ]  # fmt: skip
        if members_changed or rewrite:
            fields += ("_segments", segments_text(profile))
        due = None if profile.wake > TIME_MS_MAX else profile.wake
        due_changed = rewrite or due != profile.written_due
        urgent_changed = rewrite or urgent != profile.written_urgent
        profile.written_urgent = urgent
        if due != profile.written_due:
            if due is None:
                removed.append("_valid_until")
            else:
                fields += ("_valid_until", time_text(due))
            profile.written_due = due
        missed = self._engine.missed(profile)
        if missed:
            fields += ("_missed", _json(missed))
        elif profile.written_missed:
            removed.append("_missed")
        profile.written_missed = bool(missed)
        state = encode_state(profile, self._engine)
        return ProfileWrite(
            profile.customer_id, state, fields, removed, rewrite, due, due_changed, urgent, urgent_changed, is_new
        )

    def _look(self, profile: Profile) -> None:
        """Finds what differs from what was written or seen last, and when time alone changes something next."""
        written, before = profile.written, profile.unsent
        rewrite = written is None
        if written is None:
            written = profile.written = list(self._nothing)
            profile.changed = -1
            profile.written_due, profile.written_urgent, profile.written_missed = None, None, False
        values: list[Any] = []
        removed: list[str] = []
        self._difference(profile.changed)(profile.slots, profile.as_of, written, values, removed)
        profile.changed = 0
        profile.wake, expected = self._foresight.of(profile)
        if before is not None:
            rewrite = before.rewrite
            values, removed = _joined(before, values, removed)
        profile.unsent = Unsent(rewrite, values, removed, None if expected > TIME_MS_MAX else expected)

    def _difference(self, changed: int) -> Difference:
        """What compares the traits that such changes may have moved; of very many mixtures the last compare all."""
        found = self._differences.get(changed)
        if found is None:
            if len(self._differences) >= DIFFERENCES_MAX and changed != -1:
                return self._difference(-1)
            found = self._differences[changed] = self._engine.difference(changed, _json)
        return found


def _joined(before: Unsent, values: list[Any], removed: list[str]) -> tuple[list[Any], list[str]]:
    """Values and what is gone, where more has changed since others were found."""
    latest = dict(zip(before.values[::2], before.values[1::2], strict=True))
    for name in removed:
        latest.pop(name, None)
    latest |= zip(values[::2], values[1::2], strict=True)
    gone = {*before.removed, *removed} - latest.keys()
    return [part for item in latest.items() for part in item], sorted(gone)


def segments_text(profile: Profile) -> bytes:
    """The JSON of `_segments`: the memberships of now, by name."""
    return orjson.dumps(
        {
            name: {"since": time_text(since), "crossing": crossing}
            for name, (crossing, since) in in_order(profile.members).items()
            if crossing % 2
        }
    )


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return encode_value(value)
