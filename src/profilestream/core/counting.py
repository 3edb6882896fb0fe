"""Numbers of things in the lines that people read."""

from __future__ import annotations


def counted(count: int, word: str, plural: str = "") -> str:
    """`1 customer`, `2,000 customers`."""
    return f"{count:,} {word if count == 1 else plural or word + 's'}"
