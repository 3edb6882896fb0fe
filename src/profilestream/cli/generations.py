"""`generations` and `drop`: which generations there are, and taking one away."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from profilestream.cli import people
from profilestream.cli.connection import JsonOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.cli.progress import Reached, showing
from profilestream.core.counting import counted
from profilestream.core.errors import UsageError
from profilestream.operations.drop import drop as drop_generation
from profilestream.operations.drop import may_be_dropped
from profilestream.operations.generations import Listed, list_generations, listed_object, problems
from profilestream.operations.sizes import count_customers
from profilestream.settings import Settings
from profilestream.store.connection import connect
from profilestream.store.metadata import Generation
from profilestream.wire.values import encode_value

TRAITS_SHOWN = 3


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(generations)
    app.command()(drop)


def generations(
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """List the generations: which one is live, how large each is, how far behind, and since when it is complete."""
    found = asyncio.run(list_generations(settings(kafka, redis, namespace)))
    for problem in problems(found):
        print(problem, file=sys.stderr)
    if as_json:
        print(encode_value([listed_object(one) for one in found]).decode())
    else:
        _show(found)


def drop(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The generation.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Remove a generation that is not live, in the background; interrupted, the same command goes on."""
    chosen = settings(kafka, redis, namespace)
    generation = asyncio.run(may_be_dropped(chosen, name))
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("what is dropped is gone: give --yes where nobody can be asked")
        what = f"generation {name}"
        if generation is not None:
            what += f" ({generation.state}, {counted(asyncio.run(_size(chosen, generation)), 'customer')})"
        typer.confirm(f"Drop {what}? It cannot be rolled back to then.", abort=True)
    keys = asyncio.run(_drop(chosen, name))
    print(f"dropped generation {name}: {counted(keys, 'key')} removed")


async def _size(chosen: Settings, generation: Generation) -> int:
    client = connect(str(chosen.redis))
    try:
        return await count_customers(client, chosen.namespace, generation)
    finally:
        await client.aclose()


async def _drop(chosen: Settings, name: str) -> int:
    stages = ("taking it out of use", "waiting until nobody uses it", "removing keys", "forgetting it", "forgetting it")
    stage, gone = 0, 0

    def told(keys: int) -> None:
        nonlocal gone
        gone = keys

    def after(step: int) -> None:
        nonlocal stage
        stage = min(step, len(stages) - 1)

    async with showing(lambda: Reached(stages[stage], gone, 0), "keys"):
        return (await drop_generation(chosen, name, told, after)).keys


def _show(found: Sequence[Listed]) -> None:
    out = people.console()
    rows = people.table(
        "generation", "state", "customers", "lag", "definitions", "age", "made", "complete",
        right=("customers", "lag", "age"),
    )  # fmt: skip
    for one in found:
        rows.add_row(
            one.generation.name,
            _state(one),
            f"{one.customers:,}",
            people.ABSENT if one.lag is None else f"{one.lag:,}",
            one.generation.fingerprint,
            people.duration(1_000 * round(one.age_ms / 1_000)),
            _made(one),
            _complete(one),
        )
    people.show(out, rows)
    for one in found:
        if one.state == "kept" and one.generation.is_over(one.now_ms):
            print(one.generation.question)


def _state(one: Listed) -> str:
    state = one.state
    if one.state == "kept" and one.generation.kept_until:
        over = ", past" if one.generation.is_over(one.now_ms) else ""
        state = f"kept until {one.generation.kept_until}{over}"
    if one.generation.only:
        state = f"{state}, a trial"
    return f"{state}, {counted(one.in_repair, 'shard')} silent" if one.in_repair and one.state == "live" else state


def _made(one: Listed) -> str:
    generation = one.generation
    if generation.method == "carry":
        return f"carried from {generation.base}"
    start = generation.start.get("from", "offsets")
    return "from the log" if start == "beginning" else f"from the log since {start}"


def _complete(one: Listed) -> str:
    """What a generation does not know of the past."""
    since = one.generation.complete_since
    if len(since) > TRAITS_SHOWN and len(set(since.values())) == 1:
        return f"since {next(iter(since.values()))}, {counted(len(since), 'trait')}"
    if since:
        some = [f"{trait} since {time}" for trait, time in list(since.items())[:TRAITS_SHOWN]]
        more = len(since) - len(some)
        return "but " + ", ".join([*some, *([f"and {more} more"] if more else [])])
    if one.late_topics:
        return f"since the log began ({', '.join(one.late_topics)})"
    return "since the beginning"
