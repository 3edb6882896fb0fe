"""The compacted topic `generations`: the truth about which generations there are and which one is live.

Keys are `<namespace>/<generation>` with the generation as JSON, and `<namespace>/live` with `{"name": ...}`.
A tombstone takes a generation away. Redis holds a copy that is written again whenever it differs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.store.metadata import Generation
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.reading import read_to_end

GENERATION_NAME: Final = re.compile(r"[a-z0-9-]{1,64}\Z")
LIVE: Final = "live"
FIRST: Final = "g1"


class _Live(msgspec.Struct, frozen=True):
    name: str


@dataclass(frozen=True, slots=True)
class Generations:
    """What the topic says about one namespace: generations by name, and the live one's name, if any."""

    by_name: Mapping[str, Generation] = field(default_factory=dict)
    live_name: str | None = None

    @property
    def live(self) -> Generation | None:
        """The generation that readers use, if one was made live."""
        return self.by_name.get(self.live_name) if self.live_name else None


async def publish(kafka: str, topic: str, namespace: str, generation: Generation) -> None:
    """Writes a generation; returns when Kafka has acknowledged it.

    Raises UsageError for a name that is not `[a-z0-9-]+` or is the reserved word `live`.
    """
    if not GENERATION_NAME.match(generation.name) or generation.name == LIVE:
        raise UsageError(f"`{generation.name}` is no name for a generation; use a-z, 0-9 and -, and not `{LIVE}`")
    await _write(kafka, topic, f"{namespace}/{generation.name}", msgspec.json.encode(generation))


async def publish_live(kafka: str, topic: str, namespace: str, name: str) -> None:
    """Makes a generation the live one; returns when Kafka has acknowledged it."""
    await _write(kafka, topic, f"{namespace}/{LIVE}", msgspec.json.encode(_Live(name)))


async def remove(kafka: str, topic: str, namespace: str, name: str) -> None:
    """Takes a generation away with a tombstone; returns when Kafka has acknowledged it."""
    await _write(kafka, topic, f"{namespace}/{name}", None)


async def read_all(kafka: str, topic: str, namespace: str) -> Generations:
    """Everything that the topic says about a namespace now; empty when the topic does not exist.

    Raises ProfilestreamError for a record that cannot be read: the topic is private, so that is a
    newer version's or another program's.
    """
    by_name: dict[str, Generation] = {}
    live_name: str | None = None
    async for record in read_to_end(kafka, topic):
        owner, _, name = (record.key or b"").decode("utf-8", "replace").rpartition("/")
        if owner != namespace:
            continue
        try:
            if name == LIVE:
                live_name = msgspec.json.decode(record.value, type=_Live).name if record.value else None
            elif record.value:
                by_name[name] = msgspec.json.decode(record.value, type=Generation)
            else:
                by_name.pop(name, None)
        except msgspec.DecodeError as error:
            raise ProfilestreamError(
                f"topic `{topic}`, offset {record.offset}: not a generation ({error}); it was written by "
                "another program or a newer version, so use that version"
            ) from None
    return Generations(by_name, live_name)


async def _write(kafka: str, topic: str, key: str, value: bytes | None) -> None:
    async with ForwardingProducer(kafka) as producer:
        await producer.send(topic, key.encode(), value, partition=0)
        await producer.flush()
