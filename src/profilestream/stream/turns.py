"""Turns: of all shards of a worker few at once let time pass, in the order in which they asked.

When a million profiles are due at one midnight, every shard has work without end. A live event of one shard would wait
while all others advance a page of profiles each, and behind all their commits in Redis. With turns it waits for few.
"""

from __future__ import annotations

import asyncio
from collections import deque

Turn = asyncio.Future[None]
"""Done once it has come; to be given back in any case, whether or not it has come."""


class Turns:
    """`at_once` turns at most are out at a time."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: deque[Turn] = deque()

    def ask(self) -> Turn:
        """A turn, which may have come already."""
        turn: Turn = asyncio.get_running_loop().create_future()
        if self._free:
            self._free -= 1
            turn.set_result(None)
        else:
            self._waiting.append(turn)
        return turn

    def give_back(self, turn: Turn) -> None:
        """Ends a turn, or its waiting; the next in line has the place."""
        if not turn.done():
            self._waiting.remove(turn)
            turn.cancel()
            return
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._free += 1
