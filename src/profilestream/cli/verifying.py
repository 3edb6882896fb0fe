"""`profilestream verify`: profiles recomputed from the log, and what differs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from profilestream.cli import people
from profilestream.cli.connection import ArchiveOption, JsonOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.cli.progress import Reached, showing
from profilestream.core.counting import counted
from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.operations.verify import SAMPLE, SEED_MAX, Asked, Verification, open_verification
from profilestream.settings import Settings
from profilestream.wire.values import encode_value

CUSTOMERS_MAX = 1_000_000
REASONS = {
    "not_in_log": "the log no longer has all that they look at",
    "begins_later": "they are complete only from a later time on",
    "bounded": "a map may have been full",
    "estimated": "a count of different values is an estimate",
    "open": "facts without a type are used as times or numbers",
    "either": "the way there decides",
    "order": "the order of topics decides whether an event came twice",
    "too_many_events": "more events than fit into memory",
    "unknown": "neither in Redis nor in the log",
    "moved": "their profiles came while this was running",
}


class Differs(ProfilestreamError):
    """Something in Redis is not what the log says."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(verify)


def verify(
    generation: Annotated[
        str | None, typer.Option("--generation", metavar="NAME", help="Another generation than the live one.")
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1, max=CUSTOMERS_MAX, help="About so many customers.")
    ] = SAMPLE,
    everybody: Annotated[bool, typer.Option("--all", help="All customers.")] = False,
    customers: Annotated[
        Path | None, typer.Option("--customers", metavar="FILE", help="These customers, an id a line.")
    ] = None,
    max_rate: Annotated[
        int | None, typer.Option("--max-rate", metavar="N", min=1, help="Records read a second, at most.")
    ] = None,
    shards: Annotated[
        str | None, typer.Option("--shards", metavar="LIST", help="Only these shards, as 0,3-5; to go on, say.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, max=SEED_MAX, help="The same sample as another time.")
    ] = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Recompute customers' profiles from the log in the simplest way, and compare them with Redis."""
    if everybody and customers is not None:
        raise UsageError("--all are all customers, and --customers those of a file; give one of them")
    asked = Asked(
        generation=generation,
        sample=None if everybody else sample,
        ids=None if customers is None else read_ids(customers),
        shards=None if shards is None else parse_shards(shards),
        rate_max=max_rate,
        archive=archive,
        seed=seed,
    )
    asyncio.run(_verify(settings(kafka, redis, namespace), asked, as_json))


async def _verify(chosen: Settings, asked: Asked, as_json: bool) -> None:
    async with open_verification(chosen, asked) as verification:

        def reached() -> Reached:
            progress = verification.progress
            done = len(verification.shards_done)
            stage = f"shard {progress.shard} ({done + 1} of {len(verification.shards)}): {progress.stage}"
            return Reached(stage, progress.passed, progress.total)

        try:
            async with showing(reached, "records"):
                await verification.run()
        except asyncio.CancelledError:
            _tell(verification, as_json)
            sys.stdout.flush()
            left = [n for n in verification.shards if n not in verification.shards_done]
            print(
                f"interrupted; to go on: --shards {shown_shards(left)} --seed {verification.seed}",
                file=sys.stderr,
            )
            raise
        _tell(verification, as_json)
        if not verification.tallies.is_right:
            raise Differs(f"{counted(verification.tallies.differing, 'customer')} of {_checked(verification)} differ")


def _tell(verification: Verification, as_json: bool) -> None:
    result = verification.result()
    if as_json:
        print(encode_value(result).decode())
    else:
        _show(people.console(), result)


def _checked(verification: Verification) -> str:
    return f"{verification.tallies.checked:,}"


def _show(out: Console, result: Mapping[str, Any]) -> None:
    """What was found, for a person."""
    customers = result["customers"]
    which = f"all {customers['total']:,} customers"
    if result["named"] is not None:
        which = f"{counted(result['named'], 'customer')} named"
    elif result["sample"] is not None and result["sample"] < customers["total"]:
        which = f"a sample of about {result['sample']:,} of {customers['total']:,} customers, --seed {result['seed']}"
    out.print(f"generation {result['generation']}: {which}")
    out.print(
        f"{counted(result['records'], 'record')} read of {counted(len(result['shards_done']), 'shard')}"
        f" in {people.duration(100 * round(10 * result['elapsed_s']))}"
    )
    _show_log(out, result["log"])
    rows = people.table("", "mismatched", "missing", "extra", right=("mismatched", "missing", "extra"))
    examples: list[str] = []
    for title, tallies in _sections(result):
        for tally in tallies:
            counts = [tally[kind] for kind in ("mismatched", "missing", "extra")]
            if any(counts):
                rows.add_row(f"{title} {tally['name']}".strip(), *(f"{count:,}" if count else "" for count in counts))
                examples += (_example(f"{title} {tally['name']}".strip(), one) for one in tally["examples"])
    if rows.row_count:
        out.print()
        people.show(out, rows)
        out.print()
        for line in examples:
            out.print(line)
    out.print()
    for line in _not_compared(result):
        out.print(line)
    if customers["due"]:
        out.print(f"of {counted(customers['due'], 'customer')} time has something to change that is not written yet")
    for reason, count in customers["left_out"].items():
        out.print(f"left out: {counted(count, 'customer')}: {REASONS[reason]}")
    if result["right"] and customers["checked"]:
        out.print(f"{counted(customers['checked'], 'customer')} checked: everything compared is what the log says")
    elif not customers["checked"]:
        out.print("no customer was checked")


def _sections(result: Mapping[str, Any]) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    return [
        ("profile", [result["profiles"]]),
        ("trait", result["traits"]),
        ("segment", result["segments"]),
        ("field", result["fields"]),
    ]


def _show_log(out: Console, log: Sequence[Mapping[str, Any]]) -> None:
    by_topic: dict[str, list[Mapping[str, Any]]] = {}
    for part in log:
        by_topic.setdefault(part["topic"], []).append(part)
    for topic, parts in by_topic.items():
        gone = sum(part["gone"] for part in parts)
        since = max((part["begins_at"] for part in parts if part["begins_at"] is not None), default=None)
        begins = "is empty now" if since is None else f"begins at {since} now, in one shard at least"
        out.print(f"the log of {topic} {begins}: {counted(gone, 'record')} that were folded are gone")


def _example(what: str, one: Mapping[str, Any]) -> str:
    parts = [f"{what}: customer {people.printable(one['customer_id'])}:"]
    if one["stored"] is not None or one["recomputed"] is not None:
        stored, recomputed = (
            people.ABSENT if value is None else encode_value(value).decode()[: people.CHARACTERS_SHOWN]
            for value in (one["stored"], one["recomputed"])
        )
        parts.append(f"Redis {people.printable(stored)}, the log {people.printable(recomputed)}")
    if one["note"]:
        parts.append(f"({one['note']})")
    return " ".join(parts)


def _not_compared(result: Mapping[str, Any]) -> list[str]:
    """For each reason how many values of how many traits or segments were not compared."""
    lines = []
    for title, tallies in _sections(result)[1:]:
        reasons: dict[str, list[int]] = {}
        for tally in tallies:
            for reason, count in tally["not_compared"].items():
                reasons.setdefault(reason, []).append(count)
        for reason, counts in reasons.items():
            lines.append(
                f"not compared: {counted(sum(counts), 'value')} of {counted(len(counts), title)}: {REASONS[reason]}"
            )
    return lines


def read_ids(path: Path) -> frozenset[str]:
    """The customers' ids of a file, one a line; raises UsageError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--customers {path}: cannot be read ({error})") from None
    ids = frozenset(line for line in lines if line)
    if not ids:
        raise UsageError(f"--customers {path}: there is no id in it; write one a line")
    if len(ids) > CUSTOMERS_MAX:
        raise UsageError(f"--customers {path}: at most {CUSTOMERS_MAX:,} ids; --all takes all customers")
    return ids


def parse_shards(text: str) -> list[int]:
    """The shards that a text such as `0,3-5` names; raises UsageError."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise UsageError(f"--shards {text}: expected numbers of shards as 0,3-5")
        found += range(int(first), int(last or first) + 1)
    return found


def shown_shards(shards: Sequence[int]) -> str:
    """The shortest text that `parse_shards` reads as these, which are in order."""
    spans: list[list[int]] = []
    for number in shards:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
