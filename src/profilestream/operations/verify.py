"""`verify`: customers' profiles recomputed from the log by the oracle and compared with what Redis holds.

    async with open_verification(settings, Asked(sample=1_000)) as verification:
        await verification.run()
    verification.tallies.is_right

Nothing is written. Workers, emitters and readers go on; `rate_max` bounds how much of Kafka it takes in production.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from profilestream.core.errors import UsageError
from profilestream.operations.archives import open_archive
from profilestream.operations.retention import Kept
from profilestream.operations.sizes import count_customers
from profilestream.operations.verification.choosing import HASHES, Choice
from profilestream.operations.verification.passes import Pace, Passes, Progress
from profilestream.operations.verification.tally import Tallies, tally_object
from profilestream.oracle.definitions import Definitions
from profilestream.settings import Settings
from profilestream.store.connection import AsyncClient, connect
from profilestream.store.metadata import Generation, read_generation, read_live
from profilestream.stream.archive import Archive
from profilestream.wire.times import format_time

SAMPLE: Final = 1_000
SEED_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be verified: a generation (None: the live one), about `sample` customers, all of them (None) or those
    of `ids`; of some shards (None: all). A `seed` chooses other customers for the sample; None draws one.
    What the log no longer has is read from an `archive`."""

    generation: str | None = None
    sample: int | None = SAMPLE
    ids: frozenset[str] | None = None
    shards: Sequence[int] | None = None
    rate_max: int | None = None
    archive: Path | None = None
    seed: int | None = None


class Verification:
    """One verification; made by `open_verification`. `shards_done` tells how far `run` came, also when cancelled."""

    def __init__(
        self,
        client: AsyncClient,
        settings: Settings,
        generation: Generation,
        asked: Asked,
        seed: int,
        total: int,
        archive: Archive | None,
    ) -> None:
        self.generation = generation
        self.seed = seed
        self.customers = total
        """How many customers the generation has."""
        self.sample = asked.sample if asked.ids is None else None
        self.named = None if asked.ids is None else len(asked.ids)
        only_shards, only_ids = generation.only.get("shards"), generation.only.get("customers")
        self.shards = _shards(only_shards if asked.shards is None else asked.shards, generation)
        self.shards_done: list[int] = []
        self.progress = Progress()
        choice = Choice(seed, ids=asked.ids)
        if asked.ids is None:
            below = HASHES if asked.sample is None else Choice.sample(seed, asked.sample, total).below
            choice = Choice(seed, below, None if only_ids is None else frozenset(only_ids))
        pace = Pace(asked.rate_max)
        self._passes = Passes(client, settings, generation, choice, pace, self.progress, archive)
        self._began_s = time.monotonic()

    @property
    def tallies(self) -> Tallies:
        """What was found."""
        return self._passes.tallies

    @property
    def kept(self) -> dict[int, list[Kept]]:
        """What the log still has of each shard that was read."""
        return self._passes.kept

    @property
    def elapsed_s(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began_s

    @property
    def is_complete(self) -> bool:
        """Whether every shard that was asked for is done."""
        return len(self.shards_done) == len(self.shards)

    async def run(self) -> None:
        """Verifies shard by shard; may be cancelled, what was found by then stands.

        Raises ServerUnavailable, LogMismatch where records are removed from the log while it is read.
        """
        for shard in self.shards:
            await self._passes.run(shard)
            self.shards_done.append(shard)

    def result(self) -> dict[str, Any]:
        """Everything found, ready for JSON."""
        tallies = self.tallies
        definitions = Definitions(self.generation.definitions)
        orders = {"trait": definitions.traits, "segment": [s.name for s in definitions.segments]}
        profiles = tallies.of("profile", "")
        return {
            "generation": self.generation.name,
            "definitions": self.generation.fingerprint,
            "right": tallies.is_right,
            "complete": self.is_complete,
            "shards": list(self.shards),
            "shards_done": self.shards_done,
            "seed": self.seed,
            "sample": self.sample,
            "named": self.named,
            "customers": {
                "total": self.customers,
                "checked": tallies.checked,
                "differing": tallies.differing,
                "due": tallies.due,
                "left_out": {reason: n for reason, n in sorted(tallies.left_out.items()) if n},
            },
            "profiles": tally_object("", profiles),
            **{
                f"{about}s": [tally_object(name, tally) for name, tally in tallies.named(about, orders.get(about, ()))]
                for about in ("trait", "segment", "field")
            },
            "log": [
                {
                    "shard": shard,
                    "topic": part.topic,
                    "begins": part.begins,
                    "begins_at": None if part.begins_ms is None else format_time(part.begins_ms),
                    "gone": part.gone,
                }
                for shard, kept in sorted(self.kept.items())
                for part in kept
                if part.gone
            ],
            "records": self.progress.records,
            "elapsed_s": round(self.elapsed_s, 3),
        }


@asynccontextmanager
async def open_verification(settings: Settings, asked: Asked) -> AsyncIterator[Verification]:
    """A verification that may begin.

    Raises NotFound for an unknown generation or before `init`, UsageError for a shard that there is none of or for no
    archive, ServerUnavailable without Redis.
    """
    assert settings.kafka is not None and settings.redis is not None
    client = connect(settings.redis)
    try:
        name = asked.generation or await read_live(client, settings.namespace)
        generation = await read_generation(client, settings.namespace, name)
        total = await count_customers(client, settings.namespace, generation)
        seed = secrets.randbelow(SEED_MAX) if asked.seed is None else asked.seed
        archive = await open_archive(settings, asked.archive)
        yield Verification(client, settings, generation, asked, seed, total, archive)
    finally:
        await client.aclose()


def _shards(asked: Sequence[int] | None, generation: Generation) -> tuple[int, ...]:
    if asked is None:
        return tuple(range(generation.shards))
    beyond = [n for n in asked if not 0 <= n < generation.shards]
    if beyond:
        raise UsageError(f"generation {generation.name} has shards 0 to {generation.shards - 1}, and none {beyond[0]}")
    return tuple(sorted(set(asked)))
