"""The conditions of a segment for one customer: what they come to, and how far each is from turning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from profilestream.core import expressions as x
from profilestream.core import linear, words
from profilestream.core.amounts import is_amount
from profilestream.core.definitions import Definitions
from profilestream.core.engine import Engine
from profilestream.core.expressions import Kind, Node
from profilestream.core.leaves import Leaf
from profilestream.core.linear import FLIPPED
from profilestream.core.meaning import givers
from profilestream.core.profile import Profile
from profilestream.core.ways import Step, step_to_turn, weight

Part = Literal["enter", "exit"]


@dataclass(frozen=True, slots=True)
class Condition:
    """A leaf for one customer at one instant.

    `holds` is None when unknown. `value` and `threshold` are its left and right side as readers see them (times as
    RFC 3339 text, durations in ms, None where absent or where there is no such side). `distance` is value less
    threshold where both are numbers: in ms for times and durations, of which `kind` (the left side's) tells.
    `varies` says of value and threshold whether they are the customer's, not written out in the file.

    `step` is the least change of the customer's side (the left one, unless that is written out) that turns the
    condition, and `weight` how large that is beside the value. `given_by` names the events that would give a side that
    is absent. `decides`: it is among the fewest conditions that have to turn for the membership to change. `turns_at`
    (ms) is when time alone turns it; None: never, or not as far as was looked. `segment` is the one of `in_segment`,
    `currency` that of amounts, which are in its minor units.
    """

    text: str
    holds: bool | None
    value: Any
    threshold: Any
    kind: Kind
    negated: bool
    distance: int | float | None
    varies: tuple[bool, bool]
    part: Part = "enter"
    step: Step | None = None
    weight: float = 0.0
    given_by: tuple[str, ...] = ()
    decides: bool = False
    turns_at: int | None = None
    segment: str | None = None
    currency: str | None = None

    @property
    def helps(self) -> bool | None:
        """Whether the leaf speaks for its condition: as `holds`, turned round under `not`."""
        return self.holds if self.holds is None or not self.negated else not self.holds

    @property
    def bars(self) -> bool:
        """Whether it speaks against being in: a leaf of `enter` that does not help, one of `exit` that does."""
        return (self.helps is True) is (self.part == "exit")


def read_conditions(
    engine: Engine, profile: Profile, found: Sequence[tuple[Part, Leaf]], clock: int
) -> list[Condition]:
    """The leaves with their values. Truth is taken from the clock's one form, as the engine takes it."""
    sides = tuple(_readable(side) for _, leaf in found for side in (leaf.left, leaf.right or _NOTHING))
    truths = engine.read(tuple(linear.normalise(leaf.node) for _, leaf in found), profile, clock)
    raw = engine.read(sides, profile, clock)
    shown = engine.read(sides, profile, clock, shown=True)
    return [
        _condition(
            engine.definitions, part, leaf, truths[i], (raw[2 * i], raw[2 * i + 1]), (shown[2 * i], shown[2 * i + 1])
        )
        for i, (part, leaf) in enumerate(found)
    ]


def _condition(
    definitions: Definitions, part: Part, leaf: Leaf, truth: Any, raw: tuple[Any, Any], shown: tuple[Any, Any]
) -> Condition:
    step = _step(leaf, *raw)
    sides = (leaf.left,) if leaf.right is None else (leaf.left, leaf.right)
    absent = [side for side, value in zip(sides, raw, strict=False) if value is None]
    return Condition(
        text=leaf.text,
        holds=words.truth(truth),
        value=shown[0],
        threshold=None if leaf.right is None else shown[1],
        kind=leaf.left.kind,
        negated=leaf.negated,
        distance=None if leaf.right is None else words.arithmetic("-", *raw),
        varies=(not isinstance(leaf.left, x.Literal), not isinstance(leaf.right, x.Literal | None)),
        part=part,
        segment=next(iter(x.segments(leaf.node)), None),
        currency=_currency(definitions, leaf),
        step=step,
        weight=weight(step, *raw),
        given_by=tuple(dict.fromkeys(giver for side in absent for giver in givers(side))),
    )


def _currency(definitions: Definitions, leaf: Leaf) -> str | None:
    """The currency of the customer's side, where that is an amount."""
    side = leaf.right if isinstance(leaf.left, x.Literal) and leaf.right is not None else leaf.left
    return definitions.money.currency if definitions.money and is_amount(side, definitions.types) else None


def _step(leaf: Leaf, value: Any, threshold: Any) -> Step | None:
    if not isinstance(leaf.node, x.Compare) or leaf.right is None:
        return None
    if isinstance(leaf.left, x.Literal):
        return step_to_turn(FLIPPED[leaf.node.op], threshold, value, x.is_integral(leaf.right))
    return step_to_turn(leaf.node.op, value, threshold, x.is_integral(leaf.left))


_NOTHING = x.Literal(False, "boolean")


def _readable(side: Node) -> Node:
    """The side with facts that stand for times taken as numbers: of any other fact, `since` is absent.

    The engine never meets `since` itself, only what `linear` makes of it.
    """
    match side:
        case x.Since() if side.time.kind == "json":
            return replace(side, time=x.Call("number", (side.time,), "time"))
        case x.Arithmetic():
            return replace(side, left=_readable(side.left), right=_readable(side.right))
    return side
