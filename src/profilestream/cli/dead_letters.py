"""`profilestream dead-letters list|show|redrive`: records that were no events."""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from profilestream.cli import people
from profilestream.cli.connection import JsonOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.core.counting import counted
from profilestream.core.errors import UsageError
from profilestream.operations import dead_letters as letters
from profilestream.operations import redrive as redriving
from profilestream.operations.letter_selection import Selection, parse_range, parse_selection
from profilestream.operations.redrive import Redriven
from profilestream.settings import Settings
from profilestream.wire.times import format_time

LISTED_COUNT = 50

app = typer.Typer(help="Records that were no events: see why, and try them again.", no_args_is_help=True)

ReasonOption = Annotated[
    list[str] | None, typer.Option("--reason", help="Only this reason, e.g. bad_time; may be given several times.")
]
TopicOption = Annotated[
    list[str] | None, typer.Option("--topic", help="Only records of this topic; may be given several times.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="WHEN", help="Only records from then on: a time, or 2h or 7d ago.")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Only records before then.")]
PositionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--position", metavar="P", help="Only purchases:3, purchases:3:1881 or purchases:3:1881-1999; several times."
    ),
]


def register(parent: typer.Typer) -> None:
    """Adds the group of commands."""
    parent.add_typer(app, name="dead-letters")


