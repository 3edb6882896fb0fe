"""Where a shard begins, from its head on: what it has to catch up with or to take over, and where topics are read on.

The order of the questions is that of the steps in repair.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from faust.types import TP

from profilestream.aligning import Alignment
from profilestream.archived import begins_with, read_first
from profilestream.carrying import FROM_LIVE, Carry, Former, begin_carrying
from profilestream.core.errors import LogMismatch, ProfilestreamError, ServerUnavailable
from profilestream.repair import Repair, begin, first_positions, needs_turn, quiet
from profilestream.roles import Role
from profilestream.store.commits import Head
from profilestream.store.keys import Keys
from profilestream.store.shard_store import ShardStore
from profilestream.store.walk import ShardWalk
from profilestream.stream.announcer import AnnouncedPosition
from profilestream.stream.generations import Live
from profilestream.tools import Tools


class Beginning:
    """Answers for one shard, whenever an updater begins. `starts` has the offset from which a topic was first read,
    where that was not 0."""

    def __init__(self, number: int, topics: list[str], consumer: Any, tools: Tools) -> None:
        self.starts: Mapping[str, int] = {}
        self._number = number
        self._topics = topics
        self._consumer = consumer
        self._tools = tools

    async def head(self, store: ShardStore, role: Role) -> tuple[Head, Repair | None]:
        """The shard's head, and what it has to catch up with if it lacks what was announced, or a turn opens."""
        tools, live = self._tools, role.live
        if live is None:
            return await quiet(store, await self._begun(store)), None
        found = await store.read_head()
        if found.carried is not None and not found.carried.done:
            return await quiet(store, found), None  # Redis was set back to before all was carried
        announced = await tools.announced.position(self._number, partial(self._marker, store, live))
        in_history = announced is None or await store.settle_announced(announced.mark)
        found = await store.read_head()
        if not found.commit:
            await tools.reassert()
        repairing = found.repair
        head = await begin(store, found, announced, in_history)
        if not head.repair:
            return head, None
        if announced is None:
            # Folding on would be silent for ever: nobody would know when the repair is over.
            raise ServerUnavailable(
                f"Kafka does not say what was announced of shard {self._number}, which is in repair"
            )
        cause = announced.cause
        if not repairing and not cause:
            tools.report(
                f"shard {self._number}: Redis lacks commits that were announced; repairing the shard from the log"
            )
        since = head.announced.offset if head.announced is not None else 0
        told = not cause or live.announce == "net"
        return head, Repair(self._number, announced, since, store, tools.announced, cause or "repair", told)

    async def _marker(
        self, store: ShardStore, live: Live, announced: AnnouncedPosition | None
    ) -> AnnouncedPosition | None:
        """What opens the turn for this shard at its last commit, where that has yet to be done."""
        if not needs_turn(announced, self._tools.generation.name, live.turn, self._number):
            return None
        head = await quiet(store, await store.read_head())
        seen = announced or AnnouncedPosition("", 0, "")
        is_whole = head.positions.keys() >= set(self._topics)
        if not is_whole:
            await self.positions(head, seen)
        return AnnouncedPosition(
            self._tools.generation.name,
            head.sequence,
            head.commit,
            seen.clock,
            seen.positions,
            dict(head.starts if is_whole else self.starts),
            live.turn,
            live.cause or "backfill",
        )

    def leader(self, store: ShardStore, role: Role) -> Callable[[], Awaitable[dict[str, int]]] | None:
        """For a silent shard: asks how far each topic may be folded, which is to where the live shard is."""
        leader = role.leader
        if leader is None:
            return None
        head = Keys(self._tools.settings.namespace, leader.name).shard(self._number).head
        topics = [topic for topic in self._topics if topic in leader.topics]

        async def limits() -> dict[str, int]:
            positions = await store.positions_of(head)
            return {topic: positions.get(topic, 0) for topic in topics}

        return limits

    async def carry(self, store: ShardStore, role: Role, head: Head) -> Carry | None:
        """What is left to carry, where this generation takes over profiles of another.

        Raises ProfilestreamError where that one is not live any more, nor was when all had been carried once.
        """
        tools = self._tools
        if tools.former is None or head.carried is None or head.carried.done:
            return None
        former = await tools.former()
        if role.live is None and (role.leader is None or role.leader.name != former.name):
            raise ProfilestreamError(
                f"generation {tools.generation.name} takes profiles over from {former.name}, which is not live any "
                f"more; drop {tools.generation.name}, and plan anew"
            )
        walk = self._former_walk(store, former)
        return Carry(
            former,
            walk,
            store.walk(store.keys),
            head.carried,
            self._topics,
            tools.settings,
            starts=lambda: self.starts,
            customers_max=lambda: tools.commit_customers_max,
        )

    def alignment(self, role: Role, head: Head, repair: Repair | None, carry: Carry | None) -> Alignment | None:
        """For a silent shard that has nothing to carry, and may be promoted one day."""
        if not role.is_silent or repair is not None or carry is not None or self._tools.generation.only:
            return None
        tools = self._tools
        return Alignment(self._number, head, tools.announced, tools.settings, lambda: tools.commit_customers_max)

    async def _begun(self, store: ShardStore) -> Head:
        """The head of a silent shard, which has a commit where profiles are to be carried."""
        head, tools = await store.read_head(), self._tools
        if tools.former is None or head.commit:
            return head  # once begun, it does not take the former generation, which may be dropped by now
        walk = self._former_walk(store, await tools.former())
        return await begin_carrying(store, head, walk, tools.generation.start.get("from") == FROM_LIVE)

    def _former_walk(self, store: ShardStore, former: Former) -> ShardWalk:
        return store.walk(Keys(self._tools.settings.namespace, former.name).shard(self._number))

    async def positions(
        self, head: Head, target: AnnouncedPosition | None
    ) -> tuple[dict[str, int], dict[str, int] | None, dict[str, int]]:
        """Where each topic is read on, and where the logs of topics that are new here begin, if not at 0; and up to
        where topics are read from the archive. `target` is what was announced, where the head lacks it.

        Raises LogMismatch for a position that the log does not reach.
        """
        partitions = {topic: TP(topic, self._number) for topic in self._topics}
        begins = await self._consumer.begin_offsets(partitions.values())
        ends = await self._consumer.end_offsets(partitions.values())
        began = {} if target is None else dict.fromkeys(target.positions, 0) | target.starts
        unknown = [tp for t, tp in partitions.items() if t not in head.positions and t not in began and begins[tp]]
        if unknown:
            # A topic that is new here, or a Redis that has lost everything before anything was announced.
            began |= {tp.topic: first for tp, first in (await self._consumer.first_offsets(unknown)).items()}
        began |= self._asked_starts()
        archive, archived = self._tools.archive, dict[str, int]()
        log: Mapping[str, int] = {topic: begins[tp] for topic, tp in partitions.items()}
        there = log
        if archive is not None:
            there = begins_with(archive, self._number, {**began, **head.positions}, log)
        positions = first_positions(self._number, head, began, there)
        if archive is not None:
            archived = read_first(archive, self._number, positions, log, {t: ends[tp] for t, tp in partitions.items()})
        for topic, tp in partitions.items():
            needed = max(positions[topic], target.positions.get(topic, 0) if target is not None else 0)
            if needed > ends[tp]:
                raise LogMismatch(
                    f"topic {topic}, partition {self._number}: records up to {needed} were folded, but the log "
                    f"ends at {ends[tp]}; the topic was made anew or truncated. Restore it, or use another namespace"
                )
            if positions[topic] and await self._tools.topic_ids.is_other(topic):
                raise LogMismatch(
                    f"topic {topic}, partition {self._number}: the next record to fold is {positions[topic]}, and the "
                    f"log ends at {ends[tp]}, but it is another log: the topic was made anew. Restore it, or use "
                    "another namespace"
                )
        self.starts = {t: p for t, p in positions.items() if p and t not in head.positions} | head.starts
        return positions, self.starts if self.starts != head.starts else None, archived

    def _asked_starts(self) -> dict[str, int]:
        """Where a replay was asked to begin, of each topic of which that is not the beginning of its log."""
        asked: Mapping[str, Mapping[str, int]] = self._tools.generation.start.get("offsets", {})
        number = str(self._number)
        return {topic: asked[topic][number] for topic in self._topics if number in asked.get(topic, {})}
