"""Things that name one another: an order in which each comes behind all that it names, and circles, of which there is
no such order. Nothing here recurses, so chains may be of any length."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence


def by_dependence(named: Mapping[str, Sequence[str]]) -> list[str]:
    """Every name behind all those that it names, else in their order; those on a circle, and behind one, are left out.

    `named` has for each name those that it names; one that is not a key counts as there.
    """
    waits_for = {name: {n for n in names if n in named} for name, names in named.items()}
    followers: dict[str, list[str]] = {}
    for name, others in waits_for.items():
        for other in others:
            followers.setdefault(other, []).append(name)
    names, places = list(named), {name: place for place, name in enumerate(named)}
    ready = [places[name] for name, others in waits_for.items() if not others]
    ordered = []
    while ready:
        name = names[heapq.heappop(ready)]
        ordered.append(name)
        for follower in followers.get(name, ()):
            waits_for[follower].discard(name)
            if not waits_for[follower]:
                heapq.heappush(ready, places[follower])
    return ordered


def circles(named: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Circles that have no name in common, if there are any; each from its first name on to that name again."""
    left = set(named).difference(by_dependence(named))
    # What is left waits for something that is left too: a way along it never ends but where it was before.
    following = {name: next(n for n in named[name] if n in left) for name in named if name in left}
    places = {name: place for place, name in enumerate(named)}
    seen: set[str] = set()
    for start in following:
        way: dict[str, int] = {}
        name = start
        while name not in seen:
            seen.add(name)
            way[name] = len(way)
            name = following[name]
        if name in way:
            circle = list(way)[way[name] :]
            first = circle.index(min(circle, key=places.__getitem__))
            yield [*circle[first:], *circle[:first], circle[first]]
