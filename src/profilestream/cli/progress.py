"""How far a long command has come, shown where a person looks on: a bar with rate and time left, on standard error."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

INTERVAL_S: Final = 0.2


class Reached(NamedTuple):
    """What is going on, and how much of how much is done; a total of 0 where it is not known."""

    stage: str
    done: int
    total: int


@asynccontextmanager
async def showing(reached: Callable[[], Reached], unit: str) -> AsyncIterator[None]:
    """While entered, a bar follows what `reached` tells; nothing is shown where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} " + unit + "{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)
    with Progress(*columns, console=console, transient=True) as bar:
        following = asyncio.create_task(_follow(bar, reached))
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


async def _follow(bar: Progress, reached: Callable[[], Reached]) -> None:
    task = bar.add_task("", total=None, rate="")
    stage, began_s = "", time.monotonic()
    while True:
        now = reached()
        if now.stage != stage:
            stage, began_s = now.stage, time.monotonic()
            bar.reset(task)
        elapsed_s = time.monotonic() - began_s
        rate = f", {now.done / elapsed_s:,.0f}/s" if now.done and elapsed_s > 1 else ""
        bar.update(task, description=now.stage, completed=now.done, total=now.total or None, rate=rate)
        await asyncio.sleep(INTERVAL_S)
