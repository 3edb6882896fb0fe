"""What must be true of a world that has come to rest, by a reading that shares no code with the engine."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from faust.types import TP

from profilestream.oracle.aggregates import ProfileScope
from profilestream.oracle.expressions import evaluate
from profilestream.oracle.history import History, read_event
from profilestream.oracle.memberships import in_sample
from profilestream.store.profile_writes import ProfileWriter
from profilestream.wire.states import decode_state
from tests.oracle import Outcome, format_time, readable, shard_of
from tests.property.committed import Committed, text
from tests.simulator import definitions
from tests.simulator.counted import miscounts
from tests.simulator.redis_data import SortedSet
from tests.simulator.world import World

Events = dict[str, list[dict[str, Any]]]


def problems(world: World) -> list[str]:
    """Everything that is wrong, as lines; none when all is well."""
    failures = [f for host in (*world.workers, *world.emitters, *world.dead_hosts) for f in host.failures()]
    if failures:
        return [f"a process failed: {type(f).__name__}: {f}" for f in failures]
    accepted = _accepted(world)
    changes, found = _changes(world)
    for name in world.known.by_name:
        world.view = name
        for number in range(world.work.shards):
            found += [f"{name}: {line}" for line in _of_shard(world, number, accepted[number], changes)]
    world.view = world.live
    found += _of_removed_segments(world, changes)
    found += _of_dead_letters(world)
    found += [f"in the event loop: {error}" for error in world.line.loop.errors]
    return found


def _accepted(world: World) -> list[Events]:
    """Each shard's distinct events, customer by customer, in the order of one log."""
    found: list[Events] = [defaultdict(list) for _ in range(world.work.shards)]
    seen = set()
    for place in sorted(world.producers.events):
        event = world.producers.events[place]
        customer_id = event["customer_id"]
        name = (customer_id, event["type"], event["event_id"])
        if name not in seen:
            seen.add(name)
            found[shard_of(customer_id, world.work.shards)][customer_id].append(event)
    return found


def _of_shard(world: World, number: int, events: Events, changes: Mapping[tuple[str, str], Any]) -> list[str]:
    keys, data = world.shard_keys[number], world.redis.server.data
    owner = next(host for host in world.workers if TP("rekeyed", number) in host.owns[world.view])
    clock = owner.shard(world.view, number)._updater.clock
    found: list[str] = []
    newest = max((e["occurred_at"] for own in events.values() for e in own), default=None)
    if newest is not None and (clock != newest if world.work.clock == "event" else clock < newest):
        found.append(f"shard {number}: its clock is {clock}, the newest event's time {newest}")
    members: dict[str, set[str]] = defaultdict(set)
    for customer_id in sorted(events):
        fields = data.keys.get(keys.profile(customer_id).encode())
        if fields is None:
            found.append(f"customer {customer_id} has no profile")
            continue
        profile = {name.decode(): value.decode() for name, value in fields.items()}
        found += _of_profile(world, customer_id, profile, events[customer_id], clock, changes, members)
        found += _of_timer(world, number, customer_id, profile, clock)
    names = [s.name for s in definitions.oracle(world.text).definitions.segments]
    found += miscounts(world, number, names)
    for name in names:
        stored = data.keys.get(keys.segment(name).encode()) or SortedSet()
        if {m.decode() for m in stored} != members[name]:
            found.append(f"segment {name} of shard {number} has {sorted(stored)}, profiles say {sorted(members[name])}")
    prefix = keys.profile_prefix.encode()
    for key in data.keys:
        if key.startswith(prefix) and key[len(prefix) :].decode() not in events:
            found.append(f"a profile of nobody: {key.decode()}")
    if world.work.strict and not world.redis.set_back and len(world.known.by_name) == 1:
        found += _of_strict_order(world, number, events, changes)
        found += _of_strict_bytes(world, number)
    return found


