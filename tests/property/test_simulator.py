"""Thousands of simulated worlds, each with its faults, end with every profile and every change right.

The worlds are the same from run to run, and a few hundred are new ones each time; TEST_SEED sets where those begin. A
world that fails is named with the command that repeats it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
KNOWN_WORLDS = 1_700
NEW_WORLDS = 300
PROCESSES = 2
TIMEOUT_S = 900
TOLD_BY = 12
"""Lines of each process that are shown when one fails."""


def begin(words: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.simulator", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_thousands_of_worlds_lose_nothing_and_announce_nothing_twice() -> None:
    first_new = int(os.environ.get("TEST_SEED") or random.randrange(10**6, 10**9))
    print(f"TEST_SEED={first_new}")
    ranges = []
    for first, worlds in ((0, KNOWN_WORLDS), (first_new, NEW_WORLDS)):
        step = worlds // PROCESSES
        ranges += [(first + n * step, first + (n + 1) * step) for n in range(PROCESSES)]
    said, failed = [], False
    for at in range(0, len(ranges), PROCESSES):
        running = [begin(["--seeds", f"{a}..{b}"]) for a, b in ranges[at : at + PROCESSES]]
        for process in running:
            text, _ = process.communicate(timeout=TIMEOUT_S)
            said += text.splitlines()[-TOLD_BY:]
            failed |= process.returncode != 0
    print("\n".join(said))
    assert not failed, "worlds failed; each can be repeated alone:\n" + "\n".join(said)


def test_a_seed_is_the_same_world_every_time() -> None:
    for seed in (3, 360, 1288):
        traces = []
        for process in [begin(["--seed", str(seed), "--trace"]) for _ in range(2)]:
            text, _ = process.communicate(timeout=TIMEOUT_S)
            traces.append(text.splitlines()[:-1])  # the last line tells how long it took
        assert len(traces[0]) > 100
        assert traces[0] == traces[1], f"seed {seed}"
