"""The command that tells who is in a segment: `describe`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.text import Text

from profilestream.cli import people
from profilestream.cli.connection import JsonOption, KafkaOption, NamespaceOption, RedisOption, settings
from profilestream.core.counting import counted
from profilestream.core.money import minor_digits

if TYPE_CHECKING:
    from profilestream.operations.describe import Persona
    from profilestream.operations.personas import Contrast, Range

TRAITS_SHOWN = 12
BAR_CHARACTERS = 10
_SAMPLE, _SAMPLE_MIN, _SAMPLE_MAX = 2_000, 20, 100_000
_UTC = ZoneInfo("UTC")

Row = tuple[str, str, str, str]
"""What is measured, of members, of everybody, how many times as much."""


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(describe)


def describe(
    segment: Annotated[str, typer.Argument(metavar="SEGMENT", help="The segment's name.")],
    traits: Annotated[
        list[str] | None,
        typer.Option("--trait", metavar="NAME", help="Compare this trait, not all; may be given more than once."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help=f"Show every trait, not the {TRAITS_SHOWN} most telling.")
    ] = False,
    sample: Annotated[
        int,
        typer.Option(
            "--sample", metavar="N", min=_SAMPLE_MIN, max=_SAMPLE_MAX,
            help=f"Look at N members and N of everybody at most, {_SAMPLE_MIN} to {_SAMPLE_MAX:,}.",
        ),
    ] = _SAMPLE,
    as_json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    namespace: NamespaceOption = None,
) -> None:  # fmt: skip
    """Describe a segment's members beside everybody: what distinguishes them first."""
    # Here, so that commands without servers start without what reads Redis.
    from profilestream.operations import describe as describing
    from profilestream.wire.values import encode_value

    found = settings(kafka, redis, namespace, needs=("redis",))
    assert found.redis is not None
    with reading() as progress:
        persona = describing.describe(found.redis, found.namespace, segment, sample, traits or (), progress)
    if as_json:
        print(encode_value(describing.persona_object(persona)).decode())
    else:
        show_persona(people.console(), persona, every or bool(traits))


def show_persona(out: Console, persona: Persona, every: bool = False) -> None:
    """The card of a segment: how many and why, then the traits, the most telling first."""
    out.print(_headline(persona))
    if persona.segment.description:
        out.print(people.one_line(persona.segment.description))
    out.print()
    facts = people.table("", "")
    for word, text in zip(("enter", "exit"), persona.segment.texts, strict=True):
        if text:
            facts.add_row(Text(word, style="bold"), people.one_line(text))
    for word, text in persona.segment.pacing.texts() if persona.segment.pacing is not None else ():
        facts.add_row(Text(word, style="bold"), text)
    facts.add_row(Text("since", style="bold"), f"{_range(persona.member_for, 'duration')} in the segment")
    people.show(out, facts)
    out.print()
    if not persona.traits:
        out.print("the definitions have no traits")
        return
    shown = persona.traits if every else persona.traits[:TRAITS_SHOWN]
    right = ("members", "everybody", "times")
    rows = people.table("trait", "", "members", "everybody", "times", "telling", right=right)
    for contrast in shown:
        currency = persona.currency if contrast.name in persona.amounts else None
        for n, row in enumerate(_rows(contrast, currency)):
            first = (contrast.name, _telling(out, contrast.telling)) if n == 0 else ("", "")
            rows.add_row(first[0], *row, first[1])
    people.show(out, rows)
    out.print()
    for line in _notes(persona, len(shown)):
        out.print(Text(line, style="dim"))


def _headline(persona: Persona) -> Text:
    everybody = counted(rounded(persona.customers, persona.customers_exact), "customer")
    about = "" if persona.customers_exact else "about "
    members = counted(persona.members, "member")
    return Text.assemble((persona.segment.name, "bold"), f": {members}, {percent(persona.share)} of {about}{everybody}")


