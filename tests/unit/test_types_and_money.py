"""Own event types, typed facts, and amounts in several currencies."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from profilestream.core.money import Money
from profilestream.core.problems import DefinitionsError
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import EventDecoder

EVENT = {"event_id": "e1", "customer_id": "c1", "occurred_at": 0}

REVIEW = """
[types.review]
topic = "reviews"
fields = { sku = "string", stars = "int 1..5 = 3", text = "string?", class = "string?", lines = [{ n = "int" }] }
"""


def decode(text: str, type_name: str, **fields: Any) -> Any:
    return EventDecoder.of(parse_definitions(text)).decode(type_name, json.dumps(EVENT | fields).encode())


def test_an_own_type_is_decoded_by_its_declarations() -> None:
    found = decode(REVIEW, "review", sku="a", **{"class": "x"})
    assert (found.type_name, found.sku, found.stars, found.text, found.class_) == ("review", "a", 3, None, "x")
    assert decode(REVIEW, "review").reason == "missing_field"
    assert decode(REVIEW, "review", sku="a", stars=6).reason == "out_of_range"


def test_an_own_type_stands_in_expressions() -> None:
    traits = '[traits]\nstars = "mean(review.stars)"\nall = "count(event)"\n[segments.s]\nenter = "count(review) > 1"\n'
    assert parse_definitions(REVIEW + traits).by_trait["stars"].node.kind == "number"


@pytest.mark.parametrize(
    ("value", "reason"),
    [(0, None), (130, None), (None, None), (131, "out_of_range"), ("41", "wrong_type"), (1.5, "wrong_type")],
)
def test_a_typed_fact_is_checked(value: Any, reason: str | None) -> None:
    found = decode('[attributes]\nage = "int 0..130"\n', "attributes", set={"age": value, "else": "anything"})
    if reason is None:
        assert found.set == {"age": value, "else": "anything"}
    else:
        assert found == Rejection(reason, "set.age: expected an integer from 0 to 130")  # type: ignore[arg-type]


def test_a_fact_that_is_a_time_is_one_in_expressions() -> None:
    text = (
        '[attributes]\nsince_when = "time"\n[traits]\njoined = "latest(attributes.since_when)"\n'
        '[segments.old]\nenter = "since(joined) > days(365)"\n'
    )
    assert parse_definitions(text).by_trait["joined"].node.kind == "time"
    assert decode(text, "attributes", set={"since_when": "1970-01-01T00:00:01Z"}).set == {"since_when": 1000}
    assert decode(text, "attributes", set={"since_when": "today"}).reason == "bad_time"


EUROS = '[settings]\ncurrency = "EUR"\nrates = { USD = "0.92", JPY = "0.00625", KWD = 3 }\n'


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (1000, "EUR", 1000),
        (1000, None, 1000),
        (1000, "USD", 920),
        (25, "USD", 23),
        (1000, "JPY", 625),
        (4, "JPY", 2),  # 2.5 goes to the even neighbour
        (12, "JPY", 8),  # and 7.5 too
        (1000, "KWD", 300),
        (1000, "GBP", None),
    ],
)
def test_amounts_are_converted_half_to_even_with_each_currency_in_its_own_minor_units(
    amount: int, currency: str | None, expected: int | None
) -> None:
    items = [{"unit_price_minor": amount, "quantity": 2}]
    found = decode(EUROS, "purchase", amount_minor=amount, currency=currency, items=items)
    if expected is None:
        assert found.reason == "currency"
    else:
        assert (found.amount_minor, found.items[0].unit_price_minor, found.currency) == (expected, expected, currency)


def test_without_a_currency_of_its_own_a_file_takes_amounts_as_they_are() -> None:
    assert decode("", "purchase", amount_minor=7, currency="XTS").amount_minor == 7


def test_what_is_wrong_with_an_event_comes_before_what_its_currency_lacks() -> None:
    assert decode(EUROS, "purchase", amount_minor=-7, currency="GBP").reason == "out_of_range"
    assert decode(EUROS, "purchase", amount_minor=7, currency="gbp").detail.startswith("currency: expected three")


def test_an_amount_that_grows_beyond_64_bits_is_a_dead_letter() -> None:
    most = 2**63 - 1
    assert decode(EUROS, "purchase", amount_minor=most, currency="KWD").amount_minor == round(Fraction(3 * most, 10))
    found = decode('[settings]\ncurrency="EUR"\nrates={USD="2"}', "purchase", amount_minor=2**63 - 1, currency="USD")
    assert found.reason == "out_of_range"


def test_amounts_of_own_types_are_converted_where_they_have_a_currency() -> None:
    text = (
        EUROS
        + '[types.bill]\nfields = { due_minor = "int", currency = "currency?", lines = [{ part_minor = "int?" }] }'
    )
    found = decode(text, "bill", due_minor=100, currency="USD", lines=[{"part_minor": 50}, {}])
    assert (found.due_minor, [line.part_minor for line in found.lines]) == (92, [46, None])


def test_conversion_is_symmetric_around_zero() -> None:
    money = Money("EUR", {"USD": Decimal("0.5")})
    assert [money.convert(n, "USD") for n in (-3, -1, 0, 1, 3, 5)] == [-2, 0, 0, 0, 2, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[types.purchase]\nfields = { a = "string" }', "`purchase` is built in"),
        ('[types.item]\nfields = { a = "string" }', "`item` is a word of the language"),
        ('[types.Review]\nfields = { a = "string" }', "a name is lower-case letters"),
        ('[types.r]\nfields = { a = "strin" }', "`strin` is not a declaration"),
        ('[types.r]\nfields = { event_id = "string" }', "every event has `event_id`; leave it out"),
        ('[types.r]\nfields = { type = "string" }', "a field cannot be named `type`"),
        ('[types.r]\nfields = { a = "int 1..5 = 9" }', "the default of `a` is not what the field takes"),
        ('[types.r]\nfields = { a = 5 }', "`a` is declared by a text"),
        ('[types.r]\ntopic = "x"', "[types.r] needs `fields ="),
        ('[types.r]\ntopic = "x y"\nfields = {}', "`x y` cannot name a topic"),
        ('[types.r]\nfields = { class = "string", class_ = "string" }', "are held under one name"),
        ('[types.r]\nfields = { a = [{ class = "string", class_ = "string" }] }', "are held under one name"),
        ('[types.r]\nfields = { a = "json = [1]" }', "the default of `a` is a list or an object"),
        ('[attributes]\nage = "int 0..130 = 5"', "a fact has no default"),
        ('[attributes]\nage = "integer"', "`integer` is not a declaration"),
        ("[attributes]\nage = 5", "`age` must be a text in quotes"),
        (EUROS + '[types.r]\nfields = { n_minor = "int", currency = "currency = GBP" }', "`GBP` has no rate into EUR"),
        (EUROS + '[sources.a]\ntopic = "t"\ntype = "purchase"\nmap = { currency = { value = "GBP" } }',
         "`GBP` has no rate into EUR; add it to `rates` under [settings]"),
        (EUROS + '[sources.a]\ntopic = "t"\ntype = "purchase"\n'
         'map = { currency = { path = "c", words = { dollars = "USD", pounds = "GBP" } } }',
         "`GBP` has no rate into EUR"),
        ('[settings]\ncurrency = "euro"', "`euro` is no currency"),
        ('[settings]\nrates = { USD = "0.9" }', 'add currency = "EUR"'),
        ('[settings]\ncurrency = "EUR"\nrates = { EUR = "1" }', "`EUR` is the file's own currency"),
        ('[settings]\ncurrency = "EUR"\nrates = { USD = "-1" }', "a rate says what 1 USD is worth in EUR"),
        ('[settings]\ncurrency = "EUR"\nrates = { USD = "0" }', "a rate says what 1 USD is worth in EUR"),
        ('[settings]\ncurrency = "EUR"\nrates = { usd = "1" }', "`usd` is no currency"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(DefinitionsError) as found:
        parse_definitions(text, "f.toml")
    assert message in str(found.value)
    assert len(found.value.problems) == 1


def test_rates_are_looked_at_though_the_currency_is_wrong() -> None:
    with pytest.raises(DefinitionsError) as found:
        parse_definitions('[settings]\ncurrency = "EURO"\nrates = { USD = "x" }\n', "f.toml")
    assert ["EURO" in p.message for p in found.value.problems] == [True, True]
    assert "`USD`: a rate says" in str(found.value)
