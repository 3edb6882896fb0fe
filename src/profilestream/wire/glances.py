"""A glance at a record's value: whose event it is and when it occurred, without the rest.

Whoever follows one customer reads all records of the shard, and needs of the others' no more than that. A glance judges
nothing: a value that it can read may be no event all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from profilestream.core.sources import Source
from profilestream.wire.times import parse_time

Glance = Callable[[bytes | None], tuple[str, int] | None]
"""(value) -> customer id and time (ms); None where only decoding tells."""


class _Glimpse(msgspec.Struct, gc=False):
    customer_id: str
    occurred_at: str | int


_read: Final = msgspec.json.Decoder(_Glimpse).decode


def glance_of(source: Source) -> Glance | None:
    """The glance at records of a source in our own words; None for other words, which are decoded in full."""
    return None if source.mapping is not None else _glance


def _glance(value: bytes | None) -> tuple[str, int] | None:
    try:
        found = _read(value or b"")
        return found.customer_id, parse_time(found.occurred_at)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
