"""Trait values as JSON text."""

import math

import pytest

from profilestream.wire.values import decode_value, encode_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (51200, b"51200"),
        (0.1, b"0.1"),
        (2.0, b"2.0"),
        (True, b"true"),
        (None, b"null"),
        ("Zoë", '"Zoë"'.encode()),
        ("null", b'"null"'),
        ([1, "a", None], b'[1,"a",null]'),
        ({"b": 1, "a": {"c": []}}, b'{"b":1,"a":{"c":[]}}'),
        (2**63, b"9223372036854775808"),
        (-(10**30), b"-1000000000000000000000000000000"),
        ({"b": [10**25, 0.5], "a": 0.1}, b'{"b":[10000000000000000000000000,0.5],"a":0.1}'),
    ],
)
def test_a_value_is_written_compactly_exactly_and_in_the_order_given(value: object, text: bytes) -> None:
    assert encode_value(value) == text  # type: ignore[arg-type]
    assert decode_value(text) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}, [10**30, math.nan]])
def test_a_float_that_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        encode_value(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, object()])
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode_value(value)  # type: ignore[arg-type]


def test_a_text_that_is_not_json_raises_value_error() -> None:
    with pytest.raises(ValueError):
        decode_value(b"{")
