"""`dead-letters redrive`: selected dead letters go to their original topics again, each letter once, whatever happens.

Key and value are the record's own. It goes to the partition of its customer where its value now is an event, else to
the partition that it stood in. What a letter could not carry is fetched from where the record stood. A record that is
still no event becomes a new dead letter, at its new place. How each letter is sent once: see `stream/redriven.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from profilestream.operations.letter_selection import EVERY_LETTER, Selection
from profilestream.operations.produce import live_definitions
from profilestream.settings import Settings
from profilestream.store.keys import shard_of
from profilestream.stream.lanes import record_bytes
from profilestream.stream.originals import Originals
from profilestream.stream.places import Places
from profilestream.stream.producers import KEY_BYTES, VALUE_BYTES
from profilestream.stream.reading import read_to_end
from profilestream.stream.redriven import Outgoing, Redriver, read_marks
from profilestream.stream.strays import parse_stray_headers
from profilestream.stream.topic_layout import redriven_plan
from profilestream.stream.topics import Admin, TopicInfo
from profilestream.wire.dead_letters import DeadLetter, Rejection, read_headers
from profilestream.wire.events import EventDecoder

TRANSACTION_LETTERS_MAX: Final = 1_000
TRANSACTION_BYTES_MAX: Final = 4 * 1024 * 1024
YIELD_LETTERS: Final = 500

GONE: Final = "the record is no longer in its topic"
UNREAD: Final = "no event type arrives on the topic any more"
NO_TOPIC: Final = "the topic is no longer there"
NO_ORIGIN: Final = "a forwarded record that does not say where it came from"
TOO_LARGE: Final = "the topic no longer takes a record of this size"


@dataclass(slots=True)
class Redriven:
    """What a redrive has done so far, or, of a dry run, would do.

    `sent` by topic, in committed transactions; `sent_before` were sent by an earlier run; `still_bad` by reason are
    no events by the live definitions: sent all the same, unless `only_valid` leaves them (`left`). `not_sent` by
    cause could not be. `repeats` came more than once in the topic; `unreadable` lack the headers of a dead letter.
    """

    selected: int = 0
    sent: Counter[str] = field(default_factory=Counter)
    sent_before: int = 0
    still_bad: Counter[str] = field(default_factory=Counter)
    left: int = 0
    not_sent: Counter[str] = field(default_factory=Counter)
    fetched: int = 0
    repeats: int = 0
    unreadable: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How many records of the topic of dead letters were looked at, of how many, and how many were sent."""

    read: int
    total: int
    sent: int


async def redrive(
    settings: Settings,
    selection: Selection = EVERY_LETTER,
    *,
    dry_run: bool = False,
    only_valid: bool = False,
    progress: Callable[[Progress], None] = lambda progress: None,
    done: Redriven | None = None,
) -> Redriven:
    """Sends what `selection` accepts and no run has sent yet; `done` is kept up to date for a caller that interrupts.

    The topic's end is fixed at the beginning: what comes back is not sent in the same run. Nothing is written by a
    dry run. Raises ServerUnavailable, and ProfilestreamError where another run begins meanwhile or Kafka refuses;
    running it again then goes on.
    """
    result = done if done is not None else Redriven()
    began = time.monotonic()
    redriver = None if dry_run else Redriver(settings)
    try:
        if redriver is not None:
            async with Admin(str(settings.kafka)) as admin:
                plan = redriven_plan(settings)
                await admin.create(plan.name, plan.partitions, plan.config)
            await redriver.open()
        sent, _ = await read_marks(settings)
        async with Originals(str(settings.kafka)) as originals:
            way = _Way(settings, EventDecoder.of(await live_definitions(settings)), originals)
            batch: list[Outgoing] = []
            size = 0
            letters = _chosen(settings, selection, sent, result, progress)
            async with aclosing(letters):  # type: ignore[type-var]
                async for record, letter in letters:
                    outgoing = await way.of(record, letter, result, only_valid)
                    if outgoing is None:
                        continue
                    batch.append(outgoing)
                    size += len(outgoing.value or b"") + len(outgoing.key or b"")
                    if len(batch) == TRANSACTION_LETTERS_MAX or size >= TRANSACTION_BYTES_MAX:
                        await _send(redriver, batch, result)
                        batch, size = [], 0
            if batch:
                await _send(redriver, batch, result)
        if redriver is not None and result.sent:
            async with Admin(str(settings.kafka)) as admin:
                await admin.wait_until_readable([*result.sent, settings.redriven_topic])
    finally:
        result.seconds = time.monotonic() - began
        if redriver is not None:
            await redriver.close()
    return result


