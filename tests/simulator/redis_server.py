"""The simulated Redis: servers that restart, fail over and are set back, behind one address."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import ResponseError

from tests.simulator.redis_data import RedisData, Stream
from tests.simulator.timeline import Timeline

DUMPS_KEPT = 6
OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."
_WRITES = {b"EVAL", b"EVALSHA"}


class Link(Protocol):
    """A connection that ends with its server."""

    def lose(self) -> None:
        """The server is gone."""


class Server:
    """One Redis process; `up` is false once it was killed or its links were cut."""

    def __init__(self, line: Timeline, keys: dict[bytes, Any] | None = None) -> None:
        self.data = RedisData(keys)
        self.up = True
        self.links: list[Link] = []
        self._line = line
        self._readers: list[tuple[bytes, tuple[int, int], asyncio.Future[Any]]] = []

    def execute(self, args: list[bytes]) -> Any:
        """The reply to a command; an error is given, not raised."""
        chaos = self._line.chaos
        if args[0] in _WRITES and chaos.is_out_of_memory():
            return ResponseError(OUT_OF_MEMORY)
        try:
            reply = self.data.execute(args)
        except ResponseError as error:
            return error
        if self.data.written:
            self.data.written.clear()
            self._wake_readers()
        return reply

    def end(self) -> None:
        """It is gone, and with it every connection."""
        self.up = False
        for link in self.links:
            self._line.later(self._line.chaos.latency_s(), link.lose)
        self.links.clear()
        for _, _, future in self._readers:
            if not future.done():
                future.set_exception(LostConnection("connection closed"))
                future.exception()
        self._readers.clear()

    def wait_for_entry(self, key: bytes, after: bytes, timeout_s: float) -> asyncio.Future[Any]:
        """XREAD BLOCK: done when the stream has an entry above `after`, or after the time."""
        future: asyncio.Future[Any] = self._line.loop.create_future()
        first, _, second = after.partition(b"-")
        self._readers.append((key, (int(first), int(second or 0)), future))
        self._line.later(timeout_s, resolve, future)
        self._wake_readers()
        return future

    def _wake_readers(self) -> None:
        waiting = []
        for key, after, future in self._readers:
            stream = self.data.keys.get(key)
            if isinstance(stream, Stream) and stream.entries and stream.entries[-1][0] > after:
                resolve(future)
            if not future.done():
                waiting.append((key, after, future))
        self._readers = waiting


class Redis:
    """The address: which server answers there now, and what dumps there are."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self.server = Server(line)
        self.away_until_s = 0.0
        self.dumps: deque[dict[bytes, Any]] = deque(maxlen=DUMPS_KEPT)
        self.set_back = 0

    @property
    def is_away(self) -> bool:
        return self._line.loop.time() < self.away_until_s

    def dump(self) -> None:
        """Keeps what is there now."""
        self.dumps.append(self.server.data.copy())

    def restart(self, keys: dict[bytes, Any], away_s: float, old_lives_s: float) -> None:
        """Another server takes the address, with these keys; with `old_lives_s` the former still answers those
        who are connected to it, as a master does that has not heard of the failover."""
        old, self.server = self.server, Server(self._line, keys)
        self.away_until_s = self._line.loop.time() + away_s
        if old_lives_s:
            self._line.later(old_lives_s, old.end)
        else:
            old.end()

    def set_back_to_dump(self, which: int, away_s: float, old_lives_s: float) -> None:
        """An older dump, or nothing at all."""
        self.set_back += 1
        dump = self.dumps[which % len(self.dumps)] if self.dumps and which >= 0 else {}
        self.restart(RedisData(dump).copy(), away_s, old_lives_s)

    async def connect(self) -> Server:
        """The server that answers now; raises LostConnection when none does."""
        line = self._line
        await asyncio.sleep(line.chaos.latency_s())
        if self.is_away or line.chaos.refuses_connection():
            raise LostConnection("connection refused")
        return self.server


def resolve(future: asyncio.Future[Any]) -> None:
    """Ends a wait, once."""
    if not future.done():
        future.set_result(None)
