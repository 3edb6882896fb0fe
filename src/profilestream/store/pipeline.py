"""One connection on which many commands are under way at once.

redis-py's own pipeline waits for all replies before it sends again and packs in Python; a shard wants the
next commit on the wire while the former ones are being answered. Connecting, login, TLS and parsing are
redis-py's `Connection`; here are only the queue of those who wait for replies, and the limits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import hiredis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.sentinel
import redis.exceptions
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ..core.errors import ServerUnavailable
from .addresses import Address, parse_address
from .connection import (
    CONNECT_TIMEOUT_S,
    REPLY_TIMEOUT_S,
    client_options,
    connect,
    is_moved_away,
    reaching,
    sentinel_options,
    unavailable,
)

BYTES_IN_FLIGHT_MAX: Final = 8 * 1024 * 1024

# redis-py annotates only in part.
_Sentinel: Any = redis.asyncio.sentinel.Sentinel

Argument = str | bytes | int | float
Reply = Any
T = TypeVar("T")
Convert = Callable[[Reply], T]


class PipelinedConnection:
    """A first-in-first-out pipeline over one redis-py connection.

    `send` writes at once and gives a future; replies come in the order of sending. An error reply becomes
    the future's exception (`redis.exceptions.ResponseError`). When the connection is lost, or no reply
    came for `reply_timeout_s` though one is due, all pending futures get ServerUnavailable and `closed` is
    true from then on; to connect anew is the caller's affair. The same goes for a server that answers that
    it is no longer the one that has the keys. Belongs to one event loop.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        shown: str,
        *,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
        bytes_in_flight_max: int = BYTES_IN_FLIGHT_MAX,
    ) -> None:
        """Takes over a connected redis-py connection; `shown` is the address in error texts."""
        self._connection = connection
        self._shown = shown
        self._loop = asyncio.get_running_loop()
        # redis-py offers no call that writes without waiting, hence its StreamWriter (same name since 4.2).
        self._writer: asyncio.StreamWriter = connection._writer  # type: ignore[assignment]
        self._pending: deque[tuple[asyncio.Future[Any], Convert[Any] | None, int]] = deque()
        self._bytes_in_flight = 0
        self._bytes_in_flight_max = bytes_in_flight_max
        self._room = asyncio.Event()
        self._room.set()
        self._lost: ServerUnavailable | None = None
        self._reply_timeout_s = reply_timeout_s
        self._progress_at_s = self._loop.time()
        self._watch = self._loop.call_later(reply_timeout_s / 4, self._look_at_progress)
        self._reader = self._loop.create_task(self._read(), name="redis replies")

    @property
    def closed(self) -> bool:
        """Whether the connection is lost or closed; it stays so."""
        return self._lost is not None

    @property
    def bytes_in_flight(self) -> int:
        """Bytes of the commands that are not answered yet."""
        return self._bytes_in_flight

    def send(self, *args: Argument) -> asyncio.Future[Any]:
        """Sends one command; the future gets its reply (bytes are not decoded).

        A closed connection gives a future that has failed with ServerUnavailable already.
        """
        return self.send_all(args)

    def send_all(self, args: Sequence[Argument], convert: Convert[T] | None = None) -> asyncio.Future[T]:
        """As `send`, of one command given as a sequence.

        `convert` makes the result of the reply, or of the ResponseError that came instead; what it raises
        is the future's exception.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._lost is not None:
            _fail(future, self._lost)
            return future
        packed = hiredis.pack_command(args if isinstance(args, tuple) else tuple(args))
        if not self._pending:
            self._progress_at_s = self._loop.time()
        self._pending.append((future, convert, len(packed)))
        self._bytes_in_flight += len(packed)
        if self._bytes_in_flight >= self._bytes_in_flight_max:
            self._room.clear()
        self._writer.write(packed)
        return future

    async def ready(self) -> None:
        """Waits until less than `bytes_in_flight_max` is unanswered; whoever sends much waits here first.

        Raises ServerUnavailable when the connection is lost.
        """
        await self._room.wait()
        if self._lost is not None:
            raise self._lost

    async def close(self) -> None:
        """Closes the connection; pending futures get ServerUnavailable."""
        self._lose(ServerUnavailable(f"the connection to Redis at {self._shown} was closed"))
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._connection.disconnect(nowait=True)

    async def _read(self) -> None:
        """Hands each reply to the future that has waited longest."""
        connection, pending = self._connection, self._pending
        while self._lost is None:
            reply: Reply
            try:
                reply = await connection.read_response(disable_decoding=True, disconnect_on_error=False)
            except redis.exceptions.ResponseError as error:
                if is_moved_away(error):
                    self._lose(unavailable(self._shown, error))
                    return
                reply = error
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._lose(unavailable(self._shown, error))
                return
            self._progress_at_s = self._loop.time()
            if not pending:  # nothing was asked; the two sides no longer agree on what answers what
                self._lose(unavailable(self._shown, redis.exceptions.ConnectionError()))
                return
            future, convert, size = pending.popleft()
            self._bytes_in_flight -= size
            if self._bytes_in_flight < self._bytes_in_flight_max:
                self._room.set()
            if not future.done():
                _settle(future, convert, reply)

    def _look_at_progress(self) -> None:
        """A server that is frozen closes nothing; it shows by owing a reply for too long."""
        if self._lost is not None:
            return
        waited_s = self._loop.time() - self._progress_at_s
        if self._pending and waited_s > self._reply_timeout_s:
            self._lose(
                ServerUnavailable(f"Redis at {self._shown} has not answered for {waited_s:.0f} s; is it stopped?")
            )
            return
        self._watch = self._loop.call_later(self._reply_timeout_s / 4, self._look_at_progress)

    def _lose(self, error: ServerUnavailable) -> None:
        """From here on nothing is sent; all who wait learn it."""
        if self._lost is not None:
            return
        self._lost = error
        self._watch.cancel()
        self._writer.transport.abort()
        if asyncio.current_task() is not self._reader:
            self._reader.cancel()
        while self._pending:
            future, _, _ = self._pending.popleft()
            if not future.done():
                _fail(future, error)
        self._bytes_in_flight = 0
        self._room.set()


def _settle(future: asyncio.Future[Any], convert: Convert[Any] | None, reply: Reply) -> None:
    try:
        if convert is not None:
            reply = convert(reply)
        elif isinstance(reply, Exception):
            raise reply
    except Exception as error:
        _fail(future, error)
    else:
        future.set_result(reply)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Fails a future. Of many in flight usually one is looked at; the others must not complain in the log."""
    future.set_exception(error)
    future.exception()


