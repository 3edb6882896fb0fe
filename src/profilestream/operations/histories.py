"""A history in the public form: entries, the summary behind them, and the profile as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from profilestream.core.times import TIME_MS_MAX
from profilestream.operations.history import History
from profilestream.operations.history_entries import Difference, Entry
from profilestream.operations.told import Crossed
from profilestream.store.reader import Profile
from profilestream.wire.times import format_time


def entry_object(entry: Entry) -> dict[str, Any]:
    """One entry, ready for JSON."""
    event = entry.event
    return {
        "time": format_time(entry.at),
        "event": None
        if event is None
        else {
            "type": event.type,
            "event_id": event.event_id,
            "occurred_at": format_time(event.occurred_at),
            "topic": event.topic,
            "partition": event.partition,
            "offset": event.offset,
        },
        "traits": [{"trait": c.trait, "before": c.before, "after": c.after} for c in entry.traits],
        "crossings": [_crossing_object(c) for c in entry.crossings],
    }


def summary_object(found: History, differences: Sequence[Difference] | None) -> dict[str, Any]:
    """What follows the entries: how far the history reaches and what it cannot tell, ready for JSON.

    `whole_since` of a trait is null where it never is whole; `differences` is null where it was not compared.
    """
    return {
        "customer_id": found.customer_id,
        "generation": found.generation.name,
        "shard": found.shard,
        "clock": format_time(found.clock),
        "events": found.events,
        "duplicates": found.duplicates,
        "log": [
            {
                "topic": part.topic,
                "first_read": part.first_read,
                "begins": part.begins,
                "begins_at": None if part.begins_ms is None else format_time(part.begins_ms),
                "gone": part.gone,
            }
            for part in found.kept
            if not part.is_whole
        ],
        "whole_since": {
            name: format_time(since) if since <= TIME_MS_MAX else None for name, since in found.whole_since.items()
        },
        "crossings_folded_otherwise": found.otherwise,
        "differences": None
        if differences is None
        else [{"name": d.name, "folded": d.folded, "stored": d.stored} for d in differences],
    }


def profile_of(found: History, at: int) -> Profile:
    """The profile after all entries that were read, as readers would have found it at a clock (ms)."""
    profile, engine = found.profile, found.engine
    return Profile(
        customer_id=found.customer_id,
        generation=found.generation.name,
        shard=found.shard,
        revision=profile.revision,
        as_of=format_time(at),
        event_time=format_time(profile.event_time),
        valid_until=None if profile.due > TIME_MS_MAX else format_time(profile.due),
        traits=engine.values(profile),
        segments={
            name: {"since": format_time(since), "crossing": crossing}
            for name, (crossing, since) in sorted(found.members.items())
            if crossing % 2
        },
        missed=engine.missed(profile),
    )


def profile_object(profile: Profile) -> dict[str, Any]:
    """The profile as `profile --json` prints it."""
    return {
        "customer_id": profile.customer_id,
        "generation": profile.generation,
        "shard": profile.shard,
        "revision": profile.revision,
        "as_of": profile.as_of,
        "traits": profile.traits,
        "segments": profile.segments,
    }


def _crossing_object(crossed: Crossed) -> dict[str, Any]:
    return {
        "segment": crossed.segment,
        "change": crossed.change,
        "crossing": crossed.crossing,
        "time": format_time(crossed.at),
        "cause": crossed.cause,
        "values": dict(crossed.values),
        "known": crossed.known,
    }
