"""How a shard reads what the log no longer has: from an archive first, then from the log, with no offset in between.

If one topic of a shard goes on at a record that only the archive has, every topic is read from the archive that it
covers at that place, up to its end; so they merge by their timestamps as far as it reaches. Behind that a topic is read
from Kafka. The head holds positions, whoever gave the records: whatever breaks it off is gone on with there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from profilestream.core.errors import LogMismatch
from profilestream.stream.archive import Archive, Reading
from profilestream.stream.slices import Inbox, Slice


def begins_with(archive: Archive, shard: int, known: Mapping[str, int], begins: Mapping[str, int]) -> Mapping[str, int]:
    """Where archive and log of each topic begin, of topics that are read on at `known` places, if at any.

    Raises LogMismatch where older records are needed, and the archive has some that do not join the log.
    """
    return {
        topic: begin if known.get(topic, -1) >= begin else archive.begin_with(topic, shard, begin)
        for topic, begin in begins.items()
    }


def read_first(
    archive: Archive, shard: int, positions: Mapping[str, int], begins: Mapping[str, int], ends: Mapping[str, int]
) -> dict[str, int]:
    """The topics that are read from the archive first, and the offset from which on each is read from the log.

    Raises LogMismatch where the archive goes beyond the end of the log.
    """
    if all(position >= begins[topic] for topic, position in positions.items()):
        return {}
    found = {}
    for topic, position in positions.items():
        end = archive.end(topic, shard)
        if end is not None and archive.covers(topic, shard, position):
            if end > ends[topic]:
                raise LogMismatch(
                    f"topic {topic}, partition {shard}: the archive ends at {end}, but the log ends at {ends[topic]}; "
                    "the topic was made anew or truncated. Use the archive of this log"
                )
            found[topic] = end
    return found


class Feed:
    """Puts a shard's archived records into an inbox that awaits them. `wake` is called when some came, `go_on` when a
    topic is to be read from the log from now on."""

    def __init__(
        self,
        archive: Archive,
        shard: int,
        topics: Mapping[str, int],
        inbox: Inbox,
        bytes_max: int,
        wake: Callable[[], None],
        go_on: Callable[[str, int], Awaitable[None]],
    ) -> None:
        self._shard = shard
        self._readings = {topic: Reading(archive, topic, shard, inbox.expected(topic)) for topic in topics}
        self._inbox = inbox
        self._bytes_max = bytes_max
        self._wake = wake
        self._go_on = go_on
        self._room = asyncio.Event()

    def made_room(self) -> None:
        """Records were taken out of the inbox."""
        self._room.set()

    async def run(self) -> None:
        """Returns when all is in the inbox. Raises LogMismatch for a damaged file, and as the log's client does."""
        while self._readings:
            waiting = [t for t in self._readings if self._inbox.waiting_bytes(t) >= self._bytes_max]
            if len(waiting) == len(self._readings):
                self._room.clear()
                await self._room.wait()
            for topic in self._readings.keys() - waiting:
                await self._read(topic, self._readings[topic])

    async def _read(self, topic: str, reading: Reading) -> None:
        records = await reading.next(self._bytes_max)
        if records:
            self._inbox.put(Slice(topic, self._shard, self._inbox.expected(topic), list(records)))
        else:
            del self._readings[topic]
            self._inbox.complete(topic, reading.end)
            await self._go_on(topic, reading.end)
        self._wake()
