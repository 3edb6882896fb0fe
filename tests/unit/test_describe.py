"""Personas without a server: the statistics, what is kept back, which traits are amounts, the card."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from profilestream.cli import describing
from profilestream.core.amounts import amounts
from profilestream.core.errors import UsageError
from profilestream.core.events import BUILT_IN
from profilestream.core.expressions import Kind
from profilestream.operations import personas
from profilestream.operations.describe import Persona, describe, persona_object
from profilestream.operations.personas import Column, Contrast, Range, Shares, contrast, middle, quantile, share
from profilestream.store.metadata import Generation
from profilestream.store.samples import in_proportion
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.schemas import schemas

DAY = 86_400_000

TEXT = """
[settings]
currency = "EUR"
rates = { USD = "0.92" }

[types.workout]
topic = "workouts"
fields = { activity = "string", price_minor = "int?", minutes = "int" }

[types.rental]
topic = "rentals"
fields = { fee_minor = "int", currency = "currency?" }

[traits]
orders    = "count(purchase)"
spend     = "sum(purchase.amount_minor)"
average   = "spend / orders"
more      = "default(spend, 0) + 1_000"
left      = "100_000 - max(item.unit_price_minor)"
daily     = "2 * spend / 30"
by_sku    = "sum(item.amount_minor, by=sku)"
shoes     = "by_sku['shoes']"
prices    = "top(item.unit_price_minor, 3)"
fees      = "sum(rental.fee_minor)"
trend     = "spend / sum(purchase.amount_minor, over='30d')"
per_euro  = "orders / spend"
squared   = "spend * spend"
different = "distinct(purchase.amount_minor)"
scored    = "score(spend, 10, 20)"
mixed     = "spend + orders"
own       = "sum(workout.price_minor)"
minutes   = "sum(workout.minutes)"
since     = "last(purchase.occurred_at)"
gap       = "mean_gap(purchase)"
channel   = "last(purchase.channel)"
vip       = "orders >= 2"

