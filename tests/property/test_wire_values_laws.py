"""Trait values as JSON text, for all values."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from profilestream.wire.values import decode_value, encode_value

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4), max_leaves=12
)


@given(VALUES)
def test_any_value_reads_back_the_same_by_any_reader(value: Any) -> None:
    text = encode_value(value)
    assert decode_value(text) == value
    assert json.loads(text) == value
    assert encode_value(decode_value(text)) == text


@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)))
def test_an_integer_beyond_64_bits_changes_no_neighbour(value: dict[str, Any]) -> None:
    beside = {**value, "big": 10**30}
    assert json.loads(encode_value(beside)) == beside
