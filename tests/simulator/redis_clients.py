"""The simulated network to Redis: latencies, requests that are lost, replies that never come.

`SimulatedPipeline` stands in for `PipelinedConnection`, `SimulatedClient` for the redis-py client of an outbox. A
request that was sent reaches the server even when its sender has died since, as one in the kernel's buffers does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import ConnectionError as LostConnection

from profilestream.core.errors import ServerUnavailable
from tests.simulator.redis_server import Redis, Server
from tests.simulator.timeline import Timeline

REPLY_TIMEOUT_S = 10.0


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
