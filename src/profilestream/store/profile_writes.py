"""What a folded profile changes in Redis: readable fields that differ, the state, the timers."""

from __future__ import annotations

from typing import Any, Final

import orjson

from ..core.engine import Engine
from ..core.ordered import in_order
from ..core.profile import Profile
from ..core.readout import Difference
from ..core.times import TIME_MS_MAX, time_text
from ..wire.states import encode_state
from ..wire.values import encode_value
from .commits import ProfileWrite

DIFFERENCES_MAX: Final = 256
"""So many mixtures of event types have a function of their own, which compares only the traits that they feed."""


class ProfileWriter:
    """Writes of profiles under one engine's definitions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._foresight = engine.foresight(_json)
        self._differences: dict[int, Difference] = {}
        self._nothing = [None] * len(engine.definitions.traits)

    def write(self, profile: Profile, members_changed: bool) -> ProfileWrite:
        """The write that brings Redis from what was written last to the profile; what it says is then remembered.

        A profile that was read or made anew has no memory of what was written, so its hash is written whole.
        Of a customer without an event only the state is written, so readers see no profile.
        """
        is_new = not profile.stored
        profile.stored = True
        if not profile.revision:
            return ProfileWrite(profile.customer_id, encode_state(profile, self._engine), is_new=is_new)
        written = profile.written
        rewrite = written is None
        if written is None:
            written = profile.written = list(self._nothing)
            profile.changed = -1
            profile.written_due, profile.written_urgent, profile.written_missed = None, None, False
            members_changed = True
        difference = self._difference(profile.changed)
        fields: list[Any] = [
            "_revision", profile.revision,
            "_as_of", time_text(profile.as_of),
            "_event_time", time_text(profile.event_time),
        ]  # fmt: skip
        removed: list[str] = []
        difference(profile.slots, profile.as_of, written, fields, removed)
        if members_changed:
            fields += ("_segments", segments_text(profile))
        wake, expected = self._foresight.of(profile)
        due = None if wake > TIME_MS_MAX else wake
        due_changed = rewrite or due != profile.written_due
        urgent = None if expected > TIME_MS_MAX else expected
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
        profile.changed = 0
        state = encode_state(profile, self._engine)
        return ProfileWrite(
            profile.customer_id, state, fields, removed, rewrite, due, due_changed, urgent, urgent_changed, is_new
        )

    def _difference(self, changed: int) -> Difference:
        """What compares the traits that such changes may have moved; of very many mixtures the last compare all."""
        found = self._differences.get(changed)
        if found is None:
            if len(self._differences) >= DIFFERENCES_MAX and changed != -1:
                return self._difference(-1)
            found = self._differences[changed] = self._engine.difference(changed, _json)
        return found


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
