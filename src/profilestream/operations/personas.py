"""The statistics of a persona: what the customers of a sample have for a trait, and how far two samples differ.

Never does any I/O.

**What tells.** Of numbers it is Cliff's delta, P(x > y) - P(x < y) for a random x of the one sample and a random y of
the other, which is 2 AUC - 1: it asks for no distribution, and no outlier moves it (N. Cliff, "Dominance statistics",
Psychological Bulletin 114, 1993; its tie to the rank sum and the AUC: A. Vargha and H. Delaney, "A critique and
improvement of the CL common language effect size statistics", J. of Educational and Behavioral Statistics 25, 2000).
Of values it is the greatest difference of shares, which is what Cliff's delta of a yes and no comes to: so all traits
stand in one order, from 0 (the same) to 1 (no overlap). Everybody includes the members; that takes the same part off
every trait's number, and leaves their order as it is.

**A persona is of many.** A value that fewer than five members have is not named. A share is rounded where it would
tell of fewer than five that they have something, or that they alone have it not. A quantile is given only where at
least five lie on either side of it. That keeps single customers out of one answer; it is no protection against
somebody who subtracts the answers to many questions from each other.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from typing import Literal as OneOf

from profilestream.core.expressions import Kind
from profilestream.wire.values import decode_value, encode_value

CUSTOMERS_NAMED_MIN: Final = 5
VALUES_FREQUENT: Final = 3
VALUES_DIFFERENT: Final = 2
DISTINCT_MAX: Final = 10_000
CHARACTERS_MAX: Final = 200

Shape = OneOf["number", "string", "boolean", "list", "object"]
_SHAPE_OF_TYPE: Final[dict[type, Shape]] = {
    int: "number", float: "number", str: "string", bool: "boolean", list: "list", dict: "object",
}  # fmt: skip
_SHAPE_OF_KIND: Final[dict[Kind, Shape]] = {
    "number": "number", "duration": "number", "time": "number", "string": "string", "boolean": "boolean",
    "list": "list", "object": "object",
}  # fmt: skip
TRUE: Final = "true"


@dataclass(frozen=True, slots=True)
class Range:
    """The middle of some numbers: the median, and the quartiles (25th and 75th percentile) where they are enough."""

    low: int | float | None
    median: int | float
    high: int | float | None


@dataclass(frozen=True, slots=True)
class Shares:
    """Which part, 0 to 1, of all customers of each sample; those without the trait count as customers too."""

    members: float
    everybody: float

    @property
    def difference(self) -> float:
        """How far apart they are, 0 to 1."""
        return abs(self.members - self.everybody)


@dataclass(frozen=True, slots=True)
class Named:
    """A value (of a list: an element; of an object: a key) and who has it."""

    value: Any
    shares: Shares


@dataclass(frozen=True, slots=True)
class Others:
    """The members' values that are not named: how many at least and, where a customer has one value, who has one."""

    values: int
    shares: Shares | None


@dataclass(frozen=True, slots=True)
class Contrast:
    """One trait of members beside everybody. `telling` is 0 to 1, as above.

    `shape` says by what it is shown: "number" by `members` and `everybody`, None where too few have it; any other by
    `named`, the most frequent first, and `others`. A duration is in ms, a time is how many ms it lay before the clock.
    `absent` is who lacks the trait.
    """

    name: str
    kind: Kind
    shape: Shape
    telling: float
    absent: Shares
    members: Range | None
    everybody: Range | None
    named: tuple[Named, ...]
    others: Others | None


class Column:
    """What the customers of one sample have for one trait: the numbers, and how many have each other value.

    Of a list each element counts once a customer, of an object each key. At most DISTINCT_MAX different values are
    kept, and none of more than CHARACTERS_MAX; `missed` counts those beyond. What it is told to `look_for` is never
    among them.
    """

    __slots__ = ("counts", "customers", "missed", "numbers", "present", "shapes")

    def __init__(self) -> None:
        self.customers = 0
        self.present = 0
        self.missed = 0
        self.shapes: Counter[Shape] = Counter()
        self.numbers = array("d")
        self.counts: dict[Shape, dict[str, int]] = {}

    def look_for(self, other: Column) -> None:
        """Counts from now on every value that can be named of the other column, though it be a rare one here."""
        for shape, counts in other.counts.items():
            frequent = (text for text, count in counts.items() if count >= CUSTOMERS_NAMED_MIN)
            self.counts[shape] = dict.fromkeys(frequent, 0) | self.of(shape)

    def add(self, value: Any) -> None:
        """Takes one customer's value, any JSON value; None for a customer who lacks the trait."""
        self.customers += 1
        if value is None:
            return
        self.present += 1
        shape = _SHAPE_OF_TYPE[type(value)]
        self.shapes[shape] += 1
        if shape == "number":
            try:
                self.numbers.append(value)
            except OverflowError:  # an integer beyond all floats
                self.missed += 1
        else:
            self._count(shape, value if shape in ("list", "object") else (value,))

    def _count(self, shape: Shape, values: Iterable[Any]) -> None:
        counts = self.counts.setdefault(shape, {})
        for text in {encode_value(value).decode() for value in values}:
            if text in counts:
                counts[text] += 1
            elif len(counts) < DISTINCT_MAX and len(text) <= CHARACTERS_MAX:
                counts[text] = 1
            else:
                self.missed += 1

    def of(self, shape: Shape) -> dict[str, int]:
        """How many customers have each value of a shape, by JSON text."""
        return self.counts.get(shape, {})


