"""Watches from outside whether the programs keep up: how long it takes after a fault until they do again.

At a moment they keep up when everything that was acknowledged to the producers a second earlier has been folded in
every shard, no shard is in repair, and no change has waited in an outbox for a second. A fault is repaired once they
have kept up for two seconds on end, and the time to repair is counted up to the beginning of those two seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import Any

import redis

from tests.chaos.feeding import SHARDS, Reached

POLL_S = 0.1
BEHIND_S = 1.0
STEADY_S = 2.0


class Watch:
    """Looks at the heads and outboxes of a generation again and again while `look` runs."""

    def __init__(self, store_client: Any, prefix: str, reached: Reached) -> None:
        self._client = store_client
        self._prefix = prefix
        self._reached = reached
        self._targets: dict[tuple[int, str], int] = {}
        self._firsts: dict[int, tuple[str, float]] = {}
        self._well_since: float | None = None
        self.behind: str = "nothing seen yet"

    async def look(self) -> None:
        """Goes on until cancelled."""
        told: deque[tuple[float, dict[tuple[int, str], int]]] = deque()
        while True:
            now = time.monotonic()
            told.append((now, dict(self._reached.offsets)))
            while told and told[0][0] <= now - BEHIND_S:
                self._targets = told.popleft()[1]
            try:
                self.behind = await asyncio.to_thread(self._behind)
            except redis.RedisError as error:
                self.behind = f"Redis: {type(error).__name__}"
            if self.behind:
                self._well_since = None
            elif self._well_since is None:
                self._well_since = time.monotonic()
            await asyncio.sleep(POLL_S)

    async def repaired(self, since: float, seconds_max: float) -> float | None:
        """Seconds from `since` until they kept up again, 0 where they never stopped to; None where they did not
        within `seconds_max`."""
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline:
            well = self._well_since
            # What a fault holds up is first seen `BEHIND_S` after it.
            if well is not None and time.monotonic() - max(well, since + BEHIND_S) > STEADY_S:
                return max(0.0, well - since)
            await asyncio.sleep(POLL_S)
        return None

    def _behind(self) -> str:
        """What is missing; nothing where they keep up."""
        with self._client.pipeline(transaction=False) as pipeline:
            for shard in range(SHARDS):
                pipeline.hgetall(f"{self._prefix}:{{{shard}}}:head")
                pipeline.xrange(f"{self._prefix}:{{{shard}}}:outbox", count=1)
            answers = pipeline.execute()
        now = time.monotonic()
        found = []
        for shard, (head, first) in enumerate(zip(answers[::2], answers[1::2], strict=True)):
            positions = json.loads(head.get("positions", "{}"))
            if "repair" in head:
                found.append(f"shard {shard} is in repair")
            for (number, name), offset in self._targets.items():
                reached = int(head.get(name, -1)) if name.startswith("o:") else positions.get(name, 0)
                if number == shard and reached < offset:
                    found.append(f"shard {shard} is at {reached} of {name} instead of {offset}")
            found += self._waits(shard, first[0][0] if first else None, now)
        return "; ".join(found)

    def _waits(self, shard: int, first: str | None, now: float) -> list[str]:
        """Whether the oldest change of an outbox has been there for too long."""
        if first is None:
            self._firsts.pop(shard, None)
            return []
        if self._firsts.get(shard, ("", 0.0))[0] != first:
            self._firsts[shard] = first, now
        if now - self._firsts[shard][1] < BEHIND_S:
            return []
        return [f"change {first} of shard {shard} waits in its outbox"]