async def _send(redriver: Redriver | None, batch: list[Outgoing], result: Redriven) -> None:
    if redriver is not None:
        await redriver.send(batch)
    result.sent.update(letter.topic for letter in batch)


async def _chosen(
    settings: Settings, selection: Selection, sent: Places, result: Redriven, progress: Callable[[Progress], None]
) -> AsyncIterator[tuple[Any, DeadLetter]]:
    """The selected letters that were not sent yet, each once, up to the end that the topic has now."""
    kafka, topic = str(settings.kafka), settings.dead_letters_topic
    async with Admin(kafka) as admin:
        begins, ends = await admin.begin_offsets(topic), await admin.end_offsets(topic)
    total = sum(end - begins[partition] for partition, end in ends.items())
    mine = Places()
    read = 0
    records = read_to_end(kafka, topic)
    async with aclosing(records):  # type: ignore[type-var]
        async for record in records:
            read += 1
            if read % YIELD_LETTERS == 0:
                progress(Progress(read, total, result.sent.total()))
                await asyncio.sleep(0)  # lets Ctrl-C in
            try:
                letter = read_headers(record.headers)
            except ValueError:
                result.unreadable += 1
                continue
            if not selection.accepts(letter):
                continue
            place = letter.topic, letter.partition, letter.offset
            if place in mine:
                result.repeats += 1
            elif place in sent:
                mine.add(place)
                result.selected += 1
                result.sent_before += 1
            else:
                mine.add(place)
                result.selected += 1
                yield record, letter
    progress(Progress(read, total, result.sent.total()))


class _Way:
    """Where a letter's record goes, and what it is."""

    def __init__(self, settings: Settings, decoder: EventDecoder, originals: Originals) -> None:
        self._settings = settings
        self._decoder = decoder
        self._originals = originals
        self._topics: dict[str, TopicInfo | None] = {}

    async def of(self, record: Any, letter: DeadLetter, result: Redriven, only_valid: bool) -> Outgoing | None:
        """The record to send; None where there is none, and `result` says why."""
        key, value, topic = record.key, record.value, letter.topic
        stray = topic == self._settings.rekeyed_topic
        if stray or is_incomplete(record):
            original = await self._originals.read(letter.topic, letter.partition, letter.offset)
            if original is None:
                result.not_sent[GONE] += 1
                return None
            result.fetched += 1
            key, value = original.key, original.value
            if stray:
                origin = parse_stray_headers(original.headers)
                if origin is None:
                    result.not_sent[NO_ORIGIN] += 1
                    return None
                topic = origin.topic
        if topic not in self._decoder.type_of_topic:
            result.not_sent[UNREAD] += 1
            return None
        info = await self._topic(topic)
        if info is None:
            result.not_sent[NO_TOPIC] += 1
            return None
        event = self._decoder.decoder_for_topic(topic)(value)
        if isinstance(event, Rejection):
            result.still_bad[event.reason] += 1
            if only_valid:
                result.left += 1
                return None
            partition = letter.partition % info.partitions
        else:
            partition = shard_of(event.customer_id, info.partitions)
        outgoing = Outgoing((letter.topic, letter.partition, letter.offset), topic, partition, key, value)
        if record_bytes(key, value, outgoing.headers) > info.message_bytes_max:
            result.not_sent[TOO_LARGE] += 1
            return None
        return outgoing

    async def _topic(self, name: str) -> TopicInfo | None:
        if name not in self._topics:
            async with Admin(str(self._settings.kafka)) as admin:
                self._topics[name] = (await admin.describe([name]))[name]
        return self._topics[name]


def is_incomplete(record: Any) -> bool:
    """Whether a dead letter was too large for its topic, so that key or value were left out."""
    left_out = {name for name, _ in record.headers}
    return (record.value is None and VALUE_BYTES in left_out) or (record.key is None and KEY_BYTES in left_out)
