"""A replay that is held to a rate."""

from __future__ import annotations

import asyncio
import time

import pytest

from profilestream.pace import Pace


@pytest.mark.parametrize(("rate", "customers"), [(None, 250), (100, 10), (2_000, 40), (1_000_000, 250)])
def test_the_lower_the_rate_the_less_is_written_at_once(rate: float | None, customers: int) -> None:
    assert Pace(rate).slice(250) == customers


def test_a_limit_on_commits_holds_for_a_held_replay_too() -> None:
    assert Pace(10).slice(3) == 3


def test_no_more_is_read_than_the_rate_has() -> None:
    async def work() -> float:
        pace, began_s = Pace(1_000), time.monotonic()
        await asyncio.gather(*(pace.take(50) for _ in range(12)))
        return time.monotonic() - began_s

    # 550 of 600 records lie before the last is let through, of which a quarter of a second's may come at once.
    assert asyncio.run(work()) >= 0.3
