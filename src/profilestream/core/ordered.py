"""Maps whose order of keys says nothing, put in order wherever they are written or shown."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def in_order(table: dict[str, T]) -> dict[str, T]:
    """Puts the keys of a map in order, where it stands, and gives it.

    So the next look finds nearly all of them in order, which costs a sort next to nothing.
    """
    keys = sorted(table)
    if keys != list(table):
        entries = {key: table[key] for key in keys}
        table.clear()
        table.update(entries)
    return table
