"""`profilestream simulate`: believable customers, the same for the same seed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer
from rich.console import Console

from profilestream.cli.connection import KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.core.counting import counted
from profilestream.core.errors import UsageError
from profilestream.operations import simulate as simulating
from profilestream.settings import Settings
from profilestream.simulation import Plan, Record, knowledge
from profilestream.simulation.people import DAY_MS, KINDS
from profilestream.wire.times import format_time, parse_time

_SHARE: Final = "0 to 0.5"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(simulate)


def simulate(
    customers: Annotated[int, typer.Option(metavar="N", help="How many customers.")] = 100,
    days: Annotated[int, typer.Option(metavar="N", help="Over how many days.")] = 365,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="When the days end; by default the last midnight, UTC.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same events.")] = 1,
    persona: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"Only these, may be repeated: {', '.join(KINDS)}.")
    ] = None,
    late: Annotated[float, typer.Option(metavar="SHARE", help=f"Events that arrive late, {_SHARE}.")] = 0.0,
    duplicates: Annotated[float, typer.Option(metavar="SHARE", help=f"Events that come twice, {_SHARE}.")] = 0.0,
    mistakes: Annotated[float, typer.Option(metavar="SHARE", help=f"Records that are no events, {_SHARE}.")] = 0.0,
    rate: Annotated[float | None, typer.Option(help="At most this many events a second.", min=0.001)] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="PATH", help="A .jsonl file, - or a folder; by default Kafka's topics."),
    ] = None,
    knowledge_file: Annotated[
        Path | None, typer.Option("--knowledge", metavar="FILE", help="Also write what each profile must come to.")
    ] = None,
    skip: Annotated[
        int, typer.Option(metavar="N", min=0, help="Go on after the first N, where a run was stopped.")
    ] = 0,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Simulate customers: their events to files, or to Kafka's topics."""
    plan = _plan(customers, days, until, seed, persona, late, duplicates, mistakes)
    if until is None:
        _tell(f"until {format_time(plan.until_ms)}; --until {format_time(plan.until_ms)} gives the same again")
    _check_place(out, skip)
    if knowledge_file is not None:
        written = simulating.write_knowledge(knowledge_file, knowledge(plan))
        _tell(f"what is known of {counted(written, 'customer')}: {knowledge_file}")
    found = simulating.records(plan, skip)
    began, done = time.monotonic(), 0

    def count(number: int) -> None:
        nonlocal done
        done = number

    with _progress(count) as progress:
        try:
            if out is None:
                chosen = settings(kafka, redis, namespace, needs=("kafka",))
                asyncio.run(_send(chosen, plan, found, rate, progress))
            elif out == "-":
                simulating.write_lines(sys.stdout.buffer, found, rate, progress)
            elif out.endswith(".jsonl"):
                with _opened(Path(out), skip) as file:
                    simulating.write_lines(file, found, rate, progress)
            else:
                simulating.write_folder(Path(out), found, rate, progress)
        except KeyboardInterrupt:
            _tell(f"stopped after {counted(done, 'event')}; --skip {skip + done} goes on")
            raise
    _tell(f"{counted(done, 'event')}{'' if out in (None, '-') else f' to {out}'} in {time.monotonic() - began:.1f} s")


def _plan(
    customers: int,
    days: int,
    until: str | None,
    seed: int,
    personas: list[str] | None,
    late: float,
    duplicates: float,
    mistakes: float,
) -> Plan:
    try:
        until_ms = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS if until is None else parse_time(until)
    except ValueError:
        raise UsageError(f"--until {until}: write a time with offset, such as 2026-01-31T00:00:00Z") from None
    try:
        return Plan(customers, days, until_ms, seed, tuple(personas or KINDS), late, duplicates, mistakes)
    except ValueError as error:
        raise UsageError(f"--{error}") from None


async def _send(
    chosen: Settings, plan: Plan, found: Iterator[Record], rate: float | None, progress: Callable[[int], None]
) -> None:
    from profilestream.operations.produce import live_definitions

    definitions = await live_definitions(chosen)
    await simulating.send(str(chosen.kafka), definitions, plan.kinds, found, rate, progress)


@contextmanager
def _opened(path: Path, skip: int) -> Iterator[BinaryIO]:
    try:
        with path.open("ab" if skip else "wb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from None


def _check_place(out: str | None, skip: int) -> None:
    """Refuses to write over what is there, before anything is written."""
    if skip or out in (None, "-"):
        return
    folder = Path(str(out))
    if str(out).endswith(".jsonl"):
        if folder.exists():
            raise UsageError(f"{folder} is there already; name another file")
        return
    there = [f"{name}.jsonl" for name in simulating.TOPICS.values() if (folder / f"{name}.jsonl").exists()]
    if there:
        raise UsageError(f"{folder} has {', '.join(there)} already; name another folder")


@contextmanager
def _progress(count: Callable[[int], None]) -> Iterator[Callable[[int], None]]:
    """Shows how many events there are where a person looks on."""
    if not sys.stderr.isatty():
        yield count
        return
    with Console(stderr=True).status("simulating") as status:

        def told(number: int) -> None:
            count(number)
            status.update(counted(number, "event"))

        yield told


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
