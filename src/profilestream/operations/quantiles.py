"""`quantiles`: breaks that cut the customers into parts of about equal size by a trait. Only Redis is asked.

Values are what readers find in the profiles, of all customers or of a random sample (`store/samples.py`); `due` counts
those that wait for a worker to write what time alone has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from profilestream.core.amounts import amounts
from profilestream.core.counting import counted
from profilestream.core.definitions import Definitions, Trait, kind_of_trait
from profilestream.core.errors import NotFound, UsageError
from profilestream.core.expressions import Kind
from profilestream.core.problems import suggestion
from profilestream.core.vocabulary import A
from profilestream.operations.breaks import Number, break_text, cut, sizes
from profilestream.operations.explain import no_segment
from profilestream.store.connection import connect_sync
from profilestream.store.metadata import Generation, read_generation_sync, read_live_sync
from profilestream.store.samples import PROGRESS_EVERY, ProfileKey, Progress, Sampler
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.times import parse_time
from profilestream.wire.values import decode_value

PARTS_MIN: Final = 2
PARTS_MAX: Final = 101
SAMPLE: Final = 100_000
SAMPLE_MIN: Final = 20
SAMPLE_MAX: Final = 1_000_000
VALUES_MIN: Final = 20


@dataclass(frozen=True, slots=True)
class Part:
    """The customers of one score: those whose value is at least `low` and below `high` (None: without an end)."""

    score: int
    low: Number | None
    high: Number | None
    customers: int
    share: float


@dataclass(frozen=True, slots=True)
class Quantiles:
    """The breaks of one trait.

    Of `customers`, an estimate unless `customers_exact`, `read` were looked at. Of these `absent` lack the trait, and
    `others` have a fact there that is no number: neither has a score, nor is in a part. A part's share is of those that
    are. `currency` is there where values are amounts in its minor units. `wanted` is how many parts were asked for.
    """

    generation: Generation
    trait: Trait
    segment: str | None
    wanted: int
    breaks: tuple[Number, ...]
    parts: tuple[Part, ...]
    customers: int
    customers_exact: bool
    read: int
    absent: int
    others: int
    due: int
    currency: str | None

    @property
    def kind(self) -> Kind:
        return kind_of_trait(self.trait)

    @property
    def score(self) -> str:
        """The expression to paste."""
        texts = (break_text(one, duration=self.kind == "duration") for one in self.breaks)
        return f"score({', '.join((self.trait.name, *texts))})"


def quantiles(
    redis: str,
    namespace: str,
    trait: str,
    parts: int = 5,
    segment: str | None = None,
    sample: int = SAMPLE,
    progress: Progress | None = None,
) -> Quantiles:
    """The breaks that cut the customers of the live generation, or a segment's members, into `parts` by a trait.

    Raises NotFound for an unknown trait or segment, for fewer than 20 customers with a value, where all have the same
    value, and before `init`; UsageError for a trait that is no number or duration, for parts not from 2 to 101 and a
    sample not from 20 to 1,000,000; ServerUnavailable without Redis.
    """
    if not PARTS_MIN <= parts <= PARTS_MAX:
        raise UsageError(f"customers are cut into {PARTS_MIN} to {PARTS_MAX} parts, not {parts:,}")
    if not SAMPLE_MIN <= sample <= SAMPLE_MAX:
        raise UsageError(f"a sample is of {SAMPLE_MIN} to {SAMPLE_MAX:,} customers, not {sample:,}")
    client = connect_sync(redis)
    try:
        generation = read_generation_sync(client, namespace, read_live_sync(client, namespace))
        definitions = parse_definitions(generation.definitions, f"generation {generation.name}")
        found = _trait(trait, definitions, generation)
        if segment is not None and segment not in definitions.by_segment:
            raise no_segment(segment, generation, definitions.by_segment)
        sampler = Sampler(client, namespace, generation)
        if segment is None:
            everybody = sampler.everybody(sample)
            total, exact, profiles = everybody.total, everybody.exact, everybody.profiles
        else:
            members = sampler.members(segment, sampler.count_members(segment), sample)
            total, exact, profiles = members.total, True, [profile for profile, _ in members.entered]
        column = _Column(sampler, profiles, found.name, progress)
    finally:
        client.close()
    values = column.values
    if len(values) < VALUES_MIN:
        raise NotFound(
            f"of {counted(column.read, 'customer')} looked at, {len(values):,} with a number in `{trait}`; "
            f"breaks need at least {VALUES_MIN}, as those of few would tell of single customers"
        )
    breaks = cut(values, parts, durations=kind_of_trait(found) == "duration")
    if not breaks:
        raise NotFound(f"all {counted(len(values), 'customer')} have the same `{trait}`: there is nothing to cut")
    ends = (None, *breaks, None)
    return Quantiles(
        generation=generation,
        trait=found,
        segment=segment,
        wanted=parts,
        breaks=breaks,
        parts=tuple(
            Part(n + 1, ends[n], ends[n + 1], size, size / len(values)) for n, size in enumerate(sizes(values, breaks))
        ),
        customers=max(total, column.read),
        customers_exact=exact,
        read=column.read,
        absent=column.absent,
        others=column.others,
        due=column.due,
        currency=definitions.money.currency if definitions.money and trait in amounts(definitions) else None,
    )


def _trait(name: str, definitions: Definitions, generation: Generation) -> Trait:
    found = definitions.by_trait.get(name)
    if found is None:
        raise NotFound(f"no trait `{name}` in generation {generation.name}{suggestion(name, definitions.by_trait)}")
    kind = kind_of_trait(found)
    if kind not in ("number", "duration", "json"):
        hint = f"; a number can be made of it, such as len({name})" if kind in ("list", "object", "string") else ""
        raise UsageError(f"`{name}` is {A[kind]}; score() takes numbers and durations{hint}")
    return found


class _Column:
    """The numbers of one trait, in order, read batch by batch; a profile that has gone meanwhile is left out."""

    def __init__(self, sampler: Sampler, profiles: list[ProfileKey], trait: str, progress: Progress | None) -> None:
        self.values: list[Number] = []
        self.read = self.absent = self.others = self.due = 0
        clocks = sampler.clocks()
        fields = sampler.fields(profiles, ("_as_of", "_valid_until", trait))
        for done, (profile, (as_of, valid_until, text)) in enumerate(fields, 1):
            if progress is not None and done % PROGRESS_EVERY == 0:
                progress(done, len(profiles))
            if as_of is None:
                continue
            self.read += 1
            clock = clocks[profile.shard]
            self.due += valid_until is not None and clock is not None and parse_time(valid_until.decode()) <= clock
            self._add(None if text is None else decode_value(text))
        self.values.sort()

    def _add(self, value: Any) -> None:
        if value is None:
            self.absent += 1
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self.values.append(value)
        else:
            self.others += 1


def quantiles_object(found: Quantiles) -> dict[str, Any]:
    """The breaks in the public form, ready for JSON (`quantiles.json` of the schemas)."""
    return {
        "trait": found.trait.name,
        "kind": found.kind,
        "generation": found.generation.name,
        "segment": found.segment,
        "by": found.wanted,
        "score": found.score,
        "breaks": list(found.breaks),
        "parts": [
            {"score": p.score, "from": p.low, "below": p.high, "customers": p.customers, "share": p.share}
            for p in found.parts
        ],
        "customers": found.customers,
        "customers_exact": found.customers_exact,
        "sample": {"customers": found.read, "absent": found.absent, "others": found.others, "due": found.due},
        "currency": found.currency,
    }
