"""`compare`: what a generation says otherwise than the live one, by trait and segment, and why.

Both are read in pages while they go on; two profiles are compared only where the same events are in both (`levels.py`)
and both hold at one instant. How many were left out is part of the answer.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from profilestream.core.errors import NotFound, UsageError
from profilestream.operations.comparison.levels import Levels, Page
from profilestream.operations.comparison.pairs import compare_pair
from profilestream.operations.comparison.reasons import Meanings
from profilestream.operations.comparison.result import Result, result_object
from profilestream.operations.generations import in_order
from profilestream.operations.sizes import count_customers
from profilestream.operations.verification.choosing import HASHES, Choice
from profilestream.operations.verify import SEED_MAX
from profilestream.settings import Settings
from profilestream.store.connection import AsyncClient, connect
from profilestream.store.keys import Keys, ShardKeys
from profilestream.store.metadata import Generation
from profilestream.store.snapshots import customers_of, read_snapshot
from profilestream.stream.generations import Generations, read_all
from profilestream.wire.definitions import parse_definitions

CUSTOMERS_A_PAGE: Final = 100


class Comparison:
    """One comparison; made by `open_comparison`. While it runs `looked_at` customers of about `total` are done."""

    def __init__(
        self,
        client: AsyncClient,
        settings: Settings,
        live: Generation,
        other: Generation,
        choice: Choice,
        customers: int,
        sample: int | None,
    ) -> None:
        self.live = live
        self.other = other
        self.found = Result()
        self.looked_at = 0
        self.total = customers if sample is None else min(sample, customers)
        self.sample = sample
        self.shard = 0
        self.shards_done = 0
        self.waited = 0
        self.behind: list[int] = []
        """The shards of which one generation stayed behind the other."""
        self.meanings = Meanings(live, other, _definitions(live), _definitions(other))
        only = other.only.get("shards")
        self.shards = list(range(live.shards)) if only is None else sorted(only)
        ids = other.only.get("customers")
        self._choice = Choice(choice.seed, choice.below, None if ids is None else frozenset(ids))
        self._client = client
        self._settings = settings
        self._began_s = time.monotonic()

    async def run(self) -> None:
        """Compares shard by shard; may be cancelled, what was found by then stands. Raises ServerUnavailable."""
        namespace = self._settings.namespace
        for shard in self.shards:
            self.shard = shard
            live, other = (Keys(namespace, g.name).shard(shard) for g in (self.live, self.other))
            levels = Levels(self._client, live, other)
            async for ids in self._pages(live):
                self._take(await levels.page(ids))
            async for ids in self._pages(other):
                # Whoever the live one has was compared with it already.
                there = (await read_snapshot(self._client, live, ids, ())).profiles
                unknown = [profile.customer_id for profile in there if not profile.is_there]
                if unknown:
                    self._take(await levels.page(unknown))
            self.waited += levels.waited
            if levels.stuck:
                self.behind.append(shard)
            self.shards_done += 1

    def result(self) -> dict[str, Any]:
        """Everything found, ready for JSON."""
        return {
            "live": self.live.name,
            "other": self.other.name,
            "definitions": [self.live.fingerprint, self.other.fingerprint],
            "complete": self.shards_done == len(self.shards),
            "sample": self.sample,
            "shards_behind": self.behind,
            **result_object(self.found, self.meanings),
            "elapsed_s": round(time.monotonic() - self._began_s, 3),
        }

    def _take(self, page: Page) -> None:
        found = self.found
        for live, other in page.pairs:
            if live.is_there and other.is_there:
                found.add(compare_pair(live, other, self.meanings))
            elif live.is_there or other.is_there:
                found.only_live += live.is_there
                found.only_other += other.is_there
        found.left_out["moving"] += len(page.moving)
        found.left_out["behind"] += len(page.behind)
        self.looked_at += len(page.pairs) + len(page.moving) + len(page.behind)

    async def _pages(self, keys: ShardKeys) -> AsyncIterator[list[str]]:
        page: list[str] = []
        async for customer_id in customers_of(self._client, keys):
            if self._choice.has(customer_id, self._choice.range):
                page.append(customer_id)
            if len(page) >= CUSTOMERS_A_PAGE:
                yield page
                page = []
        if page:
            yield page


@asynccontextmanager
async def open_comparison(settings: Settings, name: str | None, sample: int | None) -> AsyncIterator[Comparison]:
    """A comparison of a generation (None: the only other one) with the live one that may begin.

    Raises NotFound for an unknown generation or before `init`, UsageError where it is not clear which one is meant or
    the two cannot be compared, ServerUnavailable.
    """
    assert settings.kafka is not None and settings.redis is not None
    known = await read_all(settings.kafka, settings.generations_topic, settings.namespace)
    live, other = _both(known, settings.namespace, name)
    if live.shards != other.shards:
        raise UsageError(
            f"generation {live.name} has {live.shards} shards and {other.name} has {other.shards}; their positions are "
            "not comparable"
        )
    seed = secrets.randbelow(SEED_MAX)
    client = connect(settings.redis)
    try:
        customers = await count_customers(client, settings.namespace, live)
        choice = Choice(seed, HASHES) if sample is None else Choice.sample(seed, sample, max(1, customers))
        yield Comparison(client, settings, live, other, choice, customers, sample)
    finally:
        await client.aclose()


def _both(known: Generations, namespace: str, name: str | None) -> tuple[Generation, Generation]:
    live = known.live
    if live is None:
        raise NotFound(f"namespace `{namespace}` has no live generation; run `profilestream init` first")
    others = [g for g in in_order(known) if g.name != live.name and g.state != "dropping"]
    if name is None:
        if len(others) != 1:
            there = ", ".join(g.name for g in others) or "none"
            raise UsageError(f"name the generation to compare with {live.name}, the live one; there are: {there}")
        return live, others[0]
    if name == live.name:
        raise UsageError(f"generation {name} is the live one; name another")
    if name not in known.by_name:
        raise NotFound(f"namespace `{namespace}` has no generation `{name}`; see `profilestream generations`")
    return live, known.by_name[name]


def _definitions(generation: Generation) -> Any:
    return parse_definitions(generation.definitions, f"generation {generation.name}")
