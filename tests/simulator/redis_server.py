"""The simulated Redis on its network: latencies, replies that never come, restarts, older dumps, failovers.

`SimulatedPipeline` stands in for `PipelinedConnection`, `SimulatedClient` for the redis-py client of an outbox. A request
that was sent reaches the server even when its sender has died since, as one in the kernel's buffers does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import ResponseError

from profilestream.core.errors import ServerUnavailable
from tests.simulator.redis_data import RedisData, Stream
from tests.simulator.timeline import Timeline

REPLY_TIMEOUT_S = 10.0
DUMPS_KEPT = 6
OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."
_WRITES = {b"EVAL", b"EVALSHA"}


class Server:
    """One Redis process; `up` is false once it was killed or its links were cut."""

    def __init__(self, line: Timeline, keys: dict[bytes, Any] | None = None) -> None:
        self.data = RedisData(keys)
        self.up = True
        self.links: list[SimulatedPipeline] = []
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
        self._line.later(timeout_s, _resolve, future)
        self._wake_readers()
        return future

    def _wake_readers(self) -> None:
        waiting = []
        for key, after, future in self._readers:
            stream = self.data.keys.get(key)
            if isinstance(stream, Stream) and stream.entries and stream.entries[-1][0] > after:
                _resolve(future)
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


async def open_pipeline(redis: Redis, line: Timeline) -> SimulatedPipeline:
    """As profilestream's own: raises ServerUnavailable."""
    try:
        return SimulatedPipeline(line, await redis.connect())
    except LostConnection:
        raise ServerUnavailable("the simulated Redis cannot be reached") from None


class SimulatedPipeline:
    """First in, first out, over one connection; see `PipelinedConnection`."""

    def __init__(self, line: Timeline, server: Server) -> None:
        self._line = line
        self._server = server
        self._pending: deque[tuple[asyncio.Future[Any], Callable[[Any], Any] | None]] = deque()
        self._arrives_s = self._replies_s = 0.0
        self._lost = False
        self._cut = False
        server.links.append(self)

    @property
    def closed(self) -> bool:
        return self._lost

    def send(self, *args: Any) -> asyncio.Future[Any]:
        return self.send_all(args)

    def send_all(self, args: Sequence[Any], convert: Callable[[Any], Any] | None = None) -> asyncio.Future[Any]:
        line = self._line
        future: asyncio.Future[Any] = line.loop.create_future()
        if self._lost:
            _fail(future, _unavailable())
            return future
        chaos, now_s = line.chaos, line.loop.time()
        self._pending.append((future, convert))
        self._arrives_s = max(self._arrives_s, now_s + chaos.latency_s())
        line.at(self._arrives_s, self._arrive, [_bytes(a) for a in args], future, now_s)
        return future

    async def ready(self) -> None:
        if self._lost:
            raise _unavailable()

    async def close(self) -> None:
        self.lose()

    def _arrive(self, args: list[bytes], future: asyncio.Future[Any], sent_s: float) -> None:
        line, chaos = self._line, self._line.chaos
        stalled_s = chaos.redis_stalled_until_s
        if line.loop.time() < stalled_s:
            line.at(sent_s + REPLY_TIMEOUT_S, self._overdue, future)
            line.at(stalled_s, self._arrive, args, future, sent_s)
            return
        if self._cut or not self._server.up:
            return
        if chaos.loses_request():
            line.tell("a request to Redis is lost")
            self._cut = True
            line.later(chaos.latency_s(), self.lose)
            return
        reply = self._server.execute(args)
        if line.traces:
            line.tell(f"Redis: {_shown(args)} -> {_shown_reply(reply)}")
        if chaos.loses_reply():
            line.tell("its reply is lost")
            self._cut = chaos.cuts_what_follows()
            line.later(chaos.latency_s(), self.lose)
            return
        self._replies_s = max(self._replies_s, line.loop.time() + chaos.latency_s())
        line.at(self._replies_s, self._reply, future, reply)

    def _reply(self, future: asyncio.Future[Any], reply: Any) -> None:
        if self._lost:
            return
        _, convert = self._pending.popleft()
        if future.done():
            return
        try:
            if convert is not None:
                reply = convert(reply)
            elif isinstance(reply, Exception):
                raise reply
        except Exception as error:
            _fail(future, error)
        else:
            future.set_result(reply)

    def _overdue(self, future: asyncio.Future[Any]) -> None:
        if not future.done():
            self.lose()

    def lose(self) -> None:
        """The connection is lost, or closed."""
        self._lost = True
        while self._pending:
            future, _ = self._pending.popleft()
            if not future.done():
                _fail(future, _unavailable())


