"""The command `explain`: why a customer is in a segment or is not, what each trait means, and what time will change."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.text import Text

from profilestream.cli import explaining, people
from profilestream.cli.connection import JsonOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.core.counting import counted
from profilestream.core.definitions import kind_of_trait
from profilestream.core.errors import UsageError
from profilestream.operations import explain as operation
from profilestream.operations.explain import Explained
from profilestream.operations.explain_traits import ExplainedTrait
from profilestream.operations.moves import EVENTS_MAX, Moved, Moves, Progress, last_moves
from profilestream.settings import Settings
from profilestream.wire.explanations import explanation_object
from profilestream.wire.times import format_time
from profilestream.wire.values import encode_value

SEGMENTS_SHOWN: Final = 100


def explain(
    customer: Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id.")],
    segment: Annotated[
        str | None, typer.Argument(metavar="[SEGMENT]", help="The segment; without it, all segments and traits.")
    ] = None,
    events: Annotated[
        int,
        typer.Option(
            "--events", metavar="N", min=0, max=EVENTS_MAX,
            help="Also the last N events that moved it; reads the whole log of the customer's shard.",
        ),
    ] = 0,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:  # fmt: skip
    """Say why a customer is in a segment or is not, and when time alone will change that."""
    found = settings(kafka, redis, namespace, needs=("redis", "kafka") if events else ("redis",))
    if found.redis is None:
        raise UsageError("No address of Redis: give --redis, or set PROFILESTREAM_REDIS.")
    if events and segment is None:
        raise UsageError("--events needs a segment: which events moved it")
    if segment is not None:
        _explain_one(found, customer, segment, events, as_json)
    else:
        _explain_all(found, customer, as_json)


def _explain_one(where: Settings, customer: str, segment: str, events: int, as_json: bool) -> None:
    found = operation.explain(str(where.redis), where.namespace, customer, segment, keys_max=where.map_keys_max)
    (explanation,) = found.explanations
    if as_json:
        one = explanation_object(customer, explanation)
        print(encode_value(one | _moves_object(_moves(where, customer, segment, events)) if events else one).decode())
        return
    out = people.console()
    explaining.show_explanation(out, customer, found.definitions, explanation)
    if not events:
        return
    sys.stdout.flush()  # what Redis knows is there at once, however long the log is
    _show_moves(out, _moves(where, customer, segment, events), found)


def _explain_all(where: Settings, customer: str, as_json: bool) -> None:
    found = operation.explain(
        str(where.redis),
        where.namespace,
        customer,
        segments_max=None if as_json else SEGMENTS_SHOWN,
        keys_max=where.map_keys_max,
    )
    traits = operation.explain_traits(found, where)
    if as_json:
        print(encode_value(_customer_object(found, traits)).decode())
        return
    out, zone = people.console(), ZoneInfo(found.definitions.timezone)
    explaining.show_customer(out, customer, found.clock, zone)
    explaining.show_segments(out, found.definitions, found.explanations, found.segments_left_out)
    if traits:
        out.print()
        _show_traits(out, traits, found, zone)


# Traits


def _show_traits(out: Console, traits: list[ExplainedTrait], found: Explained, zone: ZoneInfo) -> None:
    """Every trait with its value, what it means, and when time alone changes it; then what some of them lack."""
    rows = people.table("trait", "value", "changes with no event", "whole", "meaning")
    for one in traits:
        shown = people.value(one.value, kind_of_trait(one.trait), zone, found.clock)
        changes = "" if one.changes_at is None else people.relative(one.changes_at, found.clock)
        if one.looked_until is not None:
            changes = f"not before {people.moment(one.looked_until, zone)}"
        said = people.one_line(one.meaning)
        meaning = Text(f"{said}; {people.one_line(one.comment)}" if one.comment else said, style="dim")
        rows.add_row(one.trait.name, shown, changes, _whole(one, zone), meaning)
    people.show(out, rows)
    lacking = dict.fromkeys(topic for one in traits for topic in one.lacks)
    if lacking:
        starts = ", ".join(f"{topic} from offset {found.head.starts[topic]:,} on" for topic in lacking)
        out.print(f"\nnot read from the beginning, as earlier records were gone: {starts}")


def _whole(one: ExplainedTrait, zone: ZoneInfo) -> str:
    if not one.lacks:
        return "always"
    return "unknown" if one.complete_since is None else f"since {people.moment(one.complete_since, zone)}"


def _customer_object(found: Explained, traits: list[ExplainedTrait]) -> dict[str, Any]:
    return {
        "customer_id": found.customer_id,
        "generation": found.generation.name,
        "clock": format_time(found.clock),
        "segments": [explanation_object(found.customer_id, e) for e in found.explanations],
        "traits": [
            {
                "name": one.trait.name,
                "value": one.value,
                "text": one.trait.text,
                "meaning": one.meaning,
                "comment": one.comment or None,
                "complete_since": None if one.complete_since is None else format_time(one.complete_since),
                "lacks": list(one.lacks),
                "changes_at": None if one.changes_at is None else format_time(one.changes_at),
            }
            for one in traits
        ],
    }


# Events


def _moves(where: Settings, customer: str, segment: str, events: int) -> Moves:
    with _progress() as progress:
        return asyncio.run(last_moves(where, customer, segment, events, progress))


def _show_moves(out: Console, moves: Moves, found: Explained) -> None:
    zone = ZoneInfo(found.definitions.timezone)
    out.print(Text("\nthe last events that moved it" if moves.moves else "\nno event has moved it", style="bold"))
    rows = people.table("", "", "", "")
    for move in moves.moves:
        event = move.event
        cause = "time alone" if event is None else f"{event.type} {people.printable(event.event_id)}"
        what = [_moved(moved, zone) for moved in move.moved]
        crossed = ", ".join(f"{c.change} #{c.crossing}" for c in move.crossings)
        rows.add_row(people.moment(move.at, zone), cause, "; ".join(what), Text(crossed, style="bold"))
    people.show(out, rows)
    if not moves.whole:
        gone = ", ".join(moves.gone)
        out.print(f"the log no longer has all of {gone}: values before and after lack what was removed")


def _moved(moved: Moved, zone: ZoneInfo) -> str:
    before, after = (people.value(v, moved.kind, zone) for v in (moved.before, moved.after))
    return f"{people.one_line(moved.name)} {before} -> {after}"


def _moves_object(moves: Moves) -> dict[str, Any]:
    return {
        "events": [
            {
                "time": format_time(move.at),
                "cause": "time" if move.event is None else "event",
                "event": None
                if move.event is None
                else {
                    "type": move.event.type,
                    "event_id": move.event.event_id,
                    "topic": move.event.topic,
                    "partition": move.event.partition,
                    "offset": move.event.offset,
                },
                "values": [{"name": m.name, "before": m.before, "after": m.after} for m in move.moved],
                "crossings": [{"crossing": c.crossing, "change": c.change} for c in move.crossings],
            }
            for move in moves.moves
        ],
        "events_whole": moves.whole,
    }


@contextmanager
def _progress() -> Iterator[Progress]:
    """Shows how far the reading has come where a person looks on, and nothing else where not."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with Console(stderr=True).status("reading the shard's log; Ctrl-C ends it") as status:
        yield lambda done, total: status.update(
            f"read {done:,} of {counted(total, 'record')} of the shard's log; Ctrl-C ends it"
        )
