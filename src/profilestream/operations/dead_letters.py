"""`dead-letters list`: what could not be folded and why. Reads headers only; shows no key and no payload."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import msgspec

from profilestream.stream.reading import read_to_end
from profilestream.wire import dead_letters
from profilestream.wire.times import TIME_MS_MAX, TIME_MS_MIN, format_time

IDENTITIES_MAX: Final = 1_000_000
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

    `repeats` were read more than once and count once. With more than `IDENTITIES_MAX` dead letters
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
    kafka: str,
    dead_letters_topic: str,
    reason: str | None = None,
    topic: str | None = None,
    count: int | None = None,
) -> DeadLetters:
    """Reads the topic as it is now; keeps the newest `count` (None: all, at most `LISTED_MAX`).

    `reason` and `topic` (the original's) select. A missing topic is an empty one. Raises
    ServerUnavailable.
    """
    found = DeadLetters()
    seen: set[tuple[str, int, int]] = set()
    newest: list[tuple[int, int, dead_letters.DeadLetter]] = []
    limit = LISTED_MAX if count is None else min(count, LISTED_MAX)
    arrival = 0
    async for record in read_to_end(kafka, dead_letters_topic):
        try:
            letter = dead_letters.read_headers(record.headers)
        except ValueError:
            found.unreadable += 1
            continue
        if (reason and letter.reason != reason) or (topic and letter.topic != topic):
            continue
        identity = (letter.topic, letter.partition, letter.offset)
        if identity in seen:
            found.repeats += 1
            continue
        if len(seen) < IDENTITIES_MAX:
            seen.add(identity)
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
