"""The work on one generation in a process: joins its group with all that its shards share, and says how far it is.

Which shards are worked on here Kafka decides (assigned.py). A process works on several generations at once: the live
one, those that are kept in step, or one in the making.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, Literal

from aiokafka.errors import KafkaError
from faust.types import TP

from profilestream.assigned import Assigned
from profilestream.carrying import Former
from profilestream.core.carrying import Carrier
from profilestream.core.engine import Engine
from profilestream.core.errors import ProfilestreamError, ServerUnavailable
from profilestream.pace import Pace
from profilestream.roles import Role, leader_of
from profilestream.settings import Settings
from profilestream.store.connection import connect
from profilestream.store.metadata import Generation, read_generation
from profilestream.stream.announced import AnnouncedLog
from profilestream.stream.archive import Archive
from profilestream.stream.counters import Counters
from profilestream.stream.endings import end_tasks
from profilestream.stream.generations import group_of
from profilestream.stream.host import host
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.reports import Troubles
from profilestream.stream.sources import Sources
from profilestream.stream.topic_ids import TopicIds
from profilestream.stream.topics import Admin
from profilestream.stream.watch import watch_kafka
from profilestream.tools import Tools
from profilestream.wire.definitions import parse_definitions

CAUGHT_UP_ANSWER_S_MAX = 5.0
APP_STOP_S_MAX = 2.0
LAST_COMMIT_S_MAX = 1.0
NOTE_TOPICS_S = 3.0

PROGRAM: Final = {"worker": "profilestream-worker", "replay": "profilestream-replay"}
"""What each program calls itself as a member of a generation's group."""

Clock = Literal["wall", "event"]
Extent = Literal["all shards", "a shard", "anything"]
"""How much of a work stands still; what is forwarded is not a shard's."""

Report = Callable[[str], None]


def engine_of(generation: Generation, settings: Settings) -> Engine:
    """A generation's definitions, compiled."""
    return Engine(
        parse_definitions(generation.definitions, f"generation {generation.name}"),
        ids_max=settings.remembered_ids_max,
        ids_ms_max=settings.remembered_ids_ms_max,
        keys_max=settings.map_keys_max,
    )


