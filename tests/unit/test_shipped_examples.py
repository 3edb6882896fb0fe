"""The examples that come with the package: they stand, pass their own tests, and find whom they are about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import profilestream
from profilestream.operations import scaffold
from profilestream.operations.definition_tests import run_tests
from profilestream.operations.definition_tests_reading import read_tests
from profilestream.operations.trial import Lines, Trial
from profilestream.simulation import Plan, knowledge, simulate
from profilestream.simulation.people import SEGMENT
from profilestream.wire.definitions import read_definitions

FOLDER = Path(profilestream.__file__).parent / "examples"
EXAMPLES = ("fashion", "fitness", "shop", "small_business")


def test_these_are_the_examples() -> None:
    assert tuple(scaffold.examples()) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_passes_its_own_tests(name: str) -> None:
    definitions = read_definitions(FOLDER / name / "definitions.toml")
    tests = read_tests(definitions, name)
    assert len(tests) >= 3
    assert [o.test.name for o in run_tests(definitions, tests) if o.differences] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_examples_events_are_all_events_and_make_changes(name: str) -> None:
    trial = Trial(read_definitions(FOLDER / name / "definitions.toml"))
    lines = Lines(trial, None, "events")
    for number, text in enumerate((FOLDER / name / "events.jsonl").read_bytes().splitlines(), 1):
        lines.feed(number, text)
    assert trial.letters == [] and trial.events > 100
    entered = {change.segment for change in trial.changes}
    assert SEGMENT.get(name, "vip") in entered


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_examples_page_names_only_files_that_new_writes(name: str) -> None:
    page = (FOLDER / name / "README.md").read_text()
    named = set(re.findall(rf"my-{name}/(\S+)", page))
    assert named == {"definitions.toml", "events.jsonl"}
    assert f"--example {name}" in page and f"--persona {name}" in page


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize("name", EXAMPLES)
def test_simulated_customers_are_in_exactly_where_the_generator_says(name: str, seed: int) -> None:
    plan = Plan(customers=60, kinds=(name,), seed=seed)
    trial = Trial(read_definitions(FOLDER / name / "definitions.toml"))
    for number, record in enumerate(simulate(plan), 1):
        trial.feed(record.type_name, record.value, number)
    trial.advance(plan.until_ms)
    assert not trial.letters
    for known in knowledge(plan):
        inside = trial.segments(known.customer_id)
        if name == "shop":
            assert not known.segment or known.segment in inside, known.habit
            quiet = {"lapsed", "vip", "abandoned_cart", "support_burden"} - {known.segment}
            assert not quiet & inside.keys(), known.habit
        else:
            assert (known.segment in inside) == known.member, known.habit
