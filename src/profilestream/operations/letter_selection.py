"""Which dead letters are meant: by reason, by time, by topic, by position. Pure; the texts are a person's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from profilestream.core.errors import UsageError
from profilestream.core.problems import suggestion
from profilestream.operations.moments import parse_moment
from profilestream.wire.dead_letters import REASONS, DeadLetter

OFFSET_MAX: Final = 2**63 - 1
POSITIONS_MAX: Final = 10_000

_POSITION: Final = re.compile(
    r"(?P<topic>[a-zA-Z0-9._-]{1,249}):(?P<partition>[0-9]{1,9})(?::(?P<first>[0-9]{1,18})(?:-(?P<last>[0-9]{1,18}))?)?"
)


class Range(NamedTuple):
    """Consecutive offsets of one partition, both ends included."""

    topic: str
    partition: int
    first: int = 0
    last: int = OFFSET_MAX


@dataclass(frozen=True)
class Selection:
    """Letters that fit every part that is given; within a part, any of it.

    `topics` and `ranges` say where the original record stands; times are its timestamp (ms), `since_ms` included,
    `until_ms` not.
    """

    reasons: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None
    ranges: tuple[Range, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether nothing was selected by anything."""
        return self == EVERY_LETTER

    def accepts(self, letter: DeadLetter) -> bool:
        """Whether `letter` is one of those."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.topics or letter.topic in self.topics)
            and (self.since_ms is None or letter.timestamp_ms >= self.since_ms)
            and (self.until_ms is None or letter.timestamp_ms < self.until_ms)
            and (not self.ranges or any(_lies_in(letter, one) for one in self.ranges))
        )


EVERY_LETTER: Final = Selection()


def _lies_in(letter: DeadLetter, one: Range) -> bool:
    return (letter.topic, letter.partition) == one[:2] and one.first <= letter.offset <= one.last


def parse_selection(
    reasons: Iterable[str] = (),
    topics: Iterable[str] = (),
    since: str | None = None,
    until: str | None = None,
    positions: Sequence[str] = (),
    now_ms: int = 0,
) -> Selection:
    """What the options of a command say; raises UsageError, which names the option and what it takes."""
    reasons = frozenset(reasons)
    for reason in sorted(reasons - set(REASONS)):
        raise UsageError(f"--reason {reason}: no dead letter has this reason{suggestion(reason, REASONS)}")
    if len(positions) > POSITIONS_MAX:
        raise UsageError(f"--position was given {len(positions):,} times; at most {POSITIONS_MAX:,}, so give ranges")
    return Selection(
        reasons,
        frozenset(topics),
        None if since is None else parse_moment("--since", since, now_ms),
        None if until is None else parse_moment("--until", until, now_ms),
        tuple(parse_range(position) for position in positions),
    )


def parse_range(text: str) -> Range:
    """`purchases:3`, `purchases:3:1881` or `purchases:3:1881-1999`; raises UsageError for another text."""
    match = _POSITION.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--position {text}: expected TOPIC:PARTITION, TOPIC:PARTITION:OFFSET or TOPIC:PARTITION:OFFSET-OFFSET, "
            "as in purchases:3:1881"
        )
    topic, partition, first, last = match.groups()
    if first is None:
        return Range(topic, int(partition))
    found = Range(topic, int(partition), int(first), int(last or first))
    if found.last < found.first:
        raise UsageError(f"--position {text}: the range ends before it begins; give the smaller offset first")
    return found