def _of_profile(
    world: World,
    customer_id: str,
    profile: dict[str, str],
    events: list[dict[str, Any]],
    clock: int,
    changes: Mapping[tuple[str, str], Any],
    members: dict[str, set[str]],
) -> Iterator[str]:
    spec = definitions.oracle(world.text).definitions
    history = History(spec)
    for index, raw in enumerate(events):
        event = read_event(spec, raw, index)
        assert event is not None, raw
        history.add(event)
    segments = json.loads(profile["_segments"])
    scope = ProfileScope(spec, history, clock, members=segments)
    wanted = {name: readable(v) for name in spec.traits if (v := scope.name(name)) is not None}
    actual = {name: json.loads(text) for name, text in profile.items() if not name.startswith("_")}
    if json.dumps(wanted, sort_keys=True) != json.dumps(actual, sort_keys=True):
        yield f"customer {customer_id}: traits are {actual}, and should be {wanted}"
    if int(profile["_revision"]) != len(events):
        yield f"customer {customer_id}: {profile['_revision']} events were folded, there are {len(events)}"
    held = _held(world, customer_id)
    for segment in spec.segments:
        enters = evaluate(segment.enter, scope) is True
        leaves = not enters if segment.exit is None else evaluate(segment.exit, scope) is True
        inside = segment.name in segments
        if inside:
            members[segment.name].add(customer_id)
        enters = enters and not leaves and in_sample(segment.name, customer_id, segment.sample)
        crosses = leaves if inside else enters
        if segment.waits:
            if crosses is not (segment.name in held):
                yield f"customer {customer_id}: {segment.name} waits since {held.get(segment.name)}, crosses: {crosses}"
        elif crosses:
            yield f"customer {customer_id}: is {'' if inside else 'not '}in {segment.name}, and should not be so"
        if world.view != world.live:
            continue
        last = changes.get((customer_id, segment.name))
        crossing = last["crossing"] if last is not None else 0
        if inside != (crossing % 2 == 1) or (inside and segments[segment.name]["crossing"] != crossing):
            yield (
                f"customer {customer_id}: _segments says {segments.get(segment.name)} of {segment.name}, "
                f"subscribers were told crossing {crossing}"
            )


def _of_removed_segments(world: World, changes: Mapping[tuple[str, str], Any]) -> list[str]:
    """Of segments that the live definitions do not have, nobody is left to believe in a member."""
    there = {s.name for s in definitions.oracle(world.text).definitions.segments}
    return [
        f"customer {customer_id} was told to be in {segment}, which is gone"
        for (customer_id, segment), last in changes.items()
        if segment not in there and last["crossing"] % 2
    ]


def _held(world: World, customer_id: str) -> Mapping[str, int]:
    """Since when the customer's crossings wait, by the stored state."""
    keys = world.shard_keys[shard_of(customer_id, world.work.shards)]
    state = world.redis.server.data.keys.get(keys.state(customer_id).encode())
    if state is None:
        return {}
    return decode_state(state, customer_id, definitions.engine(world.text)).held


def _of_timer(world: World, number: int, customer_id: str, profile: dict[str, str], clock: int) -> Iterator[str]:
    """The timers, the state and the profile agree on when time alone changes something next."""
    keys, data = world.shard_keys[number], world.redis.server.data
    timer, urgent = [
        None if (at := (data.keys.get(key.encode()) or {}).get(customer_id.encode())) is None else int(at)
        for key in (keys.timers, keys.urgent)
    ]
    state = data.keys.get(keys.state(customer_id).encode())
    if state is None:
        yield f"customer {customer_id} has no state"
        return
    engine = definitions.engine(world.text)
    write = ProfileWriter(engine).write(decode_state(state, customer_id, engine), False)
    if (write.due, write.urgent) != (timer, urgent):
        yield f"customer {customer_id}: the timers are {timer}, {urgent}, the state says {write.due}, {write.urgent}"
    until = None if write.due is None else format_time(write.due)
    if profile.get("_valid_until") != until:
        yield f"customer {customer_id}: _valid_until is {profile.get('_valid_until')}, the state says {until}"


def _changes(world: World) -> tuple[dict[tuple[str, str], Any], list[str]]:
    """The last change of each customer and segment, and what is wrong with those before."""
    found: list[str] = []
    last: dict[tuple[str, str], Any] = {}
    for number in range(world.work.shards):
        for record in world.broker.logs[TP("segment-changes", number)].committed():
            assert record.value is not None
            message = json.loads(record.value)
            change = message["data"] | {"time": message["time"]}
            pair = (change["customer_id"], change["segment"])
            before = last[pair]["crossing"] if pair in last else 0
            name = f"change {change['crossing']} of {pair}, offset {record.offset}"
            if change["crossing"] != before + 1 and not (world.untold and change["crossing"] > before):
                found.append(f"{name}: follows {before}")
            if pair in last and change["time"] < last[pair]["time"]:
                found.append(f"{name}: its time goes back")
            if change["change"] != ("entered" if change["crossing"] % 2 else "exited"):
                found.append(f"{name}: says {change['change']}")
            if shard_of(pair[0], world.work.shards) != number:
                found.append(f"{name}: is in partition {number}")
            if change["cause"] == "repair" and not world.redis.set_back:
                found.append(f"{name}: repaired, though Redis was never set back")
            last[pair] = change
    return last, [*found, *_of_announced(world, last)]


