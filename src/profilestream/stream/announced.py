"""What subscribers were told of a shard: up to which commit, and the number of each customer and segment.

Read by whoever takes a shard over. Opening the shard's transactional id comes first, so that no emitter can change the
answer any more; it opens the id anew, finds the shard in repair or in order, and goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

import msgspec

from profilestream.core.errors import LogMismatch
from profilestream.settings import Settings
from profilestream.stream.announcer import MARKER, AnnouncedPosition, Announcer
from profilestream.stream.reading import read_to_end
from profilestream.stream.topics import Admin

ASKED_AN_INTERVAL: Final = 3


class _Announced(msgspec.Struct, frozen=True):
    crossing: int


class AnnouncedLog:
    """Topic `announced` of one installation. Raises as Kafka's clients do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ends: dict[int, int] = {}
        self._ends_known_s = float("-inf")
        self._asking = asyncio.Lock()

    async def end(self, shard: int) -> int:
        """Where the shard's partition ended for readers of committed records, when Kafka was asked for some shard last;
        it is asked a few times in each interval in which shards align."""
        async with self._asking:  # shards that ask meanwhile wait for the same answer
            if time.monotonic() - self._ends_known_s > self._settings.align_interval_ms / 1000 / ASKED_AN_INTERVAL:
                assert self._settings.kafka is not None
                self._ends_known_s = time.monotonic()
                async with Admin(self._settings.kafka) as admin:
                    self._ends = await admin.end_offsets(self._settings.announced_topic)
        return self._ends.get(shard, 0)

    async def position(
        self, shard: int, turn: Callable[[AnnouncedPosition | None], Awaitable[AnnouncedPosition | None]] | None = None
    ) -> AnnouncedPosition | None:
        """Where the shard was when last announced, None when it never was; fences the shard's emitter.

        `turn` is told that, and gives the marker of a turn that is to be opened, if one is: then that is the position.
        Nobody can announce between the look and the marker: both are of one holder of the transactional id. Raises
        Fenced where another came in between.
        """
        announcer = Announcer(self._settings, shard)
        try:
            seen = await announcer.open()
            marker = await turn(seen) if turn is not None else None
            return seen if marker is None else await announcer.mark(marker)
        finally:
            await announcer.close()

    async def numbers(self, shard: int, offset: int, until: int) -> dict[tuple[str, str], int]:
        """The last number announced of each customer and segment of a shard from one offset to before another.

        Raises LogMismatch where the log ends before the offset: the topic was made anew.
        """
        settings = self._settings
        topic = settings.announced_topic
        found: dict[tuple[str, str], int] = {}
        assert settings.kafka is not None
        records = read_to_end(settings.kafka, topic, {shard: offset})
        async with aclosing(records):  # type: ignore[type-var]
            async for record in records:
                if record.offset >= until:
                    break
                try:
                    namespace, customer_id, segment = msgspec.json.decode(record.key or b"", type=tuple[str, str, str])
                    if namespace != settings.namespace or (customer_id, segment) == MARKER:
                        continue
                    if record.value:
                        found[customer_id, segment] = msgspec.json.decode(record.value, type=_Announced).crossing
                    else:
                        found.pop((customer_id, segment), None)
                except msgspec.DecodeError:
                    raise LogMismatch(
                        f"topic {topic}, partition {shard}, offset {record.offset}: not what an emitter wrote; does "
                        "another program write there? Give this installation another --namespace and topics of its own"
                    ) from None
        return found
