"""The processes of one world: the real worker and emitter parts, started as their hosts start them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from profilestream.assigned import Assigned
from profilestream.carrying import Former
from profilestream.core.errors import ProfilestreamError
from profilestream.generation_work import Clock, GenerationWork
from profilestream.roles import Role, leader_of, role_of
from profilestream.settings import Settings
from profilestream.store.keys import Keys
from profilestream.store.metadata import Generation
from profilestream.store.outbox import Outbox
from profilestream.stream.announced import AnnouncedLog
from profilestream.stream.crew import Crew, Live
from profilestream.stream.generations import Generations, group_of
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.relay import RelayEvents, ShardRelay
from profilestream.stream.reports import Troubles
from profilestream.stream.topic_ids import TopicIds
from profilestream.tools import Tools
from tests.simulator import definitions
from tests.simulator.kafka_broker import Broker, Channel
from tests.simulator.kafka_consumer import SimulatedConsumer
from tests.simulator.loop import Process
from tests.simulator.redis_clients import SimulatedClient
from tests.simulator.redis_server import Redis
from tests.simulator.timeline import Timeline
from tests.simulator.workload import Workload

COMMIT_EVERY_S = 0.7


class Host:
    """A process and its mailbox: assignments come in, and are taken over one after the other."""

    def __init__(self, process: Process, line: Timeline) -> None:
        self.process = process
        self.line = line
        self.mailbox: asyncio.Queue[Any] = asyncio.Queue()
        self.failure: BaseException | None = None
        self.assigned: Any = None
        """What was taken over last."""

    def start(self) -> None:
        task = self.process.spawn(self._run())
        task.add_done_callback(self._ended, context=self.line.loop.outside)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            self.failure = task.exception()

    async def _run(self) -> None:
        raise NotImplementedError

    def report(self, text: str) -> None:
        self.line.tell(f"says: {text}")


class WorkerHost(Host):
    """A worker without Faust: what Faust calls is called here. It works on every generation that it has heard of."""

    def __init__(self, process: Process, line: Timeline, broker: Broker, work: Workload, settings: Settings) -> None:
        super().__init__(process, line)
        self._broker = broker
        self._work = work
        self._settings = settings
        self._channel = Channel(line, broker)
        self._producer: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self.known = Generations()
        self.works: dict[str, GenerationWork] = {}
        self.consumers: dict[str, SimulatedConsumer] = {}
        self.owns: dict[str, set[TP]] = {}

    async def _run(self) -> None:
        self._producer = await self._started_producer(str(self._settings.kafka))
        taking = asyncio.create_task(self._take_over_for_ever())
        self._tasks = [taking, asyncio.create_task(self._commit_for_ever())]
        while True:
            done, _ = await asyncio.wait(list(self._tasks), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    def _equip(self, generation: Generation, role: Role) -> None:
        text, settings, name = generation.definitions, self._settings, generation.name
        clock: Clock = "event" if self._work.clock == "event" else "wall"
        work = GenerationWork(settings, generation, role, self.report, clock, self._reassert, lambda: ())
        work._partitions = self._work.partitions
        assigned = work._equip(
            Tools(
                settings,
                generation,
                role,
                definitions.engine(text, self._work.ids_max),
                definitions.sources(text, self._work.ids_max),
                self._producer,
                work.counters,
                AnnouncedLog(settings),
                self._reassert,
                self.report,
                Troubles(self.report),
                TopicIds("", settings.generations_topic, settings.namespace, name),  # none is known
                partial(self._forwarded_by_others, name),
                former=partial(self._former, generation) if generation.method == "carry" else None,
            ),
        )
        consumer = SimulatedConsumer(self.line, self._broker, group_of("ps", name), assigned.take)
        assigned.app = SimpleNamespace(consumer=consumer)
        self.works[name], self.consumers[name] = work, consumer
        self._tasks += [
            asyncio.create_task(consumer.fetch_for_ever()),
            asyncio.create_task(consumer.hand_on_for_ever()),
        ]

    async def _former(self, generation: Generation) -> Former:
        base = self.known.by_name[generation.base]
        engine = definitions.engine(base.definitions, self._work.ids_max)
        carrier = definitions.carrier(base.definitions, generation.definitions, self._work.ids_max)
        return Former(base.name, leader_of(base, self._settings).topics, engine, carrier)

    async def _started_producer(self, kafka: str) -> ForwardingProducer:
        while True:
            try:
                producer = ForwardingProducer(kafka, self.report)
                await producer.start()
                return producer
            except ProfilestreamError:
                await asyncio.sleep(0.1)

    async def _reassert(self) -> None:
        await asyncio.sleep(self.line.chaos.latency_s())

    async def _forwarded_by_others(self, own: str, partitions: Iterable[TP]) -> dict[TP, int]:
        found: dict[TP, int] = {}
        wanted = set(partitions)
        for name in self.known.by_name:
            if name != own:
                known = await self._channel.ask(
                    lambda name=name: dict(self._broker.groups.get(group_of("ps", name), {}))
                )
                for tp in wanted & known.keys():
                    found[tp] = max(known[tp][0], found.get(tp, 0))
        return found

    async def _take_over_for_ever(self) -> None:
        while True:
            news: Generations | dict[str, frozenset[TP]] = await self.mailbox.get()
            if isinstance(news, Generations):
                self._follow(news)
                continue
            for name, assignment in news.items():
                assigned, consumer = self.here(name), self.consumers[name]
                if self.assigned is not None and name in self.assigned:
                    await assigned.revoked(set(self.assigned[name]))
                self.line.tell(f"takes over of {name} {sorted(map(tuple, assignment))}")
                consumer.assign(set(assignment))
                await assigned.begin(set(assignment))
            self.assigned = news

    def _follow(self, known: Generations) -> None:
        self.known = known
        for name, generation in known.by_name.items():
            role = role_of(name, known, self._settings)
            if name in self.works:
                self.line.tell(f"works on {name}, turn {role.live.turn if role.live else None}")
                self.works[name].follow(role)
            else:
                self._equip(generation, role)

    async def _commit_for_ever(self) -> None:
        """Kafka refuses offsets of a member of an older generation of the group."""
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            for name in list(self.works):
                offsets = {tp: (offset, str(first)) for tp, (offset, first) in self.here(name).committed().items()}
                await self._channel.ask(lambda name=name, offsets=offsets: self._committed(name, offsets))

    def _committed(self, name: str, offsets: dict[TP, tuple[int, str]]) -> None:
        own = {tp: at for tp, at in offsets.items() if tp in self.owns.get(name, ())}
        self._broker.groups.setdefault(group_of("ps", name), {}).update(own)

    # What the world asks

    def here(self, name: str) -> Assigned:
        """What this process has of a generation."""
        assigned = self.works[name].assigned
        assert assigned is not None
        return assigned

    def shard(self, name: str, number: int) -> Any:
        return self.here(name).shards.get(number)

    def failures(self) -> Iterable[BaseException]:
        if self.failure is not None:
            yield self.failure
        for name in self.works:
            for shard in self.here(name).shards.values():
                if shard.failure is not None:
                    yield shard.failure


class EmitterHost(Host):
    """An emitter without its consumer group: a crew of the real relays."""

    def __init__(self, process: Process, line: Timeline, redis: Redis, work: Workload, settings: Settings) -> None:
        super().__init__(process, line)
        self._work = work
        self._settings = settings
        self._client = SimulatedClient(line, redis)
        self.crew = Crew(self._relay)

    def _relay(self, live: Live, shard: int) -> ShardRelay:
        keys = Keys(self._settings.namespace, live.generation).shard(shard)
        tell = self.line.tell
        events = RelayEvents(
            lambda changes: tell(f"announced {changes} changes of shard {shard}"),
            lambda: tell(f"relays shard {shard}"),
            lambda error: tell(f"shard {shard}: {type(error).__name__}: {error}"),
            self.report,
        )
        outbox = Outbox(self._client, keys.outbox, keys.head)
        return ShardRelay(
            self._settings, outbox, generation=live.generation, shard=shard, events=events, turn=live.turn
        )

    async def _run(self) -> None:
        while True:
            news: Generations | frozenset[int] = await self.mailbox.get()
            if isinstance(news, Generations):
                assert news.live is not None
                await self.crew.follow(Live(news.live.name, self._work.shards, news.turn))
                continue
            self.line.tell(f"relays {sorted(news)}")
            await self.crew.assign(news)
            self.assigned = news

    def failures(self) -> Iterable[BaseException]:
        if self.failure is not None:
            yield self.failure
        try:
            self.crew.raise_failures(mismatches=False)
        except BaseException as error:
            yield error
