"""Where logs begin and end is answered at once, however long a fetch waits for records."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from faust.types import TP
from tests.integration import shop

from profilestream.settings import Settings

QUESTIONS = 40


async def test_shards_need_not_wait_for_a_fetch_to_learn_where_their_logs_end(
    servers: Any, cli: Any, own_settings: Settings, workdir: Path
) -> None:
    await asyncio.to_thread(shop.open_shop, servers.kafka, cli, workdir)
    await asyncio.to_thread(shop.put, servers.kafka, shop.purchases(50))
    said: list[str] = []
    async with shop.worker_here(own_settings, said) as worker:
        async with asyncio.timeout(60):
            while not worker.works or not await worker.works["g1"].caught_up():  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.05)
        assigned = worker.works["g1"].assigned
        assert assigned is not None
        consumer = assigned.app.consumer
        partitions = [TP("purchases", number) for number in range(shop.SHARDS)]
        began_s = time.monotonic()
        for _ in range(QUESTIONS // 2):
            assert set((await consumer.begin_offsets(partitions)).values()) == {0}
            assert sum((await consumer.end_offsets(partitions)).values()) == 50
        # Behind a fetch that waits for half a second each would take as long.
        assert time.monotonic() - began_s < QUESTIONS * 0.25
