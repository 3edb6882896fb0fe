"""Simulated customers, live beside the history: where CDNOW's orders end, a year of theirs goes on.

They are of the kinds that the shipped examples are about, and the definitions are the examples' own, put into one
file with the demo's. The generator knows who must be a member at the end; the naive computation says what the passing
of that year does to CDNOW's customers, who order no more.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Final

from profilestream.core.definitions import Definitions
from profilestream.core.errors import ProfilestreamError
from profilestream.operations.changes import read_changes
from profilestream.operations.demo import orders
from profilestream.operations.demo.bulk import Found, Progress
from profilestream.operations.demo.check import DemoDiffers
from profilestream.operations.simulate import send
from profilestream.settings import Settings
from profilestream.simulation import Known, Plan, Record, knowledge, simulate
from profilestream.simulation.people import SEGMENT
from profilestream.store.keys import shard_of
from profilestream.wire.changes import SegmentChange

PLAN: Final = Plan(customers=60, days=365, until_ms=930_787_200_000, seed=7, kinds=tuple(SEGMENT))
"""Until 1999-07-01: the simulated year begins the day after CDNOW's last order."""
EVENTS_PER_S: Final = 2_500.0


@dataclass(frozen=True, slots=True)
class Live:
    """The simulated records in order of time, and what is known of each customer."""

    records: Sequence[Record]
    known: Sequence[Known]

    def clocks(self, before: Mapping[int, int], shards: int) -> dict[int, int]:
        """Where each shard's time stops once all of it is folded (ms)."""
        clocks = dict(before)
        for record in self.records:
            shard = shard_of(record.customer_id, shards)
            clocks[shard] = max(clocks.get(shard, record.arrival_ms), record.arrival_ms)
        return clocks

    def counts(self, definitions: Definitions) -> dict[str, int]:
        """How many records each topic gets."""
        topics = {s.type_name: s.topic for s in definitions.sources}
        return dict(Counter(topics[record.type_name] for record in self.records))


def prepare() -> Live:
    """Simulates the year."""
    return Live(list(simulate(PLAN)), list(knowledge(PLAN)))


def definitions_text() -> str:
    """The demo's definitions with the examples' types, facts, streams, traits and personas.

    Raises ProfilestreamError where two of them give one name two meanings.
    """
    text = orders.definitions_text()
    merged: dict[str, dict[str, Any]] = {name: {} for name in ("types", "attributes", "streams", "traits", "segments")}
    own = tomllib.loads(text)
    for kind, segment in SEGMENT.items():
        example = tomllib.loads((files("profilestream") / "examples" / kind / "definitions.toml").read_text("utf-8"))
        example["segments"] = {segment: example["segments"][segment]}
        for table, entries in merged.items():
            for name, value in example.get(table, {}).items():
                if own.get(table, {}).get(name, entries.get(name, value)) != value:
                    raise ProfilestreamError(
                        f"the examples give `{name}` of [{table}] two meanings; install them again"
                    )
                if name not in own.get(table, {}):
                    entries[name] = value
    for table in ("streams", "traits"):
        text = text.replace(f"[{table}]\n", f"[{table}]\n{_lines(merged[table])}\n", 1)
    parts = [text, "\n[attributes]\n", _lines(merged["attributes"])]
    for name, table in (*_named("types", merged), *_named("segments", merged)):
        parts.append(f"\n[{name}]\n{_lines(table)}")
    return "".join(parts)


async def stream(
    settings: Settings, definitions: Definitions, live: Live, show: Callable[[SegmentChange], None], progress: Progress
) -> int:
    """Sends the year, so many events a second, and shows changes of the personas as they are announced."""
    personas = set(SEGMENT.values())

    async def watch() -> None:
        received: AsyncIterator[Any] = read_changes(settings, follow=True)
        async with aclosing(received):  # type: ignore[type-var]
            async for one in received:
                if one.segment in personas:
                    show(one)

    watching = asyncio.create_task(watch())
    try:
        return await send(str(settings.kafka), definitions, SEGMENT, live.records, EVENTS_PER_S, progress)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def of_history(found: Found, customers: Sequence[str]) -> Found:
    """What came out for CDNOW's customers alone."""
    theirs = {name: found.profiles[name] for name in customers}
    members = Counter(segment for profile in theirs.values() if profile is not None for segment in profile.segments)
    names = set(customers)
    return replace(
        found,
        profiles=theirs,
        members=members,
        changes=[change for change in found.changes if change.customer_id in names],
    )


def check(live: Live, found: Found) -> None:
    """Raises DemoDiffers unless every simulated customer came to what the generator knows."""
    wrong: Counter[str] = Counter()
    last = {(c.customer_id, c.segment): c.change for c in found.changes}
    for known in live.known:
        profile = found.profiles.get(known.customer_id)
        if profile is None:
            wrong["simulated customers without a profile"] += 1
            continue
        wrong["simulated customers whose events differ"] += profile.revision != known.events
        wrong["simulated customers whose orders differ"] += profile.traits.get("orders") != known.orders
        wrong["simulated customers whose spending differs"] += profile.traits.get("total_spend") != known.spend_minor
        inside = known.segment in profile.segments
        wrong["personas that differ from the generator's knowledge"] += inside != known.member
        announced = last.get((known.customer_id, known.segment), "exited") == "entered"
        wrong["personas announced other than they are"] += inside != announced
    differences = [f"{what}: {count:,}" for what, count in wrong.items() if count]
    if differences:
        raise DemoDiffers(differences)


def _named(table: str, merged: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Any]]:
    return [(f"{table}.{name}", value) for name, value in merged[table].items()]


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in table.items())


def _value(value: Any) -> str:
    """A text, or a table of texts, as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_value(item)}" for name, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
