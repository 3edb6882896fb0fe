"""Under load everything is killed, frozen, set back and cut off; afterwards the oracle agrees in every respect."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from tests.chaos.faults import KINDS
from tests.chaos.figures import late_endings, table
from tests.chaos.running import Chaos

SEED = int(os.environ.get("TEST_SEED", "0")) or time.time_ns() % 1_000_000
SECONDS, RATE, CUSTOMERS = 120.0, 120.0, 240
SHOWN = 20


def test_after_every_kind_of_fault_under_load_nothing_is_lost_doubled_or_announced_wrongly(tmp_path: Path) -> None:
    print(f"TEST_SEED={SEED}")
    run = asyncio.run(Chaos(tmp_path, SEED, SECONDS, RATE, CUSTOMERS, print).run())
    print(table(run))
    wrong = [*run.wrong(), *late_endings(run)]
    assert not wrong, f"{len(wrong)} things are wrong, the first:\n" + "\n".join(wrong[:SHOWN])
    assert {strike.fault.kind for strike in run.strikes} == set(KINDS)
    # A run that fed nothing would be right in every respect.
    assert run.truth is not None
    assert run.truth.accepted > SECONDS * RATE / 4
    assert min(run.truth.duplicates, run.truth.strays, len(run.truth.refused), run.fed["aborted"], run.repairs) > 0
    assert all(run.announced.segments[s.name] for s in run.truth.definitions.segments), run.announced.segments
