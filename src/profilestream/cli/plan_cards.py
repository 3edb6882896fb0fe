"""What `plan` shows to a person: what changes, who moves, what the log lacks, what it would take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text

from profilestream.cli import people
from profilestream.core.changes_between import Kind, SegmentChange, TraitChange
from profilestream.core.counting import counted
from profilestream.core.definitions import Segment

if TYPE_CHECKING:
    from profilestream.operations.costs import Estimate
    from profilestream.operations.plan import Plan
    from profilestream.operations.reach import Incomplete, Reach
    from profilestream.operations.sweep import Outcome

CHANGES_SHOWN: Final = 50
_UTC: Final = ZoneInfo("UTC")
_MARKS: Final[dict[Kind, tuple[str, str]]] = {
    "added": ("+", "green"), "changed": ("~", "yellow"), "removed": ("-", "red"), "told": ("~", "dim"),
}  # fmt: skip
_UNITS: Final = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))


def show_plan(out: Console, plan: Plan, path: Path, saved: Path | None) -> None:
    """The whole plan, for the file at `path`; `saved` is where it was written."""
    changes = plan.changes
    before, after = plan.live.fingerprint, changes.after.fingerprint
    out.print(Text.assemble(("generation ", ""), (plan.live.name, "bold"), f" ({before}) and {path} ({after})"))
    if not changes.any:
        same = "the same file" if before == after else "the same in other words"
        out.print(f"nothing changes: {same}")
        return
    shown = [c for c in changes.traits if c.kind != "reworded"]
    if shown:
        out.print(Text("\ntraits", style="bold"))
        _show_traits(out, shown)
    moved = [c for c in changes.segments if c.kind != "reworded"]
    if moved:
        out.print(Text("\nsegments", style="bold"))
        for segment in moved[:CHANGES_SHOWN]:
            _show_segment(out, segment, plan.sweep.outcomes.get(segment.name))
        _show_left_out(out, len(moved))
    notes = [*_notes(plan)]
    if notes:
        out.print()
    for line in notes:
        out.print(line)
    if changes.needs_log:
        out.print(Text("\nthe log", style="bold"))
        _show_log(out, plan.reaches)
    for line in _lacks(plan.incomplete):
        out.print(Text(line, style="yellow"))
    out.print(Text("\nwhat it takes", style="bold"))
    for cost in _costs(plan.estimate, plan):
        out.print(cost)
    if saved is not None:
        out.print(f"\nsaved in {saved}")


# Traits


def _show_traits(out: Console, traits: list[TraitChange]) -> None:
    rows = people.table("", "", "")
    for change in traits[:CHANGES_SHOWN]:
        mark, style = _MARKS[change.kind]
        text = change.before if change.after is None else change.after
        name = Text.assemble("  ", (mark, style), f" {change.name}")
        rows.add_row(name, people.one_line(text or ""), Text(_origin(change), style="dim"))
        if change.kind == "changed" and change.before != change.after:
            rows.add_row(Text("    was", style="dim"), Text(people.one_line(change.before or ""), style="dim"), "")
        elif change.kind == "changed":
            rows.add_row("", Text(f"another {_because(change.why)}", style="dim"), "")
    people.show(out, rows)
    _show_left_out(out, len(traits))


def _origin(change: TraitChange) -> str:
    """Where the values come from."""
    if change.kind == "removed":
        return ""
    if change.was is not None:
        return f"is {change.was} under another name"
    return "from the log" if change.needs else "from what profiles hold"


def _because(why: Iterable[str]) -> str:
    """`currency`, or what an expression of the same text stands for."""
    return ", ".join("meaning of what it names" if one == "expression" else one for one in why)


# Segments


def _show_segment(out: Console, change: SegmentChange, outcome: Outcome | None) -> None:
    """Who moves, then the conditions with what they were, then whom for example."""
    mark, style = _MARKS[change.kind]
    out.print(Text.assemble("  ", (mark, style), " ", (change.name, "bold"), f"  {_moves(change, outcome)}"))
    rows = people.table("", "", "")
    for key, old, new in _lines(change):
        now = people.one_line(new) if new else "(none)"
        if change.kind == "removed":
            continue
        if new or old:
            rows.add_row("     ", key, now)
        if change.before is not None and old != new:
            former = people.one_line(old) if old else "(none)"
            rows.add_row("", Text("was", style="dim"), Text(former, style="dim"))
    others = [one for one in change.why if one not in ("enter", "exit", "dwell", "exit_dwell", "cooldown", "sample")]
    if others and change.kind == "changed":
        rows.add_row("     ", "now", f"another {_because(others)}")
    if change.needs:
        rows.add_row("     ", "needs", "what only the log has")
    if outcome is not None:
        for word, examples, count in (
            ("enters", outcome.enter_examples, outcome.entering),
            ("leaves", outcome.leave_examples, outcome.leaving),
        ):
            if examples:
                rows.add_row("     ", word, _examples(examples, count))
    if rows.row_count:
        people.show(out, rows)


def _moves(change: SegmentChange, outcome: Outcome | None) -> str:
    if change.kind == "told":
        return f"the same members; another {', '.join(change.why)}"
    if outcome is None:
        return ""
    members = counted(outcome.members, "member")
    if not outcome.told:
        now = "new" if change.kind == "added" else f"{members} now"
        return f"{now}; who moves is known when the log is folded"
    if change.kind == "removed":
        return f"removed: {counted(outcome.leaving, 'member')} would leave"
    waiting = f"; {outcome.waiting:,} more would wait to cross" if outcome.waiting else ""
    if change.kind == "added":
        return f"new: {counted(outcome.entering, 'customer')} would enter{waiting}"
    then = outcome.members + outcome.entering - outcome.leaving
    moves = f"{outcome.entering:,} would enter, {outcome.leaving:,} leave"
    return f"{members}: {moves}, {counted(then, 'member')} then{waiting}"


def _lines(change: SegmentChange) -> Iterator[tuple[str, str, str]]:
    """What is said in the segment's table, as it was and as it is: what differs, and the condition for entering."""
    old, new = _table(change.before), _table(change.after)
    for key in dict.fromkeys((*old, *new)):
        if old.get(key, "") != new.get(key, "") or key == "enter":
            yield key, old.get(key, ""), new.get(key, "")


