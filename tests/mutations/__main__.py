"""Breaks the engine in every way of the catalogue and shows which tests notice.

    python -m tests.mutations                 all of them, as a table
    python -m tests.mutations no-fence ...    only these
    python -m tests.mutations --markdown FILE the table as a page for the docs

Each mutation is made in a copy of `src`; the tests run on that copy. Ends with 1 when a test that is to notice does
not, or when the engine as it is fails one of them. Takes minutes: the tests on real servers run once for each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.mutations.catalogue import MUTATIONS, SIMULATOR, Mutation

ROOT = Path(__file__).parents[2]
SEEDS = 5_000
TIMEOUT_S = 900


def command(test: str, seeds: int) -> list[str]:
    """How one of `caught_by` is run; it ends with 0 when it has noticed nothing."""
    if test == SIMULATOR:
        return [sys.executable, "-m", "tests.simulator", "--seeds", f"0..{seeds}", "--stop-at-first"]
    return [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]


def broken(mutation: Mutation | None, folder: Path) -> Path:
    """A copy of the library with the mutation made in it; raises ValueError where its text is not there once."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for edit in mutation.edits if mutation is not None else ():
        file = source / "profilestream" / edit.file
        text = file.read_text("utf-8")
        if text.count(edit.old) != 1:
            raise ValueError(f"{edit.file} has the text of a mutation {text.count(edit.old)} times, not once")
        file.write_text(text.replace(edit.old, edit.new), "utf-8")
    return source


def notices(test: str, mutation: Mutation | None, seeds: int) -> tuple[bool, str]:
    """Whether a test fails with a mutation, and the line that says so."""
    with tempfile.TemporaryDirectory() as folder:
        source = broken(mutation, Path(folder))
        began = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(source)}
        try:
            done = subprocess.run(
                command(test, seeds),
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
            failed, said = done.returncode != 0, _telling(done.stdout.splitlines())
        except subprocess.TimeoutExpired:
            failed, said = True, "it never ends"
        return failed, f"{said} ({time.monotonic() - began:.0f} s)"


def _telling(lines: Iterable[str]) -> str:
    """The line that tells most: a failing seed, a failing test, else the last."""
    found = [line.strip() for line in lines if line.strip()]
    for line in found:
        if line.startswith(("FAILED", "seed ")):
            return line.split(" - ")[0]
    return found[-1] if found else "it says nothing"


def _short(test: str) -> str:
    """A test's name, or its file's."""
    return test.rpartition("::")[2].rpartition("/")[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *(m.name for m in MUTATIONS)], help="only these mutations")
    parser.add_argument("--simulator-only", action="store_true", help="leave out the tests on real servers")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of the simulator for each mutation")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    given = parser.parse_args()
    chosen = [m for m in MUTATIONS if not given.names or m.name in given.names]
    missed = 0
    rows = ["| mutation | what is broken | noticed by |", "|---|---|---|"]
    for mutation in chosen:
        noticed = []
        for test in mutation.caught_by:
            if given.simulator_only and test != SIMULATOR:
                continue
            failed, said = notices(test, mutation, given.seeds)
            missed += not failed
            print(f"{mutation.name:<34} {test:<50} {'noticed' if failed else 'NOT NOTICED'}  {said}", flush=True)
            if failed:
                noticed.append(f"simulator, {said.split(' fails')[0]}" if test == SIMULATOR else f"`{_short(test)}`")
        rows.append(f"| `{mutation.name}` | {mutation.breaks} | {', '.join(noticed)} |")
    if given.markdown is not None:
        given.markdown.write_text("\n".join(rows) + "\n", "utf-8")
    for test in sorted({t for m in chosen for t in m.caught_by}):
        if given.simulator_only and test != SIMULATOR:
            continue
        failed, said = notices(test, None, given.seeds)
        missed += failed
        print(f"{'(as it is)':<34} {test:<50} {'FAILS' if failed else 'passes'}  {said}", flush=True)
    print(f"{len(chosen)} mutations, {missed} surprises")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
