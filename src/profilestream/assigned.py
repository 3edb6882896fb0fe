"""What Kafka has assigned to this process of one generation: shards, and partitions that are forwarded.

Faust calls `begin`, `revoked` and `committed`, and each slice comes by `take`. Partition p of every topic with as many
partitions as there are shards belongs to shard p; what other topics hold is keyed in another way, and goes on to topic
`rekeyed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from faust.types import TP

from profilestream.shard import Shard
from profilestream.store.keys import Keys
from profilestream.stream.forwarding import Forwarder
from profilestream.stream.slices import Gap, Slice
from profilestream.tools import Tools


class Assigned:
    """The shards that are worked on here. `app` is the Faust application, to be set before anything is assigned.

    `partitions` says how many each topic has.
    """

    def __init__(self, tools: Tools, partitions: Mapping[str, int], follows_wall: bool) -> None:
        self.app: Any = None
        self.shards: dict[int, Shard] = {}
        self.forwarder = Forwarder(tools)
        self._tools = tools
        self._partitions = partitions
        self._follows_wall = follows_wall
        self._places: set[TP] = set()

    @property
    def _consumer(self) -> Any:
        return self.app.consumer

    # What Faust calls

    async def begin(self, assignment: set[TP]) -> None:
        """Takes over an assignment: a shard for each partition number, the rest is forwarded."""
        self._places = set(assignment)
        await self.release()
        topics: dict[int, list[str]] = {}
        for tp in sorted(assignment):
            if self._is_sharded(tp.topic):
                topics.setdefault(tp.partition, []).append(tp.topic)
        keys = Keys(self._tools.settings.namespace, self._tools.generation.name)
        for number, names in topics.items():
            shard = Shard(number, names, keys.shard(number), self._consumer, self._tools, self._follows_wall)
            self.shards[number] = shard
            if number in self._tools.shards and self._is_whole(number, names):
                shard.start()
            else:
                shard.stand_by()
        self._begin_forwarding()

    async def revoked(self, partitions: set[TP]) -> None:
        """Lets everything go; what is assigned anew comes by `begin`."""
        self._places = set()
        await self.release()
        self.forwarder.end()

    async def take(self, piece: Slice) -> None:
        """Hands a slice to its shard, or on to be forwarded."""
        owner = self.shards.get(piece.partition) if self._is_sharded(piece.topic) else self.forwarder
        if owner is not None:
            try:
                owner.put(piece)
            except Gap as gap:
                await self._consumer.seek_all({TP(gap.topic, gap.partition): gap.offset})

    def committed(self) -> Mapping[TP, tuple[int, int]]:
        """The positions for Kafka's committed offsets, for dashboards and the forwarder, and where reading began."""
        found = {
            TP(topic, number): (offset, shard.starts.get(topic, 0))
            for number, shard in self.shards.items()
            for topic, offset in shard.positions().items()
        }
        return found | {tp: (offset, 0) for tp, offset in self.forwarder.committed().items()}

    def out_of_range(self, partitions: Iterable[TP]) -> None:
        """Whoever reads these partitions looks at the positions anew."""
        for tp in partitions:
            if not self._is_sharded(tp.topic):
                self.forwarder.out_of_range(tp)
            elif (shard := self.shards.get(tp.partition)) is not None:
                shard.begin_anew()

    # What the work on the generation asks for

    def begin_anew(self) -> None:
        """Every shard looks at its head anew, in the role that the work has now."""
        for shard in self.shards.values():
            shard.begin_anew()
        self._begin_forwarding()

    async def release(self) -> None:
        """Lets the shards go, each once what it has in flight is answered."""
        released = list(self.shards.values())
        self.shards.clear()
        await asyncio.gather(*(shard.stop() for shard in released))

    def working(self) -> list[Shard]:
        """The shards that are assigned here; of a trial those that it is about."""
        return [shard for number, shard in self.shards.items() if number in self._tools.shards]

    def has_passed(self, ends: Mapping[TP, int]) -> bool:
        """Whether something is assigned here, and all of it is handled up to these ends."""
        return bool(self._places) and all(self._passed(tp, end) for tp, end in ends.items() if tp in self._places)

    async def forwarded_ends(self) -> dict[TP, int]:
        """Where topic `rekeyed` ends now, of what is assigned here."""
        mine = [tp for tp in self._places if tp.topic == self._tools.sources.rekeyed_topic]
        return await self._consumer.end_offsets(mine) if mine else {}

    def heard_ms(self) -> int | None:
        """When Kafka last answered any fetch (wall clock)."""
        asked = [self._consumer.end_known(tp)[1] for tp in self._places]
        return max((at for at in asked if at is not None), default=None)

    def lag(self) -> int:
        """Records that wait in Kafka and here, as far as the consumer knows."""
        lag = 0
        for tp in self._places:
            high = self._consumer.highwater(tp)
            handed, position = self._consumer.handed_on(tp)
            if high is not None and position is not None:
                lag += max(0, high - position)
            shard = self.shards.get(tp.partition)
            if shard is not None and handed is not None:
                lag += shard.waiting(tp.topic, handed)
        return lag

    # Which is whose

    def _is_sharded(self, topic: str) -> bool:
        return self._partitions.get(topic) == self._tools.generation.shards

    def _begin_forwarding(self) -> None:
        """Of what is assigned here and belongs to no shard some is this generation's to forward."""
        foreign = [tp for tp in sorted(self._places) if not self._is_sharded(tp.topic)]
        own = [tp for tp in foreign if self._tools.role.forwards(tp.topic)]
        self.forwarder.begin(own, [tp for tp in foreign if tp not in own], self._consumer)

    def _is_whole(self, number: int, names: list[str]) -> bool:
        """Whether a shard has its partition of every topic.

        A commit has the positions of all topics: without one of them the head would forget how far it was read, and
        fold it again from its beginning once it is there again.
        """
        tools, part = self._tools, f"topics of shard {number}"
        missing = sorted({topic for topic in tools.sources.topics if self._is_sharded(topic)}.difference(names))
        if missing:
            tools.troubles.begin(
                part, f"Kafka does not show all of topic {', '.join(missing)}", "its shards wait for it"
            )
        else:
            tools.troubles.over(part)
        return not missing

    def _passed(self, tp: TP, end: int) -> bool:
        """Whether one partition is handled up to an end."""
        if self._is_sharded(tp.topic):
            shard = self.shards.get(tp.partition)
            return tp.partition not in self._tools.shards or (shard is not None and shard.has_passed(tp.topic, end))
        if not self._tools.role.forwards(tp.topic):
            return True
        handed, position = self._consumer.handed_on(tp)
        if handed is None or position is None or position < end:
            return False
        return self.forwarder.has_passed(tp, handed)
