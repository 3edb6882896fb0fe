"""The plan of faults: which, in which order and how long, from a seed and nothing else."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

WEIGHTS = {
    "worker killed": 6.0,
    "emitter killed": 5.0,
    "worker ended by SIGTERM": 4.0,
    "emitter ended by SIGTERM": 3.0,
    "worker frozen past its session": 4.0,
    "emitter frozen past its session": 3.0,
    "all workers and emitters killed": 1.0,
    "worker added or removed": 4.0,
    "emitter added or removed": 2.0,
    "broker killed and restarted": 3.0,
    "broker frozen": 2.0,
    "Redis frozen": 3.0,
    "Redis killed and restarted": 4.0,
    "Redis set back to an older dump": 6.0,
    "Redis emptied": 0.6,
    "Redis cuts all connections": 4.0,
    "Redis forgets its scripts": 3.0,
}
"""Kinds of fault, and how often each is drawn once every kind has been struck."""

KINDS = tuple(WEIGHTS)
RUSHED = 0.25
FROZEN_S = (7.0, 11.0)
STILL_S = (2.0, 8.0)
AWAY_S = (0.0, 3.0)
SOON_S = (0.2, 2.0)
OLDER = 0.2
AGES_MAX = 12


@dataclass(frozen=True)
class Fault:
    """One fault. `which` (0 to 1) picks among the programs that run; `seconds` is how long something is away or frozen;
    `age` how many dumps older than the newest Redis is set back to. With `rushed` the next fault strikes
    `pause_s` later, before this one is repaired.
    """

    number: int
    kind: str
    which: float
    seconds: float
    age: int
    rushed: bool
    pause_s: float


def plan(seed: int) -> Iterator[Fault]:
    """Every kind once, in any order, then more of them, without end. The same seed gives the same faults."""
    chance = random.Random(f"faults {seed}")
    first = chance.sample(KINDS, len(KINDS))
    for number in itertools.count(1):
        kind = first.pop() if first else chance.choices(KINDS, list(WEIGHTS.values()))[0]
        yield Fault(
            number=number,
            kind=kind,
            which=chance.random(),
            seconds=chance.uniform(*_seconds(kind)),
            age=chance.randrange(AGES_MAX) if chance.random() < OLDER else chance.randrange(3),
            rushed=chance.random() < RUSHED,
            pause_s=chance.uniform(*SOON_S),
        )


def _seconds(kind: str) -> tuple[float, float]:
    if kind.endswith("past its session"):
        return FROZEN_S
    return STILL_S if kind.endswith("frozen") else AWAY_S
