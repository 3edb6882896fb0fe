"""Profiles' states as bytes: msgpack, canonical (the same profile has the same bytes).

A state names the layout of its slots; one of another layout is refused, never mixed in. Integers beyond 64 bits, which
msgpack does not hold, are an extension.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from profilestream.core.engine import Engine
from profilestream.core.errors import StateMismatch
from profilestream.core.ordered import in_order
from profilestream.core.profile import Profile
from profilestream.core.words import NEVER

VERSION = 3
PACKED_MEMBERS_MIN = 32
"""From so many memberships on they are packed once and kept so: few events move a customer across a segment's border,
and some customers are or were in thousands of segments."""
_BIG_INTEGER = 1

_encode = msgspec.msgpack.Encoder().encode


def _extension(code: int, data: memoryview) -> Any:
    if code != _BIG_INTEGER:
        raise StateMismatch(f"a stored state has an extension {code} that this version does not know")
    return int.from_bytes(data, "big", signed=True)


_decode = msgspec.msgpack.Decoder(ext_hook=_extension).decode


def encode_state(profile: Profile, engine: Engine) -> bytes:
    """The stored part of a profile; its `wake` is as it was found last."""
    slots, tiles, pending = engine.slots.canonical(profile)
    members: Any = profile.members
    if len(members) < PACKED_MEMBERS_MIN:
        in_order(members)
    else:
        if profile.packed_members is None:
            profile.packed_members = _encode(in_order(members))
        members = msgspec.Raw(profile.packed_members)
    state = (
        VERSION, engine.slots.layout, profile.revision, profile.event_time, profile.as_of,
        slots, tiles, pending, members, in_order(profile.held), profile.ids,
        profile.wake if profile.wake < NEVER else None,
    )  # fmt: skip
    try:
        return _encode(state)
    except OverflowError:
        return _encode(_with_big_integers(state))


def decode_state(data: bytes, customer_id: str, engine: Engine) -> Profile:
    """The profile that was stored, placed at its own clock; raises StateMismatch for another layout."""
    version, layout, *rest = _decode(data)
    if version != VERSION or layout != engine.slots.layout:
        raise StateMismatch(
            f"a stored state has layout {layout} (version {version}), the definitions have {engine.slots.layout}; "
            "it was written under other definitions or by another version: see `profilestream status`"
        )
    revision, event_time, as_of, slots, tiles, pending, members, held, ids, wake = rest
    if not revision:
        # Without an event, but announced once: only the numbers are kept, from which its next crossings go on.
        profile = engine.new_profile(customer_id)
        profile.members = members
        profile.stored = True
        return profile
    profile = Profile(customer_id, slots, tiles, pending)
    profile.revision = revision
    profile.event_time = event_time
    profile.as_of = as_of
    profile.members = members
    profile.held = held
    profile.ids = ids
    profile.wake = NEVER if wake is None else wake
    profile.stored = True
    return engine.revive(profile)


class Summary(NamedTuple):
    """What a state says besides its slots; `members` has of each segment the last crossing and its time (ms)."""

    revision: int
    event_time: int
    as_of: int
    members: dict[str, list[int]]


def summary_of(data: bytes) -> Summary | None:
    """What a state says besides its slots, under whichever definitions it was written; None for another version's."""
    try:
        version, _, revision, event_time, as_of, _, _, _, members, *_ = _decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, StateMismatch):
        return None
    return Summary(revision, event_time, as_of, members) if version == VERSION else None


def profile_of(customer_id: str, state: bytes | None, engine: Engine) -> Profile:
    """The stored profile of a customer, or a new one; raises StateMismatch as `decode_state` does."""
    return engine.new_profile(customer_id) if state is None else decode_state(state, customer_id, engine)


def _with_big_integers(value: Any) -> Any:
    if type(value) is int and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(_BIG_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if isinstance(value, dict):
        return {_with_big_integers(k): _with_big_integers(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_with_big_integers(v) for v in value]
    return value