class GenerationWork:
    """Folds one generation's shards between `start` and `stop`. `counters` counts what was done.

    `report` gets each line for a person. With the clock "event" time passes only as events say. `reassert` writes into
    Redis which generation is live, where that was lost; `others` names all other generations. What
    the log no longer has is read from `archive`.
    """

    def __init__(
        self,
        settings: Settings,
        generation: Generation,
        role: Role,
        report: Report,
        clock: Clock,
        reassert: Callable[[], Awaitable[None]],
        others: Callable[[], Iterable[str]],
        pace: Pace | None = None,
        program: Literal["worker", "replay"] = "worker",
        archive: Archive | None = None,
    ) -> None:
        self._client_id = PROGRAM[program]
        self.settings = settings
        self.generation = generation
        self.role = role
        self.counters = Counters(role.is_silent)
        self.pace = pace
        self._archive = archive
        self._report = report
        self._clock = clock
        self._reassert = reassert
        self._others = others
        self.assigned: Assigned | None = None
        self._partitions: dict[str, int] = {}
        self.begins: dict[tuple[str, int], int] = {}
        self._ends: Mapping[TP, int] = {}
        self._producer: ForwardingProducer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._carried_from: Former | None = None

    # Life

    async def start(self) -> None:
        """Joins the generation's group. Raises as Kafka's clients do, and ProfilestreamError for a topic that is
        missing."""
        settings, generation, kafka = self.settings, self.generation, str(self.settings.kafka)
        engine = engine_of(generation, settings)
        sources = Sources(engine, settings)
        self._ends = await self._topics(kafka, sources)
        troubles = Troubles(self._report)
        topic_ids = TopicIds(kafka, settings.generations_topic, settings.namespace, generation.name)
        await topic_ids.read()
        self._producer = ForwardingProducer(kafka, troubles=troubles)
        await self._producer.start()
        assigned = self._equip(
            Tools(
                settings,
                generation,
                self.role,
                engine,
                sources,
                self._producer,
                self.counters,
                AnnouncedLog(settings),
                self._reassert,
                self._report,
                troubles,
                topic_ids,
                self._forwarded_by_others,
                self.pace,
                self._former if generation.method == "carry" else None,
                self._archive,
            )
        )
        group = group_of(settings.namespace, generation.name)
        waiting_bytes_max = self._tools.waiting_bytes_max
        assigned.app = host(settings, group, sources.topics, assigned, waiting_bytes_max, self._client_id)
        await assigned.app.start()
        self._tasks = [asyncio.create_task(self._watch(kafka, assigned)), asyncio.create_task(self._keep_noting())]

    async def _former(self) -> Former:
        """The generation whose profiles this one takes over; raises NotFound when it is dropped already."""
        if self._carried_from is None:
            client = connect(str(self.settings.redis))
            try:
                base = await read_generation(client, self.settings.namespace, self.generation.base)
            finally:
                await client.aclose()
            engine = engine_of(base, self.settings)
            topics = leader_of(base, self.settings).topics
            self._carried_from = Former(base.name, topics, engine, Carrier(engine, self._tools.engine))
        return self._carried_from

    def _equip(self, tools: Tools) -> Assigned:
        self._tools = tools
        self.assigned = Assigned(tools, self._partitions, self._clock == "wall")
        return self.assigned

    async def stop(self) -> None:
        """Hands everything over, in bounded time."""
        for task in self._tasks:
            task.cancel()
        if (here := self.assigned) is not None:
            # A client library waits for a lost Kafka; what it is waited for here is not what must be exact.
            last = (here.app.consumer.force_commit(), self._note_topics())
            await asyncio.wait([asyncio.ensure_future(work) for work in last], timeout=LAST_COMMIT_S_MAX)
            here.forwarder.end()
            await here.release()
            await asyncio.wait({asyncio.create_task(here.app.stop())}, timeout=APP_STOP_S_MAX)
        if self._producer is not None:
            await self._producer.stop()
        await end_tasks(*self._tasks)

    def follow(self, role: Role) -> None:
        """The generation is live or silent from now on, or another one is live: each shard looks at its head anew.

        What was under way in the former role may be written or not, as at any crash.
        """
        if role == self.role:
            return
        self.role = role
        self.counters.is_silent = role.is_silent
        if self.assigned is not None:
            self._tools.role = role
            self.assigned.begin_anew()

    async def _watch(self, kafka: str, assigned: Assigned) -> None:
        troubles = self._tools.troubles
        await watch_kafka(
            kafka,
            assigned.heard_ms,
            lambda error: troubles.begin(self, str(error), "trying again"),
            lambda: troubles.over(self),
        )

    async def _forwarded_by_others(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """Up to where other generations have forwarded partitions, while they were live."""
        wanted, found = set(partitions), dict[TP, int]()
        async with Admin(str(self.settings.kafka)) as admin:
            for name in self._others():
                for place, offset in (await admin.committed(group_of(self.settings.namespace, name))).items():
                    tp = TP(*place)
                    if tp in wanted:
                        found[tp] = max(offset, found.get(tp, 0))
        return found

    async def _topics(self, kafka: str, sources: Sources) -> dict[TP, int]:
        """How many partitions each topic has, and the end of each partition now."""
        async with Admin(kafka) as admin:
            found = await admin.describe(sources.topics)
            missing = [name for name, info in found.items() if info is None]
            if missing:
                raise ProfilestreamError(f"no topic {', '.join(missing)}; run `profilestream init`")
            self._partitions = {name: info.partitions for name, info in found.items() if info is not None}
            ends = {}
            for topic in sources.topics:
                if topic != sources.rekeyed_topic:
                    for partition, end in (await admin.end_offsets(topic)).items():
                        ends[TP(topic, partition)] = end
                if self._partitions[topic] == self.generation.shards:
                    asked = self.generation.start.get("offsets", {}).get(topic, {})
                    for partition, begin in (await admin.begin_offsets(topic)).items():
                        self.begins[topic, partition] = asked.get(str(partition), begin)
        return ends

    async def _keep_noting(self) -> None:
        while True:
            await asyncio.sleep(NOTE_TOPICS_S)
            await self._note_topics()

    async def _note_topics(self) -> None:
        """Keeps which topics these are, once something was folded from them: under their names others may come."""
        with contextlib.suppress(KafkaError, ProfilestreamError, OSError):  # a lost Kafka is waited for; others say so
            committed = self.assigned.committed() if self.assigned is not None else {}
            await self._tools.topic_ids.note({tp.topic for tp, offset in committed.items() if offset})

    # Questions

    async def caught_up(self) -> bool:
        """Whether all that was in the topics at the start, and what has been forwarded by now, is handled, and nothing
        is due. A silent generation has caught up where the live one is.

        Asked again from the start whenever not: assignments change, and other workers forward too.
        """
        ends, here = self._ends, self.assigned
        if here is None or not here.has_passed(ends):
            return False
        try:
            async with asyncio.timeout(CAUGHT_UP_ANSWER_S_MAX):
                if not here.has_passed(await here.forwarded_ends()):
                    return False
                due_nowhere = all([await shard.nothing_due() for shard in here.working()])
                return due_nowhere and here.has_passed(ends)
        except (KafkaError, ServerUnavailable, TimeoutError):
            return False  # a lost server is waited for; the shards say so

    def lag(self) -> int:
        """Records that wait in Kafka and here, as far as the consumer knows."""
        return 0 if self.assigned is None else self.assigned.lag()

    def failure(self, least: Extent) -> ProfilestreamError | None:
        """Why the work cannot go on: Faust has crashed, or at least so much stands still for good."""
        if self.assigned is None:
            return None
        working = self.assigned.working()
        stuck = [s.failure for s in working if s.failure is not None]
        if stuck and (least != "all shards" or len(stuck) == len(working)):
            return stuck[0]
        if least == "anything" and (forwarding := list(self.assigned.forwarder.failures.values())):
            return forwarding[0]
        crash = getattr(self.assigned.app, "crash_reason", None)
        if crash is not None:
            return ProfilestreamError(
                f"the connection to Kafka failed: {type(crash).__name__}; start the program again"
            )
        return None

    @property
    def ends(self) -> dict[tuple[str, int], int]:
        """Where the log of each topic and shard ended at the start."""
        return {(tp.topic, tp.partition): end for tp, end in self._ends.items()}

    @property
    def shards_worked_on(self) -> frozenset[int]:
        """The shards that the generation is about: all of them, but of a trial."""
        return self._tools.shards

    @property
    def share(self) -> float:
        """This process's part of the work: of the shards that are worked on, how many are assigned here."""
        here = 0 if self.assigned is None else len(self.assigned.working())
        return here / max(1, len(self._tools.shards)) or 1.0
