"""`new`, `try` and `test` as a person meets them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import profilestream
from profilestream.cli import watching
from profilestream.core.errors import UsageError
from profilestream.operations import scaffold


def run(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "profilestream.cli.app", *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    scaffold.write(tmp_path)
    return str(tmp_path / "definitions.toml"), str(tmp_path / "events.jsonl")


def test_what_new_writes_stands_and_passes_its_own_tests(tmp_path: Path) -> None:
    made = run("new", str(tmp_path / "mine"))
    assert made.returncode == 0, made.stderr
    definitions, events = tmp_path / "mine" / "definitions.toml", tmp_path / "mine" / "events.jsonl"
    assert "2 tests passed" in run("test", str(definitions)).stdout
    assert "no mistakes" in run("check", str(definitions)).stdout
    tried = run("try", str(definitions), str(events))
    assert "entered big_spender" in tried.stdout and "dead letter" not in tried.stdout
    again = run("new", str(tmp_path / "mine"))
    assert again.returncode == 2 and "is there already; nothing was written" in again.stderr


def test_an_unknown_example_is_told(tmp_path: Path) -> None:
    found = run("new", str(tmp_path / "x"), "--example", "fitnes")
    assert found.returncode == 2 and "no example `fitnes`" in found.stderr
    assert not (tmp_path / "x").exists()


def test_try_tells_profiles_changes_and_reasons_to_programs(files: tuple[str, str]) -> None:
    found = json.loads(run("try", *files, "--json", "--at", "2026-12-31T00:00:00Z").stdout)
    assert found["clock"] == "2026-12-31T00:00:00.000Z"
    ada = next(c for c in found["customers"] if c["customer_id"] == "ada")
    assert ada["traits"]["orders"] == 2
    assert list(ada["segments"]) == ["lapsing"]
    assert {e["segment"] for e in ada["explanations"]} == {"big_spender", "lapsing", "abandoned_cart"}
    assert found["changes"][0]["line"] == 6 and found["changes"][1]["cause"] == "time"
    assert found["dead_letters"] == []


def test_try_shows_bad_lines_with_their_numbers(files: tuple[str, str]) -> None:
    found = run("try", files[0], "-", "--topic", "purchases", stdin='{"event_id": "x"}\n')
    assert found.returncode == 0
    assert "1 line would be dead letters" in found.stdout
    assert "missing_field" in found.stdout and "customer_id: required" in found.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--customer", "nobody"], "no customer `nobody` in these events"),
        (["--at", "soon"], "--at soon: write a time with offset"),
        (["--at", "2020-01-01T00:00:00Z"], "lies before the last event"),
        (["--topic", "purchase_s"], "did you mean `purchases`?"),
    ],
)
def test_try_says_what_is_wrong_with_its_options(files: tuple[str, str], words: list[str], message: str) -> None:
    found = run("try", *files, *words)
    assert found.returncode in (1, 2) and message in found.stderr
    assert "Traceback" not in found.stderr


def test_a_failing_test_shows_the_difference_and_ends_with_1(files: tuple[str, str]) -> None:
    path = Path(files[0])
    path.write_text(path.read_text().replace('segments = ["big_spender"]', 'segments = ["lapsing"]'))
    found = run("test", files[0])
    assert found.returncode == 1
    assert "1 failed, 1 passed" in found.stdout
    assert "segment big_spender  not in    in" in found.stdout
    assert "big_spender: enter holds: spend_30d >= 50_000 (is 60,000); orders >= 2 (is 2)" in found.stdout


def test_watch_runs_again_after_a_change_and_lives_through_a_broken_file(files: tuple[str, str]) -> None:
    path = Path(files[0])
    good = path.read_text()
    command = [sys.executable, "-m", "profilestream.cli.app", "test", files[0], "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1) as running:
        assert running.stdout is not None
        try:
            _await(running, "watching for changes")
            path.write_text(good + "\n[oops")
            _await(running, "not TOML")
            path.write_text(good)
            _await(running, "2 tests passed")
        finally:
            running.terminate()


def _await(running: subprocess.Popen[str], text: str) -> None:
    assert running.stdout is not None
    ending = threading.Timer(30, running.kill)
    ending.start()
    try:
        assert any(text in line for line in running.stdout), f"it ended before it said: {text}"
    finally:
        ending.cancel()


def test_what_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be watched"):
        watching.run([tmp_path / "nothing.toml"], True, lambda: None)


def test_help_names_what_is_run_and_counts_are_words_a_person_would_use(files: tuple[str, str]) -> None:
    assert "Run the tests of a definitions file" in run("test", "--help").stdout
    assert run("try", *files, "--count", "2").stdout.endswith("1 more customer; --customer shows one, --count more\n")
    assert run("try", *files, "--count", "1").stdout.endswith("2 more customers; --customer shows one, --count more\n")


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"profilestream {profilestream.__version__}\n"
