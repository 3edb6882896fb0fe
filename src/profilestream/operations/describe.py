"""`describe`: the persona of a segment, from samples of its members and of everybody. Only Redis is asked.

Values are what readers find in the profiles: as of now, as far as the workers have written what time alone changes
(`due` counts those that wait for it). A time counts from its shard's clock, or from its profile's own where that is
later or the shard has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from profilestream.core.amounts import amounts
from profilestream.core.counting import counted
from profilestream.core.definitions import Definitions, Segment, Trait, kind_of_trait
from profilestream.core.errors import NotFound, StoreRefused, UsageError
from profilestream.core.problems import suggestion
from profilestream.operations.explain import no_segment
from profilestream.operations.personas import Column, Contrast, Range, Shares, contrast, middle
from profilestream.store.connection import connect_sync
from profilestream.store.metadata import Generation, read_generation_sync, read_live_sync
from profilestream.store.samples import PROGRESS_EVERY, ProfileKey, Progress, Sampler
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.times import parse_time
from profilestream.wire.values import decode_value

MEMBERS_MIN: Final = 20
SAMPLE: Final = 2_000
SAMPLE_MAX: Final = 100_000
VALUES_READ_MAX: Final = 10_000_000
"""Of one sample; many traits make it smaller, so that it fits into memory."""


@dataclass(frozen=True, slots=True)
class Persona:
    """A segment's members beside everybody (the members included).

    `members` is exact; `customers`, how many everybody are, is an estimate unless `customers_exact`.
    `members_read` and `everybody_read` are the sizes of the samples. `member_for` is for how many ms members have
    been in the segment. `due` is how many of the profiles read had values that time alone has changed since, and that
    no worker has written. `traits` are those asked for, the most telling first; `amounts` names those of them that are
    in minor units of `currency`.
    """

    generation: Generation
    segment: Segment
    members: int
    customers: int
    customers_exact: bool
    members_read: int
    everybody_read: int
    due: int
    member_for: Range | None
    currency: str | None
    amounts: frozenset[str]
    traits: tuple[Contrast, ...]

    @property
    def share(self) -> float:
        """Which part of everybody is in the segment, 0 to 1."""
        return self.members / self.customers


def describe(
    redis: str,
    namespace: str,
    segment: str,
    sample: int = SAMPLE,
    traits: Sequence[str] = (),
    progress: Progress | None = None,
) -> Persona:
    """The persona of a segment of the live generation, from at most `sample` members and as many of everybody.

    `sample` is 20 to 100,000; of many traits fewer are read. `traits` names those to compare, else it is all of them.
    Raises NotFound for an unknown segment or trait, for a segment of fewer than 20 members (a persona of few is a
    person) and before `init`, StoreRefused where customers are too rare among the keys of Redis to be found by a walk,
    UsageError for another size, ServerUnavailable without Redis.
    """
    if not MEMBERS_MIN <= sample <= SAMPLE_MAX:
        raise UsageError(f"a sample is of {MEMBERS_MIN} to {SAMPLE_MAX:,} customers, not {sample:,}")
    client = connect_sync(redis)
    try:
        generation = read_generation_sync(client, namespace, read_live_sync(client, namespace))
        definitions = parse_definitions(generation.definitions, f"generation {generation.name}")
        if segment not in definitions.by_segment:
            raise no_segment(segment, generation, definitions.by_segment)
        wanted = _wanted(traits, definitions, generation)
        sampler = Sampler(client, namespace, generation)
        counts = sampler.count_members(segment)
        _enough(segment, sum(counts))
        size = min(sample, VALUES_READ_MAX // max(1, len(wanted)))
        members = sampler.members(segment, counts, size)
        everybody = sampler.everybody(size)
        reader = _Reader(sampler, wanted, progress, len(members.entered) + len(everybody.profiles))
        ours = reader.read([profile for profile, _ in members.entered])
        all_ = reader.read(everybody.profiles, ours)
    finally:
        client.close()
    _enough(segment, ours.customers)
    if all_.customers < MEMBERS_MIN:
        raise StoreRefused(
            f"Redis holds so many other keys that a walk over them met only {all_.customers} customers to compare; "
            "a greater --sample walks further"
        )
    since = dict(members.entered)
    contrasts = (
        contrast(trait.name, kind_of_trait(trait), *columns)
        for trait, *columns in zip(wanted, ours.columns, all_.columns, strict=True)
    )
    return Persona(
        generation=generation,
        segment=definitions.by_segment[segment],
        members=members.total,
        customers=max(everybody.total, members.total),
        customers_exact=everybody.exact,
        members_read=ours.customers,
        everybody_read=all_.customers,
        due=ours.due + all_.due,
        member_for=middle(sorted(clock - since[profile] for profile, clock in ours.clocks.items())),
        currency=None if definitions.money is None else definitions.money.currency,
        amounts=amounts(definitions),
        traits=tuple(sorted(contrasts, key=lambda c: -c.telling)),
    )


def _wanted(names: Sequence[str], definitions: Definitions, generation: Generation) -> list[Trait]:
    """The traits of these names, or all, in the file's order."""
    for name in names:
        if name not in definitions.by_trait:
            raise NotFound(f"no trait `{name}` in generation {generation.name}{suggestion(name, definitions.by_trait)}")
    return [trait for trait in definitions.traits if not names or trait.name in names]


