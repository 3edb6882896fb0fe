"""`replay`, `promote` and `rollback`: another generation is made beside the live one, and becomes the live one."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from profilestream.cli.connection import ArchiveOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.cli.running import ClockOption, UntilCaughtUp, run_service
from profilestream.core.errors import UsageError
from profilestream.wire.definitions import read_definitions
from profilestream.wire.times import format_time, parse_time

if TYPE_CHECKING:
    from profilestream.stream.archive import Archive

_NAME: Final = re.compile(r"g[0-9]{1,9}\Z")
TRIAL_CUSTOMERS_MAX: Final = 10_000
TRIAL_BYTES_MAX: Final = 256 * 1024
"""The ids are kept in one record of topic `generations`, of which Kafka takes 1 MiB at most."""

AnnounceOption = Annotated[
    str, typer.Option("--announce", metavar="net|none", help="`none`: subscribers are not told of what differs.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(replay)
    app.command()(promote)
    app.command()(rollback)


def replay(
    what: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A generation to go on with, or definitions for a new one.")
    ],
    start: Annotated[
        str, typer.Option("--from", metavar="beginning|TIME", help="Where in the log a new one begins.")
    ] = "beginning",
    offsets: Annotated[
        Path | None, typer.Option("--offsets", metavar="FILE", help="JSON: topic -> partition -> offset to begin at.")
    ] = None,
    customers: Annotated[
        Path | None, typer.Option("--customers", metavar="FILE", help="A trial: only these customers, one a line.")
    ] = None,
    shards: Annotated[
        str | None, typer.Option("--shards", metavar="0,3,5-7", help="A trial: only the customers of these shards.")
    ] = None,
    max_rate: Annotated[
        float | None,
        typer.Option("--max-rate", metavar="N", min=1, help="Records a second, of all processes together."),
    ] = None,
    archive: ArchiveOption = None,
    rate: Annotated[
        str | None, typer.Option("--set-rate", metavar="N|none", help="Set the rate of one that runs, and return.")
    ] = None,
    until_caught_up: UntilCaughtUp = False,
    clock: ClockOption = "wall",
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Fold the log into another generation beside the live one, in silence. Start as many as you like for one NAME."""
    from profilestream.operations.archives import open_archive
    from profilestream.operations.replay import Replay, Wish, change_rate, make_generation, set_rate

    if clock not in ("wall", "event"):
        raise typer.BadParameter("write `wall` or `event`", param_hint="--clock")
    found = settings(kafka, redis, namespace)
    if rate is not None:
        asyncio.run(change_rate(found, _named(what), limit := _rate(rate)))
        told = "as many records as it can" if limit is None else f"{limit:,.0f} records a second at most"
        print(f"{what} reads {told}, within a second")
        return
    wish = Wish(_start(start, offsets), _only(customers, shards))
    if archive is not None and start != "beginning":
        raise UsageError("an archive is folded from its beginning, or from --offsets; leave out --from")

    async def prepare(archived: Archive | None) -> str:
        if _NAME.match(what):
            if wish.only or wish.start != {"from": "beginning"}:
                raise UsageError(f"where {what} begins and whom it is about was said when it was made")
            name = what
        else:
            name = (await make_generation(found, read_definitions(Path(what)), wish, typer.echo, archived)).name
        if max_rate is not None:
            await set_rate(found, name, max_rate)
        return name

    async def work() -> None:
        archived = await open_archive(found, archive)
        name = await prepare(archived)
        left = (
            f"{name} is as far as it came; `profilestream replay {name}` goes on, `profilestream drop {name}` frees it"
        )
        await run_service(lambda: Replay(found, name, _say, clock, archived), until_caught_up, left)

    asyncio.run(work())


def promote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The generation that is to be live.")],
    announce: AnnounceOption = "net",
    allow_history_loss: Annotated[
        bool, typer.Option("--allow-history-loss", help="Also where the live one knows more of the past.")
    ] = False,
    yes: YesOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Make another generation the live one; subscribers are told what differs, once."""
    from profilestream.operations import promote as operation

    kind = announced(announce)
    found = settings(kafka, redis, namespace)
    if not yes:
        typer.confirm(f"Readers switch to {name}, and subscribers are told what differs. Go on?", abort=True)

    async def work() -> None:
        done = await operation.promote(found, name, _say, announce=kind, allow_history_loss=allow_history_loss)
        await operation.watch(found, done.live, _say)

    asyncio.run(work())


def rollback(
    announce: AnnounceOption = "net",
    yes: YesOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:
    """Make the generation live again that was so before; it was kept in step."""
    from profilestream.operations import promote as operation

    kind = announced(announce)
    found = settings(kafka, redis, namespace)
    if not yes:
        typer.confirm("Readers switch back, and subscribers are told what differs. Go on?", abort=True)

    async def work() -> None:
        done = await operation.rollback(found, _say, announce=kind)
        await operation.watch(found, done.live, _say)

    asyncio.run(work())


# What options say


def _named(what: str) -> str:
    if not _NAME.match(what):
        raise UsageError("--set-rate needs the name of a generation, as `profilestream generations` has it")
    return what


def _rate(text: str) -> float | None:
    if text == "none":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 1 <= rate < float("inf"):
        raise typer.BadParameter("write a number from 1 on, or `none`", param_hint="--set-rate")
    return rate


def announced(text: str) -> Any:
    """What the option says; refused where it is no word of it."""
    if text not in ("net", "none"):
        raise typer.BadParameter("write `net` or `none`", param_hint="--announce")
    return text


def _start(start: str, offsets: Path | None) -> dict[str, Any]:
    if offsets is not None:
        if start != "beginning":
            raise UsageError("give --from or --offsets, not both")
        try:
            return {"offsets": msgspec.json.decode(offsets.read_bytes(), type=dict[str, dict[str, int]])}
        except (OSError, msgspec.DecodeError) as error:
            raise UsageError(f'{offsets}: {error}; expected JSON such as {{"purchases": {{"0": 1200}}}}') from None
    if start == "beginning":
        return {"from": "beginning"}
    try:
        return {"from": format_time(parse_time(start))}
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--from") from None


def _only(customers: Path | None, shards: str | None) -> dict[str, Any]:
    if customers is not None and shards is not None:
        raise UsageError("a trial is of customers or of shards, not of both")
    if customers is not None:
        try:
            ids = [line for line in customers.read_text("utf-8").splitlines() if line]
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{customers}: {error}") from None
        if not ids:
            raise UsageError(f"{customers} names no customer; write one a line")
        if len(ids) > TRIAL_CUSTOMERS_MAX or sum(len(name.encode()) for name in ids) > TRIAL_BYTES_MAX:
            raise UsageError(
                f"{customers}: a trial is of at most {TRIAL_CUSTOMERS_MAX:,} customers "
                f"({TRIAL_BYTES_MAX // 1024} KiB of ids); --shards takes all of some shards"
            )
        return {"customers": sorted(set(ids))}
    return {"shards": _numbers(shards)} if shards is not None else {}


def _numbers(text: str) -> list[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6}))?\s*", part)
        if match is None:
            raise typer.BadParameter("write numbers and ranges such as 0,3,5-7", param_hint="--shards")
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(found)


def _say(line: str) -> None:
    print(line, flush=True)
