"""A silent shard compares what was announced where the live one is, and nowhere before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from profilestream.aligning import Alignment
from profilestream.settings import Settings
from profilestream.store.commits import Head
from profilestream.stream.slices import Inbox, Slice


class Announced:
    """The end of what was announced of any shard, and how often it was asked for."""

    def __init__(self, end: int) -> None:
        self._end = end
        self.asked = 0

    async def end(self, _: int) -> int:
        self.asked += 1
        return self._end


def record(offset: int) -> Any:
    return SimpleNamespace(topic="purchases", offset=offset, timestamp=offset, key=b"", value=b"", headers=())


@pytest.mark.parametrize("last", [9, 7], ids=["a record", "a hole"])
async def test_nothing_is_compared_before_the_shard_is_where_the_live_one_is(last: int) -> None:
    log, reached = Announced(1_000), 0
    alignment = Alignment(3, Head(), log, Settings(), lambda: 10)  # type: ignore[arg-type]
    inbox = Inbox({"purchases": 0}, {"purchases": 10}, reached=lambda topic, arrived: max(arrived, reached))
    assert not await alignment.is_due(inbox)  # nothing was fetched yet
    inbox.put(Slice("purchases", 3, 0, [record(4)]))
    inbox.take()
    reached = 5
    assert not await alignment.is_due(inbox)  # on its way
    assert not log.asked
    inbox.put(Slice("purchases", 3, 5, [record(last)]))
    reached = 10
    assert not await alignment.is_due(inbox)  # it has arrived, and waits
    inbox.take()
    assert await alignment.is_due(inbox)
    inbox.allow({"purchases": 12})
    assert not await alignment.is_due(inbox)  # the live one has gone on
    assert log.asked == 1


def test_what_waits_for_another_topic_of_an_archive_is_not_folded_yet() -> None:
    """Records of one topic are there, those of another are still being read: nothing is given, and all has arrived."""
    inbox = Inbox({"purchases": 0, "support": 0}, {"purchases": 5}, awaited=["purchases", "support"])
    inbox.put(Slice("purchases", 3, 0, [record(n) for n in range(9)]))
    assert not inbox and inbox.take() is None
    assert not inbox.is_level()
    inbox.complete("support", 0)
    while inbox.take():
        pass
    assert inbox.is_level()
