"""The nearest way to another answer: the fewest conditions that would have to turn.

Each condition is taken for itself: that two of them look at one value, so that one event may turn both or cannot, is
not considered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profilestream.core import words
from profilestream.core.leaves import Tree


@dataclass(frozen=True, slots=True)
class Way:
    """The conditions to turn, by number. `one_of_several`: there are other ways, which are no shorter."""

    turned: tuple[int, ...] = ()
    one_of_several: bool = False

    def and_also(self, other: Way) -> Way:
        """Both ways, one behind the other."""
        return Way(self.turned + other.turned, self.one_of_several or other.one_of_several)


def nearest_way(tree: Tree, helps: Sequence[bool], weights: Sequence[float], wanted: bool) -> Way:
    """The way to make a condition true (`wanted`), or no longer true.

    `helps` says of each leaf whether it speaks for the condition, `weights` how far it is from turning. Of ways of the
    same number of leaves the lightest is taken, then the first.
    """
    if isinstance(tree, int):
        return Way() if helps[tree] is wanted else Way((tree,))
    ways = [nearest_way(part, helps, weights, wanted) for part in tree.parts]
    if (tree.word == "and") is wanted:
        found = Way()
        for way in ways:
            found = found.and_also(way)
        return found
    nearest = min(ways, key=lambda way: (len(way.turned), sum(weights[n] for n in way.turned)))
    return Way(nearest.turned, bool(nearest.turned))


@dataclass(frozen=True, slots=True)
class Step:
    """By how much a value must change for its comparison to turn: by exactly that, or (`beyond`) by any more than that.

    The least such change, in the value's own unit; negative: downwards.
    """

    by: int | float
    beyond: bool = False


def step_to_turn(op: str, value: Any, threshold: Any, whole: bool) -> Step | None:
    """The least change of the value that turns `value op threshold`.

    `whole` says that the value is always an integer. None where a side is no number, and where no change turns it.
    """
    if not (_is_number(value) and _is_number(threshold)):
        return None
    apart = words.arithmetic("-", threshold, value)
    if apart is None:
        return None
    if op in ("==", "!="):
        if value == threshold:
            return Step(1) if whole else Step(0, True)
        if whole and threshold != math.floor(threshold):
            return None
        return Step(int(apart) if whole else apart)
    if op in ("<", "<="):
        # `v < t` turns where `-v > -t` does.
        mirrored = step_to_turn(">" if op == "<" else ">=", -value, -threshold, whole)
        return None if mirrored is None else Step(-mirrored.by, mirrored.beyond)
    holds = value > threshold if op == ">" else value >= threshold
    # The edge belongs to one side of it: `>=` holds there, `>` does not.
    at_edge = op == ">=" if not holds else op == ">"
    if not whole:
        return Step(apart, not at_edge)
    if holds:
        target = math.floor(threshold) if op == ">" else math.ceil(threshold) - 1
    else:
        target = math.floor(threshold) + 1 if op == ">" else math.ceil(threshold)
    return Step(target - value)


def weight(step: Step | None, value: Any, threshold: Any) -> float:
    """How far a comparison is from turning, beside the size of what it compares: 0 is near, infinite unknown."""
    if step is None:
        return math.inf
    try:
        return float(abs(step.by) / max(abs(value), abs(threshold), 1))
    except OverflowError:  # integers beyond floats
        return 1.0


def _is_number(value: Any) -> bool:
    return value.__class__ is int or value.__class__ is float
