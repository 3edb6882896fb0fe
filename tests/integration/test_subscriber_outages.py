"""A subscriber while its Kafka is away: one line, no loss, a quick end. On servers of its own, which it stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.emitting import until
from tests.integration.subscribing import announce, change

from profilestream import ChangeSubscriber, local
from profilestream.stream.topics import Admin

TOPIC = "segment-changes"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    local.down(tmp_path, wipe=True)


async def test_a_lost_kafka_is_waited_for_with_one_line_and_closing_without_it_is_quick(folder: Path) -> None:
    kafka = (await asyncio.to_thread(local.up, folder)).kafka
    async with Admin(kafka) as admin:
        await admin.create(TOPIC, 2, {})
    await announce(kafka, TOPIC, 2, [change("c1", 1), change("c1", 2)])
    lines: list[str] = []
    changes = ChangeSubscriber(kafka, "mailer", session_timeout_ms=6_000, report=lines.append)
    await changes.start()
    assert (await anext(changes)).crossing == 1
    await changes.commit()
    assert (await anext(changes)).crossing == 2

    await asyncio.to_thread(local.down, folder)
    committing = asyncio.create_task(changes.commit())
    await until(lambda: bool(lines), 60)
    assert not committing.done()
    await asyncio.to_thread(local.up, folder)
    await asyncio.wait_for(committing, 90)
    assert len(lines) == 2 and "waiting for it" in lines[0] and "answers again" in lines[1]
    await announce(kafka, TOPIC, 2, [change("c1", 3)])
    assert (await asyncio.wait_for(anext(changes), 90)).crossing == 3  # and the second is not handed out again

    waiting = asyncio.create_task(anext(changes))
    await asyncio.to_thread(local.down, folder)
    await until(lambda: len(lines) >= 3, 60)
    began = time.monotonic()
    await changes.close()
    assert time.monotonic() - began < 20
    with pytest.raises(StopAsyncIteration):
        await waiting
    assert len(lines) == 3
