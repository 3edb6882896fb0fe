"""What a worker has done so far, for its status line and its metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from prometheus_client import Counter

from profilestream.core.counting import counted

EVENTS = Counter("profilestream_events_folded_total", "Events folded")
DUPLICATES = Counter("profilestream_duplicates_total", "Events dropped because the customer had them already")
STRAYS = Counter("profilestream_strays_forwarded_total", "Records forwarded to their customer's shard")
DEAD_LETTERS = Counter("profilestream_dead_letters_total", "Records that could not be taken", ["reason"])
CROSSINGS = Counter("profilestream_crossings_total", "Segment crossings written to the outboxes")


@dataclass(slots=True)
class Counters:
    """What was done so far for one generation; of a silent one the process's metrics do not tell."""

    is_silent: bool = False
    events: int = 0
    duplicates: int = 0
    strays: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)
    crossings: int = 0
    commits: int = 0
    writes: int = 0
    shown_events: int = 0
    shown_at_s: float = field(default_factory=time.monotonic)

    def add(self, events: int, writes: int, crossings: int) -> None:
        """Counts a commit that is done."""
        self.commits += 1
        self.events += events
        self.writes += writes
        self.crossings += crossings
        if not self.is_silent:
            EVENTS.inc(events)
            CROSSINGS.inc(crossings)

    def count_duplicates(self, count: int) -> None:
        self.duplicates += count
        if not self.is_silent:
            DUPLICATES.inc(count)

    def count_stray(self) -> None:
        self.strays += 1
        STRAYS.inc()

    def count_dead_letter(self, reason: str) -> None:
        self.dead_letters[reason] = self.dead_letters.get(reason, 0) + 1
        DEAD_LETTERS.labels(reason).inc()

    def line(self, lag: int | None, final: bool) -> str | None:
        """The status line; None where nothing was folded since the last one, unless it is the final one.

        `lag` is how many records wait, where that is known.
        """
        now_s = time.monotonic()
        moved, elapsed_s = self.events - self.shown_events, max(1e-9, now_s - self.shown_at_s)
        self.shown_events, self.shown_at_s = self.events, now_s
        if not (moved or final):
            return None
        parts = [counted(self.events, "event")]
        if not final:
            parts.append(f"{moved / elapsed_s:,.0f}/s")
        if lag is not None:
            parts.append(f"lag {lag:,}")
        parts.append(counted(self.crossings, "crossing"))
        if self.duplicates:
            parts.append(counted(self.duplicates, "duplicate"))
        if self.strays:
            parts.append(f"{self.strays:,} forwarded")
        if dead := sum(self.dead_letters.values()):
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.dead_letters.items()))
            parts.append(f"{counted(dead, 'dead letter')} ({reasons})")
        return ("done: " if final else "") + ", ".join(parts)
