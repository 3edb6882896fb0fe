"""`new`, `try` and `test`: write definitions, see what they do, and hold them to it, without a server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.text import Text

from profilestream.cli import cards, explaining, people, watching
from profilestream.cli.connection import JsonOption
from profilestream.core.counting import counted
from profilestream.core.errors import NotFound, UsageError
from profilestream.operations import scaffold
from profilestream.operations.definition_tests import Outcome, run_tests
from profilestream.operations.definition_tests_reading import read_with_tests
from profilestream.operations.trial import Change, Lines, Trial
from profilestream.wire.definitions import read_definitions
from profilestream.wire.explanations import explanation_object
from profilestream.wire.times import format_time, parse_time

CUSTOMERS_SHOWN: Final = 3
CHANGES_SHOWN: Final = 30
LETTERS_SHOWN: Final = 10

WatchOption = Annotated[bool, typer.Option("--watch", help="Run again whenever a file is saved, until Ctrl-C.")]
DefinitionsArgument = Annotated[Path, typer.Argument(metavar="DEFINITIONS", help="The definitions file.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(new)
    app.command("try")(try_)
    app.command()(test)


def new(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder; made if it is not there.")],
    example: Annotated[
        str | None, typer.Option("--example", metavar="NAME", help=f"One of: {', '.join(scaffold.examples())}.")
    ] = None,
) -> None:
    """Write a commented definitions file and sample events to begin with."""
    for path in scaffold.write(directory, example):
        print(path)
    definitions, events = directory / scaffold.DEFINITIONS, directory / scaffold.EVENTS
    print(f"\nNow try it:\n\n  profilestream try {definitions} {events}\n  profilestream test {definitions}")


def try_(
    definitions: DefinitionsArgument,
    events: Annotated[str, typer.Argument(metavar="EVENTS", help="Events, a JSON object a line; - is standard input.")],
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="T", help="The topic (or type) of lines that name no `type`.")
    ] = None,
    customer: Annotated[str | None, typer.Option("--customer", metavar="C", help="Show this customer.")] = None,
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=0, help="Show so many customers.")
    ] = CUSTOMERS_SHOWN,
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="Let time pass until then.")] = None,
    as_json: JsonOption = False,
    watch: WatchOption = False,
) -> None:
    """Fold events on the spot: profiles, segment changes and reasons, without a server."""
    until = _moment(at)
    if watch and events == "-":
        raise UsageError("standard input is read once; --watch needs a file of events")

    def once() -> None:
        trial = _folded(definitions, events, topic, until)
        if as_json:
            print(json.dumps(_trial_object(trial, customer), ensure_ascii=False))
        else:
            _show(people.console(), trial, customer, count)

    watching.run([definitions, Path(events)], watch, once)


def test(
    definitions: Annotated[list[Path], typer.Argument(metavar="DEFINITIONS", help="One definitions file, or several.")],
    watch: WatchOption = False,
) -> None:
    """Run the tests of a definitions file."""
    failed = False

    def once() -> None:
        nonlocal failed
        failed = not all([_test(people.console(), file) for file in definitions])

    watching.run(definitions, watch, once)
    if failed:
        raise typer.Exit(1)


# try


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError:
        raise UsageError(f"--at {text}: write a time with offset, such as 2026-01-31T09:30:00Z") from None


def _folded(definitions: Path, events: str, topic: str | None, until: int | None) -> Trial:
    trial = Trial(read_definitions(definitions))
    lines = Lines(trial, topic, Path(events).stem)
    try:
        if events == "-":
            _feed(lines, sys.stdin.buffer)
        else:
            with Path(events).open("rb") as source:
                _feed(lines, source)
    except OSError as error:
        raise UsageError(f"{events}: cannot be read ({error.strerror or error})") from None
    if until is not None:
        if trial.clock is not None and until < trial.clock:
            raise UsageError(f"--at {format_time(until)} lies before the last event, {format_time(trial.clock)}")
        trial.advance(until)
    return trial


def _feed(lines: Lines, source: BinaryIO) -> None:
    for number, text in enumerate(source, 1):
        lines.feed(number, text)


def _show(out: Console, trial: Trial, customer: str | None, count: int) -> None:
    zone = ZoneInfo(trial.definitions.timezone)
    _show_summary(out, trial, zone)
    _show_letters(out, trial)
    changes = trial.changes if customer is None else [c for c in trial.changes if c.customer_id == customer]
    _show_changes(out, changes, zone)
    known = trial.customers
    for name in _shown_customers(trial, customer, count):
        out.print()
        explanations = trial.explain(name)
        clock = trial.clock or 0
        explaining.show_all(out, name, trial.definitions, clock, trial.traits(name), explanations)
        for trait, count in trial.missed(name).items():
            out.print(f"{trait}: {cards.did_not_fit(count)}")
    if customer is None and 0 < count < len(known):
        out.print(f"\n{counted(len(known) - count, 'more customer')}; --customer shows one, --count more")


def _show_summary(out: Console, trial: Trial, zone: ZoneInfo) -> None:
    parts = [counted(trial.events, "event"), counted(len(trial.customers), "customer")]
    if trial.duplicates:
        parts.append(counted(trial.duplicates, "duplicate"))
    parts.append(counted(len(trial.changes), "segment change"))
    when = "" if trial.clock is None else f"; the clock stands at {people.moment(trial.clock, zone)}"
    out.print(f"{', '.join(parts)}{when}")


def _show_letters(out: Console, trial: Trial) -> None:
    if not trial.letters_count:
        return
    out.print(Text(f"\n{counted(trial.letters_count, 'line')} would be dead letters", style="bold red"))
    rows = people.table("line", "type", "reason", "detail", right=("line",))
    for letter in trial.letters[:LETTERS_SHOWN]:
        rows.add_row(f"{letter.line:,}", letter.type_name, letter.reason, people.one_line(letter.detail))
    people.show(out, rows)
    if trial.letters_count > LETTERS_SHOWN:
        out.print(f"... and {trial.letters_count - LETTERS_SHOWN:,} more")


def _show_changes(out: Console, changes: list[Change], zone: ZoneInfo) -> None:
    if not changes:
        return
    out.print(Text("\nsegment changes", style="bold"))
    rows = people.table("", "", "", "", "")
    for change in changes[-CHANGES_SHOWN:]:
        cause = "time" if change.line is None else f"line {change.line:,}"
        values = "  ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in change.values.items())
        style = "green" if change.change == "entered" else "red"
        what = Text(f"{change.change} {change.segment} #{change.crossing}", style=style)
        moment = people.moment(change.at_ms, zone)
        rows.add_row(
            moment, people.printable(change.customer_id), what, cause, people.one_line(values) if values else ""
        )
    people.show(out, rows)
    if len(changes) > CHANGES_SHOWN:
        out.print(f"... and {len(changes) - CHANGES_SHOWN:,} before them; --json has all")


def _shown_customers(trial: Trial, customer: str | None, count: int) -> Iterable[str]:
    """The one that was asked for; else those with most changes, in order of their first event."""
    known = trial.customers
    if customer is not None:
        if customer not in known:
            raise NotFound(f"no customer `{customer}` in these events")
        return [customer]
    crossings: dict[str, int] = dict.fromkeys(known, 0)
    for change in trial.changes:
        crossings[change.customer_id] += 1
    most = set(sorted(known, key=lambda name: -crossings[name])[:count])
    return [name for name in known if name in most]


def _trial_object(trial: Trial, customer: str | None) -> dict[str, Any]:
    """Everything, for programs; with a customer that one alone."""
    if customer is not None and customer not in trial.customers:
        raise NotFound(f"no customer `{customer}` in these events")
    names = trial.customers if customer is None else [customer]
    return {
        "clock": None if trial.clock is None else format_time(trial.clock),
        "events": trial.events,
        "duplicates": trial.duplicates,
        "customers": [
            {
                "customer_id": name,
                "traits": trial.traits(name),
                "missed": trial.missed(name),
                "segments": {s: {"since": format_time(at)} for s, at in trial.segments(name).items()},
                "explanations": [explanation_object(name, e) for e in trial.explain(name)],
            }
            for name in names
        ],
        "changes": [
            {
                "time": format_time(c.at_ms),
                "customer_id": c.customer_id,
                "segment": c.segment,
                "change": c.change,
                "crossing": c.crossing,
                "cause": "time" if c.line is None else "event",
                "line": c.line,
                "values": dict(c.values),
            }
            for c in trial.changes
            if customer in (None, c.customer_id)
        ],
        "dead_letters": [letter._asdict() for letter in trial.letters],
    }


# test


def _test(out: Console, file: Path) -> bool:
    """Runs a file's tests; whether all passed."""
    definitions, tests = read_with_tests(file)
    if not tests:
        out.print(f"{file}: no tests; write some as [[tests]] (docs/definitions.md shows how)")
        return True
    failures = 0
    zone = ZoneInfo(definitions.timezone)
    for outcome in run_tests(definitions, tests):
        if outcome.differences:
            failures += 1
            _show_failure(out, file, outcome, zone)
    passed = len(tests) - failures
    if failures:
        out.print(Text(f"{file}: {failures} failed, {passed} passed", style="bold red"))
    else:
        out.print(Text(f"{file}: {counted(passed, 'test')} passed", style="green"))
    return not failures


def _show_failure(out: Console, file: Path, outcome: Outcome, zone: ZoneInfo) -> None:
    out.print(Text(f"{file}:{outcome.test.line}: {people.one_line(outcome.test.name)} failed", style="bold red"))
    rows = people.table("", "expected", "found")
    for difference in outcome.differences:
        rows.add_row(f"  {difference.what}", people.one_line(difference.expected), people.one_line(difference.found))
    people.show(out, rows)
    definitions = None
    for difference in outcome.differences:
        if difference.why is not None:
            definitions = definitions or read_definitions(file)
            segment = definitions.by_segment[difference.why.segment]
            out.print(f"  {segment.name}: {explaining.why(difference.why, segment, zone)}")
    out.print()
