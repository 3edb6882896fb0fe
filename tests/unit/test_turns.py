"""Turns: few at once, in the order of asking, and none lost."""

from __future__ import annotations

from profilestream.stream.turns import Turns


async def test_turns_come_in_the_order_of_asking_and_few_at_once() -> None:
    turns = Turns(2)
    asked = [turns.ask() for _ in range(5)]
    assert [t.done() for t in asked] == [True, True, False, False, False]
    turns.give_back(asked[1])
    assert [t.done() for t in asked] == [True, True, True, False, False]


async def test_who_no_longer_waits_is_passed_over_and_leaves_a_place_to_nobody() -> None:
    turns = Turns(1)
    first, second, third = (turns.ask() for _ in range(3))
    turns.give_back(second)
    assert second.cancelled() and not third.done()
    turns.give_back(first)
    assert third.done() and not third.cancelled()
    turns.give_back(third)
    assert turns.ask().done(), "all places are free again"
    assert not turns.ask().done()