def _notes(persona: Persona, shown: int) -> Iterator[str]:
    if shown < len(persona.traits):
        yield f"{shown} of {len(persona.traits):,} traits, the most telling first; --all shows all"
    yield "numbers: the median (and the middle half); values: the share of customers who have them, if 5 members do"
    parts = (
        _part(persona.members_read, persona.members, "member"),
        _part(persona.everybody_read, rounded(persona.customers, persona.customers_exact), "customer"),
    )
    sampled = persona.members_read < persona.members or persona.everybody_read < persona.customers
    yield f"{'a sample: ' if sampled else ''}{parts[0]} beside {parts[1]}, members among them"
    if persona.due:
        yield f"{counted(persona.due, 'profile')} of these wait for a worker to write what time has changed"


def _part(read: int, total: int, word: str) -> str:
    return f"all {counted(total, word)}" if read == total else f"{read:,} of {counted(total, word)}"


def _rows(contrast: Contrast, currency: str | None) -> list[Row]:
    rows: list[Row] = []
    if contrast.shape == "number":
        what = "ago" if contrast.kind == "time" else "median"
        sides = contrast.members, contrast.everybody
        if any(sides):
            medians = [None if side is None else side.median for side in sides]
            ours, all_ = (_range(side, contrast.kind, currency) for side in sides)
            rows.append((what, ours, all_, times(medians[0], medians[1])))
    for named in contrast.named:
        shares = named.shares
        what = _value(named.value, currency)
        rows.append((what, percent(shares.members), percent(shares.everybody), times(shares.members, shares.everybody)))
    if contrast.others is not None:
        others = contrast.others.shares
        what = f"others ({contrast.others.values:,})"
        rows.append((what, *(("", "") if others is None else (percent(others.members), percent(others.everybody))), ""))
    absent = contrast.absent
    if not rows or absent.members or absent.everybody:
        sizes = times(absent.members, absent.everybody)
        rows.append(("absent", percent(absent.members), percent(absent.everybody), sizes))
    return rows


def _value(found: Any, currency: str | None) -> str:
    """A named value; in a list of amounts it is one."""
    if currency is not None and isinstance(found, int | float) and not isinstance(found, bool):
        return amount(found, currency)
    return people.value(found, "json", _UTC)


def amount(minor: int | float, currency: str) -> str:
    """`1,234.50 EUR` of 123,450 cents; a part of a cent is rounded, half to even."""
    digits = minor_digits(currency)
    if abs(minor) >= 1e15:
        return f"{people.number(minor / 10**digits)} {currency}"
    return f"{Decimal(round(minor)).scaleb(-digits):,.{digits}f} {currency}"


def percent(share: float) -> str:
    """`62%`, `2.4%`, `<0.1%`."""
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{share:.1%}" if 0 < share < 0.1 or 0.99 < share < 1 else f"{share:.0%}"


def times(ours: float | None, all_: float | None) -> str:
    """`x 2.3`: how many times as much; nothing where that says nothing."""
    if not ours or not all_ or ours < 0 or all_ < 0:
        return ""
    ratio = ours / all_
    return f"x {ratio:,.0f}" if ratio >= 10 else f"x {ratio:.2g}"


def _range(found: Range | None, kind: str, currency: str | None = None) -> str:
    """`14 (6 to 25)`."""
    if found is None:
        return "too few"
    low, middle, high = (
        "" if number is None else _number(number, kind, currency) for number in (found.low, found.median, found.high)
    )
    return f"{middle} ({low} to {high})" if low else middle


def _number(found: int | float, kind: str, currency: str | None) -> str:
    if currency is not None:
        return amount(found, currency)
    return people.number(found) if kind in ("number", "json") else people.duration(found)


def _telling(out: Console, telling: float) -> str:
    """A bar on a terminal, elsewhere the number."""
    return "█" * round(BAR_CHARACTERS * telling) if out.is_terminal else f"{telling:.2f}"


def rounded(customers: int, exact: bool) -> int:
    """An estimate to three digits."""
    return customers if exact else int(float(f"{customers:.3g}"))


@contextmanager
def reading() -> Iterator[Callable[[int, int], None]]:
    """Shows how far the reading has come where a person looks on, and nothing else where not."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with Console(stderr=True).status("looking for customers") as status:
        yield lambda done, total: status.update(f"read {done:,} of {total:,} profiles")
