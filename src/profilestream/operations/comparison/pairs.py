"""One customer's profile in two generations, of the same events: what differs, and why. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from profilestream.core.times import TIME_MS_MAX
from profilestream.operations.comparison.reasons import Meaning, Meanings, Why
from profilestream.store.snapshots import StoredProfile
from profilestream.wire.times import parse_time
from profilestream.wire.values import decode_value

About = Literal["trait", "segment"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A trait's value, or a membership (true, false), that is another; an absent value is None."""

    about: About
    name: str
    customer_id: str
    live: Any
    other: Any
    why: Why
    detail: tuple[str, ...] = ()


@dataclass(slots=True)
class Pair:
    """What was found of one customer; `timely` is false where one profile waits for time to be written: such a pair is
    not compared."""

    timely: bool = True
    differences: list[Difference] = field(default_factory=list)


def compare_pair(live: StoredProfile, other: StoredProfile, meanings: Meanings) -> Pair:
    """Compares two profiles of one customer, both there."""
    if not _timely(live, other):
        return Pair(timely=False)
    same_events = live.fields.get("_revision") == other.fields.get("_revision")
    full = {*_object(live, "_missed"), *_object(other, "_missed")}
    found = Pair()
    for name, meaning in meanings.traits.items():
        texts = live.fields.get(name), other.fields.get(name)
        if texts[0] != texts[1]:
            was, is_now = (None if text is None else decode_value(text) for text in texts)
            if not _identical(was, is_now):
                why = _why(meaning, same_events, name in full)
                found.differences.append(Difference("trait", name, live.customer_id, was, is_now, why, meaning.changed))
    inside: list[Collection[str]] = [_object(profile, "_segments") for profile in (live, other)]
    for name, meaning in meanings.segments.items():
        was, is_now = name in inside[0], name in inside[1]
        if was is not is_now:
            why = _why(meaning, same_events, bool(full))
            found.differences.append(Difference("segment", name, live.customer_id, was, is_now, why, meaning.changed))
    return found


def _why(meaning: Meaning, same_events: bool, full: bool) -> Why:
    if meaning.changed:
        return "definition"
    if meaning.begins_later:
        return "history"
    if not same_events:
        return "events"
    if full:
        return "bounded"
    return "order" if meaning.by_the_way else "unexplained"


def _timely(live: StoredProfile, other: StoredProfile) -> bool:
    """Whether what both say holds at one instant: neither has something due before the other was written."""
    latest = max(_moment(profile, "_as_of") or 0 for profile in (live, other))
    return all((_moment(profile, "_valid_until") or TIME_MS_MAX + 1) > latest for profile in (live, other))


def _moment(profile: StoredProfile, name: str) -> int | None:
    text = profile.fields.get(name)
    return None if text is None else parse_time(text.decode())


def _object(profile: StoredProfile, name: str) -> dict[str, Any]:
    text = profile.fields.get(name)
    found: dict[str, Any] = {} if text is None else decode_value(text)
    return found


def _identical(one: Any, other: Any) -> bool:
    """Equal as JSON, whatever the order of an object's keys; an integer is not a float."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
