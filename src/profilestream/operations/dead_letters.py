"""`dead-letters list` and `show`: what could not be folded and why. `list` shows no key and no payload, `show` all."""

from __future__ import annotations

import heapq
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import msgspec

from profilestream.core.errors import NotFound
from profilestream.operations.letter_selection import EVERY_LETTER, Selection
from profilestream.operations.redrive import is_incomplete
from profilestream.settings import Settings
from profilestream.stream.originals import Originals
from profilestream.stream.places import PLACES_MAX, Places
from profilestream.stream.reading import read_to_end
from profilestream.stream.redriven import Mark, Place, read_marks
from profilestream.wire import dead_letters
from profilestream.wire.times import TIME_MS_MAX, TIME_MS_MIN, format_time

LISTED_MAX: Final = 1_000_000


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One record that was no event.

    `time` is the original record's timestamp, RFC 3339 in UTC with milliseconds; (topic, partition,
    offset) is where it stands; `detail` names a field and what is expected of it.
    """

    time: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class DeadLetters:
    """The newest dead letters, oldest first, and how many there are of each reason (all that match).

    `repeats` were read more than once and count once. With more than `PLACES_MAX` dead letters
    repeats are no longer told apart, and `exact` is False. `unreadable` lack the headers of a dead letter.
    """

    letters: list[DeadLetter] = field(default_factory=list)
    by_reason: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    unreadable: int = 0
    exact: bool = True

    @property
    def total(self) -> int:
        """How many dead letters match, listed or not."""
        return self.by_reason.total()


async def list_dead_letters(
    kafka: str, dead_letters_topic: str, selection: Selection = EVERY_LETTER, count: int | None = None
) -> DeadLetters:
    """Reads the topic as it is now; keeps the newest `count` (None: all, at most `LISTED_MAX`).

    A missing topic is an empty one. Raises ServerUnavailable.
    """
    found = DeadLetters()
    seen = Places()
    newest: list[tuple[int, int, dead_letters.DeadLetter]] = []
    limit = LISTED_MAX if count is None else min(count, LISTED_MAX)
    arrival = 0
    async for record in read_to_end(kafka, dead_letters_topic):
        try:
            letter = dead_letters.read_headers(record.headers)
        except ValueError:
            found.unreadable += 1
            continue
        if not selection.accepts(letter):
            continue
        place = (letter.topic, letter.partition, letter.offset)
        if place in seen:
            found.repeats += 1
            continue
        if len(seen) < PLACES_MAX:
            seen.add(place)
        else:
            found.exact = False
        found.by_reason[letter.reason] += 1
        arrival += 1
        put = heapq.heappush if len(newest) < limit else heapq.heappushpop
        put(newest, (letter.timestamp_ms, arrival, letter))
    found.letters = [_letter(letter) for _, _, letter in sorted(newest)]
    return found


def _letter(header: dead_letters.DeadLetter) -> DeadLetter:
    return DeadLetter(
        time=format_time(min(max(header.timestamp_ms, TIME_MS_MIN), TIME_MS_MAX)),
        reason=header.reason,
        detail=header.detail,
        topic=header.topic,
        partition=header.partition,
        offset=header.offset,
    )


@dataclass(frozen=True, slots=True)
class WholeLetter:
    """One dead letter with all that is known of it.

    `key` and `value` are the record's, fetched from its topic (`fetched`) where the letter could not carry them; with
    `gone` it is no longer there either. `headers` are the letter's, (`partition`, `offset`) its own place in the
    topic of dead letters, `redriven` when and where it was sent again.
    """

    letter: DeadLetter
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    partition: int
    offset: int
    fetched: bool
    gone: bool
    redriven: Mark | None


async def show_dead_letter(settings: Settings, place: Place) -> WholeLetter:
    """The dead letter of the record at `place`. Raises NotFound where there is none, ServerUnavailable."""
    kafka, topic = str(settings.kafka), settings.dead_letters_topic
    records = read_to_end(kafka, topic)
    async with aclosing(records):  # type: ignore[type-var]
        async for record in records:
            try:
                letter = dead_letters.read_headers(record.headers)
            except ValueError:
                continue
            if (letter.topic, letter.partition, letter.offset) == place:
                break
        else:
            raise NotFound(
                f"no dead letter in {topic} is of {place[0]}, partition {place[1]}, offset {place[2]}; "
                "`profilestream dead-letters list` shows those that there are"
            )
    key, value, original = record.key, record.value, None
    incomplete = is_incomplete(record)
    if incomplete:
        async with Originals(kafka) as originals:
            original = await originals.read(*place)
        if original is not None:
            key, value = original.key, original.value
    _, mark = await read_marks(settings, place)
    return WholeLetter(
        letter=_letter(letter),
        key=key,
        value=value,
        headers=tuple(record.headers),
        partition=record.partition,
        offset=record.offset,
        fetched=original is not None,
        gone=incomplete and original is None,
        redriven=mark,
    )
