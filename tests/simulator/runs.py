"""Runs seeds and says what became of them."""

from __future__ import annotations

import gc
import sys
import traceback
import warnings
from dataclasses import dataclass, field
from typing import Any

from tests.simulator import check, seams
from tests.simulator.loop import Stuck
from tests.simulator.world import World

COLLECT_EVERY = 25


@dataclass
class Outcome:
    """One seed's. `trace` is empty unless asked for."""

    seed: int
    problems: list[str]
    faults: list[str]
    steps: int
    set_back: int
    changes: int
    trace: list[str] = field(default_factory=list)


def prepare() -> None:
    """Puts the simulated parts in place; once a Python process."""
    seams.install()
    # What dead processes were doing is collected some day: their coroutines object, and nobody minds.
    sys.unraisablehook = _pass_over
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited")
    gc.disable()


def run(seed: int, traces: bool = False) -> Outcome:
    """One world from beginning to end."""
    world = World(seed, traces)
    try:
        world.run()
        found = check.problems(world)
    except Stuck as stuck:
        found = [f"it does not come to rest: {stuck}"]
    except Exception as error:
        found = [f"the simulator failed: {error!r}\n{traceback.format_exc()}"]
    changes = sum(log.end for tp, log in world.broker.logs.items() if tp.topic == "segment-changes")
    outcome = Outcome(seed, found, world.struck, world.line.loop.steps, world.redis.set_back, changes, world.line.told)
    del world
    _tidy()
    return outcome


def _tidy() -> None:
    """Collects worlds that are over; what the first has loaded and compiled stays, and is not looked at again."""
    _Done.worlds += 1
    if _Done.worlds % COLLECT_EVERY == 1:
        gc.collect()
    if _Done.worlds == 1:
        gc.freeze()


class _Done:
    worlds = 0


def _pass_over(unraisable: Any) -> None:
    return None
