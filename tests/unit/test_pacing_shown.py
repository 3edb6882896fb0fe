"""What is shown of crossings that wait: by `explain`, in JSON, by `describe`'s words, by `[[tests]]` and a trial."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console
from tests.property.shard import MINUTE, T0, Shard, definitions_text
from tests.unit.test_pacing import HELD, OPEN, happens

from profilestream.cli import explaining
from profilestream.core.engine import Engine
from profilestream.core.explanation import Explanation, explain_segment
from profilestream.core.pacing import Pacing
from profilestream.operations.definition_tests import run_tests
from profilestream.operations.definition_tests_reading import read_tests
from profilestream.operations.trial import Trial
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.explanations import explanation_object

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "explain.json").read_text())
TABLE = {"enter": HELD, "dwell": "10m", "exit_dwell": "2h", "cooldown": "1d"}


def found(table: dict[str, Any], *events: tuple[str, int], at: int) -> tuple[Explanation, str, str]:
    """The explanation, the card, and the one line why."""
    definitions = parse_definitions(definitions_text(OPEN, {"vip": table}))
    engine = Engine(definitions)
    shard = Shard(engine)
    for kind, happened in events:
        shard.take(happens(kind, happened))
    explanation = explain_segment(engine, shard.profiles["c"], "vip", T0 + at)
    out = Console(file=io.StringIO(), width=500, markup=False, highlight=False, soft_wrap=True)
    explaining.show_explanation(out, "c", definitions, explanation)
    why = explaining.why(explanation, definitions.by_segment["vip"], ZoneInfo("UTC"))
    return explanation, out.file.getvalue(), why  # type: ignore[attr-defined]


def test_a_card_says_what_an_entry_waits_for_and_when_it_comes() -> None:
    _, card, why = found(TABLE, ("opened", 0), at=MINUTE)
    line = "the condition for entering holds since 2026-01-01 00:00:00 UTC; enters at 2026-01-01 00:10:00 UTC "
    line += "if it holds on"
    assert why == line and line in card
    assert "dwell 10m, exit_dwell 2h, cooldown 1d" in card
    assert "with no event will enter at 2026-01-01 00:10:00 UTC (in 9 m)" in card


def test_a_card_says_what_a_leaving_waits_for() -> None:
    _, card, why = found(TABLE, ("opened", 0), ("closed", 20 * MINUTE), at=21 * MINUTE)
    assert why.startswith(
        "the condition for leaving holds since 2026-01-01 00:20:00 UTC; leaves at 2026-01-01 02:20:00"
    )
    assert why in card and "nearest way out" not in card


def test_a_card_says_until_when_a_cooldown_lasts_and_who_is_in_no_sample() -> None:
    _, card, _ = found({"enter": HELD, "cooldown": "1d"}, ("opened", 0), ("closed", MINUTE), at=2 * MINUTE)
    assert "cannot enter again before 2026-01-02 00:01:00 UTC: cooldown" in card
    _, card, why = found({"enter": HELD, "sample": 0.00001}, ("opened", 0), at=0)
    assert why == "is not in the sample, which is 1e-05 of all customers" and "with no event will not enter" in card


@pytest.mark.parametrize("table", [{"enter": HELD}, TABLE, {"enter": HELD, "sample": 0.5}])
def test_the_public_object_fits_its_schema_and_has_a_pacing_only_where_there_is_one(table: dict[str, Any]) -> None:
    explanation, _, _ = found(table, ("opened", 0), at=MINUTE)
    shown = explanation_object("c", explanation)
    Draft202012Validator(SCHEMA).validate(shown)
    assert ("pacing" in shown) is (len(table) > 1)
    if "dwell" in table:
        assert shown["pacing"] == {
            "held_since": "2026-01-01T00:00:00.000Z", "crosses_at": "2026-01-01T00:10:00.000Z",
            "cools_until": None, "sampled": None,
        }  # fmt: skip


def test_a_pacing_is_written_in_its_shortest_form() -> None:
    definitions = parse_definitions(definitions_text(OPEN, {"vip": {"enter": HELD, "dwell": "1440m", "sample": 0.1}}))
    pacing = definitions.by_segment["vip"].pacing
    assert pacing == Pacing(dwell_ms=1440 * MINUTE, sample=0.1)
    assert pacing.texts() == [("dwell", "1d"), ("sample", "0.1")]


def test_the_tests_of_a_file_let_time_pass_over_what_waits() -> None:
    given = 'given = [{ type = "support", occurred_at = 2026-01-01T10:00:00Z, kind = "opened" }]'
    tests = [
        'at = "2026-01-01T10:09:59.999Z"\nexpect = { segments = [], changes = [] }',
        'at = "2026-01-01T10:10:00Z"\nexpect = { segments = ["vip"], changes = ["entered vip"] }',
        'at = "2026-01-01T10:10:00Z"\nexpect = { segments = [] }',
    ]
    body = "".join(f'[[tests]]\nname = "t{n}"\n{given}\n{test}\n' for n, test in enumerate(tests))
    definitions = parse_definitions(definitions_text(OPEN, {"vip": TABLE}) + body, "f.toml")
    outcomes = list(run_tests(definitions, read_tests(definitions, "f.toml")))
    assert [bool(outcome.differences) for outcome in outcomes] == [False, False, True]


def test_a_trial_gives_each_crossing_its_own_time_and_line() -> None:
    segments = {"gift": {"enter": "in_segment('vip')"}, "vip": {"enter": HELD, "dwell": "10m"}}
    trial = Trial(parse_definitions(definitions_text(OPEN, segments)))
    for line, (kind, at) in enumerate((("opened", 0), ("closed", 30 * MINUTE)), 1):
        event = {k: v for k, v in happens(kind, at).items() if k != "type"}
        trial.feed("support", json.dumps(event).encode(), line)
    told = [(c.segment, c.change, c.at_ms - T0, c.line) for c in trial.changes]
    assert told == [
        ("gift", "entered", 10 * MINUTE, None), ("vip", "entered", 10 * MINUTE, None),
        ("gift", "exited", 30 * MINUTE, 2), ("vip", "exited", 30 * MINUTE, 2),
    ]  # fmt: skip
