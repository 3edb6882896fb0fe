"""What the demo shows: a step at a time with its progress, then tables. Plain lines where no terminal is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from profilestream.cli import people
from profilestream.core.definitions import Definitions
from profilestream.operations.demo.bulk import Found
from profilestream.operations.demo.latency import Latency, percentile

_LINE_INTERVAL_S: Final = 1.0
_STEP_WIDTH: Final = 9


class Step:
    """A step under way: what it is doing, and how far it is."""

    def __init__(self, out: Console, name: str, total: int | None, bar: Progress | None) -> None:
        self._out = out
        self._name = name
        self._total = total
        self._bar = bar
        self._task: TaskID | None = None if bar is None else bar.add_task(name, total=total, what="")
        self._told = time.monotonic()
        self._count = 0
        self.done = ""

    def say(self, line: str) -> None:
        """One line about what is being done now."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, what=line)
        else:
            tell(self._out, self._name, line)

    def end(self) -> None:
        """What is said from now on stands in lines of its own."""
        self._bar = None

    def advance(self, count: int) -> None:
        """So many of the total are done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=count, what=f"{count:,}")
        elif time.monotonic() - self._told >= _LINE_INTERVAL_S and count not in (self._count, self._total):
            self._told, self._count = time.monotonic(), count
            tell(self._out, self._name, f"{count:,} of {self._total:,}")


@contextmanager
def step(out: Console, name: str, total: int | None = None) -> Iterator[Step]:
    """Shows a step while it runs, and at its end the line that it left in `done`."""
    if out.is_terminal:
        columns = [SpinnerColumn(), TextColumn(f"{{task.description:<{_STEP_WIDTH}}}")]
        if total is not None:
            columns.append(BarColumn())
        columns.append(TextColumn("{task.fields[what]}", markup=False))
        with Progress(*columns, console=out, transient=True) as bar:
            current = Step(out, name, total, bar)
            yield current
        current.end()
    else:
        current = Step(out, name, total, None)
        yield current
    tell(out, name, current.done)


def tell(out: Console, name: str, line: str) -> None:
    """One line of a step, at once."""
    out.print(Text.assemble((f"{name:<{_STEP_WIDTH}} ", "bold cyan"), line))
    out.file.flush()


def heading(out: Console, text: str) -> None:
    """A title with room above."""
    out.print()
    out.print(Text(text, style="bold cyan"))
    out.print()


def show_changes(out: Console, definitions: Definitions, found: Found) -> None:
    """How often customers entered and left each segment, and how many are in it."""
    rows = people.table("segment", "entered", "exited", "members now", "", right=("entered", "exited", "members now"))
    for segment in definitions.segments:
        mine = [change.change for change in found.changes if change.segment == segment.name]
        counts = (mine.count("entered"), mine.count("exited"), found.members[segment.name])
        rows.add_row(segment.name, *(f"{count:,}" for count in counts), segment.description)
    people.show(out, rows)


def show_latency(out: Console, latency: Latency) -> None:
    """Half of all, 99 of 100, the slowest, in ms."""
    numbers = ("p50", "p99", "slowest")
    rows = people.table("ms from sending an order", *numbers, right=numbers)
    for title, values in (
        ("to its profile in Redis", latency.to_redis_ms),
        ("to its change at a subscriber", latency.to_subscriber_ms),
    ):
        rows.add_row(title, *(f"{ms:,.1f}" for ms in (percentile(values, 50), percentile(values, 99), values[-1])))
    people.show(out, rows)
