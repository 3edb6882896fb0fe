"""Pages of members have everybody who stays, once and in order, whatever comes and goes between any two commands."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from profilestream.core.errors import UsageError
from profilestream.store.paging import Cursor, Entry, Order, page
from profilestream.store.steps import Command

KEYS = ("shard 0", "shard 1", "shard 2")
TIMES = (5, 5, 5, 5, 6, 7, 900)


class Sets:
    """Sorted sets by key, and the few commands by which they are read."""

    def __init__(self) -> None:
        self.members: dict[str, dict[bytes, int]] = {key: {} for key in KEYS}

    def answer(self, command: Command) -> Any:
        key, *args = command.args
        ordered = sorted((score, member) for member, score in self.members[key].items())
        if command.method == "zrange":
            first, last = args
            return [(member, float(score)) for score, member in ordered[first : last + 1]]
        if command.method == "zcount":
            return sum(_at_least(score, args[0]) and _at_most(score, args[1]) for score, _ in ordered)
        low, high = args if command.method == "zrangebyscore" else reversed(args)
        found = [(m, float(s)) for s, m in ordered if _at_least(s, low) and _at_most(s, high)]
        if command.method == "zrevrangebyscore":
            found.reverse()
        start = command.options["start"]
        return found[start : start + command.options["num"]]


def _at_least(score: int, bound: Any) -> bool:
    return bound == "-inf" or score >= int(bound)


def _at_most(score: int, bound: Any) -> bool:
    if isinstance(bound, str) and bound.startswith("("):
        return score < int(bound[1:])
    return bound == "+inf" or score <= int(bound)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("seed", range(15))
def test_who_stays_is_in_the_pages_once_and_in_order(seed: int, newest_first: bool) -> None:
    random = Random(seed)
    since, until = random.choice(((None, None), (5, 900), (6, None), (None, 6)))
    order = Order(newest_first, since, until)
    sets, staying = Sets(), set()
    for n in range(random.choice((3, 60, 400))):
        entry = Entry(random.choice(TIMES), b"stays %d" % n)
        sets.members[random.choice(KEYS)][entry.member] = entry.entered_at
        staying.add(entry)

    def stir() -> None:
        for _ in range(random.choice((0, 0, 3, 20))):
            held = sets.members[random.choice(KEYS)]
            passing = b"%s goes %d" % (random.choice((b"a", b"t")), random.randrange(40))
            if held.pop(passing, None) is None:
                held[passing] = random.choice(TIMES)

    count_max, last, seen = random.choice((1, 2, 10, 100)), None, []
    while True:
        steps = page(KEYS, count_max, order, last)
        try:
            commands = next(steps)
            while True:
                replies = [sets.answer(command) for command in commands]
                stir()
                commands = steps.send(replies)
        except StopIteration as done:
            found, more = done.value
        assert len(found) <= count_max and (found or not more)
        seen += found
        if not more:
            break
        last = found[-1]
    stayed = [entry for entry in seen if entry in staying]
    assert stayed == sorted((entry for entry in staying if order.has(entry)), reverse=newest_first)
    assert all(order.has(entry) for entry in seen)


def test_a_cursor_is_safe_in_a_shell_and_comes_back_as_it_was() -> None:
    for member in ("c42", "größe 😀", "a/b/c' \"$(x)", ""):
        cursor = Cursor("g1", True, Entry(-5, member.encode()))
        assert Cursor.parse(str(cursor)) == cursor
        assert all(c.isascii() and (c.isalnum() or c in "-_") for c in str(cursor))
    for text in ("", "nonsense", "Zw", "größe", "Z" * 5):
        with pytest.raises(UsageError, match="no cursor"):
            Cursor.parse(text)