def persona_object(persona: Persona) -> dict[str, Any]:
    """The persona in the public form, ready for JSON (`describe.json` of the schemas)."""
    enter, leave = persona.segment.texts
    return {
        "segment": persona.segment.name,
        "generation": persona.generation.name,
        "description": persona.segment.description,
        "enter": enter,
        "exit": leave,
        "pacing": None if persona.segment.pacing is None else asdict(persona.segment.pacing),
        "members": persona.members,
        "customers": persona.customers,
        "customers_exact": persona.customers_exact,
        "share": persona.share,
        "sample": {"members": persona.members_read, "everybody": persona.everybody_read, "due": persona.due},
        "member_for_ms": _range_object(persona.member_for),
        "traits": [_contrast_object(one, persona) for one in persona.traits],
    }


def _contrast_object(one: Contrast, persona: Persona) -> dict[str, Any]:
    return {
        "name": one.name,
        "kind": one.kind,
        "shape": one.shape,
        "currency": persona.currency if one.name in persona.amounts else None,
        "telling": round(one.telling, 4),
        "absent": asdict(one.absent),
        "members": _range_object(one.members),
        "everybody": _range_object(one.everybody),
        "values": [{"value": named.value, **asdict(named.shares)} for named in one.named],
        "others": None if one.others is None else {"values": one.others.values, **_shares(one.others.shares)},
    }


def _range_object(found: Range | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def _shares(found: Shares | None) -> dict[str, Any]:
    return {"members": None, "everybody": None} if found is None else asdict(found)


def _enough(segment: str, members: int) -> None:
    if members < MEMBERS_MIN:
        raise NotFound(
            f"`{segment}` has {counted(members, 'member')}; a persona needs at least {MEMBERS_MIN}, "
            "as one of few would tell of single customers"
        )


class _Read:
    """What was read of one sample: how many customers, a column for each trait, each one's clock (ms), how many due."""

    def __init__(self, traits: int) -> None:
        self.customers = 0
        self.due = 0
        self.columns = [Column() for _ in range(traits)]
        self.clocks: dict[ProfileKey, int] = {}


class _Reader:
    """Reads the traits of samples; a profile that has gone meanwhile is left out."""

    def __init__(self, sampler: Sampler, traits: Sequence[Trait], progress: Progress | None, total: int) -> None:
        self._sampler = sampler
        self._names = [trait.name for trait in traits]
        self._times = [kind_of_trait(trait) == "time" for trait in traits]
        self._clocks = sampler.clocks()
        self._progress = progress
        self._total = total
        self._done = 0

    def read(self, profiles: Sequence[ProfileKey], like: _Read | None = None) -> _Read:
        """The traits of these profiles; what can be named of the sample `like` is counted in any case."""
        found = _Read(len(self._names))
        for column, other in zip(found.columns, like.columns if like else (), strict=False):
            column.look_for(other)
        fields = ("_as_of", "_valid_until", *self._names)
        for profile, (as_of, valid_until, *values) in self._sampler.fields(profiles, fields):
            self._done += 1
            if self._progress is not None and self._done % PROGRESS_EVERY == 0:
                self._progress(self._done, self._total)
            if as_of is None:
                continue
            clock = self._clock(profile, parse_time(as_of.decode()))
            found.customers += 1
            found.clocks[profile] = clock
            found.due += valid_until is not None and parse_time(valid_until.decode()) <= clock
            for column, is_time, text in zip(found.columns, self._times, values, strict=True):
                value = None if text is None else decode_value(text)
                column.add(clock - parse_time(value) if is_time and value is not None else value)
        return found

    def _clock(self, profile: ProfileKey, as_of: int) -> int:
        clock = self._clocks[profile.shard]
        return as_of if clock is None else max(as_of, clock)
