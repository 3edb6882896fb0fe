"""`profilestream compare`: what a generation says otherwise than the live one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from profilestream.cli import people
from profilestream.cli.connection import JsonOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.cli.progress import Reached, showing
from profilestream.core.counting import counted
from profilestream.operations.compare import Comparison, open_comparison
from profilestream.settings import Settings
from profilestream.wire.values import encode_value

CUSTOMERS_MAX = 100_000_000
WHY = {
    "definition": "its meaning changed",
    "history": "one knows less of the past",
    "events": "one has folded other events",
    "bounded": "a map was full",
    "order": "the order of topics and clocks decides",
    "unexplained": "NO REASON FOUND: run verify",
}
LEFT_OUT = {
    "moving": "had events all the while",
    "behind": "one generation is behind the other",
    "due": "time has something to change that one of them has not written yet",
}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(compare)


def compare(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The generation; not needed where there is one other.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", min=1, max=CUSTOMERS_MAX, help="About so many customers.")
    ] = None,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Compare a generation with the live one: differing traits and segments, with examples and why."""
    asyncio.run(_compare(settings(kafka, redis, namespace), name, sample, as_json))


async def _compare(chosen: Settings, name: str | None, sample: int | None, as_json: bool) -> None:
    async with open_comparison(chosen, name, sample) as comparison:

        def reached() -> Reached:
            return Reached("comparing", comparison.looked_at, comparison.total)

        try:
            async with showing(reached, "customers"):
                await comparison.run()
        except asyncio.CancelledError:
            _tell(comparison, as_json)
            sys.stdout.flush()
            done = f"{comparison.shards_done} of {counted(len(comparison.shards), 'shard')}"
            print(f"interrupted; this is of {done}", file=sys.stderr)
            raise
        _tell(comparison, as_json)


def _tell(comparison: Comparison, as_json: bool) -> None:
    result = comparison.result()
    if as_json:
        print(encode_value(result).decode())
    else:
        _show(people.console(), result)


def _show(out: Console, result: Mapping[str, Any]) -> None:
    live, other = result["live"], result["other"]
    out.print(f"{other} beside {live}, the live one: {counted(result['compared'], 'customer')} compared")
    _show_differences(out, result, live, other)
    for side, key in ((live, "live"), (other, "other")):
        names = [f"trait {n}" for n in result[f"traits_only_{key}"]]
        names += [f"segment {n}" for n in result[f"segments_only_{key}"]]
        if names:
            out.print(f"only in {side}: {', '.join(names)}")
        if result[f"only_{key}"]:
            out.print(f"only in {side}: {counted(result[f'only_{key}'], 'customer')}")
    for reason, count in result["left_out"].items():
        out.print(f"left out: {counted(count, 'customer')}: {LEFT_OUT[reason]}")
    if result["shards_behind"]:
        shards = ", ".join(f"shard {n}" for n in result["shards_behind"])
        out.print(f"behind: {shards}; see `profilestream generations`")
    if not result["differing"] and result["compared"]:
        out.print("nothing differs")


def _show_differences(out: Console, result: Mapping[str, Any], live: str, other: str) -> None:
    numbers = ("differ", f"only {live}", f"only {other}")
    rows = people.table("", *numbers, "why", right=numbers)
    examples = []
    for title, of in (("trait", result["traits"]), ("segment", result["segments"])):
        for one in of:
            rows.add_row(
                f"{title} {one['name']}",
                *(f"{one[key]:,}" if one[key] else "" for key in ("differing", "only_live", "only_other")),
                _why(one),
            )
            examples += [_example(f"{title} {one['name']}", live, other, example) for example in one["examples"]]
    if rows.row_count:
        out.print()
        people.show(out, rows)
        out.print()
        for line in examples:
            out.print(line)
        out.print()


def _why(one: Mapping[str, Any]) -> str:
    parts = []
    for reason, count in one["why"].items():
        changed = f" ({', '.join(one['changed'])})" if reason == "definition" and one["changed"] else ""
        parts.append(f"{WHY[reason]}{changed}" + (f": {count:,}" if len(one["why"]) > 1 else ""))
    return "; ".join(parts)


def _example(what: str, live: str, other: str, one: Mapping[str, Any]) -> str:
    values = [
        people.ABSENT if value is None else encode_value(value).decode()[: people.CHARACTERS_SHOWN]
        for value in (one["live"], one["other"])
    ]
    shown = ", ".join(f"{name} {people.printable(value)}" for name, value in zip((live, other), values, strict=True))
    return f"{what}: customer {people.printable(one['customer_id'])}: {shown}"
