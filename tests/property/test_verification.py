"""`verify` calls right what the engine wrote, finds any single value that is another, and blames nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.oracle import format_time
from tests.property.generated import definition_texts, event_lists, offsets
from tests.property.shard import DAY, Shard

from profilestream.core.engine import Engine
from profilestream.operations.verification.checking import Checked, check
from profilestream.operations.verification.recomputing import Arrival, Limits, Recomputed, recompute
from profilestream.oracle.definitions import Definitions
from profilestream.oracle.doubts import ANY_TIME, Gaps
from profilestream.oracle.records import Records
from profilestream.store.profile_writes import ProfileWriter
from profilestream.store.snapshots import StoredProfile
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import encode_state

TOPICS = {"purchase": "purchases"}
LIMITS = Limits(256, DAY, 1_000, 300_000)
NOW = 1 << 60


@dataclass(frozen=True)
class World:
    """One customer's profile as a worker writes it, and the records that it was folded from."""

    definitions: Definitions
    events: list[dict[str, Any]]
    stored: StoredProfile
    clock: int

    def recomputed(self, begin: int = 0) -> Recomputed:
        arrivals = [
            Arrival(TOPICS.get(e["type"], e["type"]), n, TOPICS.get(e["type"], e["type"]), NOW, _value(e))
            for n, e in enumerate(self.events)
        ]
        return recompute(Records(self.definitions), "c", arrivals[begin:], LIMITS, NOW)

    def check(self, stored: StoredProfile | None = None, begin: int = 0, gaps: Gaps = Gaps()) -> Checked:  # noqa: B008
        return check(self.recomputed(begin), stored or self.stored, self.clock, gaps, LIMITS.keys_max)


def _value(event: dict[str, Any]) -> bytes:
    return json.dumps({k: v for k, v in event.items() if k != "type"}).encode()


@st.composite
def worlds(draw: st.DrawFn) -> World:
    text, events, wait = draw(definition_texts()), draw(event_lists()), draw(offsets)
    if draw(st.booleans()):
        events = [*events, draw(st.sampled_from(events))]
    engine = Engine(parse_definitions(text, "d"))
    shard = Shard(engine).take_all([{**e, "arrived_at": NOW} for e in events])
    assert shard.clock is not None
    shard.pass_time(shard.clock + wait)
    profile = shard.profiles["c"]
    written = ProfileWriter(engine).write(profile, True)
    flat = [_bytes(one) for one in written.fields]
    fields = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
    entered = {name: since for name, (crossing, since) in profile.members.items() if crossing % 2}
    stored = StoredProfile("c", fields, encode_state(profile, engine), written.due, entered)
    return World(Definitions(text), events, stored, shard.clock)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@given(worlds())
def test_what_the_engine_wrote_is_right(world: World) -> None:
    assert world.check().findings == []


@given(worlds(), st.data())
def test_any_single_value_that_is_another_is_found_and_nothing_else_is_blamed(
    world: World, data: st.DataObject
) -> None:
    name, stored = data.draw(corrupted(world))
    found = world.check(stored).findings
    assert [finding.name for finding in found] == [name], found
    (finding,) = found
    assert finding.customer_id == "c"


@st.composite
def corrupted(draw: st.DrawFn, world: World) -> tuple[str, StoredProfile]:
    """The name of what is another now, and the profile with it."""
    stored, traits = world.stored, list(world.definitions.traits)
    segments = [s.name for s in world.definitions.segments]
    ways = ["trait", "field", "gone", "timer"] + (["membership", "score", "since"] if segments else [])
    way = draw(st.sampled_from(ways))
    fields = dict(stored.fields)
    memberships = json.loads(fields["_segments"])
    if way == "trait" and traits:
        name = draw(st.sampled_from(traits))
        others = [b"7.25", b'"x"', b"null", b"{", b"[1]", b"12345678", None]
        value = draw(st.sampled_from([v for v in others if v != fields.get(name)]))
        if value is None:
            fields.pop(name)
        else:
            fields[name] = value
        return name, replace(stored, fields=fields)
    if way == "gone":
        name = draw(st.sampled_from(["_revision", "_as_of", "_event_time", "_segments"]))
        fields.pop(name)
        return name, replace(stored, fields=fields)
    if way == "timer":
        timer = None if stored.timer is not None and draw(st.booleans()) else (stored.timer or world.clock) + 1
        return "_valid_until", replace(stored, timer=timer)
    if segments and way in ("membership", "score", "since"):
        name = draw(st.sampled_from(segments))
        entered = dict(stored.entered)
        if way == "since" and name in memberships:
            memberships[name]["since"] = format_time(entered[name] - 1)
        elif way == "membership" and not memberships.pop(name, None):
            memberships[name] = {"since": format_time(world.clock), "crossing": 1}
        elif way != "membership" and not entered.pop(name, None):
            entered[name] = world.clock
        fields["_segments"] = json.dumps(memberships).encode()
        return name, replace(stored, fields=fields, entered=entered)
    name = draw(st.sampled_from(["_revision", "_as_of", "_event_time", "_valid_until"]))
    fields[name] = draw(st.sampled_from([b"977", b"x"])) if name == "_revision" else b"1999-01-01T00:00:00.000Z"
    return name, replace(stored, fields=fields)


@given(worlds(), st.data())
def test_what_the_log_no_longer_has_is_never_called_a_mismatch(world: World, data: st.DataObject) -> None:
    begin = data.draw(st.integers(1, len(world.events)))
    gone = world.events[:begin]
    types: dict[str, int] = {}
    for event in gone:
        types[event["type"]] = max(event["occurred_at"], types.get(event["type"], event["occurred_at"]))
    if data.draw(st.booleans()):
        types = dict.fromkeys(types, ANY_TIME)
    assert world.check(begin=begin, gaps=Gaps(types)).findings == []