def _table(segment: Segment | None) -> dict[str, str]:
    if segment is None:
        return {}
    enter, leave = segment.texts
    found = {"description": segment.description, "enter": enter, "exit": leave or ""}
    return found | dict(segment.pacing.texts() if segment.pacing is not None else ())


def _examples(customers: list[str], count: int) -> str:
    shown = ", ".join(people.printable(one) for one in customers)
    return shown if count <= len(customers) else f"{shown} and {count - len(customers):,} more"


def _show_left_out(out: Console, count: int) -> None:
    if count > CHANGES_SHOWN:
        out.print(Text(f"  and {count - CHANGES_SHOWN:,} more; --json has all", style="dim"))


# What is said of all


def _notes(plan: Plan) -> Iterator[str]:
    changes = plan.changes
    reworded = sum(c.kind == "reworded" for c in changes.traits) + sum(c.kind == "reworded" for c in changes.segments)
    if changes.grounds:
        yield f"another {', '.join(changes.grounds)}"
    if changes.reordered:
        yield "segments stand in another order: crossings of one instant are told in it"
    if reworded:
        yield f"{counted(reworded, 'definition')} the same in other words"
    if plan.sweep.outcomes:
        clocks = sorted(plan.sweep.clocks.values())
        at = "" if not clocks else f", at their shards' clocks ({people.moment(clocks[-1], _UTC)} the latest)"
        took = f" in {people.duration(100 * round(10 * plan.sweep.seconds))}" if plan.sweep.seconds >= 1 else ""
        yield f"looked at {counted(plan.sweep.customers, 'profile')}{took}{at}"


def _show_log(out: Console, reaches: Iterable[Reach]) -> None:
    rows = people.table("  topic", "records", "first arrived", "", right=("records",))
    for reach in reaches:
        begins = "" if reach.begins_ms is None else people.moment(reach.begins_ms, _UTC)
        rows.add_row(f"  {reach.topic}", f"{reach.records:,}", begins, Text(_fault(reach), style="yellow"))
    people.show(out, rows)


def _fault(reach: Reach) -> str:
    """Why a topic does not tell all, or will not for long."""
    if reach.left:
        return f"is left: its {counted(reach.gone, 'record')} of {reach.type_name} would not be folded again"
    if reach.missing:
        return "is not there"
    if reach.made_anew:
        return "was made anew: what it held before is gone"
    if reach.compacted:
        return "is compacted: nobody knows what is gone"
    if reach.gone:
        return f"{reach.gone:,} before that are gone"
    return "records are not kept for ever" if reach.limited else ""


def _lacks(parts: Iterable[Incomplete]) -> Iterator[str]:
    for one in parts:
        since = "never" if one.since is None else f"from {people.moment(one.since, _UTC)} on"
        if one.inherited:
            yield f"  {one.name}: is made of what the live generation has not whole yet; whole {since}"
            continue
        lost = ", and what the live generation has of it would be lost" if one.lost else ""
        yield f"  {one.name}: the log no longer has all that it needs; whole {since}{lost}"


def _costs(found: Estimate, plan: Plan) -> Iterator[Text | str]:
    if plan.changes.needs_log:
        yield f"  a replay of {counted(found.records, 'record')} into a new generation, beside the live one"
    else:
        yield f"  a walk over {counted(found.customers, 'profile')}; the log is not needed"
    if found.seconds and found.records_per_s:
        rate = people.number(float(f"{found.records_per_s:.2g}"))
        yield (
            f"  time: at least {people.duration(1000 * max(1, round(found.seconds)))} (an estimate: one process folds "
            f"about {rate} records a second here; Redis and Kafka come on top)"
        )
    if found.new_bytes is not None and found.live_bytes is not None:
        yield (
            f"  memory: about {_size(found.new_bytes)} in Redis, beside {_size(found.live_bytes)} of the live "
            "generation (an estimate, from a sample)"
        )
        if found.free_bytes is not None and found.free_bytes < found.new_bytes:
            left = _size(found.free_bytes)
            yield Text(f"  Redis has only {left} left below its maxmemory; raise it first", style="yellow")


def _size(count: int) -> str:
    for unit, name in _UNITS:
        if count >= unit:
            return f"{float(f'{count / unit:.3g}'):g} {name}"
    return f"{count} bytes"
