"""The least step that turns a comparison, and the fewest conditions that turn a whole."""

from __future__ import annotations

import math

import pytest

from profilestream.core.leaves import Joined, Tree
from profilestream.core.ways import Step, Way, nearest_way, step_to_turn, weight


@pytest.mark.parametrize(
    ("op", "value", "threshold", "whole", "expected"),
    [
        (">=", 1, 2, True, Step(1)),
        (">=", 2, 2, True, Step(-1)),
        (">=", 12_000, 50_000, True, Step(38_000)),
        (">", 2, 2, True, Step(1)),
        (">", 3, 2, True, Step(-1)),
        (">=", 1, 2.5, True, Step(2)),
        (">", 1, 2.5, True, Step(2)),
        (">", 3, 2.5, True, Step(-1)),
        ("<", 62_301, 50_000, True, Step(-12_302)),
        ("<=", 62_301, 50_000, True, Step(-12_301)),
        ("<", 3, 5, True, Step(2)),
        ("<=", 3, 5, True, Step(3)),
        ("==", 3, 5, True, Step(2)),
        ("==", 5, 5, True, Step(1)),
        ("!=", 5, 5, True, Step(1)),
        ("==", 3, 2.5, True, None),
        (">=", 0.25, 0.5, False, Step(0.25)),
        (">=", 0.5, 0.5, False, Step(0.0, True)),
        (">", 0.25, 0.5, False, Step(0.25, True)),
        (">", 0.75, 0.5, False, Step(-0.25)),
        ("<", 0.75, 0.5, False, Step(-0.25, True)),
        ("==", 0.5, 0.5, False, Step(0, True)),
        (">=", None, 2, True, None),
        (">=", "a", "b", False, None),
        (">=", True, 2, True, None),
    ],
)
def test_a_step_is_the_least_change_that_turns_a_comparison(
    op: str, value: object, threshold: object, whole: bool, expected: Step | None
) -> None:
    assert step_to_turn(op, value, threshold, whole) == expected


def test_numbers_beyond_floats_have_no_step_or_the_greatest_weight_and_nothing_fails() -> None:
    assert step_to_turn(">=", 10**400, 0.5, True) is None
    assert weight(step_to_turn(">=", 10**400, 10**401, True), 10**400, 10**401) == pytest.approx(0.9)
    assert weight(None, None, 2) == math.inf


def test_a_weight_is_the_step_beside_what_is_compared() -> None:
    assert weight(Step(500), 500, 1_000) == 0.5
    assert weight(Step(1), 0, 0) == 1.0
    assert weight(Step(0, True), 5, 5) == 0.0


AND_OR: Tree = Joined("and", (0, Joined("or", (1, Joined("and", (2, 3))))))


def test_of_an_and_all_that_fails_has_to_turn_and_of_an_or_the_shortest_way() -> None:
    nothing = [False] * 4
    assert nearest_way(AND_OR, nothing, [1, 1, 0, 0], True) == Way((0, 1), True)
    assert nearest_way(AND_OR, [True, False, True, False], [0, 2, 0, 1], True) == Way((3,), True)
    assert nearest_way(AND_OR, [False, True, False, False], [1] * 4, True) == Way((0,), False)
    assert nearest_way(AND_OR, [True, True, False, False], [1] * 4, True) == Way()


def test_to_end_a_condition_one_part_of_an_and_is_enough_and_every_part_of_an_or_is_needed() -> None:
    everything = [True] * 4
    assert nearest_way(AND_OR, everything, [1, 0, 0, 0], False) == Way((0,), True)
    assert nearest_way(Joined("or", (0, 1)), everything, [1, 1], False) == Way((0, 1))
    assert nearest_way(Joined("or", (0, Joined("and", (1, 2)))), everything, [1, 5, 2], False) == Way((0, 2), True)


def test_of_ways_of_one_length_the_lightest_is_taken_and_then_the_first() -> None:
    tree: Tree = Joined("or", (0, 1, 2))
    assert nearest_way(tree, [False] * 3, [0.5, 0.1, math.inf], True).turned == (1,)
    assert nearest_way(tree, [False] * 3, [0.5, 0.5, 0.5], True).turned == (0,)
