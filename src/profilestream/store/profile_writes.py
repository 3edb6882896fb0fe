"""What a folded profile changes in Redis: readable fields that differ, the state, the timer."""

from __future__ import annotations

from typing import Any

import orjson

from ..core.engine import Engine
from ..core.profile import Profile
from ..core.words import NEVER
from ..wire.states import encode_state
from ..wire.times import format_time
from ..wire.values import encode_value
from .commits import ProfileWrite


def profile_write(profile: Profile, engine: Engine, members_changed: bool) -> ProfileWrite:
    """The write that brings Redis from what was written last to the profile; what it says is then remembered.

    A profile that was read or made anew has no memory of what was written, so its hash is written whole.
    """
    written = profile.written
    rewrite = written is None
    if written is None:
        written = profile.written = {}
        profile.changed = -1
        members_changed = bool(profile.members)
    fields: list[str | bytes] = []
    removed: list[str] = []
    names, read = engine.changed_traits(profile.changed)
    for name, value in zip(names, read(profile.slots, profile.as_of), strict=True):
        if value is None:
            if written.pop(name, None) is not None:
                removed.append(name)
            continue
        text = _text(value)
        if written.get(name) != text:
            written[name] = text
            fields += (name, text)
    if members_changed:
        fields += ("_segments", segments_text(profile))
    due = None if profile.due >= NEVER else profile.due
    fields += (
        "_revision", b"%d" % profile.revision,
        "_as_of", format_time(profile.as_of),
        "_event_time", format_time(profile.event_time),
    )  # fmt: skip
    if due is not None:
        fields += ("_valid_until", format_time(due))
    elif profile.written_due is not None:
        removed.append("_valid_until")
    if engine.has_bounded_maps and (missed := engine.missed(profile)):
        fields += ("_missed", _text(missed))
    profile.written_due = due
    profile.changed = 0
    return ProfileWrite(profile.customer_id, encode_state(profile, engine.slots.layout), fields, removed, rewrite, due)


def segments_text(profile: Profile) -> bytes:
    """The JSON of `_segments`: the memberships of now, by name."""
    return orjson.dumps(
        {
            name: {"since": format_time(since), "crossing": crossing}
            for name, (crossing, since) in sorted(profile.members.items())
            if crossing % 2
        }
    )


def _text(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        return encode_value(value)