async def open_pipeline(
    url: str,
    key: str = "",
    *,
    reply_timeout_s: float = REPLY_TIMEOUT_S,
    bytes_in_flight_max: int = BYTES_IN_FLIGHT_MAX,
) -> PipelinedConnection:
    """Connects to the server that takes writes for `key`.

    That is the server itself, the master that the sentinels name, or the primary that owns the key's slot
    in a cluster; it is asked anew at each call. Raises ServerUnavailable, and UsageError for an address
    that cannot be read.
    """
    address = parse_address(url)
    with reaching(address):
        connection: Any = await _connection_for(address, key)
        try:
            # The timeouts of single reads are off (a task a reply is too dear), so the whole has one.
            await asyncio.wait_for(connection.connect(), CONNECT_TIMEOUT_S + REPLY_TIMEOUT_S)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
    return PipelinedConnection(
        connection, address.shown, reply_timeout_s=reply_timeout_s, bytes_in_flight_max=bytes_in_flight_max
    )


async def _connection_for(address: Address, key: str) -> AbstractConnection:
    options = client_options(address, decode=False)
    options["socket_timeout"] = None
    options["retry"] = Retry(NoBackoff(), 0)
    if address.kind == "single":
        # The pool knows which of the address's options are a connection's and which its own.
        pool: Any = redis.asyncio.ConnectionPool.from_url(address.url, **options)
        pool.connection_kwargs["socket_timeout"] = None
        connection: AbstractConnection = pool.make_connection()
        return connection
    options["host"], options["port"] = await _server_for(address, key)
    return (SSLConnection if address.tls else Connection)(**options)


async def _server_for(address: Address, key: str) -> tuple[str, int]:
    """Host and port of the master (Sentinel) or of the primary of the key's slot (cluster)."""
    if address.kind == "sentinel":
        sentinel = _Sentinel(address.hosts, sentinel_kwargs=sentinel_options(address, Retry(NoBackoff(), 0)))
        try:
            host, port = await sentinel.discover_master(address.service)
            return str(host), int(port)
        finally:
            for one in sentinel.sentinels:
                await one.aclose()
    client = connect(address.url)
    assert isinstance(client, redis.asyncio.cluster.RedisCluster)
    try:
        await client.initialize()
        node = client.get_node_from_key(key)
        if node is None:
            raise ServerUnavailable(f"no server of the cluster at {address.shown} has the slot of a key")
        return str(node.host), int(node.port)
    finally:
        await client.aclose()
