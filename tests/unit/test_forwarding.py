"""What a forwarder takes in of a partition, and what it asks for again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from profilestream.stream.forwarding import Forwarder
from profilestream.stream.slices import Gap, Slice

HERE = TP("browsing", 2)


def forwarder(expected: int) -> Any:
    """One that goes on at an offset."""
    found: Any = Forwarder(SimpleNamespace(waiting_bytes_max=1 << 20))
    found._expected[HERE] = expected
    return found


def piece(begin: int, *offsets: int) -> Slice:
    """A slice of a fetch that began at `begin`."""
    records: Any = [SimpleNamespace(offset=o, key=None, value=b"{}", headers=()) for o in offsets]
    return Slice(*HERE, begin, records)


def waiting(forwarder: Any) -> list[int]:
    return [record.offset for piece in forwarder._queue for record in piece.records]


def test_a_hole_within_a_slice_is_no_gap() -> None:
    found = forwarder(5)
    found.put(piece(5, 6, 9))
    found.put(piece(10, 11))
    assert waiting(found) == [6, 9, 11]


def test_what_is_below_the_position_is_taken_off() -> None:
    found = forwarder(5)
    found.put(piece(1, 1, 2))
    found.put(piece(3, 3, 4, 5, 6))
    assert waiting(found) == [5, 6]


def test_a_slice_that_begins_beyond_the_position_is_asked_for_again_from_there() -> None:
    # After a rebalance a slice says that it begins at its first record, and a marker may lie before that.
    found = forwarder(5)
    with pytest.raises(Gap) as gap:
        found.put(piece(6, 6, 7))
    assert (gap.value.topic, gap.value.partition, gap.value.offset) == (*HERE, 5)
    found.put(piece(5, 6, 7))
    assert waiting(found) == [6, 7]
