"""The processes of one world: the real worker and emitter parts, started as their hosts start them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from profilestream.core.errors import ProfilestreamError
from profilestream.settings import Settings
from profilestream.shard import Tools
from profilestream.store.keys import Keys
from profilestream.store.outbox import Outbox
from profilestream.stream.announced import AnnouncedLog
from profilestream.stream.crew import Crew, Live
from profilestream.stream.forwarding import Forwarder
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.relay import RelayEvents, ShardRelay
from profilestream.stream.reports import Troubles
from profilestream.stream.topic_ids import TopicIds
from profilestream.worker import Worker
from tests.simulator import definitions
from tests.simulator.kafka_broker import Broker, Channel
from tests.simulator.kafka_consumer import SimulatedConsumer
from tests.simulator.loop import Process
from tests.simulator.redis_clients import SimulatedClient
from tests.simulator.redis_server import Redis
from tests.simulator.timeline import Timeline
from tests.simulator.workload import Workload

GROUP = "ps-g1"
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
    """A worker without Faust: what Faust calls is called here."""

    def __init__(self, process: Process, line: Timeline, broker: Broker, work: Workload, settings: Settings) -> None:
        super().__init__(process, line)
        self._broker = broker
        self._work = work
        self.worker = Worker(settings, self.report, "event" if work.clock == "event" else "wall")
        self.consumer = SimulatedConsumer(line, broker, GROUP, self.worker.take)
        self._channel = Channel(line, broker)
        self.owns: set[TP] = set()

    async def _run(self) -> None:
        worker, settings = self.worker, self.worker.settings
        engine = definitions.engine(self._work.text, self._work.ids_max)
        producer = await self._producer(str(settings.kafka))
        worker._tools = Tools(
            settings,
            definitions.generation(self._work.text, self._work.shards),
            engine,
            definitions.sources(self._work.text, self._work.ids_max),
            producer,
            worker.counters,
            AnnouncedLog(settings),
            self._reassert,
            self.report,
            Troubles(self.report),
            TopicIds("", settings.generations_topic, settings.namespace, "g1"),  # none is known: topics stay themselves
        )
        worker._forwarder = Forwarder(worker._tools)
        worker._partitions = self._work.partitions
        worker._app = SimpleNamespace(consumer=self.consumer)
        others = [self.consumer.fetch_for_ever(), self.consumer.hand_on_for_ever(), self._commit_for_ever()]
        tasks = [asyncio.create_task(other) for other in others]
        taking = asyncio.create_task(self._take_over_for_ever())
        await asyncio.wait([taking, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in (taking, *tasks):
            if task.done():
                task.result()

    async def _producer(self, kafka: str) -> ForwardingProducer:
        while True:
            try:
                producer = ForwardingProducer(kafka, self.report)
                await producer.start()
                return producer
            except ProfilestreamError:
                await asyncio.sleep(0.1)

    async def _reassert(self) -> None:
        await asyncio.sleep(self.line.chaos.latency_s())

    async def _take_over_for_ever(self) -> None:
        while True:
            assignment: frozenset[TP] = await self.mailbox.get()
            if self.assigned is not None:
                await self.worker.revoked(set(self.assigned))
            self.line.tell(f"takes over {sorted(map(tuple, assignment))}")
            self.consumer.assign(set(assignment))
            await self.worker.begin(set(assignment))
            self.assigned = assignment

    async def _commit_for_ever(self) -> None:
        """Kafka refuses offsets of a member of an older generation of the group."""
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            offsets = {tp: (offset, str(first)) for tp, (offset, first) in self.worker.committed().items()}
            await self._channel.ask(lambda offsets=offsets: self._committed(offsets))

    def _committed(self, offsets: dict[TP, tuple[int, str]]) -> None:
        own = {tp: at for tp, at in offsets.items() if tp in self.owns}
        self._broker.groups.setdefault(GROUP, {}).update(own)

    # What the world asks

    def shard(self, number: int) -> Any:
        return self.worker._shards.get(number)

    def failures(self) -> Iterable[BaseException]:
        if self.failure is not None:
            yield self.failure
        for shard in self.worker._shards.values():
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
        return ShardRelay(self._settings, outbox, generation=live.generation, shard=shard, events=events)

    async def _run(self) -> None:
        await self.crew.follow(Live("g1", self._work.shards))
        while True:
            assignment: frozenset[int] = await self.mailbox.get()
            self.line.tell(f"relays {sorted(assignment)}")
            await self.crew.assign(assignment)
            self.assigned = assignment

    def failures(self) -> Iterable[BaseException]:
        if self.failure is not None:
            yield self.failure
        try:
            self.crew.raise_failures(mismatches=False)
        except BaseException as error:
            yield error
