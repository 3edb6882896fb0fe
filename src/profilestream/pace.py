"""How fast a replay may read: so many records a second, of all shards of a process together."""

from __future__ import annotations

import asyncio
import time
from typing import Final

BURST_S: Final = 0.25
"""What was not used is kept for so long: a process that slept does not then read all at once."""

LOOK_S: Final = 1.0
"""So long at most a shard sleeps at a time, so that another rate counts soon."""


class Pace:
    """`rate` is records a second, None for no limit; it may be set at any time."""

    def __init__(self, rate: float | None = None) -> None:
        self.rate = rate
        self._free_s = 0.0

    async def take(self, records: int) -> None:
        """Waits until so many more records may be read. Whoever comes later waits behind."""
        if self.rate is None:
            return
        now_s = time.monotonic()
        begins_s = max(self._free_s, now_s - BURST_S)
        self._free_s = begins_s + records / self.rate
        left_s = begins_s - now_s
        while self.rate is not None and left_s > 0:
            await asyncio.sleep(min(left_s, LOOK_S))
            left_s = begins_s - time.monotonic()