def _of_announced(world: World, last: dict[tuple[str, str], Any]) -> Iterator[str]:
    """What counts as announced goes on 1, 2, 3, also where subscribers were not told; the last number is the one that
    counts."""
    numbers: dict[tuple[str, str], int] = {}
    for number in range(world.work.shards):
        for record in world.broker.logs[TP("announced", number)].committed():
            _, customer_id, segment = json.loads(record.key or b"")
            if not customer_id:
                continue
            crossing, pair = json.loads(record.value or b"")["crossing"], (customer_id, segment)
            if crossing != numbers.get(pair, 0) + 1:
                yield f"announced {crossing} of {pair}, offset {record.offset}: follows {numbers.get(pair, 0)}"
            numbers[pair] = crossing
    for pair, crossing in numbers.items():
        if pair not in last or last[pair]["crossing"] != crossing:
            if not world.untold:
                yield f"{pair} counts {crossing} as announced, subscribers were told {last.get(pair)}"
            last[pair] = {"crossing": crossing}


def _of_strict_order(world: World, number: int, events: Events, changes: Mapping[tuple[str, str], Any]) -> list[str]:
    """Where only one order is possible, the crossings are the oracle's, one by one."""
    ordered = [world.producers.events[place] for place in sorted(world.producers.events) if place[1] == number]
    outcome: Outcome = definitions.oracle(world.text).run(ordered)
    wanted: dict[str, list[Any]] = {
        customer_id: [(c.segment, c.crossing, c.cause, format_time(c.time_ms)) for c in customer.changes]
        for customer_id, customer in outcome.customers.items()
        if customer.changes
    }
    actual: dict[str, list[Any]] = defaultdict(list)
    for record in world.broker.logs[TP("segment-changes", number)].committed():
        assert record.value is not None
        message = json.loads(record.value)
        change = message["data"]
        actual[change["customer_id"]].append((change["segment"], change["crossing"], change["cause"], message["time"]))
    return [
        f"customer {customer_id}: announced {actual.get(customer_id)}, and should be {wanted.get(customer_id)}"
        for customer_id in sorted(wanted.keys() | actual.keys())
        if wanted.get(customer_id) != actual.get(customer_id)
    ]


def _of_strict_bytes(world: World, number: int) -> Iterator[str]:
    """Where only one order is possible, folding the log once more at one go gives the same bytes."""
    keys, data = world.shard_keys[number], world.redis.server.data.keys
    again = Committed(definitions.engine(world.text, world.work.ids_max))
    again.fold(world.producers.events[place] for place in sorted(world.producers.events) if place[1] == number)
    again.pass_all()
    for customer_id, (state, fields, *timers) in sorted(again.stored.items()):
        at = [(data.get(key.encode()) or {}).get(customer_id.encode()) for key in (keys.timers, keys.urgent)]
        if [None if score is None else int(score) for score in at] != timers:
            yield f"customer {customer_id}: the timers are {at}, and {timers} when folded again"
        if data[keys.state(customer_id).encode()] != state:
            yield f"customer {customer_id}: the state is another when folded again"
        shown = {name.decode(): value.decode() for name, value in data[keys.profile(customer_id).encode()].items()}
        if shown != (wanted := {name: text(value) for name, value in fields.items()}):
            yield f"customer {customer_id}: the profile is {shown}, and {wanted} when folded again"


def _of_dead_letters(world: World) -> list[str]:
    told = set()
    for tp, log in world.broker.logs.items():
        if tp.topic == "dead-letters":
            for record in log.committed():
                said = dict(record.headers)
                told.add((said["topic"].decode(), int(said["partition"]), int(said["offset"])))
    poison = world.producers.poison
    lost = [f"no dead letter for {place}" for place in sorted(poison - told)]
    return lost + [f"a dead letter for a good record at {place}" for place in sorted(told - poison)]
