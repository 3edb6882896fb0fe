"""What a comparison found of all customers, by trait and segment, and its JSON. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from profilestream.operations.comparison.pairs import About, Difference, Pair
from profilestream.operations.comparison.reasons import Meanings

EXAMPLES_MAX: Final = 5


@dataclass(slots=True)
class Counted:
    """Of one trait or segment: why how many differ; of how many only the live generation has a value or the member
    (`only_live`), and only the other one; some examples, of each reason first."""

    why: Counter[str] = field(default_factory=Counter)
    only_live: int = 0
    only_other: int = 0
    detail: tuple[str, ...] = ()
    examples: list[Difference] = field(default_factory=list)

    @property
    def differing(self) -> int:
        """How many customers differ."""
        return self.why.total()

    def add(self, one: Difference) -> None:
        if len(self.examples) < EXAMPLES_MAX or not self.why[one.why]:
            self.examples.append(one)
        self.why[one.why] += 1
        self.detail = one.detail
        self.only_live += one.other is None or one.other is False
        self.only_other += one.live is None or one.live is False


class Result:
    """All of it. `compared` customers, of whom `differing` have a difference; `only_live` and `only_other` have a
    profile in one generation alone; `left_out` were not compared, by reason."""

    def __init__(self) -> None:
        self.compared = self.differing = self.only_live = self.only_other = 0
        self.left_out: Counter[str] = Counter()
        self._counted: dict[tuple[About, str], Counted] = {}

    def add(self, pair: Pair) -> None:
        """Takes in one customer."""
        if not pair.timely:
            self.left_out["due"] += 1
            return
        self.compared += 1
        self.differing += bool(pair.differences)
        for one in pair.differences:
            self._counted.setdefault((one.about, one.name), Counted()).add(one)

    def named(self, about: About, order: list[str]) -> list[tuple[str, Counted]]:
        """The traits or the segments that differ, in the order of the definitions."""
        return [(name, found) for name in order if (found := self._counted.get((about, name))) is not None]

    @property
    def unexplained(self) -> int:
        """How many differences have no reason."""
        return sum(counted.why["unexplained"] for counted in self._counted.values())


def result_object(found: Result, meanings: Meanings) -> dict[str, Any]:
    """What was found, ready for JSON."""
    return {
        "compared": found.compared,
        "differing": found.differing,
        "only_live": found.only_live,
        "only_other": found.only_other,
        "left_out": dict(sorted((reason, n) for reason, n in found.left_out.items() if n)),
        "unexplained": found.unexplained,
        "traits": [_counted_object(*one) for one in found.named("trait", meanings.order[0])],
        "segments": [_counted_object(*one) for one in found.named("segment", meanings.order[1])],
        "traits_only_live": meanings.only_live[0],
        "traits_only_other": meanings.only_other[0],
        "segments_only_live": meanings.only_live[1],
        "segments_only_other": meanings.only_other[1],
    }


def _counted_object(name: str, counted: Counted) -> dict[str, Any]:
    return {
        "name": name,
        "differing": counted.differing,
        "only_live": counted.only_live,
        "only_other": counted.only_other,
        "why": dict(sorted(counted.why.items())),
        "changed": list(counted.detail),
        "examples": [
            {"customer_id": one.customer_id, "live": one.live, "other": one.other, "why": one.why}
            for one in counted.examples
        ],
    }
