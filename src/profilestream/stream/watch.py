"""Notices that Kafka no longer answers: nothing else would say so while nothing is sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from profilestream.core.errors import ProfilestreamError
from profilestream.stream.topics import Admin

CHECK_S: Final = 1.0
ASK_S: Final = 3.0
SILENT_MS: Final = 3_000


async def watch_kafka(
    kafka: str, heard_ms: Callable[[], int | None], lost: Callable[[ProfilestreamError], None], back: Callable[[], None]
) -> None:
    """Works until cancelled; calls `lost` as long as Kafka does not answer, and once `back`.

    `heard_ms` is when any answer last came (wall clock), None where nobody knows. A consumer that waits for room does
    not fetch, so silence alone proves nothing: then Kafka is asked.
    """
    told = False
    while True:
        await asyncio.sleep(CHECK_S)
        heard = heard_ms()
        if heard is None or time.time_ns() // 1_000_000 - heard >= SILENT_MS:
            try:
                async with Admin(kafka):
                    pass
            except ProfilestreamError as error:
                lost(error)
                told = True
                continue
            await asyncio.sleep(ASK_S)
        if told:
            told = False
            back()
