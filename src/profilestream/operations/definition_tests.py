"""The `[[tests]]` of a definitions file, run by a trial: what each expected and what was found."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from profilestream.core.definitions import Definitions, kind_of_trait
from profilestream.core.explanation import Explanation
from profilestream.operations.definition_tests_reading import DefinitionTest
from profilestream.operations.trial import Trial
from profilestream.wire.times import parse_time


@dataclass(frozen=True, slots=True)
class Difference:
    """What a test expected and found, in words; of a segment also why."""

    what: str
    expected: str
    found: str
    why: Explanation | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A test that was run; it passed where there are no differences."""

    test: DefinitionTest
    differences: Sequence[Difference] = field(default_factory=tuple)


def run_tests(definitions: Definitions, tests: Sequence[DefinitionTest]) -> Iterator[Outcome]:
    """Runs one test after the other, each from nothing."""
    for test in tests:
        yield _run(definitions, test)


def _run(definitions: Definitions, test: DefinitionTest) -> Outcome:
    trial = Trial(definitions)
    for line, given in enumerate(test.given, 1):
        (trial.feed_topic if given.is_topic else trial.feed)(given.name, given.value, line)
    if test.at_ms is not None:
        trial.advance(test.at_ms)
    return Outcome(test, tuple(_differences(definitions, test, trial)))


def _differences(definitions: Definitions, test: DefinitionTest, trial: Trial) -> Iterator[Difference]:
    traits = trial.traits(test.customer)
    for name, wanted in test.traits.items():
        found = traits.get(name)
        kind = kind_of_trait(definitions.by_trait[name])
        if name not in traits or not _equal(wanted, found, kind == "time"):
            yield Difference(f"trait {name}", _shown(wanted), _shown(found) if name in traits else "absent")
    for name in test.absent:
        if name in traits:
            yield Difference(f"trait {name}", "absent", _shown(traits[name]))
    if test.segments is not None:
        inside = trial.segments(test.customer)
        for name in definitions.by_segment:
            if (name in test.segments) != (name in inside):
                why = trial.explain(test.customer, name)[0]
                yield Difference(f"segment {name}", *_in_or_out(name in test.segments), why)
    if test.changes is not None:
        told = [f"{c.change} {c.segment}" for c in trial.changes if c.customer_id == test.customer]
        if told != list(test.changes):
            yield Difference("changes", ", ".join(test.changes) or "none", ", ".join(told) or "none")


def _in_or_out(wanted: bool) -> tuple[str, str]:
    return ("in", "not in") if wanted else ("not in", "in")


def _equal(wanted: Any, found: Any, is_time: bool) -> bool:
    """Equal as JSON values; a fraction to 9 digits, a time whatever its offset."""
    if is_time and isinstance(wanted, str | int):
        try:
            return parse_time(wanted) == parse_time(found)
        except ValueError:
            return False
    if isinstance(wanted, bool) or isinstance(found, bool):
        return wanted is found
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        if isinstance(wanted, int) and isinstance(found, int):
            return wanted == found
        return math.isclose(wanted, found, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(_equal(w, f, False) for w, f in zip(wanted, found, strict=True))
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(_equal(wanted[k], found[k], False) for k in wanted)
    return type(wanted) is type(found) and bool(wanted == found)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
