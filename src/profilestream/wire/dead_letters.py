"""Why a record could not be taken, and the headers that say so on the topic `dead-letters`.

A dead letter keeps key and value of its record; everything else is in its headers, as UTF-8 text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

import msgspec

Reason = Literal[
    "not_json",
    "wrong_type",
    "missing_field",
    "empty_id",
    "bad_time",
    "future_time",
    "too_large",
    "empty_value",
    "out_of_range",
    "currency",
    "unknown_command",
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A record that is no event: one of `REASONS`, and which field should have been what, never its value."""

    reason: Reason
    detail: str


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """What the headers of a dead letter say; (topic, partition, offset) identifies the record."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int


def headers(
    rejection: Rejection, topic: str, partition: int, offset: int, timestamp_ms: int
) -> list[tuple[str, bytes]]:
    """The headers of a dead letter: where its record stood, its timestamp in ms since 1970, and why."""
    return [
        ("reason", rejection.reason.encode()),
        ("detail", rejection.detail.encode()),
        ("topic", topic.encode()),
        ("partition", b"%d" % partition),
        ("offset", b"%d" % offset),
        ("timestamp", b"%d" % timestamp_ms),
    ]


def read_headers(given: Iterable[tuple[str, bytes | None]]) -> DeadLetter:
    """The inverse of `headers`; other headers are passed over, of a repeated one the last counts.

    Raises ValueError, naming the header, where one is absent or not what it must be.
    """
    last = dict(given)

    def text(name: str) -> str:
        value = last.get(name)
        if value is None:
            raise ValueError(f"not a dead letter: header `{name}` is absent")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError(f"not a dead letter: header `{name}` is not UTF-8 text") from None

    def integer(name: str) -> int:
        digits = text(name)
        if not (digits.isascii() and digits.removeprefix("-").isdigit() and len(digits) <= 20):
            raise ValueError(f"not a dead letter: header `{name}` is not an integer")
        return int(digits)

    return DeadLetter(
        reason=text("reason"),
        detail=text("detail"),
        topic=text("topic"),
        partition=integer("partition"),
        offset=integer("offset"),
        timestamp_ms=integer("timestamp"),
    )
