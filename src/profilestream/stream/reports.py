"""Lines for a person who watches a long-running command: few, and each once."""

from __future__ import annotations

import time
from collections.abc import Callable

_QUIET_S = 60.0
_LINES_MAX = 100


class Outages:
    """Says that a server is lost once, however many tasks find out and how, and once that work goes on."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._last: dict[str, float] = {}
        self._told = False

    def begin(self, line: str) -> None:
        """A task lost the server that `line` names first ("Kafka at host:port ..."); said unless that one was
        lost within the last minute already."""
        server = " ".join(line.split(" ", 3)[:3])
        now = time.monotonic()
        if now - self._last.get(server, -_QUIET_S) >= _QUIET_S:
            self._report(f"{line}; trying again")
            self._told = True
        if len(self._last) >= _LINES_MAX:
            self._last.clear()
        self._last[server] = now

    def over(self) -> None:
        """A task does its work (again)."""
        if self._told:
            self._told = False
            self._report("announcing again")


class StatusLine:
    """A line with the counters of an emitter, when they changed, at most every `interval_s`."""

    def __init__(self, report: Callable[[str], None], interval_s: float) -> None:
        self._report = report
        self._interval_s = interval_s
        self._next = time.monotonic() + interval_s
        self._shown = (0, 0)

    def show(self, announced: int, transactions: int, waiting: int | None, *, last: bool = False) -> None:
        """Tell the counters if it is time, or if it is the `last` time; `waiting` changes where known."""
        now = time.monotonic()
        if (announced, transactions) == self._shown or (now < self._next and not last):
            return
        self._shown = (announced, transactions)
        self._next = now + self._interval_s
        rest = "" if waiting is None else f"; {waiting:,} waiting"
        changes = "1 change" if announced == 1 else f"{announced:,} changes"
        batches = "1 transaction" if transactions == 1 else f"{transactions:,} transactions"
        self._report(f"announced {changes} in {batches}{rest}")
