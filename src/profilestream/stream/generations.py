"""The compacted topic `generations`: the truth about which generations there are and which one is live.

Keys are `<namespace>/<generation>` with the generation as JSON, and `<namespace>/live` with `{"name": ..., "turn": n}`:
the turn counts how often a generation was made live, over the whole installation. A tombstone takes a generation away.
Redis holds a copy that is written again whenever it differs.

What must change together (a promotion: two generations and who is live) is one transaction, `change`, of one
transactional id: who opens it later fences who opened it before, so two commands at once never both count from the same
state, and no turn is given twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced

from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.store.metadata import Generation
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.reading import read_to_end
from profilestream.stream.topics import unavailable

GENERATION_NAME: Final = re.compile(r"[a-z0-9-]{1,64}\Z")
LIVE: Final = "live"
_NUMBERED: Final = re.compile(r"g([0-9]{1,9})\Z")
FIRST: Final = "g1"
TRANSACTION_MS: Final = 20_000


def group_of(namespace: str, generation: str) -> str:
    """The consumer group that shares a generation's shards among processes."""
    return f"{namespace}-{generation}"


class Live(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which generation is live, since which turn; `cause` is that of the changes by which it differs from the one
    before, `announce` "none" where subscribers are not told of these."""

    name: str
    turn: int = 1
    cause: Literal["", "backfill", "definition"] = ""
    announce: Literal["net", "none"] = "net"


@dataclass(frozen=True, slots=True)
class Generations:
    """What the topic says about one namespace: generations by name, and which one is live, if any.

    `last_number` is the greatest of any generation `g<number>` that the topic still knows of, dropped ones too: what
    was left of them under their name must not be taken for another's.
    """

    by_name: Mapping[str, Generation] = field(default_factory=dict)
    live_now: Live | None = None
    last_number: int = 0

    @property
    def live_name(self) -> str | None:
        return self.live_now.name if self.live_now is not None else None

    @property
    def turn(self) -> int:
        """The last turn; 0 before the first."""
        return self.live_now.turn if self.live_now is not None else 0

    @property
    def live(self) -> Generation | None:
        """The generation that readers use, if one was made live."""
        found = self.by_name.get(self.live_now.name) if self.live_now is not None else None
        return None if found is None else replace(found, turn=self.turn)

    def with_record(self, namespace: str, topic: str, record: Any) -> Generations:
        """The same with one more record of the topic. Raises ProfilestreamError for one that cannot be read: the topic
        is private, so that is a newer version's or another program's."""
        owner, _, rest = (record.key or b"").decode("utf-8", "replace").partition("/")
        if owner != namespace:
            return self
        name, _, detail = rest.partition("/")
        number = int(match[1]) if (match := _NUMBERED.match(name)) else 0
        found = replace(self, last_number=max(self.last_number, number))
        if detail:
            return found  # the ids of its topics
        try:
            if name == LIVE:
                return replace(found, live_now=msgspec.json.decode(record.value, type=Live) if record.value else None)
            if not record.value:
                return replace(found, by_name={n: g for n, g in self.by_name.items() if n != name})
            return replace(found, by_name={**self.by_name, name: msgspec.json.decode(record.value, type=Generation)})
        except msgspec.DecodeError as error:
            raise ProfilestreamError(
                f"topic `{topic}`, offset {record.offset}: not a generation ({error}); it was written by "
                "another program or a newer version, so use that version"
            ) from None


Changed = tuple[Mapping[str, Generation | None], Live | None]
"""Generations to write (None: to take away), and who is live, where that changes."""


async def publish(kafka: str, topic: str, namespace: str, generation: Generation) -> None:
    """Writes a generation; returns when Kafka has acknowledged it.

    Raises UsageError for a name that is not `[a-z0-9-]+` or is the reserved word `live`.
    """
    if not GENERATION_NAME.match(generation.name) or generation.name == LIVE:
        raise UsageError(f"`{generation.name}` is no name for a generation; use a-z, 0-9 and -, and not `{LIVE}`")
    await _write(kafka, topic, f"{namespace}/{generation.name}", msgspec.json.encode(generation))


async def publish_live(kafka: str, topic: str, namespace: str, live: Live) -> None:
    """Makes a generation the live one; returns when Kafka has acknowledged it."""
    await _write(kafka, topic, f"{namespace}/{LIVE}", msgspec.json.encode(live))


async def change(kafka: str, topic: str, namespace: str, decide: Callable[[Generations], Changed]) -> Generations:
    """Changes several things at once: `decide` is told what the topic says, and says what to write. Gives what it says
    then.

    1. Open the transactional id. Survives: another command in the middle of a change; Kafka settles its transaction
       before this returns, and it can write nothing any more.
    2. Read the topic. Nobody can change it from here on without fencing us, and then step 3 fails.
    3. Write all of it in one transaction. Survives: a crash at any instant; all of it happened, or nothing.

    What `decide` raises is raised, and nothing was written. Raises ServerUnavailable, and ProfilestreamError where
    another command came first.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, transactional_id=f"{namespace}.generations", transaction_timeout_ms=TRANSACTION_MS
    )
    try:
        await producer.start()
        before = await read_all(kafka, topic, namespace)
        written, live = decide(before)
        records = [(name, msgspec.json.encode(g) if g is not None else None) for name, g in written.items()]
        if live is not None:
            records.append((LIVE, msgspec.json.encode(live)))
        await producer.begin_transaction()
        for name, value in records:
            await producer.send_and_wait(topic, key=f"{namespace}/{name}".encode(), value=value, partition=0)
        await producer.commit_transaction()
    except (ProducerFenced, InvalidProducerEpoch):
        raise ProfilestreamError(
            "another command changes the generations at this moment; see `profilestream generations`, and run it again"
        ) from None
    except (KafkaError, AssertionError) as error:
        raise unavailable(kafka, error) from None
    finally:
        await producer.stop()
    by_name = {**before.by_name, **written}
    numbers = [int(match[1]) for name in by_name if (match := _NUMBERED.match(name))]
    return Generations(
        {n: g for n, g in by_name.items() if g is not None},
        live or before.live_now,
        max(before.last_number, *numbers, 0),
    )


async def remove(kafka: str, topic: str, namespace: str, name: str) -> None:
    """Takes a generation away with a tombstone; returns when Kafka has acknowledged it."""
    await _write(kafka, topic, f"{namespace}/{name}", None)


async def read_all(kafka: str, topic: str, namespace: str) -> Generations:
    """Everything that the topic says about a namespace now; empty when the topic does not exist.

    Raises as `Generations.with_record` does.
    """
    found = Generations()
    async for record in read_to_end(kafka, topic):
        found = found.with_record(namespace, topic, record)
    return found


async def _write(kafka: str, topic: str, key: str, value: bytes | None) -> None:
    async with ForwardingProducer(kafka) as producer:
        await producer.send(topic, key.encode(), value, partition=0)
        await producer.flush()
