"""Where logs begin and end is asked in bounded time, whatever the client library waits for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from faust.types import TP

from profilestream.stream import bounds as module
from profilestream.stream.bounds import Bounds

PLACE = TP("purchases", 3)


def client(learns: bool) -> Any:
    """A consumer that answers 7 for each partition, once it has learned of the topic, if it ever does."""

    async def add_topic(topic: str) -> None:
        if not learns:
            await asyncio.Event().wait()

    async def end_offsets(asked: list[TP]) -> dict[TP, int]:
        return dict.fromkeys(asked, 7)

    async def stop() -> None:
        return None

    return SimpleNamespace(_client=SimpleNamespace(add_topic=add_topic), end_offsets=end_offsets, stop=stop)


async def test_a_client_that_never_learns_of_a_topic_is_let_go_and_the_next_one_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ANSWER_S_MAX", 0.05)
    bounds = Bounds("127.0.0.1:1", "test")
    bounds._consumer = client(learns=False)
    with pytest.raises(KafkaTimeoutError):
        await bounds.ends([PLACE])
    assert bounds._consumer is None
    bounds._consumer = client(learns=True)
    assert await bounds.ends([PLACE]) == {PLACE: 7}
