"""`produce`: sends a file of events, one JSON object a line, to an event topic, keyed by customer.

A file is checked as a whole before anything is sent, so a bad line leaves nothing half done. What can be
read only once (a pipe) is checked as it goes, and sending stops at the first bad line.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from profilestream.core.counting import counted
from profilestream.core.definitions import Definitions
from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.core.events import COMMAND, EVENT_BYTES_MAX, ID_CHARACTERS_MAX
from profilestream.settings import Settings
from profilestream.store.keys import shard_of
from profilestream.stream import generations
from profilestream.stream.producers import ForwardingProducer
from profilestream.stream.topics import Report
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import EventDecoder

BLOCK_BYTES: Final = 256 * 1024
LINE_BYTES_MAX: Final = 16 * 1024 * 1024
BAD_LINES_SHOWN_MAX: Final = 20
PAUSE_MIN_S: Final = 0.01

_encode_key = str.encode


class Progress(NamedTuple):
    """How far it is: `stage` is `checking` or `sending`, `bytes` are those of the file behind it."""

    stage: str
    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no event of its topic's type; says which field and what is expected, never a value."""

    number: int
    reason: str
    detail: str


class BadLines(ProfilestreamError):
    """The file has lines that would be dead letters; the text shows the first of them."""

    def __init__(self, source: str, lines: list[BadLine], count: int, sent: int) -> None:
        shown = [f"{source}:{line.number}: {line.reason}: {line.detail}" for line in lines]
        if count > len(lines):
            shown.append(f"... and {count - len(lines):,} more")
        before = f"{counted(sent, 'event')} before it {'was' if sent == 1 else 'were'} sent"
        done = before if sent else "nothing was sent"
        shown.append(f"{done}; correct the file, or send it as it is with --no-validate")
        super().__init__("\n".join(shown))
        self.lines = lines
        self.count = count
        self.sent = sent


@dataclass(slots=True)
class Produced:
    """What was sent: events acknowledged by Kafka, the topic and the seconds that sending took."""

    topic: str
    events: int = 0
    seconds: float = 0.0


class LineCheck:
    """Decides whether a line may be sent to a topic, and what its key is.

    With `validate`, `definitions` must read the topic, and lines stand in its words: UsageError names the
    topics that there are. Without, every line may be sent; the key is `customer_id` where the line has a usable one.
    """

    def __init__(self, topic: str, definitions: Definitions, future_ms_max: int, validate: bool = True) -> None:
        topics = [source.topic for source in definitions.sources if source.type_name != COMMAND]
        if validate and topic not in topics:
            raise UsageError(
                f"no event type arrives on topic `{topic}`; there are {', '.join(sorted(topics))} "
                "(--no-validate sends to any topic that exists)"
            )
        self._decode = EventDecoder.of(definitions).decoder_for_topic(topic) if validate else None
        self._future_ms_max = future_ms_max
        self.validates = validate

    def customer(self, line: bytes) -> str | Rejection | None:
        """The customer of a line; a Rejection for a line that must not be sent; None: no usable key."""
        if self._decode is None:
            return _customer_of_anything(line)
        event = self._decode(line)
        if isinstance(event, Rejection):
            return event
        if event.occurred_at > time.time_ns() // 1_000_000 + self._future_ms_max:
            return Rejection("future_time", f"`occurred_at` is more than {self._future_ms_max} ms after now")
        customer: str = event.customer_id
        return customer


class _Anything(msgspec.Struct):
    customer_id: Any = None


_anything = msgspec.json.Decoder(_Anything)


def _customer_of_anything(line: bytes) -> str | None:
    try:
        customer = _anything.decode(line).customer_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return customer if isinstance(customer, str) and 0 < len(customer) <= ID_CHARACTERS_MAX else None


async def live_definitions(settings: Settings) -> Definitions:
    """What the live generation reads; the built-in types on their own topics where there is none yet."""
    known = await generations.read_all(str(settings.kafka), settings.generations_topic, settings.namespace)
    if known.live is None:
        return parse_definitions("")
    return parse_definitions(known.live.definitions, f"generation {known.live.name}")


