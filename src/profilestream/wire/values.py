"""Trait values as JSON text: what readers find in Redis and in `values` of a segment change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

Value = None | bool | int | float | str | Sequence[Any] | Mapping[str, Any]
"""A JSON-ready value; times are given as text already."""


def encode_value(value: Value) -> bytes:
    """Compact JSON text in UTF-8, the same for the same value; keys stay in the order given.

    Integers are exact at any size, floats shortest. Raises ValueError for a float that is not finite and
    TypeError for what JSON cannot hold.
    """
    try:
        text = orjson.dumps(value)
    except TypeError:
        text = _encode_exactly(value)
    # Both writers put null for NaN and infinities, so only a text with a null can hide one.
    if b"null" in text and not _finite(value):
        raise ValueError("a value is a finite number")
    return text


def decode_value(text: bytes | str) -> Any:
    """The value of a JSON text, integers exact at any size; raises ValueError for other text."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise ValueError("a stored value is not JSON") from None


def _encode_exactly(value: Value) -> bytes:
    """For integers beyond 64 bits, which orjson refuses; beside one, 1e+16 may be written as 1e16."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise TypeError("a value holds text that is not Unicode") from None


def _finite(value: Value) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    return True
