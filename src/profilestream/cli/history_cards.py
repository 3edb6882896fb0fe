"""What `history` shows to a person: entries, what the log no longer has, and whether the fold is what Redis holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text

from profilestream.cli import people
from profilestream.core.counting import counted
from profilestream.core.definitions import kind_of_trait
from profilestream.core.times import TIME_MS_MAX
from profilestream.operations.history import History
from profilestream.operations.history_entries import Difference, Entry
from profilestream.operations.told import Crossed

NAMES_SHOWN: Final = 20

_STYLES: Final = {"entered": "green", "exited": "red"}
_KNOWN: Final = {"announced": "", "waiting": "  (waits to be announced)", "folded": "  (by the fold of the log)"}


def show_beginning(out: Console, found: History) -> None:
    """Who and where, and what the log no longer tells."""
    out.print(Text.assemble("customer ", (people.printable(found.customer_id), "bold")))
    clock = people.moment(found.clock, ZoneInfo(found.definitions.timezone))
    out.print(Text(f"generation {found.generation.name}, shard {found.shard}; the shard's clock: {clock}", "dim"))
    for line in log_lines(found):
        out.print(Text(line, "yellow"))
    out.print()


def log_lines(found: History) -> Iterator[str]:
    """What the log no longer has, and which traits that concerns; nothing where it is whole."""
    zone = ZoneInfo(found.definitions.timezone)
    for part in found.kept:
        if part.made_anew:
            yield f"topic {part.topic} was made anew: {counted(part.gone, 'record')} that were folded are gone"
        elif part.gone:
            left = "nothing of it is left" if part.begins_ms is None else people.moment(part.begins_ms, zone)
            yield (
                f"topic {part.topic}, partition {found.shard}, begins at offset {part.begins} now ({left}); records "
                f"{part.first_read} to {part.first_read + part.gone - 1} were folded and are gone"
            )
        elif part.first_read:
            yield f"topic {part.topic}, partition {found.shard}, was first read at offset {part.first_read}"
    never = [name for name, since in found.whole_since.items() if since > TIME_MS_MAX]
    if never:
        yield f"these traits lack what was before, if the customer had any of it: {_names(never)}"
    by_time: dict[int, list[str]] = {}
    for name, since in found.whole_since.items():
        if since <= TIME_MS_MAX:
            by_time.setdefault(since, []).append(name)
    for since, names in sorted(by_time.items()):
        yield f"these are whole from {people.moment(since, zone)} on: {_names(names)}"


class Teller:
    """Shows entry after entry: when and why, then each trait with its values, then each crossing."""

    def __init__(self, out: Console, found: History) -> None:
        self._out = out
        self._traits = found.definitions.by_trait
        self._zone = ZoneInfo(found.definitions.timezone)

    def show(self, entry: Entry) -> None:
        """One entry."""
        lines = [self._headline(entry)]
        width = max((len(c.trait) for c in entry.traits), default=0)
        for trait, before, after in entry.traits:
            kind = kind_of_trait(self._traits[trait])
            was, now = people.value(before, kind, self._zone), people.value(after, kind, self._zone)
            lines.append(Text.assemble(f"  {trait:<{width}}  ", (was, "dim"), (" -> ", "dim"), now))
        lines += [self._crossing(entry, crossed) for crossed in entry.crossings]
        for line in lines:
            self._out.print(line)

    def _headline(self, entry: Entry) -> Text:
        line = Text(people.moment(entry.at, self._zone), "bold")
        event = entry.event
        if event is None:
            return line.append("  time passed", "dim")
        line.append(f"  {event.type} ").append(people.printable(event.event_id))
        if event.occurred_at < entry.at:
            line.append(f", {people.duration(entry.at - event.occurred_at)} late", "yellow")
        return line.append(f"  {event.topic}:{event.partition}:{event.offset}", "dim")

    def _crossing(self, entry: Entry, crossed: Crossed) -> Text:
        line = Text.assemble(
            "  ", (crossed.change, _STYLES[crossed.change]), " ", (crossed.segment, "cyan"), f" #{crossed.crossing}"
        )
        if crossed.cause not in ("event", "time"):
            line.append(f"  {crossed.cause}")
        if crossed.at != entry.at:
            line.append(f"  at {people.moment(crossed.at, self._zone)}")
        return line.append(_KNOWN[crossed.known], "dim")


def show_end(
    out: Console,
    found: History,
    fitting: int,
    shown: int,
    differences: Sequence[Difference] | None,
    seconds: float,
) -> None:
    """How much there was, and whether the fold of the log is what Redis holds (None: was not compared)."""
    entries = counted(fitting, "entry", "entries")
    again = f", {counted(found.duplicates, 'duplicate')} left out" if found.duplicates else ""
    read = f"{counted(found.passed, 'record')} of the shard in {seconds:.1f} s"
    newest = f"the newest {shown:,} of " if shown < fitting else ""
    out.print(Text(f"\n{newest}{entries}; {counted(found.events, 'event')}{again}; {read}", "dim"))
    if found.otherwise:
        out.print(
            f"{counted(found.otherwise, 'crossing')} would be another by the fold of the log; "
            "shown is what subscribers were told"
        )
    if differences is None:
        return
    if not found.level:
        out.print("the shard is busy: what Redis holds was not compared")
    elif not differences:
        out.print(Text("what Redis holds is the same", "dim"))
    else:
        zone = ZoneInfo(found.definitions.timezone)
        out.print(Text(f"what Redis holds differs from the fold of the log; {_reason(found)}:", "yellow"))
        rows = people.table("", "by the log", "in Redis", right=("by the log", "in Redis"))
        for name, folded, stored in differences[:NAMES_SHOWN]:
            trait = found.definitions.by_trait.get(name)
            kind = "json" if trait is None else kind_of_trait(trait)
            label = f"crossings of {name}" if trait is None else name
            rows.add_row(f"  {label}", people.value(folded, kind, zone), people.value(stored, kind, zone))
        people.show(out, rows)
        if len(differences) > NAMES_SHOWN:
            out.print(f"  and {len(differences) - NAMES_SHOWN} more")


def interrupted(found: History) -> str:
    """What is said when the reading was broken off."""
    return f"stopped: {found.passed:,} of {counted(found.total, 'record')} read; what comes later is missing"


def _reason(found: History) -> str:
    if found.in_repair:
        return "the shard is in repair"
    if any(part.gone for part in found.kept):
        return "records that were folded are gone from the log"
    return "time and topics interleaved otherwise when it was folded, or an event came again with another time"


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f", and {more} more" if more > 0 else "")
