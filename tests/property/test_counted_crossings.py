"""A shard's counts of crossings are those of the crossings one by one, whatever the order of times and commits.

The real script, in the Lua that Redis has, on simulated data.
"""

from __future__ import annotations

from random import Random

import pytest
from tests.property.shard import DAY, HOUR, MINUTE, T0
from tests.simulator.redis_data import RedisData

from profilestream.store.commits import Commit, Membership, commit_command
from profilestream.store.crossings import Traffic, traffic
from profilestream.store.keys import Keys
from profilestream.store.shard_store import SCRIPT, SCRIPT_SHA

KEYS = Keys("ps", "g1").shard(0)
SEGMENTS = ("big", "größe 😀")
CUSTOMERS = tuple(f"c{n}" for n in range(5))
STEPS_MS = (0, 1, 777, MINUTE, 20 * MINUTE, HOUR, 5 * HOUR)
LATE_MS = (0, 1, MINUTE - 1, MINUTE, 59 * MINUTE, HOUR - 1, HOUR, HOUR + MINUTE, 23 * HOUR, DAY - 1, DAY, 3 * DAY)


def in_windows(crossings: list[tuple[int, bool]], clock: int) -> tuple[int, int, int, int]:
    """Entered and left in the hour and in the day before a clock: a crossing counts while its tile began after that."""
    found = []
    for tile, window in ((MINUTE, HOUR), (HOUR, DAY)):
        for direction in (True, False):
            found.append(sum(e == direction and at // tile * tile > clock - window for at, e in crossings))
    return tuple(found)  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_the_crossings_one_by_one(seed: int) -> None:
    random = Random(seed)
    data = RedisData()
    data.execute([b"SCRIPT", b"LOAD", SCRIPT.encode()])
    clock = random.choice((T0, T0 + 12_345, -3 * DAY, 90_000_000))
    members: dict[str, set[str]] = {name: set() for name in SEGMENTS}
    crossed: dict[str, list[tuple[int, bool]]] = {name: [] for name in SEGMENTS}
    for number in range(1, 60):
        clock += random.choice(STEPS_MS)
        memberships = []
        for _ in range(random.choice((0, 1, 1, 4, 30))):
            name, customer_id, at = random.choice(SEGMENTS), random.choice(CUSTOMERS), clock - random.choice(LATE_MS)
            entered = customer_id not in members[name]
            (members[name].add if entered else members[name].discard)(customer_id)
            crossed[name].append((at, entered))
            memberships.append(Membership(name, customer_id, at, entered))
        before = "" if number == 1 else f"{number - 1:x}"
        commit = Commit(before, f"{number:x}", number, clock=clock, memberships=memberships)
        command = commit_command(SCRIPT_SHA, KEYS, commit, 1)
        assert data.execute([a if isinstance(a, bytes) else str(a).encode() for a in command])[0] == 1
        counts = data.keys.get(KEYS.crossings.encode(), {})
        for name in SEGMENTS:
            value = counts.get(name.encode())
            for later in (clock, clock + random.choice(STEPS_MS)):
                wanted = Traffic(len(members[name]), *in_windows(crossed[name], later))
                assert traffic([value], later) == wanted, f"commit {number}, segment {name}"


def test_no_more_tiles_are_kept_than_an_hour_and_a_day_have() -> None:
    data = RedisData()
    data.execute([b"SCRIPT", b"LOAD", SCRIPT.encode()])
    for number, minute in enumerate(range(0, 3 * 24 * 60, 29), 1):
        clock = T0 + minute * MINUTE
        late = [Membership("s", "c", clock - n * MINUTE, n % 2 == 0) for n in range(0, 3_000, 11)]
        commit = Commit("" if number == 1 else f"{number - 1:x}", f"{number:x}", number, clock=clock, memberships=late)
        command = commit_command(SCRIPT_SHA, KEYS, commit, 1)
        data.execute([a if isinstance(a, bytes) else str(a).encode() for a in command])
        _, minutes, hours = data.keys[KEYS.crossings.encode()][b"s"].split(b"|")
        assert len(minutes.split()) <= 2 + 3 * 60 and len(hours.split()) <= 2 + 3 * 24
        newest_first = [int(tile) for tile in hours.split()[2::3]]
        assert newest_first == sorted(newest_first, reverse=True)


def test_shards_are_added_up_and_one_without_counts_has_none() -> None:
    minute, hour = T0 // MINUTE, T0 // HOUR
    here, there = b"3|2 1 %d 2 1|4 1 %d 4 1" % (minute, hour), b"7||14 15 %d 5 6 %d 9 9" % (hour - 23, hour - 24)
    assert traffic([here, None, there], T0) == Traffic(10, 2, 1, 9, 7)
    assert traffic([], T0) == Traffic()