@app.command("list")
def list_(
    reason: ReasonOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    position: PositionOption = None,
    count: Annotated[
        int | None, typer.Option(help=f"The newest N (a table: {LISTED_COUNT}; --json: all).", min=0)
    ] = None,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """List dead letters: when, why, and where the record stands."""
    chosen = settings(kafka, redis, namespace, needs=("kafka",))
    selection = _selection(reason, topic, since, until, position)
    limit = LISTED_COUNT if count is None and not as_json else count
    found = asyncio.run(letters.list_dead_letters(str(chosen.kafka), chosen.dead_letters_topic, selection, limit))
    if as_json:
        print(msgspec.json.encode(found.letters).decode())
    else:
        _show_list(found)


@app.command("show")
def show(
    position: Annotated[str, typer.Argument(metavar="TOPIC:PARTITION:OFFSET", help="Where the record stands.")],
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Show one dead letter in full: key, value, headers."""
    chosen = settings(kafka, redis, namespace, needs=("kafka",))
    at = parse_range(position)
    if at.first != at.last:
        raise UsageError(f"{position}: expected the place of one record, TOPIC:PARTITION:OFFSET")
    whole = asyncio.run(letters.show_dead_letter(chosen, (at.topic, at.partition, at.first)))
    if as_json:
        print(msgspec.json.encode(_as_json(whole)).decode())
    else:
        _show_letter(whole, chosen.dead_letters_topic)


@app.command("redrive")
def redrive(
    reason: ReasonOption = None,
    topic: TopicOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    position: PositionOption = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not sent again yet.")] = False,
    only_valid: Annotated[
        bool, typer.Option("--only-valid", help="Leave those that would be dead letters again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Send dead letters to their topics again, each once. May be interrupted; run again it goes on."""
    chosen = settings(kafka, redis, namespace, needs=("kafka",))
    selection = _selection(reason, topic, since, until, position)
    if selection.is_everything and not everything:
        raise UsageError("which dead letters? Select by --reason, --topic, --since, --until, --position, or say --all")
    if everything and not selection.is_everything:
        raise UsageError("--all and a selection exclude each other; leave one out")
    if not (yes or dry_run) and not sys.stdin.isatty():
        raise UsageError("nobody is there to ask; look with --dry-run, then give --yes")
    if not yes:
        planned = _run(chosen, selection, "looking", dry_run=True, only_valid=only_valid)
        if dry_run or not planned.sent:
            _tell_result(planned, as_json, dry_run=True)
            raise typer.Exit(1 if planned.not_sent else 0)
        _tell_result(planned, False, dry_run=True)
        typer.confirm("Send them?", abort=True)
    done = _run(chosen, selection, "sending", dry_run=False, only_valid=only_valid)
    _tell_result(done, as_json, dry_run=False)
    raise typer.Exit(1 if done.not_sent else 0)


def _selection(
    reason: list[str] | None, topic: list[str] | None, since: str | None, until: str | None, position: list[str] | None
) -> Selection:
    return parse_selection(reason or (), topic or (), since, until, position or (), time.time_ns() // 1_000_000)


def _run(chosen: Settings, selection: Selection, stage: str, *, dry_run: bool, only_valid: bool) -> Redriven:
    done = Redriven()
    with _progress_bar(stage) as progress:
        try:
            asyncio.run(
                redriving.redrive(
                    chosen, selection, dry_run=dry_run, only_valid=only_valid, progress=progress, done=done
                )
            )
        except BaseException:
            if not dry_run:
                print(f"stopped: {done.sent.total():,} sent; the same command goes on from there", file=sys.stderr)
            raise
    return done


def _tell_result(done: Redriven, as_json: bool, *, dry_run: bool) -> None:
    if as_json:
        print(msgspec.json.encode({"dry_run": dry_run, **msgspec.to_builtins(done)}).decode())
        return
    count = done.sent.total()
    where = ", ".join(f"{n:,} to {topic}" for topic, n in done.sent.most_common())
    if dry_run:
        print(f"{counted(count, 'dead letter')} would be sent again" + (f": {where}" if where else ""))
    else:
        rate = f" in {done.seconds:.1f} s ({count / done.seconds:,.0f}/s)" if done.seconds else ""
        print(f"{counted(count, 'dead letter')} sent again{rate}" + (f": {where}" if where else ""))
    if done.sent_before:
        print(f"{done.sent_before:,} were sent again before")
    if done.still_bad:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in done.still_bad.most_common())
        fate = "left where they are" if done.left else "they become dead letters again"
        print(f"{done.still_bad.total():,} are no events by the live definitions ({reasons}); {fate}")
    if done.fetched:
        print(f"{done.fetched:,} fetched from where the record stood")
    for cause, n in done.not_sent.most_common():
        print(f"{n:,} not sent: {cause}")
    if done.unreadable:
        print(f"without the headers of a dead letter: {counted(done.unreadable, 'record')}")


def _show_list(found: letters.DeadLetters) -> None:
    if not found.total and not found.unreadable:
        print("no dead letters")
        return
    rows = people.table("time", "reason", "topic", "partition", "offset", "detail", right=("partition", "offset"))
    for letter in found.letters:
        place = (letter.topic, str(letter.partition), str(letter.offset))
        rows.add_row(letter.time, letter.reason, *place, people.one_line(letter.detail))
    out = people.console()
    people.show(out, rows)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.by_reason.most_common())
    total = counted(found.total, "dead letter")
    out.print(f"\n{total}{'' if found.exact else ' (at most)'}: {reasons}")
    if found.unreadable:
        out.print(f"without the headers of a dead letter: {counted(found.unreadable, 'record')}")
    if len(found.letters) < found.total:
        out.print(f"the newest {len(found.letters):,} are shown; --count shows more")


def _show_letter(whole: letters.WholeLetter, topic: str) -> None:
    letter = whole.letter
    origin = " (fetched from where the record stands)" if whole.fetched else ""
    rows = [
        ("record", f"{letter.topic}:{letter.partition}:{letter.offset}, {letter.time}"),
        ("reason", letter.reason),
        ("detail", letter.detail),
        ("letter", f"{topic}:{whole.partition}:{whole.offset}"),
        ("headers", ", ".join(f"{name}={_printable(value)}" for name, value in whole.headers)),
        ("redriven", "no" if whole.redriven is None else _redriven(whole)),
        ("key", _told(whole.key, whole.gone)),
        ("value", _told(whole.value, whole.gone) + origin),
    ]
    for name, text in rows:
        print(f"{name:<9} {text}")


def _redriven(whole: letters.WholeLetter) -> str:
    assert whole.redriven is not None
    return f"{format_time(whole.redriven.at_ms)}, to {whole.redriven.topic}:{whole.redriven.partition}"


def _told(text: bytes | None, gone: bool) -> str:
    if text is None:
        return "too large for the letter, and no longer where the record stood" if gone else "none"
    return _printable(text)


def _printable(text: bytes | None) -> str:
    """As text where it is some, without what would move a terminal's cursor; else Python's way of writing bytes."""
    try:
        shown = (text or b"").decode()
    except UnicodeDecodeError:
        return repr(text)
    return shown if shown.isprintable() else repr(shown)


def _as_json(whole: letters.WholeLetter) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(whole.letter),
        **_text("key", whole.key),
        **_text("value", whole.value),
        "headers": {name: (value or b"").decode("utf-8", "replace") for name, value in whole.headers},
        "letter": {"partition": whole.partition, "offset": whole.offset},
        "fetched": whole.fetched,
        "gone": whole.gone,
        "redriven": None
        if whole.redriven is None
        else {
            "time": format_time(whole.redriven.at_ms),
            "topic": whole.redriven.topic,
            "partition": whole.redriven.partition,
        },
    }


def _text(name: str, value: bytes | None) -> dict[str, str | None]:
    """Text where it is UTF-8; other bytes stand in base64 beside it, where null says that there is no text."""
    try:
        return {name: None if value is None else value.decode()}
    except UnicodeDecodeError:
        assert value is not None
        return {name: None, f"{name}_base64": base64.b64encode(value).decode()}


@contextmanager
def _progress_bar(stage: str) -> Iterator[Callable[[redriving.Progress], None]]:
    """Shows progress where a person looks on, and nothing else where not."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    columns = (TextColumn(stage), BarColumn(), TextColumn("{task.fields[sent]:,} of {task.completed:,.0f} letters"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, sent=0)

        def tell(progress: redriving.Progress) -> None:
            bar.update(task, total=progress.total, completed=progress.read, sent=progress.sent)

        yield tell
