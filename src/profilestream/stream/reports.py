"""Lines for a person who watches a long-running command: few, and each once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError, ResponseError

from profilestream.core.counting import counted
from profilestream.store.addresses import parse_address
from profilestream.store.connection import is_moved_away
from profilestream.store.connection import unavailable as redis_unavailable
from profilestream.store.shard_store import reason
from profilestream.stream.topics import unavailable as kafka_unavailable

_QUIET_S = 60.0
_LINES_MAX = 100


class Troubles:
    """What the parts of a worker meet and try again: each said once, however many of them meet it and how often, and
    once more when the last of them goes on."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._met: dict[str, set[object]] = {}

    def begin(self, part: object, line: str, next: str) -> None:
        """A part met what `line` says, and does `next`. A server that a line names first ("Redis at host:port ...")
        is one trouble, however its loss shows."""
        name = _server(line) or line
        parts = self._met.setdefault(name, set())
        if not parts:
            self._report(f"{line}; {next}")
        if len(self._met) <= _LINES_MAX:
            parts.add(part)

    def over(self, part: object) -> None:
        """A part does its work (again)."""
        for name in self._without(part):
            self._report(f"{name} answers again" if _server(name) else f"settled: {name}")

    def leave(self, part: object) -> None:
        """A part is no longer here; that settles nothing."""
        self._without(part)

    def _without(self, part: object) -> list[str]:
        """Takes a part out; gives the troubles that nobody has any more."""
        if not self._met:
            return []
        left = []
        for name, parts in self._met.items():
            if part in parts:
                parts.remove(part)
                if not parts:
                    left.append(name)
        for name in left:
            del self._met[name]
        return left


def named(error: BaseException, kafka: str | None, redis: str | None) -> str:
    """What an error says, without a full stop; the client libraries' own become ours, which name the server."""
    if isinstance(error, KafkaError):
        error = kafka_unavailable(str(kafka), error)
    elif isinstance(error, ResponseError) and not is_moved_away(error):
        return f"Redis refuses: {reason(str(error))}"
    elif isinstance(error, RedisError | OSError):
        error = redis_unavailable(parse_address(str(redis)).shown, error)
    return str(error).strip().rstrip(".") or type(error).__name__


_SERVER = re.compile(r"(Kafka|Redis) at (?:[a-z+]+://)?([^/\s]+)")


def _server(line: str) -> str | None:
    """The server that a line names first, the same whether by its address or by its URL."""
    found = _SERVER.match(line)
    return f"{found[1]} at {found[2]}" if found else None


class Outages:
    """Says that a server is lost once, however many tasks find out and how, and once that work goes on."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._last: dict[str, float] = {}
        self._told = False

    def begin(self, line: str) -> None:
        """A task lost the server that `line` names first ("Kafka at host:port ..."); said unless that one was
        lost within the last minute already."""
        server = _server(line) or line
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
        self._report(f"announced {counted(announced, 'change')} in {counted(transactions, 'transaction')}{rest}")
