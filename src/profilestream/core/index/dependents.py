"""Who looks at a value, and under which guard (`comparisons.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from profilestream.core.index.comparisons import Group, Guard
from profilestream.core.index.owners import Owners, Sweep


class _Guarded(NamedTuple):
    """Who looks at a value under one guard: by the guard's tokens, and the numbers that any of them look at."""

    guard: Group
    one: bool
    by_token: dict[Any, Owners]
    numbers: tuple[int, ...]


class Dependents:
    """Who looks at one value: always, or only while their guard may be true."""

    __slots__ = ("_by_guard", "_free", "_guarded", "_sweep")

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._by_guard: dict[Group, dict[Any, Owners]] = {}
        self._free: Owners | None = None
        self._guarded: tuple[_Guarded, ...] = ()

    def add(self, at: int, segment: int, rising: bool, guard: Guard | None) -> None:
        for owners in self._owners(guard):
            (owners.rise_at if rising else owners.fall_at).append((at, segment))

    def _owners(self, guard: Guard | None) -> Iterator[Owners]:
        if guard is None:
            self._free = self._free or Owners()
            yield self._free
            return
        group, tokens = guard
        by_token = self._by_guard.setdefault(group, {})
        for each in tokens:
            if each not in by_token:
                by_token[each] = Owners()
            yield by_token[each]

    def close(self) -> None:
        if self._free is not None:
            self._free.close()
        guarded = []
        for guard, by_token in self._by_guard.items():
            for owners in by_token.values():
                owners.close()
            numbers = {n for owners in by_token.values() for at in (owners.rise_at, owners.fall_at) for n in at}
            guarded.append(_Guarded(guard, guard.stands_for_one, by_token, tuple(sorted(numbers))))
        self._guarded, self._by_guard = tuple(guarded), {}

    def moved(self, old: Any, new: Any, places: list[Any], suspects: set[int]) -> None:
        """Adds the segments whose comparisons may differ between two positions."""
        sweep, reaches = self._sweep
        if self._free is not None:
            sweep(self._free, old, new, suspects)
        for guard, one, by_token, numbers in self._guarded:
            if not reaches(numbers, old, new):
                continue
            if one:
                owners = by_token.get(places[guard.place])
                if owners is not None:
                    sweep(owners, old, new, suspects)
                continue
            for each in guard.active(places[guard.place], by_token):
                owners = by_token.get(each)
                if owners is not None:
                    sweep(owners, old, new, suspects)