def contrast(name: str, kind: Kind, members: Column, everybody: Column) -> Contrast:
    """Members beside everybody; a fact of any kind is shown by the shape that most of its values have."""
    shape = _SHAPE_OF_KIND.get(kind) or _most_frequent(members, everybody)
    absent = shares(members, members.customers - members.present, everybody, everybody.customers - everybody.present)
    ranges: list[Range | None] = [None, None]
    named: tuple[Named, ...] = ()
    others = None
    telling = absent.difference
    if shape == "number":
        ours, all_ = sorted(members.numbers), sorted(everybody.numbers)
        ranges = [middle(ours), middle(all_)]
        if None not in ranges:
            # What few have tells little: with that weight a yes and no counts as the values of a string do.
            telling = max(telling, abs(cliffs_delta(ours, all_)) * (1 - max(absent.members, absent.everybody)))
    elif shape == "boolean":
        count = members.of(shape).get(TRUE, 0), everybody.of(shape).get(TRUE, 0)
        if members.shapes[shape]:
            named = (Named(True, shares(members, count[0], everybody, count[1])),)
    else:
        named, others = _values(shape, members, everybody)
    telling = max([telling, *(one.shares.difference for one in named)])
    return Contrast(name, kind, shape, telling, absent, ranges[0], ranges[1], named, others)


def _most_frequent(members: Column, everybody: Column) -> Shape:
    found = (members.shapes or everybody.shapes).most_common(1)
    return found[0][0] if found else "string"


def _values(shape: Shape, members: Column, everybody: Column) -> tuple[tuple[Named, ...], Others | None]:
    """The most frequent values of members and, of the rest, those whose shares differ most; then all others."""
    ours, all_ = members.of(shape), everybody.of(shape)
    frequent = sorted(
        (text for text, count in ours.items() if count >= CUSTOMERS_NAMED_MIN), key=lambda text: (-ours[text], text)
    )
    found = {text: shares(members, ours[text], everybody, all_.get(text, 0)) for text in frequent}
    different = sorted(frequent[VALUES_FREQUENT:], key=lambda text: -found[text].difference)
    chosen = {*frequent[:VALUES_FREQUENT], *different[:VALUES_DIFFERENT]}
    named = tuple(Named(decode_value(text), found[text]) for text in frequent if text in chosen)
    more = len(ours) - len(chosen) + bool(members.missed)
    if not more:
        return named, None
    if shape != "string":
        return named, Others(more, None)
    rest = [column.shapes[shape] - sum(column.of(shape).get(t, 0) for t in chosen) for column in (members, everybody)]
    return named, Others(more, shares(members, rest[0], everybody, rest[1]))


def shares(members: Column, count: int, everybody: Column, count_everybody: int) -> Shares:
    """The shares of two counts."""
    return Shares(share(count, members.customers), share(count_everybody, everybody.customers))


def share(count: int, of: int) -> float:
    """`count / of`, to four decimals; 0 of none. A count 1 to 4 away from none or from all is taken as 0 or 5 away.

    `of` is 0 or at least 10.
    """
    if not of:
        return 0.0
    near = min(count, of - count)
    if near < CUSTOMERS_NAMED_MIN:
        rounded = CUSTOMERS_NAMED_MIN if 2 * near > CUSTOMERS_NAMED_MIN else 0
        count = rounded if count == near else of - rounded
    return round(count / of, 4)


def middle(ordered: Sequence[float]) -> Range | None:
    """Median and quartiles of ascending numbers; None, or no quartiles, where too few lie beside them."""
    if len(ordered) < 2 * CUSTOMERS_NAMED_MIN:
        return None
    if len(ordered) < 4 * CUSTOMERS_NAMED_MIN:
        return Range(None, quantile(ordered, 0.5), None)
    return Range(quantile(ordered, 0.25), quantile(ordered, 0.5), quantile(ordered, 0.75))


def quantile(ordered: Sequence[float], q: float) -> int | float:
    """The quantile of ascending numbers, between two of them by their distance; a whole number is an int.

    Source: definition 7 of R. Hyndman and Y. Fan, "Sample quantiles in statistical packages", The American
    Statistician 50, 1996.
    """
    place = q * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    part = place - math.floor(place)
    found = low * (1 - part) + high * part if low != high else low
    return int(found) if float(found).is_integer() else found


def cliffs_delta(xs: Sequence[float], ys: Sequence[float]) -> float:
    """P(x > y) - P(x < y) over all pairs of two ascending sequences, -1 to 1; 0 where one is empty."""
    if not xs or not ys:
        return 0.0
    balance = sum(bisect_left(ys, x) + bisect_right(ys, x) - len(ys) for x in xs)
    return balance / (len(xs) * len(ys))
