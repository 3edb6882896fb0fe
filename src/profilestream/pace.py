"""How fast a replay may read: so many records a second, of all shards of a process together."""

from __future__ import annotations

import asyncio
import time
from typing import Final

BURST_S: Final = 0.25
"""What was not used is kept for so long: a process that slept does not then read all at once."""

LOOK_S: Final = 1.0
"""So long at most a shard sleeps at a time, so that another rate counts soon."""


SLICE_S: Final = 0.02
"""A held replay writes at most what so much time has of its rate at once: Redis does one thing after the other, and a
commit of hundreds of profiles keeps live events and readers waiting for milliseconds."""

SLICE_MIN: Final = 10


class Pace:
    """`rate` is records a second, None for no limit; it may be set at any time, and counts at once for who waits."""

    def __init__(self, rate: float | None = None) -> None:
        self._rate = rate
        self._asked = self._free = 0.0
        self._at_s = time.monotonic()

    @property
    def rate(self) -> float | None:
        return self._rate

    @rate.setter
    def rate(self, rate: float | None) -> None:
        self._pass_time()
        self._rate = rate

    def slice(self, customers_max: int) -> int:
        """How many customers one commit may have, of so many at most."""
        if self.rate is None:
            return customers_max
        return min(customers_max, max(SLICE_MIN, int(self.rate * SLICE_S)))

    async def take(self, records: int) -> None:
        """Waits until so many more records may be read. Whoever comes later waits behind."""
        self._pass_time()
        before = self._asked
        self._asked += records
        while self._rate is not None and self._free < before:
            await asyncio.sleep(min((before - self._free) / self._rate, LOOK_S))
            self._pass_time()

    def _pass_time(self) -> None:
        """Frees what the time since the last look allows, in records counted from the beginning."""
        now_s = time.monotonic()
        if self._rate is None:
            self._free = self._asked
        else:
            freed = self._free + (now_s - self._at_s) * self._rate
            self._free = min(freed, self._asked + BURST_S * self._rate)
        self._at_s = now_s
