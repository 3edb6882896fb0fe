"""Which topics are still those that were folded: a topic made anew under the same name has another id.

Offsets alone show it only while the new log is shorter. The ids are kept in topic `generations`, beside the
generation (key `<namespace>/<generation>/topics/<topic>`), so a Redis that is set back or lost does not lose them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.reading import read_to_end

ASKED_S_MIN: Final = 1.0
REQUEST_TIMEOUT_MS: Final = 10_000


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        found: bytes = data.read(16)
        return found


_PARTITION = (
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline", CompactArray(Int32)),
    ("tags", TaggedFields),
)
_BROKER = (
    ("node_id", Int32),
    ("host", CompactString("utf-8")),
    ("port", Int32),
    ("rack", CompactString("utf-8")),
    ("tags", TaggedFields),
)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER)),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("id", _Uuid),
                ("is_internal", Boolean),
                ("partitions", CompactArray(*_PARTITION)),
                ("operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    """Version 10 (Kafka 2.8), the first that tells ids; the client library goes to 5."""

    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class(None, False, False, False, {})


async def read_ids(kafka: str) -> dict[str, str]:
    """The id of every topic, in hexadecimal; nothing from a broker that does not tell ids (before 2.8)."""
    client = AIOKafkaAdminClient(bootstrap_servers=kafka, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await client.start()
        response = await client._send_request(_MetadataRequest())
        return {t["topic"]: UUID(bytes=t["id"]).hex for t in response.to_object()["topics"] if not t["error_code"]}
    except NotImplementedError:
        return {}
    finally:
        await client.close()


class TopicIds:
    """The ids of the topics of one generation, as they were when something had been folded from them.

    Every method raises as Kafka's clients do.
    """

    def __init__(self, kafka: str, generations_topic: str, namespace: str, generation: str) -> None:
        self._kafka = kafka
        self._topic = generations_topic
        self._prefix = f"{namespace}/{generation}/topics/"
        self._known: dict[str, str] = {}
        self._now: dict[str, str] = {}
        self._asked_s = -ASKED_S_MIN
        self._asking = asyncio.Lock()
        self._silent = False

    async def read(self) -> None:
        """Reads what is known."""
        async for record in read_to_end(self._kafka, self._topic):
            name = (record.key or b"").decode("utf-8", "replace")
            if name.startswith(self._prefix) and record.value:
                self._known[name.removeprefix(self._prefix)] = record.value.decode("ascii", "replace")

    async def note(self, folded: Iterable[str]) -> None:
        """Keeps the present ids of topics from which something was folded, where none is known."""
        unknown = set(folded) - self._known.keys()
        if not unknown or self._silent:
            return
        now = await read_ids(self._kafka)
        if not now:
            self._silent = True  # an old broker; asking again would tell nothing
            return
        async with ForwardingProducer(self._kafka) as producer:
            for topic in unknown & now.keys():
                await producer.send(self._topic, (self._prefix + topic).encode(), now[topic].encode(), partition=0)
            await producer.flush()
        self._known.update({topic: now[topic] for topic in unknown & now.keys()})

    async def is_other(self, topic: str) -> bool:
        """Whether a topic has been made anew since something was folded from it."""
        if topic not in self._known:
            return False
        async with self._asking:
            if time.monotonic() - self._asked_s >= ASKED_S_MIN:
                self._now = await read_ids(self._kafka)
                self._asked_s = time.monotonic()
        return self._now.get(topic, self._known[topic]) != self._known[topic]
