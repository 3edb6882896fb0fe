"""Topics as the broker knows them: describe, create, offsets, and waiting for a Kafka that is away.

Nothing here alters or deletes a topic.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    InvalidConfigurationError,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotCoordinatorError,
    NotLeaderForPartitionError,
    PolicyViolationError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    UnsupportedVersionError,
    for_code,
)

from profilestream.core.errors import ProfilestreamError, ServerUnavailable

DESCRIBED: Final = (
    "retention.ms",
    "retention.bytes",
    "cleanup.policy",
    "message.timestamp.type",
    "max.message.bytes",
)
REQUEST_TIMEOUT_MS: Final = 10_000
SETTLE_TIMEOUT_S: Final = 15.0
READABLE_TIMEOUT_S: Final = 5.0
WAIT_FIRST_S: Final = 0.2
WAIT_MAX_S: Final = 5.0

_LOST: Final = (
    KafkaConnectionError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
    ConnectionError,
    TimeoutError,
    OSError,
)
_UNSETTLED: Final = (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    LeaderNotAvailableError,
    NodeNotReadyError,
    NotCoordinatorError,
    NotLeaderForPartitionError,
)
_REFUSED_CONFIG: Final = (InvalidConfigurationError, PolicyViolationError)
_REFUSED_REPLICAS: Final = (InvalidReplicationFactorError, UnsupportedVersionError)

# What the client library logs about a lost server is said here once, in one line. A handler that does
# nothing keeps Python from printing the library's lines where no logging is set up.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

T = TypeVar("T")
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic that exists: its number of partitions and the settings of `DESCRIBED` that the broker told."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def retention_is_limited(self) -> bool:
        """Whether records may vanish: by age, by size, or by compaction."""
        return (
            self.config.get("retention.ms", "-1") != "-1"
            or self.config.get("retention.bytes", "-1") != "-1"
            or self.is_compacted
        )

    @property
    def is_compacted(self) -> bool:
        """Whether the broker keeps only the newest record of a key."""
        return "compact" in self.config.get("cleanup.policy", "delete")

    @property
    def message_bytes_max(self) -> int:
        """The greatest record batch that the topic takes (Kafka's own default where it is not told)."""
        return int(self.config.get("max.message.bytes", "1048588"))


def unavailable(kafka: str, error: BaseException) -> ServerUnavailable:
    """The error for a Kafka that does not answer: names the address and what to check."""
    return ServerUnavailable(
        f"Kafka at {kafka} does not answer ({type(error).__name__}); check that it runs and that the "
        "address is right (--kafka or PROFILESTREAM_KAFKA), or start one with `profilestream local up`"
    )


async def learn(consumer: Any, partitions: Iterable[Any]) -> None:
    """Lets an aiokafka consumer know of topics that exist, before it is asked where they begin and end.

    By itself it learns of each by not finding it, one after the other, and sleeps for a tenth of a second each time.
    """
    await asyncio.gather(*(consumer._client.add_topic(topic) for topic in {tp.topic for tp in partitions}))


class Admin:
    """A short-lived administrative connection to one Kafka cluster.

    Use as `async with Admin("host:port") as admin`. Every method raises ServerUnavailable where the
    cluster does not answer, and ProfilestreamError where it refuses.
    """

    def __init__(self, kafka: str) -> None:
        self._kafka = kafka
        self._client: Any = None
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        self._client = AIOKafkaAdminClient(
            bootstrap_servers=self._kafka,
            client_id="profilestream-admin",
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await self._client.start()
        except _LOST as error:
            await self._client.close()
            raise unavailable(self._kafka, error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
        await self._client.close()

    async def describe(self, topics: Iterable[str]) -> dict[str, TopicInfo | None]:
        """Each topic's partitions and settings; None for a topic that does not exist.

        Asks for all topics and picks: a request that names a topic would make it on a broker with
        `auto.create.topics.enable`. Settings are left empty where the cluster does not let them be read.
        """
        names = list(dict.fromkeys(topics))
        listed = await self._ask(self._client.describe_topics)
        partitions = {t["topic"]: len(t["partitions"]) for t in listed if not t["error_code"]}
        config = await self._config([name for name in names if name in partitions])
        return {
            name: TopicInfo(name, partitions[name], config.get(name, {})) if name in partitions else None
            for name in names
        }

    async def _config(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(DESCRIBED)) for name in names]
        responses = await self._ask(lambda: self._client.describe_configs(wanted))
        return {
            resource[3]: {entry[0]: entry[1] for entry in resource[4] if entry[1] is not None}
            for response in responses
            for resource in response.resources
            if not resource[0]
        }

    async def create(
        self, name: str, partitions: int, config: Mapping[str, str], wishes: Mapping[str, str] | None = None
    ) -> bool:
        """Makes a topic; True when made, False when it was there already (it is left as it is).

        `config` must be accepted; `wishes` are settings that are dropped where the broker does not know or
        allow them. The replication factor is the cluster's default, or 3 (fewer on fewer brokers) on a
        cluster that wants a number.
        """
        replicas = -1
        asked = {**config, **(wishes or {})}
        while True:
            topic = NewTopic(name, partitions, replicas, replica_assignments={}, topic_configs=asked)
            response = await self._ask(partial(self._client.create_topics, [topic]))
            code, message = response.topic_errors[0][1:3]
            refusal = for_code(code) if code else None
            if refusal is None or issubclass(refusal, TopicAlreadyExistsError):
                await self._until_listed(name)
                return refusal is None
            if issubclass(refusal, _REFUSED_REPLICAS) and replicas == -1:
                replicas = min(3, len((await self._ask(self._client.describe_cluster))["brokers"]))
            elif issubclass(refusal, _REFUSED_CONFIG) and asked != dict(config):
                asked = dict(config)
            else:
                raise ProfilestreamError(
                    f"Kafka at {self._kafka} refuses to make topic `{name}` with {partitions} partitions: "
                    f"{message or refusal.__name__}; make it by hand and run the command again"
                )

    async def _until_listed(self, name: str) -> None:
        """A topic just made is not at once known to every broker, nor has each partition a leader."""
        deadline = asyncio.get_running_loop().time() + SETTLE_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline:
            listed = await self._ask(self._client.describe_topics)
            partitions = next((t["partitions"] for t in listed if t["topic"] == name), None)
            if partitions and all(not p["error_code"] and p["leader"] >= 0 for p in partitions):
                return
            await asyncio.sleep(0.05)
        raise ProfilestreamError(
            f"topic `{name}` was made, but Kafka at {self._kafka} shows no leader for it; try again"
        )

    async def begin_offsets(self, topic: str) -> dict[int, int]:
        """The first offset that is still there, by partition; empty when there is no such topic."""
        return await self._offsets(topic, "beginning_offsets")

    async def end_offsets(self, topic: str) -> dict[int, int]:
        """The offset after the last committed record, by partition; empty when there is no such topic."""
        return await self._offsets(topic, "end_offsets")

    async def first_timestamps(self, topic: str) -> dict[int, int]:
        """The timestamp (ms) of the first record that is still there, of each partition that has one."""
        info = (await self.describe([topic]))[topic]
        if info is None:
            return {}
        consumer = await self._reader()
        every = {TopicPartition(topic, p): 0 for p in range(info.partitions)}
        await learn(consumer, every)
        found = await self._ask(lambda: consumer.offsets_for_times(every))
        return {tp.partition: at.timestamp for tp, at in found.items() if at is not None}

    async def last_timestamp(self, topic: str) -> int | None:
        """The timestamp (ms) of the newest record that is still there, up to a second later; None where none is.

        Kafka tells the first record from a time on; the last one is looked for by halves. What comes meanwhile is
        passed over.
        """
        earlier = min((await self.first_timestamps(topic)).values(), default=None)
        if earlier is None:
            return None
        ends, later = await self.end_offsets(topic), earlier + 1_000

        async def has_any(since_ms: int) -> bool:
            found = await self.offsets_at(topic, since_ms)
            return any(offset < ends.get(partition, 0) for partition, offset in found.items())

        while await has_any(later):
            earlier, later = later, later + 2 * (later - earlier)
        while later - earlier > 1_000:
            middle = (earlier + later) // 2
            if await has_any(middle):
                earlier = middle
            else:
                later = middle
        return later

    async def offsets_at(self, topic: str, at_ms: int) -> dict[int, int]:
        """By partition the first offset whose record's timestamp is `at_ms` or later; the end where there is none."""
        ends = await self.end_offsets(topic)
        if not ends:
            return {}
        consumer = await self._reader()
        asked = {TopicPartition(topic, partition): at_ms for partition in ends}
        await learn(consumer, asked)
        found = await self._ask(lambda: consumer.offsets_for_times(asked))
        return {tp.partition: ends[tp.partition] if at is None else at.offset for tp, at in found.items()}

    async def bounds(self, topics: Iterable[str], partition: int) -> dict[str, tuple[int, int]]:
        """The begin and the end of one partition of several topics, as `begin_offsets` and `end_offsets` tell them.

        Topics that do not exist or have no such partition are left out.
        """
        described = await self.describe(topics)
        there = [TopicPartition(name, partition) for name, i in described.items() if i and partition < i.partitions]
        if not there:
            return {}
        consumer = await self._reader()
        await learn(consumer, there)
        begins = await self._ask(lambda: consumer.beginning_offsets(there))
        ends = await self._ask(lambda: consumer.end_offsets(there))
        return {tp.topic: (begins[tp], ends[tp]) for tp in there}

    async def wait_until_readable(self, topics: Iterable[str]) -> None:
        """Returns when readers of committed records see all that is in these topics now.

        Kafka answers the end of a transaction before its partitions know of it. Somebody else's transaction may be open
        for long, so it is waited for a few seconds at most.
        """
        described = await self.describe(topics)
        there = [TopicPartition(name, p) for name, info in described.items() if info for p in range(info.partitions)]
        consumer = self._consumer_of("read_uncommitted")
        try:
            await self._ask(consumer.start)
            await learn(consumer, there)
            ends = await self._ask(lambda: consumer.end_offsets(there))
        finally:
            await consumer.stop()
        reader, deadline = await self._reader(), asyncio.get_running_loop().time() + READABLE_TIMEOUT_S
        await learn(reader, there)
        while asyncio.get_running_loop().time() < deadline:
            readable = await self._ask(lambda: reader.end_offsets(there))
            if all(readable[tp] >= ends[tp] for tp in there):
                return
            await asyncio.sleep(0.02)

    async def _offsets(self, topic: str, method: str) -> dict[int, int]:
        listed = await self._ask(self._client.describe_topics)  # of all topics, for the reason that `describe` has
        count = next((len(t["partitions"]) for t in listed if t["topic"] == topic and not t["error_code"]), 0)
        if not count:
            return {}
        consumer = await self._reader()
        partitions = [TopicPartition(topic, p) for p in range(count)]
        await learn(consumer, partitions)
        found = await self._ask(lambda: getattr(consumer, method)(partitions))
        return {tp.partition: offset for tp, offset in found.items()}

    async def _reader(self) -> Any:
        if self._consumer is None:
            consumer = self._consumer_of("read_committed")
            await self._ask(consumer.start)
            self._consumer = consumer
        return self._consumer

    def _consumer_of(self, isolation_level: str) -> Any:
        return AIOKafkaConsumer(
            bootstrap_servers=self._kafka,
            client_id="profilestream-admin",
            isolation_level=isolation_level,
            enable_auto_commit=False,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    async def committed(self, group: str) -> dict[tuple[str, int], int]:
        """A consumer group's committed offsets by (topic, partition); empty for an unknown group."""
        found = await self._ask(lambda: self._client.list_consumer_group_offsets(group))
        return {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}

    async def group_members(self, group: str) -> int:
        """How many members a consumer group has now; 0 for an unknown group."""
        # One group a request: the library misreads an answer about several.
        responses = await self._ask(lambda: self._client.describe_consumer_groups([group]))
        return sum(len(found[5]) for response in responses for found in response.groups if not found[0])

    async def group_clients(self, group: str) -> set[str]:
        """The client ids of a consumer group's members now; none for an unknown group."""
        responses = await self._ask(lambda: self._client.describe_consumer_groups([group]))
        return {m[1] for response in responses for found in response.groups if not found[0] for m in found[5]}

    async def _ask(self, request: Callable[[], Awaitable[T]]) -> T:
        """Runs a request, again while the cluster settles, and says plainly when it is lost or refuses."""
        deadline = asyncio.get_running_loop().time() + SETTLE_TIMEOUT_S
        while True:
            try:
                return await request()
            except _UNSETTLED as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise unavailable(self._kafka, error) from None
                await asyncio.sleep(0.1)
            except _LOST as error:
                raise unavailable(self._kafka, error) from None
            except KafkaError as error:
                raise ProfilestreamError(f"Kafka at {self._kafka} refuses: {error}") from error


async def wait_for_kafka(kafka: str, report: Report) -> None:
    """Returns when Kafka answers; meanwhile one line to `report`, and one more when it is there.

    For commands that run for long (worker, emitter): waits without end, with growing pauses.
    """
    pause_s = WAIT_FIRST_S
    told = False
    while True:
        try:
            async with Admin(kafka):
                break
        except ServerUnavailable as error:
            if not told:
                report(f"{error}; waiting for it")
                told = True
        await asyncio.sleep(pause_s)
        pause_s = min(WAIT_MAX_S, pause_s * 2)
    if told:
        report(f"Kafka at {kafka} answers again")
