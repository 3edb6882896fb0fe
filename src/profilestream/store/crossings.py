"""How many members a segment has in a shard, and how many came and went lately: what `commit.lua` counts.

    ps:<gen>:{<shard>}:crossings    hash  segment -> members|minutes|hours

`minutes` and `hours` are each empty, or "entered left tile entered left tile entered left ...": the sums of all tiles,
then the tiles, numbered since 1970, the newest first. A crossing stands in the tile of its own time. There are those of
the last hour and of the last day before the shard's clock, and they are counted as the language's windows of '1h' and
'1d' are: while a tile began after the clock less the window. So no crossing counts that is older than the window, and
one may stop counting a tile early. At most 60 and 24 tiles a segment, whatever happens.

Never does any I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """A segment's members now, and how many entered and left in the hour and in the day before a clock."""

    members: int = 0
    entered_1h: int = 0
    left_1h: int = 0
    entered_1d: int = 0
    left_1d: int = 0


def traffic(counted: Iterable[bytes | None], clock: int) -> Traffic:
    """What a segment's counts in all shards come to at a clock (ms); a shard that never had a member has none."""
    members = entered_1h = left_1h = entered_1d = left_1d = 0
    for value in counted:
        if not value:
            continue
        now, minutes, hours = value.split(b"|")
        members += int(now)
        if minutes:
            entered, left = _since(minutes, (clock - HOUR_MS) // MINUTE_MS)
            entered_1h += entered
            left_1h += left
        if hours:
            entered, left = _since(hours, (clock - DAY_MS) // HOUR_MS)
            entered_1d += entered
            left_1d += left
    return Traffic(members, entered_1h, left_1h, entered_1d, left_1d)


def _since(counted: bytes, oldest: int) -> tuple[int, int]:
    """How many entered and left in the tiles that began after `oldest`: all, less those at the end that are older."""
    all_entered, all_left, tiles = counted.split(b" ", 2)
    if int(tiles[: tiles.index(b" ")]) <= oldest:
        return 0, 0
    entered, left = int(all_entered), int(all_left)
    while True:
        rest, tile, tile_entered, tile_left = (b" " + tiles).rsplit(b" ", 3)
        if int(tile) > oldest:
            return entered, left
        entered -= int(tile_entered)
        left -= int(tile_left)
        tiles = rest[1:]
