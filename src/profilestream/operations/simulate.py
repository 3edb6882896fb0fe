"""`simulate`: records of simulated customers to files or to Kafka's topics, at a rate or as fast as it goes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from profilestream.core.errors import UsageError
from profilestream.core.events import BUILT_IN
from profilestream.simulation import Known, Plan, Record, simulate

if TYPE_CHECKING:  # to a file, no client of Kafka is needed
    from profilestream.core.definitions import Definitions
    from profilestream.stream.producers import ForwardingProducer

TOPICS: Final[Mapping[str, str]] = {name: t.topic for name, t in BUILT_IN.items()} | {
    "workout": "workouts",
    "demo": "demos",
}
"""The topics of all types that are simulated; the last two are the examples' own types."""
OWN_TYPES: Final[Mapping[str, str]] = {"fitness": "workout", "small_business": "demo"}
"""Which kind of customers sends which of these two."""
PAUSE_MIN_S: Final = 0.01
TOLD_EVERY: Final = 1_000

Progress = Callable[[int], None]


def records(plan: Plan, skip: int) -> Iterator[Record]:
    """The plan's records without the first `skip`, which an interrupted run has written already."""
    return islice(simulate(plan), skip, None)


def write_lines(out: BinaryIO, found: Iterable[Record], rate: float | None, progress: Progress) -> int:
    """Writes one line a record, which begins with its `type`; gives their number."""
    return _paced(found, rate, progress, lambda r: out.write(_typed(r) + b"\n"))


def write_folder(folder: Path, found: Iterable[Record], rate: float | None, progress: Progress) -> int:
    """Writes a file for each topic, `purchases.jsonl` and so on, as `produce` takes them.

    Raises UsageError where the folder cannot be used.
    """
    with ExitStack() as stack:
        files: dict[str, BinaryIO] = {}

        def write(record: Record) -> None:
            name = TOPICS[record.type_name]
            if name not in files:
                files[name] = stack.enter_context((folder / f"{name}.jsonl").open("ab"))
            files[name].write(record.value + b"\n")

        try:
            folder.mkdir(parents=True, exist_ok=True)
            return _paced(found, rate, progress, write)
        except OSError as error:
            raise UsageError(f"{folder}: cannot write there ({error.strerror or error})") from None


def write_knowledge(path: Path, known: Iterable[Known]) -> int:
    """Writes what is known of each customer, a JSON object a line; gives their number."""
    count = 0
    try:
        with path.open("w", encoding="utf-8") as out:
            for one in known:
                out.write(json.dumps(asdict(one), separators=(",", ":")) + "\n")
                count += 1
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from None
    return count


async def send(
    kafka: str,
    definitions: Definitions,
    kinds: Iterable[str],
    found: Iterable[Record],
    rate: float | None,
    progress: Progress,
) -> int:
    """Sends each record to its type's topic, keyed by customer; gives the number acknowledged.

    `kinds` are the plan's. Raises UsageError, before anything is sent, where an own type of theirs has no topic;
    ServerUnavailable.
    """
    from profilestream.store.keys import shard_of
    from profilestream.stream.producers import ForwardingProducer

    topics = dict(TOPICS) | {s.type_name: s.topic for s in reversed(definitions.sources) if s.mapping is None}
    sent, began = 0, time.monotonic()
    async with ForwardingProducer(kafka) as producer:
        for kind in kinds:
            if kind in OWN_TYPES:
                await _check_own_type(producer, kind, topics[OWN_TYPES[kind]])
        try:
            for record in found:
                topic = topics[record.type_name]
                partition = shard_of(record.customer_id, await producer.partitions(topic))
                await producer.send(topic, record.customer_id.encode(), record.value, partition=partition)
                sent += 1
                if sent % TOLD_EVERY == 0:
                    progress(sent)
                    await asyncio.sleep(0)  # lets the producer send, and Ctrl-C in
                if rate and (ahead_s := began + sent / rate - time.monotonic()) > PAUSE_MIN_S:
                    progress(sent)
                    await asyncio.sleep(ahead_s)
        finally:
            await producer.flush()
            progress(sent)
    return sent


async def _check_own_type(producer: ForwardingProducer, kind: str, topic: str) -> None:
    try:
        await producer.partitions(topic)
    except UsageError as error:
        hint = f"{kind} customers send `{OWN_TYPES[kind]}`, a type of their own; begin with its definitions"
        other = f"(profilestream new DIR --example {kind}), or take other customers with --persona"
        raise UsageError(f"{error}. {hint} {other}") from None


def _paced(found: Iterable[Record], rate: float | None, progress: Progress, write: Callable[[Record], object]) -> int:
    began, count = time.monotonic(), 0
    try:
        for number, record in enumerate(found, 1):
            write(record)
            count = number  # after the write: who goes on after an interruption may write one again, but loses none
            if count % TOLD_EVERY == 0:
                progress(count)
            if rate and (ahead_s := began + count / rate - time.monotonic()) > PAUSE_MIN_S:
                progress(count)
                time.sleep(ahead_s)
    finally:
        progress(count)
    return count


def _typed(record: Record) -> bytes:
    """The value with `type` as its first member; a value that is cut off is so still."""
    return b'{"type":"%s",%s' % (record.type_name.encode(), record.value[1:])
