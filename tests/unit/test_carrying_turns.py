"""In what order the customers of a shard have their turn to be carried, while others come and the shard begins anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from profilestream.carrying import Carry
from profilestream.core.profile import Profile
from profilestream.settings import Settings
from profilestream.store.commits import Carriage, Head, Membership
from profilestream.store.walk import Page
from profilestream.stream.slices import Inbox


class ListOf:
    """A shard whose customers come and go; nobody has a state."""

    def __init__(self, *names: bytes) -> None:
        self.names = set(names)

    async def customers(self, after: str) -> list[bytes]:
        return sorted(name for name in self.names if name > after.encode())

    async def page(self, customers: Sequence[bytes], *_: Any) -> Page:
        return Page(Head(), [None] * len(customers), [])


class Cache:
    """Profiles of which each has entered segment `s` just now."""

    async def look_up(self, names: Iterable[str]) -> dict[str, Profile]:
        found = {name: Profile(name, [], [], []) for name in names}
        for profile in found.values():
            profile.members = {"s": [1, 1]}
        return found

    def replace(self, profiles: Any) -> None:
        return None


async def test_whose_turn_it_was_is_told_by_the_id_whoever_came_since_the_list_was_read() -> None:
    former: Any = SimpleNamespace(topics=set(), engine=SimpleNamespace(definitions=SimpleNamespace(segments=())))
    counted_in_turn = list[str]()
    walk, own, cache, turns = ListOf(b"b", b"d"), ListOf(b"dd"), Cache(), list[str]()

    def begin(carriage: Carriage) -> Carry:
        return Carry(former, walk, own, carriage, [], Settings(), dict, lambda: 1)  # type: ignore[arg-type]

    def counted(carry: Carry, *customers: str) -> list[str]:
        memberships = [Membership("s", customer, 1, True) for customer in customers]
        carry.discount(memberships)
        return [m.customer_id for m in memberships if m.counted]

    async def next_turn(carry: Carry) -> None:
        await carry.limits()
        assert carry.is_level(Inbox({}))
        part = await carry.part(cache, 0)  # type: ignore[arg-type]
        carry.passed(part)
        turns.append("done" if part.carriage.done else part.carriage.after)
        counted_in_turn.extend(m.customer_id for m in part.memberships)

    carry = begin(Carriage())
    assert counted(carry, "a", "b") == []  # nothing is listed yet
    await next_turn(carry)
    walk.names |= {b"a", b"c", b"e"}
    assert counted(carry, "a", "b", "c", "d", "e") == ["a", "b"]
    carry = begin(carry.carriage)  # a kill
    await carry.limits()
    assert counted(carry, "a", "b", "c", "d", "e") == ["a", "b"]
    walk.names |= {b"cc", b"f"}
    assert counted(carry, "cc") == []  # is passed over with d's turn
    for _ in range(2):
        await next_turn(carry)
    assert counted(carry, "cc") == ["cc"]
    while not carry.is_done:
        await next_turn(carry)
    assert turns == ["b", "c", "d", "dd", "e", "f", "done"]
    assert counted_in_turn == ["b", "a", "c", "d", "cc", "dd", "e", "f"]
    assert counted(carry, "a", "f", "g") == ["a", "f", "g"]
