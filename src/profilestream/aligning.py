"""Aligning: a silent shard takes over, ahead of a promotion, the crossing numbers that subscribers know.

A generation in the making counts its own crossings. At its promotion every pair of customer and segment is compared
with what was announced (repair.py), and until that is done the shard folds nothing: with millions of pairs for minutes.
So while the shard stands where the live one is, whatever topic `announced` says is compared ahead of time, step by
step. Not before that: on its way few customers are where they will be, and all pairs that were announced would be kept
as different. Who is in, or out, as announced takes the announced number; nobody is told, and readers of a silent
generation are none. Of all others `repairs` keeps the announced number. Then the head's mark says up to where that was.
A promotion has left what was announced since, and what differs.

A crash between two commits leaves pairs that have the announced number already, below a mark that does not say so: they
are compared again.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from profilestream.core.engine import Engine
from profilestream.core.profile import Profile
from profilestream.settings import Settings
from profilestream.store.commits import Head, Mark, Note
from profilestream.store.profile_cache import ProfileCache
from profilestream.stream.announced import AnnouncedLog
from profilestream.stream.slices import Inbox

COMMITS_A_STEP: Final = 20
"""A step looks at so many commits' worth of records: the mark moves within seconds, also while a rate is kept to."""


@dataclass(slots=True)
class Agreed:
    """For one commit: profiles that took announced numbers, and what `repairs` is to keep and to forget."""

    looked_at: int
    profiles: dict[str, Profile]
    noted: list[Note]


class Alignment:
    """One shard's way along topic `announced`; `since` is where it has come to, `customers_max` says how many a commit
    may have."""

    def __init__(
        self, shard: int, head: Head, log: AnnouncedLog, settings: Settings, customers_max: Callable[[], int]
    ) -> None:
        self.since = head.announced.offset if head.announced is not None else 0
        self._shard = shard
        self._log = log
        self._settings = settings
        self._customers_max = customers_max
        self._looked_s = float("-inf")
        self._end = 0

    async def is_due(self, inbox: Inbox) -> bool:
        """Whether the shard is where the live one is, and enough was announced since; Kafka is asked now and then.

        Raises ServerUnavailable.
        """
        if not inbox.is_level():
            return False
        if self._end <= self.since and time.monotonic() - self._looked_s >= self._settings.align_interval_ms / 1000:
            self._looked_s = time.monotonic()
            end = await self._log.end(self._shard)
            if end - self.since >= self._settings.align_records_min:
                self._end = end
        return self._end > self.since

    async def step(self, cache: ProfileCache, engine: Engine, clock: int) -> AsyncIterator[Agreed]:
        """The next records, for a commit at a time; `since` has moved on when it ends. `clock` is the shard's (ms)."""
        until = min(self._end, self.since + COMMITS_A_STEP * self._customers_max())
        numbers = await self._log.numbers(self._shard, self.since, until)
        by_customer: dict[str, dict[str, int]] = {}
        for (customer_id, segment), number in numbers.items():
            by_customer.setdefault(customer_id, {})[segment] = number
        customers = list(by_customer)
        while customers:
            found, at_once = Agreed(0, {}, []), customers[: self._customers_max()]
            del customers[: len(at_once)]
            for customer_id, profile in (await cache.look_up(at_once)).items():
                announced = by_customer[customer_id]
                renumbered, differing = engine.agree(profile, announced, clock)
                found.looked_at += 1
                if renumbered:
                    found.profiles[customer_id] = profile
                found.noted += [
                    Note(customer_id, name, number, "differs" if name in differing else "told")
                    for name, number in announced.items()
                ]
            yield found
        self.since = until

    @property
    def mark(self) -> Mark:
        """For the head. No commit of this shard was announced there, so it names none."""
        return Mark(0, "0", self.since)
