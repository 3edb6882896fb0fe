"""What was found of all customers: counts and examples for each trait, segment and field, and their JSON. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from profilestream.operations.verification.checking import About, Checked, Finding

EXAMPLES_MAX: Final = 5


@dataclass(slots=True)
class Tally:
    """Of one trait, segment or field: what differs by kind, what could not be compared by reason, some examples."""

    kinds: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    examples: list[Finding] = field(default_factory=list)

    @property
    def differing(self) -> int:
        """How many customers differ."""
        return self.kinds.total()

    def add(self, finding: Finding) -> None:
        self.kinds[finding.kind] += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(finding)


class Tallies:
    """All of them. `checked` counts customers whose profiles were compared, `differing` those of whom anything differs,
    `due` those for whom time has something to change that is not written yet, `left_out` those not looked at."""

    def __init__(self) -> None:
        self.checked = self.differing = self.due = 0
        self.left_out: Counter[str] = Counter()
        self._by_name: dict[tuple[About, str], Tally] = {}

    def add(self, found: Checked) -> None:
        """Takes in what was found of one customer."""
        gone = [reason for about, _, reason in found.unknown if about == "profile"]
        if gone:
            self.left_out.update(gone)
            return
        self.checked += 1
        self.due += found.due
        self.differing += bool(found.findings)
        for finding in found.findings:
            self.of(finding.about, finding.name).add(finding)
        for about, name, reason in found.unknown:
            self.of(about, name).unknown[reason] += 1

    def of(self, about: About, name: str) -> Tally:
        """The tally of a trait, a segment or a field; of whole profiles the name is empty."""
        return self._by_name.setdefault((about, name), Tally())

    def named(self, about: About, order: Iterable[str] = ()) -> list[tuple[str, Tally]]:
        """Those about one sort of thing that have anything to tell, in the order given, others behind."""
        there = {name: tally for (kind, name), tally in self._by_name.items() if kind == about}
        names = [*(n for n in order if n in there), *sorted(there.keys() - set(order))]
        return [(name, there[name]) for name in names if there[name].differing or there[name].unknown]

    @property
    def is_right(self) -> bool:
        """Whether nothing differs."""
        return not any(tally.differing for tally in self._by_name.values())


def tally_object(name: str, tally: Tally) -> dict[str, Any]:
    """One tally, ready for JSON."""
    return {
        "name": name,
        **{kind: tally.kinds[kind] for kind in ("mismatched", "missing", "extra")},
        "not_compared": dict(sorted(tally.unknown.items())),
        "examples": [
            {
                "customer_id": one.customer_id,
                "kind": one.kind,
                "stored": one.stored,
                "recomputed": one.recomputed,
                "note": one.note,
            }
            for one in tally.examples
        ],
    }
