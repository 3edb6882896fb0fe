"""An event loop with virtual time, in which processes can die or freeze between any two steps.

Ready callbacks run in the order in which they became ready, as in asyncio; what interleaves differently from seed to
seed are the latencies of what is simulated. A process is a value of a context variable that its tasks inherit. The
callbacks of a dead process are dropped, so that not even a `finally` runs: that is what `kill -9` does. Those of a
frozen one (SIGSTOP) are held back until it is thawed.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
CLOSE_TOGETHER = 1e-9


class Stuck(Exception):
    """Nothing can happen any more, or far too much does."""


class Handle:
    """A callback that waits for its turn."""

    __slots__ = ("args", "callback", "context", "is_cancelled")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled


class Process:
    """Something that can be killed and frozen; `fuse` is after how many more steps it dies by itself, if at all."""

    def __init__(self, loop: Loop, name: str, died: Callable[[Process], None]) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.fuse: int | None = None
        self.context = copy_context()
        self.context.run(PROCESS.set, self)
        self._loop = loop
        self._held: list[Handle] = []
        self._died = died

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begins a task of this process."""
        return self._loop.create_task(work, context=self.context.copy())

    def kill(self) -> None:
        """Ends it, whatever it is doing."""
        if self.alive:
            self.alive = False
            self._held.clear()
            self._died(self)

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        """Lets it go on with all that has become ready since."""
        self.frozen = False
        self._loop.hand_back(self._held)
        self._held = []

    def may_run(self, handle: Handle) -> bool:
        """Whether a callback of this process runs now; one of a frozen process is kept."""
        if not self.alive:
            return False
        if self.frozen:
            self._held.append(handle)
            return False
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.kill()
                return False
        return True


class Loop(asyncio.AbstractEventLoop):
    """The loop of one world. `errors` has what was raised where nobody looked."""

    def __init__(self) -> None:
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._count = 0
        self._now_s = 0.0
        self._closed = False
        # Tasks of dead processes are kept: collecting one would run its `finally` blocks.
        self._tasks: list[asyncio.Task[Any]] = []
        self.errors: list[str] = []
        self.outside = Context()
        self.steps = 0

    # What asyncio asks for

    def time(self) -> float:
        return self._now_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = Handle(callback, args, copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        handle = Handle(callback, args, copy_context() if context is None else context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._closed:
            return
        error = context.get("exception")
        self.errors.append(f"{context.get('message')}: {type(error).__name__ if error else ''} {error or ''}")

    # What the world asks for

    def outside_at(self, when: float, callback: Callable[..., Any], *args: Any) -> None:
        """Calls back at a time, whatever becomes of the process that asks."""
        self.call_at(when, callback, *args, context=self.outside)

    def outside_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        self.call_at(self._now_s + delay, callback, *args, context=self.outside)

    def hand_back(self, handles: list[Handle]) -> None:
        self._ready.extend(handles)

    def run(self, work: Coroutine[Any, Any, Any], steps_max: int) -> Any:
        """Runs until `work` is done and gives its result; raises Stuck when it cannot end."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(work, context=self.outside)
            ready, timers = self._ready, self._timers
            while not task.done():
                if not ready:
                    if not timers:
                        raise Stuck("nothing is left that could happen")
                    self._now_s = max(self._now_s, timers[0][0])
                    while timers and timers[0][0] <= self._now_s + CLOSE_TOGETHER:
                        handle = heapq.heappop(timers)[2]
                        if not handle.is_cancelled:
                            ready.append(handle)
                    continue
                self._step(ready.popleft())
                if self.steps > steps_max:
                    raise Stuck(f"{steps_max:,} steps and no end")
            return task.result()
        finally:
            self._closed = True
            asyncio._set_running_loop(None)
            for task in self._tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]

    def _step(self, handle: Handle) -> None:
        if handle.is_cancelled:
            return
        context = handle.context
        process = context.get(PROCESS)
        if process is not None and not process.may_run(handle):
            return
        self.steps += 1
        try:
            context.run(handle.callback, *handle.args)
        except Exception as error:
            self.call_exception_handler({"message": "a callback raised", "exception": error})
