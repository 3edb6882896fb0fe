"""The long chaos run: `python -m tests.chaos.soak --minutes 30 --seed 7 --report soak.md`.

Shows each fault as it is repaired and the figures at the end; exit status 1 where anything is wrong. The servers, the
logs and all data of the run lie in a temporary folder, which is kept when it failed.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.figures import late_endings, table
from tests.chaos.running import Chaos

WRONG_SHOWN = 20
EVENTS_A_CUSTOMER = 400


def main() -> int:
    """Runs a soak as the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description="A long chaos run.")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long faults strike")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="repeats a plan of faults")
    parser.add_argument("--rate", type=float, default=200.0, help="events a second")
    parser.add_argument("--report", type=Path, help="a file for the figures, in Markdown")
    given = parser.parse_args()
    customers = max(100, int(given.minutes * 60 * given.rate / EVENTS_A_CUSTOMER))
    # Ended from outside it still ends its servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"seed {given.seed}, {customers} customers, in {folder}", flush=True)
    chaos = Chaos(folder, given.seed, given.minutes * 60, given.rate, customers, lambda line: print(line, flush=True))
    run = asyncio.run(chaos.run())
    figures = table(run)
    print(f"\n{figures}\n")
    wrong = [*run.wrong(), *late_endings(run)]
    for one in wrong[:WRONG_SHOWN]:
        print(f"WRONG {one}")
    if given.report is not None:
        given.report.write_text(f"{figures}\n\nWrong: {len(wrong)}.\n", "utf-8")
    if wrong:
        print(f"{len(wrong)} things are wrong; logs and data are in {folder}")
        return 1
    shutil.rmtree(folder)
    print("nothing is wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
