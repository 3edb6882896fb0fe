"""What a shard counts of its crossings, against what was announced and who is a member."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from faust.types import TP

from profilestream.store.crossings import Traffic, traffic
from profilestream.wire.times import parse_time
from tests.simulator.redis_data import SortedSet
from tests.simulator.world import World

WINDOWS_MS = ((60_000, 3_600_000), (3_600_000, 86_400_000))
"""Tile and length of the hour and of the day."""


def miscounts(world: World, number: int, segments: Iterable[str]) -> Iterator[str]:
    """What is wrong with the counts of a shard, as lines.

    Where Redis was never set back, every crossing is announced at its own time, so the counts are exactly those. After
    a repair crossings of another history may be told instead; then who is a member must be among those who entered, and
    no more can have stayed than there are. After a rollback not even that: what a promotion was about to tell, at its
    own time and uncounted, may have been taken back before anybody heard of it.
    """
    keys, data = world.shard_keys[number], world.redis.server.data
    head = data.keys.get(keys.head.encode()) or {}
    clock = int(head.get(b"clock", 0))
    counts = data.keys.get(keys.crossings.encode()) or {}
    announced, repaired = _announced(world, number)
    prefix = keys.state_prefix.encode()
    stored = {key.removeprefix(prefix) for key in data.keys if key.startswith(prefix)}
    if (listed := data.keys.get(keys.customers.encode()) or set()) != stored:
        yield f"shard {number} lists {len(listed)} customers, and has states of {len(stored)}"
    live = world.known.live_now
    counts_all = not world.untold and (live is None or live.turn <= 2)
    for name in segments:
        members = data.keys.get(keys.segment(name).encode()) or SortedSet()
        found = traffic([counts.get(name.encode())], clock)
        if found.members != len(members):
            yield f"segment {name} of shard {number} counts {found.members} members, and has {len(members)}"
        if not world.redis.set_back and len(world.known.by_name) == 1:
            wanted = Traffic(len(members), *_in_windows(announced[name], clock))
            if found != wanted:
                yield f"segment {name} of shard {number} counts {found}, announced were {wanted}"
            continue
        own_time = [
            ("entered", int(score)) for member, score in members.items() if (member.decode(), name) not in repaired
        ]
        least = _in_windows(own_time, clock)
        for entered, left, at_least in (
            (found.entered_1h, found.left_1h, least[0]),
            (found.entered_1d, found.left_1d, least[2]),
        ):
            if (entered < at_least and counts_all) or entered - left > len(members):
                yield f"segment {name} of shard {number} counts {found}; at least {at_least} members entered then"


def _announced(world: World, number: int) -> tuple[dict[str, list[tuple[str, int]]], set[tuple[str, str]]]:
    """Of each segment the changes in the shard's partition, and when they were. Also customers and segments of which a
    repair told something: since when they are members may be its time, not that of their crossing."""
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    repaired = set()
    for record in world.broker.logs[TP("segment-changes", number)].committed():
        message: Any = json.loads(record.value or b"{}")
        data = message["data"]
        found[data["segment"]].append((data["change"], parse_time(message["time"])))
        if data["cause"] in ("repair", "backfill"):
            repaired.add((data["customer_id"], data["segment"]))
    return found, repaired


def _in_windows(crossings: Iterable[tuple[str, int]], clock: int) -> tuple[int, ...]:
    """Entered and left in the hour, and in the day, one by one."""
    counted = Counter(
        (change, length)
        for change, at in crossings
        for tile, length in WINDOWS_MS
        if at // tile * tile > clock - length
    )
    return tuple(counted[change, length] for _, length in WINDOWS_MS for change in ("entered", "exited"))