async def produce(
    kafka: str,
    topic: str,
    source: BinaryIO,
    name: str,
    check: LineCheck,
    rate: float | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
    report: Report | None = None,
    produced: Produced | None = None,
) -> Produced:
    """Sends every line of `source`, called `name` in messages, at most `rate` a second.

    Blank lines are left out. `produced` is brought up to date as Kafka acknowledges, so that a caller that
    stops it knows how far it came. Raises BadLines, UsageError for an unknown topic, ServerUnavailable.
    """
    result = produced or Produced(topic)
    count: int | None = None
    async with ForwardingProducer(kafka, report) as producer:
        await producer.partitions(topic)
        if check.validates and _can_be_read_twice(source):
            count = await _check_all(source, name, check, progress)
            source.seek(0)
        began = time.monotonic()
        try:
            await _send_all(producer, topic, source, name, check, count, rate, progress)
        finally:
            result.events = producer.acknowledged_records
            result.seconds = time.monotonic() - began
    return result


async def _check_all(source: BinaryIO, name: str, check: LineCheck, progress: Callable[[Progress], None]) -> int:
    """The number of lines with something in them; raises BadLines for all bad lines at once."""
    bad: list[BadLine] = []
    bad_count = events = done_bytes = 0
    async for number, lines, block_bytes in _numbered_blocks(source, name):
        for offset, line in _filled(lines):
            found = check.customer(line)
            events += 1
            if isinstance(found, Rejection):
                bad_count += 1
                if len(bad) < BAD_LINES_SHOWN_MAX:
                    bad.append(BadLine(number + offset, found.reason, found.detail))
        done_bytes += block_bytes
        progress(Progress("checking", events, done_bytes))
        await asyncio.sleep(0)  # lets Ctrl-C in
    if bad:
        raise BadLines(name, bad, bad_count, sent=0)
    return events


async def _send_all(
    producer: ForwardingProducer,
    topic: str,
    source: BinaryIO,
    name: str,
    check: LineCheck,
    count: int | None,
    rate: float | None,
    progress: Callable[[Progress], None],
) -> None:
    """Sends `count` events (None: all); what is on its way is acknowledged when this returns or raises."""
    partitions = await producer.partitions(topic)
    began = time.monotonic()
    sent = done_bytes = 0
    try:
        async for number, lines, block_bytes in _numbered_blocks(source, name):
            for offset, line in _filled(lines):
                if sent == count:
                    return
                customer = check.customer(line)
                if isinstance(customer, str):
                    await producer.send(topic, _encode_key(customer), line, partition=shard_of(customer, partitions))
                elif customer is None:
                    await producer.send(topic, None, line, partition=sent % partitions)
                else:
                    await producer.flush()
                    bad = BadLine(number + offset, customer.reason, customer.detail)
                    raise BadLines(name, [bad], 1, sent)
                sent += 1
                if rate and (ahead_s := began + sent / rate - time.monotonic()) > PAUSE_MIN_S:
                    await asyncio.sleep(ahead_s)
                    progress(Progress("sending", sent, done_bytes))
            done_bytes += block_bytes
            progress(Progress("sending", sent, done_bytes))
            await asyncio.sleep(0)  # lets the producer send, and Ctrl-C in
    finally:
        await producer.flush()


def _filled(lines: list[bytes]) -> Iterator[tuple[int, bytes]]:
    for offset, line in enumerate(lines):
        if line and not line.isspace():
            yield offset, line.rstrip(b"\r")


async def _numbered_blocks(source: BinaryIO, name: str) -> AsyncIterator[tuple[int, list[bytes], int]]:
    """Whole lines with the number of the first and the bytes read for them; bounded by LINE_BYTES_MAX."""
    rest = b""
    number = 1
    async for block in _blocks(source):
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            raise ProfilestreamError(
                f"{name}:{number + len(lines)}: a line of more than {LINE_BYTES_MAX} bytes; "
                f"an event has at most {EVENT_BYTES_MAX}, one a line"
            )
        yield number, lines, len(block)
        number += len(lines)
    if rest:
        yield number, [rest], 0


async def _blocks(source: BinaryIO) -> AsyncIterator[bytes]:
    """Blocks of a file, or of a pipe as they come."""
    if _can_be_read_twice(source):
        while block := source.read(BLOCK_BYTES):
            yield block
        return
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    try:
        while block := await reader.read(BLOCK_BYTES):
            yield block
    finally:
        transport.close()


def _can_be_read_twice(source: BinaryIO) -> bool:
    return stat.S_ISREG(os.fstat(source.fileno()).st_mode)
