"""The end of tasks in which client libraries wait."""

from __future__ import annotations

import asyncio
from typing import Any, Final

AGAIN_S: Final = 1.0


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks, again and again until each has ended; what they raise is taken in.

    Once is not enough. A client library that awaits a task of its own which it has cancelled, and takes in its
    CancelledError, takes in one that came from outside at that instant too, as does `asyncio.wait_for` of Python 3.11
    when what it waits for is ready. The task would then go on as if nobody had asked.
    """
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()
