"""The command that cuts the customers into parts of about equal size: `quantiles`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from profilestream.cli import people
from profilestream.cli.connection import JsonOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.cli.describing import amount, percent, reading, rounded
from profilestream.core.counting import counted

if TYPE_CHECKING:
    from profilestream.operations.breaks import Number
    from profilestream.operations.quantiles import Quantiles

_PARTS, _PARTS_MIN, _PARTS_MAX = 5, 2, 101
_SAMPLE, _SAMPLE_MIN, _SAMPLE_MAX = 100_000, 20, 1_000_000


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(quantiles)


def quantiles(
    trait: Annotated[str, typer.Argument(metavar="TRAIT", help="The trait's name: a number or a duration.")],
    parts: Annotated[
        int, typer.Option("--by", metavar="N", min=_PARTS_MIN, max=_PARTS_MAX, help="Into how many parts.")
    ] = _PARTS,
    segment: Annotated[
        str | None, typer.Option("--segment", metavar="NAME", help="Of the members of this segment, not of everybody.")
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            "--sample", metavar="N", min=_SAMPLE_MIN, max=_SAMPLE_MAX,
            help=f"Look at N customers at most, {_SAMPLE_MIN} to {_SAMPLE_MAX:,}.",
        ),
    ] = _SAMPLE,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:  # fmt: skip
    """Print the breaks that cut the customers into parts of about equal size, to paste into score()."""
    # Here, so that commands without servers start without what reads Redis.
    from profilestream.operations import quantiles as cutting
    from profilestream.wire.values import encode_value

    where = settings(kafka, redis, namespace, needs=("redis",))
    assert where.redis is not None
    with reading() as progress:
        found = cutting.quantiles(where.redis, where.namespace, trait, parts, segment, sample, progress)
    if as_json:
        print(encode_value(cutting.quantiles_object(found)).decode())
    else:
        show_quantiles(people.console(), found)


def show_quantiles(out: Console, found: Quantiles) -> None:
    """The expression to paste, then who is in each part."""
    out.print(found.score)
    out.print()
    numbers = ("from", "to below", "customers", "share")
    rows = people.table("score", *numbers, right=numbers)
    for part in found.parts:
        ends = ("" if end is None else _number(end, found) for end in (part.low, part.high))
        rows.add_row(str(part.score), *ends, f"{part.customers:,}", percent(part.share))
    people.show(out, rows)
    out.print()
    for line in _notes(found):
        out.print(Text(line, style="dim"))


def _number(value: Number, found: Quantiles) -> str:
    if found.currency is not None:
        return amount(value, found.currency)
    return people.duration(value) if found.kind == "duration" else people.number(value)


def _notes(found: Quantiles) -> Iterator[str]:
    who = "customer" if found.segment is None else f"member of {found.segment}"
    many = "" if found.segment is None else f"members of {found.segment}"
    if found.read == found.customers and found.customers_exact:
        yield f"all {counted(found.customers, who, many)}"
    else:
        total = rounded(found.customers, found.customers_exact)
        about = "" if found.customers_exact else "about "
        yield f"a sample: {found.read:,} of {about}{counted(total, who, many)}; --sample looks at more"
    if found.absent:
        yield f"{found.absent:,} of them without a value: these have no score"
    if found.others:
        yield f"{found.others:,} of them with a value that is no number: these have no score"
    if len(found.parts) < found.wanted:
        yield f"{found.wanted} parts were asked for; many customers have equal values, and those are never parted"
    elif max(p.share for p in found.parts) > 1.5 / found.wanted:
        yield "parts are unequal: many customers have equal values, and those are never parted"
    if found.due:
        yield f"{counted(found.due, 'profile')} of these wait for a worker to write what time has changed"
