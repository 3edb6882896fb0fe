"""Segment changes on the wire: whatever is encoded reads back the same, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilestream.wire.changes import (
    EventReference,
    SegmentChange,
    claims_to_be_a_change,
    decode_change,
    encode_change,
)
from profilestream.wire.times import TIME_MS_MAX, TIME_MS_MIN

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
COUNTS = st.integers(0, 2**63 - 1)
CHANGES = st.builds(
    SegmentChange,
    customer_id=TEXTS,
    segment=TEXTS,
    change=st.sampled_from(["entered", "exited"]),
    crossing=COUNTS,
    cause=st.sampled_from(["event", "time", "definition", "backfill", "repair", "merge", "erasure"]),
    values=st.dictionaries(TEXTS, VALUES, max_size=4),
    generation=TEXTS,
    definitions=TEXTS,
    time_ms=st.integers(TIME_MS_MIN, TIME_MS_MAX),
    source=TEXTS,
    event=st.none() | st.builds(EventReference, TEXTS, COUNTS, COUNTS, TEXTS),
)


@given(CHANGES)
def test_every_change_reads_back_as_it_was(change: SegmentChange) -> None:
    assert decode_change(encode_change(change)) == change


@given(CHANGES)
def test_a_change_s_id_and_time_are_those_on_the_wire(change: SegmentChange) -> None:
    document = json.loads(encode_change(change))
    assert (change.id, change.time) == (document["id"], document["time"])


@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_other_bytes_are_neither_a_change_nor_claim_to_be_one(value: bytes) -> None:
    with pytest.raises(ValueError):
        decode_change(value)
    assert not claims_to_be_a_change(value)


@given(CHANGES, st.sampled_from(["cause", "crossing", "customer_id", "change"]))
def test_a_change_that_lost_a_part_still_claims_to_be_one(change: SegmentChange, lost: str) -> None:
    document = json.loads(encode_change(change))
    document["source"] = "profilestream/ps"
    del document["data"][lost]
    value = json.dumps(document).encode()
    with pytest.raises(ValueError):
        decode_change(value)
    assert claims_to_be_a_change(value)
