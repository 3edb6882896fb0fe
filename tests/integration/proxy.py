"""A TCP proxy before a server: it delays, withholds, swallows replies, goes away and comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
CHUNK_BYTES = 64 * 1024


class Proxy:
    """Forwards connections to 127.0.0.1:`target` until told otherwise; runs in a thread of its own.

    `requests` counts what matched `hold` or `lose_reply_to`, `bytes_down` what the server has sent in all.
    """

    def __init__(self, target: int) -> None:
        self.delay_s = 0.0
        self.requests = 0
        self.bytes_down = 0
        self.connections = 0
        self._target = target
        self._held: bytes | None = None
        self._lost: bytes | None = None
        self._dropping = False
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._gate = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self._server: asyncio.Server | None = None
        self.come_back()

    # What tests tell it

    def hold(self, pattern: bytes) -> None:
        """Withholds each request that has `pattern` in it, and what follows on its connection, until `release`."""
        self.requests = 0
        self._dropping = False
        self._on_loop(self._gate.clear)
        self._held = pattern

    def release(self) -> None:
        """Lets everything through that was held."""
        self._held = None
        self._on_loop(self._gate.set)

    def drop(self) -> None:
        """Breaks the connections of which something is held; it never reaches the server."""
        self._dropping = True
        self.release()

    def lose_reply_to(self, pattern: bytes) -> None:
        """The next request with `pattern` reaches the server; its connection breaks instead of the reply."""
        self.requests = 0
        self._lost = pattern

    def go_away(self) -> None:
        """Breaks every connection and takes no new ones."""
        self._run(self._go_away())

    def come_back(self) -> None:
        """Takes connections (again), at the same port."""
        self._run(self._listen())

    def close(self) -> None:
        """Ends it, and what goes through it."""
        self.release()
        self.go_away()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    # In the thread

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _on_loop(self, call: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(call)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=CHUNK_BYTES)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _go_away(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    async def _end(self) -> None:
        """Ends what still serves: a task left pending is complained of in whichever test collects it."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(to_client)
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target, limit=CHUNK_BYTES)
        except OSError:
            to_client.transport.abort()
            self._open.discard(to_client)
            return
        self._open.add(to_server)
        lost = asyncio.Event()
        up = asyncio.ensure_future(self._up(client, to_server, lost))
        down = asyncio.ensure_future(self._down(server, to_client, lost))
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        for writer in (to_client, to_server):
            writer.transport.abort()
            self._open.discard(writer)

    async def _up(self, client: asyncio.StreamReader, server: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await client.read(CHUNK_BYTES):
                if self._held is not None and self._held in data:
                    self.requests += 1
                    await self._gate.wait()
                    if self._dropping:
                        return
                if self._lost is not None and self._lost in data:
                    self.requests += 1
                    self._lost = None
                    lost.set()
                server.write(data)
                await server.drain()

    async def _down(self, server: asyncio.StreamReader, client: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        sending = asyncio.ensure_future(self._send_when_due(queue, client))
        try:
            with suppress(OSError):
                while data := await server.read(CHUNK_BYTES):
                    if lost.is_set():
                        return
                    self.bytes_down += len(data)
                    await queue.put((self._loop.time() + self.delay_s, data))
        finally:
            sending.cancel()

    async def _send_when_due(self, queue: asyncio.Queue[tuple[float, bytes]], client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                due, data = await queue.get()
                if (pause_s := due - self._loop.time()) > 0:
                    await asyncio.sleep(pause_s)
                client.write(data)
                await client.drain()
