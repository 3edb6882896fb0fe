"""The relays that run in one emitter: one for each shard that it is assigned, all of the live generation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

from profilestream.stream.endings import end_tasks
from profilestream.stream.relay import ShardRelay

RELAY_STOP_S_MAX = 5.0


class Live(NamedTuple):
    """The generation that readers use, how many shards it has, and since which turn it is live."""

    generation: str
    shards: int
    turn: int = 1


class Crew:
    """Starts and ends relays so that they match the assignment and the live generation.

    `make` gives the relay of a shard, or `None` for a partition that is no shard.
    """

    def __init__(self, make: Callable[[Live, int], ShardRelay | None]) -> None:
        self._make = make
        self._lock = asyncio.Lock()
        self._live: Live | None = None
        self._shards: frozenset[int] = frozenset()
        self._running: dict[int, tuple[ShardRelay, asyncio.Task[None]]] = {}
        self._failure: BaseException | None = None
        self._closed = False

    async def assign(self, shards: Iterable[int]) -> None:
        """Run relays for exactly these shards; returns when those of others have ended."""
        self._shards = frozenset(shards)
        async with self._lock:
            await self._end(self._running.keys() - self._shards)
            self._begin()

    async def follow(self, live: Live) -> None:
        """Announce this generation; when it is another than before, every relay starts anew."""
        if live == self._live:
            return
        async with self._lock:
            await self._end(self._running.keys())
            self._live = live
            self._begin()

    async def close(self) -> None:
        """End all relays and start none any more."""
        self._closed = True
        await self.assign(())

    def raise_failures(self, *, mismatches: bool) -> None:
        """Raise what ended a relay (a bug), and, if asked for, what makes a shard stand still."""
        if self._failure is not None:
            raise self._failure
        for relay, task in self._running.values():
            if task.done():
                task.result()
            if mismatches and relay.mismatch is not None:
                raise relay.mismatch

    def _begin(self) -> None:
        if self._live is None or self._closed:
            return
        for shard in self._shards - self._running.keys():
            if (relay := self._make(self._live, shard)) is not None:
                self._running[shard] = relay, asyncio.create_task(relay.run())

    async def _end(self, shards: Iterable[int]) -> None:
        """Let each finish its transaction; one that takes too long is cut off, and Kafka aborts for it."""
        ending = [self._running.pop(shard) for shard in list(shards)]
        if not ending:
            return
        for relay, _ in ending:
            relay.stop()
        tasks = {task for _, task in ending}
        _, late = await asyncio.wait(tasks, timeout=RELAY_STOP_S_MAX)
        await end_tasks(*late)
        for task in tasks:
            if not task.cancelled() and task.exception() is not None:
                self._failure = task.exception()