class SimulatedClient:
    """The part of redis-py's client that an outbox uses; like it, it tries a command a second time."""

    def __init__(self, line: Timeline, redis: Redis) -> None:
        self._line = line
        self._redis = redis
        self._server: Server | None = None

    async def hmget(self, key: Any, *fields: str) -> Any:
        return await self._call("HMGET", key, *fields)

    async def xrange(self, key: Any, min: str = "-", max: str = "+", count: int | None = None) -> Any:
        limit = () if count is None else ("COUNT", count)
        entries = await self._call("XRANGE", key, min, max, *limit)
        return [(entry, dict(zip(fields[::2], fields[1::2], strict=True))) for entry, fields in entries]

    async def xread(self, streams: dict[Any, Any], count: int | None = None, block: int | None = None) -> Any:
        ((key, after),) = streams.items()
        server = await self._connected()
        await asyncio.sleep(self._line.chaos.latency_s())
        if not server.up:
            self._server = None
            raise LostConnection("connection closed")
        return await server.wait_for_entry(_bytes(key), _bytes(after), (block or 0) / 1000)

    async def evalsha(self, sha: str, *args: Any) -> Any:
        return await self._call("EVALSHA", sha, *args)

    async def eval(self, text: str, *args: Any) -> Any:
        return await self._call("EVAL", text, *args)

    async def xlen(self, key: Any) -> Any:
        return await self._call("XLEN", key)

    async def _connected(self) -> Server:
        if self._server is None:
            self._server = await self._redis.connect()
        return self._server

    async def _call(self, *args: Any) -> Any:
        request = [_bytes(a) for a in args]
        try:
            return await self._once(request)
        except LostConnection:
            self._server = None
            return await self._once(request)

    async def _once(self, request: list[bytes]) -> Any:
        server = await self._connected()
        future: asyncio.Future[Any] = self._line.loop.create_future()
        self._line.later(self._line.chaos.latency_s(), self._arrive, server, request, future)
        return await future

    def _arrive(self, server: Server, request: list[bytes], future: asyncio.Future[Any]) -> None:
        line, chaos = self._line, self._line.chaos
        if line.loop.time() < chaos.redis_stalled_until_s:
            line.at(chaos.redis_stalled_until_s, self._arrive, server, request, future)
            return
        reply: Any = LostConnection("connection closed")
        if server.up and not chaos.loses_request():
            reply = server.execute(request)
            if line.traces:
                line.tell(f"Redis: {_shown(request)} -> {_shown_reply(reply)}")
            if chaos.loses_reply():
                line.tell("its reply is lost")
                reply = LostConnection("connection closed")
        line.later(chaos.latency_s(), _settle, future, reply)


def _settle(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, Exception):
        _fail(future, reply)
    else:
        future.set_result(reply)


def _resolve(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    future.set_exception(error)
    future.exception()


def _unavailable() -> ServerUnavailable:
    return ServerUnavailable("the connection to the simulated Redis is lost")


def _bytes(argument: Any) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()


def _shown(args: list[bytes]) -> str:
    """A command in a trace; of a commit its ids, positions and customers."""
    name = args[0].decode()
    if name == "EVALSHA" and len(args) > 15 and b"state:" in b" ".join(args[7:9]) + b"head":
        keys = int(args[2])
        argv = args[3 + keys :]
        if len(argv) >= 14:
            customers = [k.rsplit(b":", 1)[1].decode() for k in args[7 : 3 + keys] if b":profile:" in k]
            expected, commit, sequence, clock, positions, stage = (argv[i].decode() for i in (0, 1, 2, 3, 4, 13))
            return (
                f"commit {commit} on {expected or 'nothing'}, number {sequence}, clock {clock}, {positions} "
                f"{stage} {' '.join(customers)}, {argv[12].decode()} changes"
            )
    return " ".join([name, *(a.decode("utf-8", "replace")[:60].replace("\n", " ") for a in args[1:7])])


def _shown_reply(reply: Any) -> str:
    return str(reply)[:100]
