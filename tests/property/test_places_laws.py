"""The compact set of places is a set."""

from __future__ import annotations

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from profilestream.stream import places
from profilestream.stream.places import Places

PLACES = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2), st.integers(0, 40) | st.integers(0, 2**63 - 1))


@given(st.lists(PLACES), st.lists(PLACES), st.integers(1, 8))
def test_it_says_what_a_set_says(added: list, asked: list, loose_min: int) -> None:
    found, oracle = Places(), set()
    before = places._LOOSE_MIN
    places._LOOSE_MIN = loose_min  # type: ignore[misc]  so that few places are many
    try:
        for place in added:
            assert found.add(place) == (place not in oracle)
            oracle.add(place)
            assert len(found) == len(oracle)
    finally:
        places._LOOSE_MIN = before  # type: ignore[misc]
    for place in [*added, *asked]:
        assert (place in found) == (place in oracle)


def test_many_places_take_a_few_bytes_each() -> None:
    offsets = random.Random(5).sample(range(10**9), 300_000)
    tracemalloc.start()
    try:
        found = Places()
        for offset in offsets:
            found.add(("purchases", offset % 4, offset))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 300_000
    assert size < 40 * 300_000  # a set of tuples takes more than 150 each
