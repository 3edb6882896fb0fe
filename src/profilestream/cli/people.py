"""Values and times as a person reads them, and the console to which the reading commands write.

Nothing here may start a line of its own or an escape sequence: values come from events, so whatever cannot be
printed is shown as JSON shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table

from profilestream.core.expressions import Kind
from profilestream.core.words import EPOCH
from profilestream.wire.times import parse_time

ABSENT: Final = "-"
ENTRIES_SHOWN: Final = 12
CHARACTERS_SHOWN: Final = 200
_WIDE: Final = 10_000
_UNITS_MS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


def console() -> Console:
    """Standard output: coloured on a terminal, plain elsewhere; a long line is never broken by us."""
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=True)


def table(*titles: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table in the house's looks; the columns named in `right` are aligned to the right."""
    found = Table(box=None, header_style="bold", pad_edge=False, show_header=any(titles))
    for title in titles:
        found.add_column(title, justify="right" if title in right else "left", overflow="fold")
    return found


def show(out: Console, rows: Table) -> None:
    """Prints a table: within the width of a terminal, elsewhere one line a row."""
    if out.is_terminal:
        out.print(rows, soft_wrap=False)
        return
    for line in out.render_lines(rows, out.options.update(width=_WIDE), pad=False):
        out.print("".join(segment.text for segment in line).rstrip())


def number(value: int | float) -> str:
    """`12,345`, `0.25`: thousands separators, and as many decimals as say something."""
    if isinstance(value, int):
        return f"{value:,}"
    if value and not 0.001 <= abs(value) < 1e15:
        return f"{value:.4g}"
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def duration(length_ms: int | float) -> str:
    """`12 d 3 h`, `1.5 s`: the two greatest units; below a minute to the millisecond."""
    left = round(abs(length_ms))
    sign = "-" if length_ms < 0 and left else ""
    if left < 60_000:
        return f"{sign}{number(left / 1000)} s" if left >= 1000 else f"{sign}{left} ms"
    parts: list[str] = []
    for unit, size_ms in _UNITS_MS:
        count, left = divmod(left, size_ms)
        if count or parts:
            parts.append(f"{count:,} {unit}")
    return sign + " ".join(part for part in parts[:2] if not part.startswith("0 "))


def moment(at_ms: int, zone: ZoneInfo) -> str:
    """`2026-01-31 10:30:00 CET`."""
    try:
        local = (EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)
    except OverflowError:
        return "beyond the year 9999"
    fraction = f".{local.microsecond // 1000:03d}" if local.microsecond else ""
    return f"{local:%Y-%m-%d %H:%M:%S}{fraction} {local.tzname()}"


def relative(at_ms: int, clock_ms: int) -> str:
    """`12 d 3 h ago`, `in 5 m`, `now`, seen from the clock."""
    if at_ms == clock_ms:
        return "now"
    length = duration(abs(at_ms - clock_ms))
    return f"{length} ago" if at_ms < clock_ms else f"in {length}"


def value(found: Any, kind: Kind, zone: ZoneInfo, clock_ms: int | None = None) -> str:
    """A trait's value in one line; with a clock a time also says how long ago it is."""
    if found is None:
        return ABSENT
    if kind == "time" and isinstance(found, str):
        at_ms = parse_time(found)
        return moment(at_ms, zone) + ("" if clock_ms is None else f" ({relative(at_ms, clock_ms)})")
    if kind == "duration" and isinstance(found, int | float):
        return duration(found)
    return _compact(found)


def one_line(text: str) -> str:
    """A text of the definitions with its line breaks as blanks."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """The text, or its JSON where it holds what a terminal would not show as it is."""
    if text.isprintable() and text == text.strip() and text:
        return text
    # There are control characters beyond ASCII too (U+009B), which JSON leaves as they are unless told.
    return json.dumps(text, ensure_ascii=not text.isprintable()).replace("\x7f", "\\u007f")


def _compact(found: Any) -> str:
    """Any JSON value on a line: `a, b`, `shoes 3, bags 1`, and how much more there is."""
    if found is None or isinstance(found, bool):
        return json.dumps(found)
    if isinstance(found, int | float):
        return number(found)
    if isinstance(found, str):
        text = printable(found)
        return text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}..."
    if isinstance(found, Mapping):
        parts = [f"{printable(str(key))} {_inner(item)}" for key, item in list(found.items())[:ENTRIES_SHOWN]]
    else:
        parts = [_inner(item) for item in found[:ENTRIES_SHOWN]]
    more = len(found) - len(parts)
    return ", ".join([*parts, *([f"and {more:,} more"] if more else [])]) or "none"


def _inner(item: Any) -> str:
    if isinstance(item, list | dict):
        text = json.dumps(item, ensure_ascii=True, separators=(",", ":"))
        return text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}..."
    return _compact(item)
