"""What a forwarded record says about where it came from: the headers of topic `rekeyed`.

Key and value of a stray travel unchanged; these headers name the event type, the topic, partition and
offset of the original, and its timestamp. A shard keeps the greatest offset folded of each origin
(type, topic, partition) and drops what is not above it, so forwarding twice is harmless. That is only
true because strays of one origin are forwarded in order: see `stream/producers.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

TYPE: Final = "type"
TOPIC: Final = "topic"
PARTITION: Final = "partition"
OFFSET: Final = "offset"
TIMESTAMP: Final = "timestamp"

Headers = list[tuple[str, bytes]]


class Origin(NamedTuple):
    """Where a stray was read first; `timestamp_ms` is that record's own."""

    type: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int

    @property
    def name(self) -> str:
        """Under which a shard's head keeps the greatest offset folded of this origin."""
        return f"{self.type}:{self.topic}:{self.partition}"


def stray_headers(type: str, topic: str, partition: int, offset: int, timestamp_ms: int) -> Headers:
    """The headers that a stray carries, in UTF-8 text."""
    return [
        (TYPE, type.encode()),
        (TOPIC, topic.encode()),
        (PARTITION, b"%d" % partition),
        (OFFSET, b"%d" % offset),
        (TIMESTAMP, b"%d" % timestamp_ms),
    ]


def parse_stray_headers(headers: Iterable[tuple[str, bytes | None]]) -> Origin | None:
    """Reads `stray_headers` back; None when one is missing or is not what it must be."""
    found = dict(headers)
    try:
        return Origin(
            _text(found[TYPE]),
            _text(found[TOPIC]),
            int(_text(found[PARTITION])),
            int(_text(found[OFFSET])),
            int(_text(found[TIMESTAMP])),
        )
    except (KeyError, ValueError):
        return None


def _text(value: bytes | None) -> str:
    if not value:
        raise ValueError("empty")
    return value.decode()
