"""`simulate` to files, as a person meets it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from profilestream.operations.simulate import write_lines
from profilestream.simulation import Plan, simulate

UNTIL = "2026-01-01T00:00:00Z"


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "profilestream.cli.app", "simulate", "--until", UNTIL, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)


def test_a_file_holds_every_event_with_its_type_and_what_is_known_beside(tmp_path: Path) -> None:
    found = run("--customers", "8", "--days", "60", "--out", "e.jsonl", "--knowledge", "k.jsonl", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    events = [json.loads(line) for line in (tmp_path / "e.jsonl").open()]
    known = [json.loads(line) for line in (tmp_path / "k.jsonl").open()]
    assert len(events) == sum(k["events"] for k in known)
    assert {e["type"] for e in events} >= {"browsing", "workout", "engagement"}
    assert f"{len(events):,} events to e.jsonl" in found.stderr


def test_a_folder_holds_a_file_for_each_topic(tmp_path: Path) -> None:
    assert run("--customers", "8", "--days", "60", "--out", "d", cwd=tmp_path).returncode == 0
    assert {p.name for p in (tmp_path / "d").iterdir()} >= {"browsing.jsonl", "workouts.jsonl", "engagement.jsonl"}


def test_a_run_goes_on_where_another_was_stopped(tmp_path: Path) -> None:
    same = ("--customers", "4", "--days", "30", "--duplicates", "0.2")
    whole = run(*same, "--out", "-", cwd=tmp_path).stdout.splitlines()
    rest = run(*same, "--out", "-", "--skip", "25", cwd=tmp_path).stdout.splitlines()
    assert rest == whole[25:] and len(rest) > 10


def test_a_record_counts_as_written_only_once_it_is() -> None:
    class Interrupted(io.BytesIO):
        def write(self, line: Any, /) -> int:
            if self.getvalue().count(b"\n") == 7:
                raise KeyboardInterrupt
            return super().write(line)

    told: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        write_lines(Interrupted(), simulate(Plan(customers=4, days=30)), None, told.append)
    assert told[-1] == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--persona", "astronaut", "--out", "-"), "--persona: one or more of fitness"),
        (("--late", "0.9", "--out", "-"), "--late: a share from 0 to 0.5"),
        (("--until", "soon", "--out", "-"), "--until soon: write a time"),
        (("--until", "0001-01-02T00:00:00Z", "--out", "-"), "--until: a time from the year 1"),
        (("--out", "there.jsonl"), "there.jsonl is there already"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "there.jsonl").write_text("")
    found = run(*words, cwd=tmp_path)
    assert found.returncode == 2 and message in found.stderr


def test_a_run_that_is_refused_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_text("")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "browsing.jsonl").write_text("")
    for out in ("there.jsonl", "d"):
        found = run("--customers", "2", "--out", out, "--knowledge", "known.jsonl", cwd=tmp_path)
        assert found.returncode == 2 and "already" in found.stderr
    assert not (tmp_path / "known.jsonl").exists()