[segments.big]
description = "Spends a lot"
enter = "spend >= 50_000"
exit  = "spend < 40_000"
"""
DEFINITIONS = parse_definitions(TEXT)


def column(*values: Any) -> Column:
    found = Column()
    for value in values:
        found.add(value)
    return found


def compared(members: Sequence[Any], everybody: Sequence[Any], kind: Kind = "json") -> Contrast:
    ours = column(*members)
    all_ = Column()
    all_.look_for(ours)
    for value in everybody:
        all_.add(value)
    return contrast("t", kind, ours, all_)


# Statistics


def test_a_quantile_lies_between_its_neighbours_and_a_whole_one_is_an_int() -> None:
    assert [quantile([1, 2, 3, 4], q) for q in (0, 0.25, 0.5, 1)] == [1, 1.75, 2.5, 4]
    assert type(quantile([2.0, 2.0, 4.0], 0.5)) is int


def test_a_range_needs_five_customers_on_either_side_of_each_of_its_numbers() -> None:
    assert middle(list(range(9))) is None
    assert middle(list(range(10))) == Range(None, 4.5, None)
    assert middle(list(range(19))) == Range(None, 9, None)
    assert middle(list(range(21))) == Range(5, 10, 15)


@pytest.mark.parametrize(
    ("xs", "ys", "delta"),
    [
        ([3, 4], [1, 2], 1),
        ([1, 2], [3, 4], -1),
        ([1, 2], [1, 2], 0),
        ([1, 2, 3], [2], 0),
        ([2], [1, 2], 0.5),
        ([], [1], 0),
    ],
)
def test_cliffs_delta_is_how_much_more_often_one_is_greater(xs: list[float], ys: list[float], delta: float) -> None:
    assert personas.cliffs_delta(xs, ys) == delta


def test_numbers_are_told_by_their_order_and_those_who_lack_them() -> None:
    found = compared([*range(100, 130), *[None] * 10], [*range(100, 130), *range(30), *[None] * 20], "number")
    assert found.members == Range(107.25, 114.5, 121.75)
    assert found.absent == Shares(0.25, 0.25)
    assert found.telling == pytest.approx(0.5 * 0.75)


def test_a_number_that_too_few_have_gives_no_range_and_tells_by_its_absence_only() -> None:
    found = compared([*range(9), *[None] * 11], range(20), "number")
    assert (found.members, found.absent.members, found.telling) == (None, 0.55, 0.55)
    assert found.everybody is not None


def test_a_boolean_is_the_share_of_yes_and_absence_counts_as_a_customer() -> None:
    found = compared([True] * 15 + [False] * 5, [True] * 10 + [False] * 20 + [None] * 10, "boolean")
    assert [(n.value, n.shares) for n in found.named] == [(True, Shares(0.75, 0.25))]
    assert (found.absent, found.others, found.telling) == (Shares(0, 0.25), None, 0.5)


def test_of_strings_the_most_frequent_are_named_then_those_that_differ_most() -> None:
    members = [word for word, count in zip("abcdefg", (30, 20, 15, 10, 9, 8, 8), strict=True) for _ in range(count)]
    everybody = members + list("d" * 30 + "f" * 30 + "z" * 40)
    found = compared(members, everybody, "string")
    assert [n.value for n in found.named] == ["a", "b", "c", "d", "f"]
    assert found.others is not None and found.others.values == 2
    assert found.others.shares == Shares(0.17, (9 + 8 + 40) / 200)


def test_of_a_list_each_element_counts_once_a_customer_and_of_an_object_each_key() -> None:
    lists = compared([["yoga", "yoga", "run"]] * 10 + [["run"]] * 10, [["run"]] * 20 + [[]] * 20, "list")
    assert [(n.value, n.shares) for n in lists.named] == [("run", Shares(1, 0.5)), ("yoga", Shares(0.5, 0))]
    objects = compared([{"shoes": 3, "hats": 1}] * 10 + [{"hats": 1}] * 10, [{"hats": 2}] * 20, "object")
    assert [(n.value, n.shares.members) for n in objects.named] == [("hats", 1), ("shoes", 0.5)]
    assert lists.others is None


def test_a_fact_of_any_kind_is_shown_as_most_of_its_values_are() -> None:
    found = compared([30] * 15 + ["thirty"] * 5, [30] * 20 + [True] * 20)
    assert (found.shape, found.members) == ("number", Range(None, 30, None))
    assert compared([None] * 20, ["x"] * 20).shape == "string"
    assert compared([None] * 20, [None] * 20).telling == 0


def test_a_value_that_is_true_is_not_the_number_one_nor_the_string() -> None:
    found = compared(["1"] * 6 + ["true"] * 7 + [1] * 3 + [True] * 4, ["1"] * 20)
    assert [n.value for n in found.named] == ["true", "1"]


# What is kept back


def test_a_value_of_four_members_is_among_the_others_and_one_of_five_is_named() -> None:
    found = compared(["ours"] * 11 + ["five"] * 5 + ["four"] * 4, ["ours"] * 40, "string")
    assert [n.value for n in found.named] == ["ours", "five"]
    assert found.others is not None
    assert (found.others.values, found.others.shares) == (1, Shares(0.25, 0))


def test_a_share_is_rounded_where_it_would_tell_of_fewer_than_five() -> None:
    assert [share(count, 100) for count in (0, 1, 2, 3, 4, 5, 6)] == [0, 0, 0, 0.05, 0.05, 0.05, 0.06]
    assert [share(count, 100) for count in (94, 95, 96, 97, 98, 100)] == [0.94, 0.95, 0.95, 0.95, 1, 1]
    assert share(0, 0) == 0


def test_no_value_of_fewer_than_five_is_in_what_programs_get() -> None:
    members = [f"own-{n}" for n in range(40)] + ["rare"] * 4 + ["common"] * 6
    for shape in (lambda v: v, lambda v: [v], lambda v: {v: 1}):
        found = compared([shape(v) for v in members], [shape(v) for v in members], "json")
        assert [n.value for n in found.named] == ["common"]
        assert found.others is not None and found.others.values == 41


def test_values_beyond_the_limits_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personas, "DISTINCT_MAX", 3)
    found = column("a", "b", "c", "d", "a", "x" * 300)
    assert (found.of("string"), found.missed) == ({'"a"': 2, '"b"': 1, '"c"': 1}, 2)
    assert column(10**400, 1).missed == 1


def test_what_members_share_is_counted_of_everybody_though_it_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personas, "DISTINCT_MAX", 3)
    found = compared(["late"] * 20, ["v", "w", "x", "y", "z", *["late"] * 15], "string")
    assert found.named[0].shares == Shares(1, 0.75)


def test_a_sample_that_is_no_persona_is_refused_before_any_server_is_asked() -> None:
    for size in (0, 19, 100_001):
        with pytest.raises(UsageError, match="20 to 100,000 customers"):
            describe("redis://127.0.0.1:1", "ps", "big", size)


def test_each_shard_gives_its_part_of_a_sample() -> None:
    assert in_proportion([10, 30, 0, 60], 10) == [1, 3, 0, 6]
    assert in_proportion([1, 1, 1], 2) == [1, 1, 0]
    assert in_proportion([5, 5], 20) == [5, 5]
    assert in_proportion([1, 3], 20, grow=True) == [5, 15]
    assert in_proportion([], 20) == []


# Amounts


def test_what_is_made_of_amounts_alone_is_an_amount() -> None:
    assert amounts(DEFINITIONS) == {
        "spend", "average", "more", "left", "daily", "by_sku", "shoes", "prices", "fees",
    }  # fmt: skip


def test_without_a_currency_no_trait_is_known_to_be_an_amount() -> None:
    assert amounts(parse_definitions("[traits]\nspend = 'sum(purchase.amount_minor)'\n")) == frozenset()


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (123_450, "EUR", "1,234.50 EUR"),
        (5, "EUR", "0.05 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (12.5, "EUR", "0.12 EUR"),
        (1_234, "JPY", "1,234 JPY"),
        (1_234, "KWD", "1.234 KWD"),
        (999_999_999_999_999, "EUR", "9,999,999,999,999.99 EUR"),
        (1e40, "EUR", "1e+38 EUR"),
    ],
)
def test_an_amount_has_as_many_decimals_as_its_currency(minor: float, currency: str, shown: str) -> None:
    assert describing.amount(minor, currency) == shown


# The card and the object


def persona(**fields: Any) -> Persona:
    spend = compared([1_000 * n for n in range(50, 90)], [1_000 * n for n in range(80)], "number")
    since = compared([n * DAY for n in range(40)], [2 * n * DAY for n in range(80)], "time")
    channel = compared(["web\x1b[31m"] * 30 + ["shop"] * 6 + ["fax"] * 4, ["web\x1b[31m"] * 40 + [None] * 40, "string")
    prices = compared([[1_999]] * 40, [[1_999]] * 20 + [[2_500]] * 60, "list")
    contrasts = {"spend": spend, "since": since, "channel": channel, "prices": prices}
    found = Persona(
        generation=Generation("g1", 4, TEXT, DEFINITIONS.fingerprint, "2026-01-31T09:30:00.000Z", "live"),
        segment=DEFINITIONS.by_segment["big"],
        members=400,
        customers=123_456,
        customers_exact=False,
        members_read=40,
        everybody_read=80,
        due=0,
        member_for=Range(DAY, 3 * DAY, 10 * DAY),
        currency="EUR",
        amounts=amounts(DEFINITIONS),
        traits=tuple(replace(one, name=name) for name, one in contrasts.items()),
    )
    return replace(found, **fields)


def card(found: Persona, every: bool = False, terminal: bool = False) -> list[str]:
    out = Console(file=io.StringIO(), force_terminal=terminal, width=120, markup=False, highlight=False, soft_wrap=True)
    describing.show_persona(out, found, every)
    return [" ".join(line.split()) for line in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_the_card_says_who_why_and_beside_whom() -> None:
    lines = card(persona())
    assert lines[0] == "big: 400 members, 0.3% of about 123,000 customers"
    assert "enter spend >= 50_000" in lines and "exit spend < 40_000" in lines
    assert "since 3 d (1 d to 10 d) in the segment" in lines
    assert (
        "spend median 695.00 EUR (597.50 EUR to 792.50 EUR) 395.00 EUR (197.50 EUR to 592.50 EUR) x 1.8 0.72" in lines
    )
    assert "since ago 19 d 12 h (9 d 18 h to 29 d 6 h) 79 d (39 d 12 h to 118 d 12 h) x 0.25 0.74" in lines
    assert lines[-1] == "a sample: 40 of 400 members beside 80 of 123,000 customers, members among them"


def test_values_of_the_card_are_what_a_terminal_may_show_and_amounts_have_their_currency() -> None:
    lines = card(persona())
    assert r'channel "web\u001b[31m" 75% 50% x 1.5 0.50' in lines
    assert "shop 15% 0%" in lines
    assert "others (1) 12% 0%" in lines
    assert "absent 0% 50%" in lines
    assert "prices 19.99 EUR 100% 25% x 4 0.75" in lines


def test_a_card_of_many_traits_shows_the_most_telling_unless_asked_for_all() -> None:
    many = tuple(replace(persona().traits[0], name=f"t{n}") for n in range(20))
    some, every = card(persona(traits=many)), card(persona(traits=many), every=True)
    assert "12 of 20 traits, the most telling first; --all shows all" in some
    assert not any(line.startswith("t12 ") for line in some)
    assert any(line.startswith("t19 ") for line in every)


def test_a_card_says_when_values_wait_for_a_worker_and_when_nothing_was_left_out() -> None:
    lines = card(persona(due=3, members=40, customers=80, customers_exact=True))
    assert lines[-2] == "all 40 members beside all 80 customers, members among them"
    assert lines[-1] == "3 profiles of these wait for a worker to write what time has changed"


def test_only_a_terminal_gets_bars() -> None:
    assert "█" in "".join(card(persona(), terminal=True))
    assert "█" not in "".join(card(persona()))


def test_definitions_without_traits_are_said_to_have_none() -> None:
    assert card(persona(traits=()))[-1] == "the definitions have no traits"


def test_what_programs_get_stands_before_its_schema() -> None:
    validator = jsonschema.Draft202012Validator(schemas(BUILT_IN)["describe.json"])
    few = replace(compared([None] * 20, [None] * 20), name="gap")
    for found in (persona(), persona(traits=(few,), member_for=None), persona(currency=None, amounts=frozenset())):
        validator.validate(persona_object(found))
    assert not validator.is_valid({**persona_object(persona()), "customer_id": "c1"})


def test_programs_get_amounts_in_minor_units_and_their_currency() -> None:
    spend, since, _, prices = persona_object(persona())["traits"]
    assert (spend["currency"], spend["members"]["median"], spend["everybody"]["low"]) == ("EUR", 69_500, 19_750)
    assert (prices["currency"], prices["values"]) == ("EUR", [{"value": 1_999, "members": 1, "everybody": 0.25}])
    assert (since["kind"], since["currency"], since["members"]["median"]) == ("time", None, 19.5 * DAY)


def test_the_command_is_registered_and_explains_its_options() -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    describing.register(app)
    shown = CliRunner().invoke(app, ["describe", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for option in ("--trait", "--sample", "--all", "--json"):
        assert option in shown
    assert CliRunner().invoke(app, ["describe", "big", "--sample", "19"]).exit_code == 2
