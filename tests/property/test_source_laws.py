"""Sources in other systems' words: the compiled way against records walked in plain Python, and the laws of money."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.sources import MARK, Case, cases, damaged, junk, own_cases, toml

from profilestream.core.money import Money, minor_digits
from profilestream.core.problems import DefinitionsError
from profilestream.oracle.declarations import Declared
from profilestream.oracle.sources import Found, Reader, RefusedError, converted, mapping_of, unreadable
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import Event, EventDecoder

EXAMPLES = settings().max_examples
"""Of the chosen profile. There is so much that a map may say that few of it would be seen."""


def decoder(case: Case) -> Any:
    return EventDecoder.of(parse_definitions(case.text)).decoder_for_topic("theirs")


def plain(fields: Sequence[Declared], event: Any) -> dict[str, Any]:
    """A decoded event as the reference gives one."""
    found = {}
    for field in fields:
        value = getattr(event, field.name + "_" if keyword.iskeyword(field.name) else field.name)
        if field.kind == "records" and value is not None:
            value = [plain(field.members, item) for item in value]
        found[field.name] = value
    return found


def same(a: Any, b: Any) -> bool:
    """Equal with their types: 1 is neither true nor 1.0."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def expected(reader: Reader, record: Any) -> dict[str, Any] | str:
    """What the reference reads, or its reason to refuse."""
    try:
        return reader.read(record)
    except RefusedError as refused:
        return refused.reason


@settings(max_examples=12 * EXAMPLES)
@given(cases())
def test_the_compiled_way_reads_what_a_walk_reads_and_refuses_with_its_reason(case: Case) -> None:
    reader = Reader(case.tables, case.type_name, case.source)
    read = decoder(case)
    record = json.loads(json.dumps(case.record))  # two surrogates in a row are one character
    wanted = expected(reader, record)
    for escaped in (True, False) if not unreadable(record) else (True,):
        found = read(json.dumps(record, ensure_ascii=escaped).encode())
        if isinstance(wanted, str):
            assert isinstance(found, Rejection), f"accepted what is {wanted}"
            assert found.reason == wanted
        else:
            assert not isinstance(found, Rejection), found
            assert same(plain(reader.fields, found), wanted)


def labels(fields: Sequence[Declared], mapping: dict[str, Found], before: str = "") -> Iterator[str]:
    """Every way in which a detail may name a place: by their path, with our name beside it where it is another."""
    for field in fields:
        found = mapping[field.name]
        each = found.said.get("each", {})
        if field.kind == "object" and each:
            for name, inner in mapping_of([Declared(n, "json") for n in each], each).items():
                yield from _at(before, found.path + inner.path, f"{field.name}.{name}")
            continue
        for label in _at(before, found.path, field.name):
            yield label
            if field.kind == "records":
                yield f"{label}[]"
                yield from labels(field.members, mapping_of(field.members, each), f"{label}[].")
            yield from (f"{label}[]" for _ in [0] if field.kind == "strings")
            yield from (f"{label}.{member.name}" for member in field.members if field.kind == "object")


def _at(before: str, path: Sequence[str], ours: str) -> Iterator[str]:
    for length in range(1, len(path) + 1):
        place = before + ".".join(path[:length])
        yield place
        if length == len(path) and place != before + ours:
            yield f"{place} ({ours})"


@settings(max_examples=6 * EXAMPLES)
@given(cases())
def test_what_is_refused_is_explained_by_a_place_of_the_map_and_never_by_a_value(case: Case) -> None:
    found = decoder(case)(json.dumps(case.record).encode())
    if not isinstance(found, Rejection):
        return
    reader = Reader(case.tables, case.type_name, case.source)
    known = {*labels(reader.fields, reader.mapping), "an undeclared field"}
    if found.reason in ("currency", "out_of_range"):
        known |= {"currency", "amount_minor"}  # what conversion refuses, it names in our words
    assert re.sub(r"\[\d+\]", "[]", found.detail).split(": ")[0] in known
    assert MARK not in found.detail


@settings(max_examples=6 * EXAMPLES)
@given(cases(), st.data())
def test_of_a_key_that_comes_twice_the_last_counts_and_a_refusal_is_explained(case: Case, data: st.DataObject) -> None:
    keys = [k for k, value in case.record.items() if isinstance(value, dict)] or [*case.record, "a"]
    key = data.draw(st.sampled_from(keys))
    inside = case.record.get(key)
    other = data.draw(junk)
    if isinstance(inside, dict) and inside and data.draw(st.booleans()):
        other = {**inside, data.draw(st.sampled_from(list(inside))): other}
    first, last = case.record, {**case.record, key: other}
    pairs = [*case.record.items(), (key, other)]
    text = "{" + ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in pairs) + "}"
    found = decoder(case)(text.encode())
    reader = Reader(case.tables, case.type_name, case.source)
    wanted = [expected(reader, json.loads(json.dumps(one))) for one in (first, last)]
    if isinstance(found, Rejection):
        assert any(isinstance(one, str) for one in wanted), "both of its values stand"
        assert not found.detail.startswith("the value:")
    else:
        assert same(plain(reader.fields, found), wanted[1])


@settings(max_examples=6 * EXAMPLES)
@given(own_cases())
def test_a_map_of_each_field_to_itself_reads_as_no_map_does_where_texts_are_texts(case: Case) -> None:
    value = json.dumps(case.record).encode()
    native = EventDecoder.of(parse_definitions(case.text)).decode(case.type_name, value)
    mapped = decoder(case)(value)
    reader = Reader(case.tables, case.type_name)
    if not isinstance(native, Rejection):
        assert same(plain(reader.fields, mapped), plain(reader.fields, native))
    elif isinstance(mapped, Rejection) and not _kindly_read(reader.fields, case.record):
        assert mapped == native
    else:
        assert isinstance(mapped, Rejection) or _kindly_read(reader.fields, case.record)


def _kindly_read(fields: Sequence[Declared], record: dict[str, Any]) -> bool:
    """Whether a named field has a value that only a map reads: a number for a text, a text for a number."""
    kinds = {"string": int, "int": str, "number": str, "currency": str}
    return any(type(record.get(field.name)) is kinds.get(field.kind) for field in fields)


# Decimals and money

AMOUNTS = "[types.thing]\nfields = { n = 'int' }\n" + "".join(
    f"[sources.s{d}]\ntopic = 't{d}'\ntype = 'thing'\nmap = {{ n = {{ path = 'n', decimals = {d} }} }}\n"
    for d in range(5)
)
DECODER = EventDecoder.of(parse_definitions(AMOUNTS))
tails = st.sampled_from(("", "5", "5", "5", "50", "49", "51", "500001"))
"""Digits behind those that are kept: halves, and what is just beside one."""


@given(st.integers(-(10**6), 10**6), tails, st.integers(0, 4), st.booleans())
def test_decimals_are_exact_and_rounded_half_to_even(kept: int, tail: str, decimals: int, as_text: bool) -> None:
    number = Decimal(f"{kept}{tail}").scaleb(-decimals - len(tail))
    record = {"event_id": "e", "customer_id": "c", "occurred_at": 0, "n": f"{number:f}" if as_text else float(number)}
    found = DECODER.decoder_for_topic(f"t{decimals}")(json.dumps(record).encode())
    assert found.n == round(Fraction(number) * 10**decimals)


BY_CURRENCY = EventDecoder.of(
    parse_definitions(
        "[types.thing]\nfields = { n_minor = 'int', currency = 'currency' }\n"
        "[sources.s]\ntopic = 't'\ntype = 'thing'\nmap = { n_minor = { path = 'n', decimals = 'currency' } }\n"
    )
)


@given(st.integers(-(10**6), 10**6), tails, st.sampled_from(("JPY", "EUR", "KWD", "CLF", "XTS")), st.booleans())
def test_decimals_of_a_currency_are_its_own_wherever_it_stands(kept: int, tail: str, code: str, behind: bool) -> None:
    digits = minor_digits(code)
    number = Decimal(f"{kept}{tail}").scaleb(-digits - len(tail))
    amount = {"n": f"{number:f}"}
    record = {"event_id": "e", "customer_id": "c", "occurred_at": 0}
    record |= amount | {"currency": code} if behind else {"currency": code} | amount
    found = BY_CURRENCY.decoder_for_topic("t")(json.dumps(record).encode())
    assert found.n_minor == round(Fraction(number) * 10**digits)


currencies = st.sampled_from(("EUR", "USD", "JPY", "KWD", "CLF"))
rates = st.integers(1, 10**12).map(lambda n: Decimal(n).scaleb(-6)) | st.sampled_from((Decimal("0.5"), Decimal(3)))
amounts = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 200)


@given(currencies, currencies, rates, amounts)
def test_conversion_is_the_exact_product_rounded_half_to_even(own: str, other: str, rate: Decimal, amount: int) -> None:
    found = Money(own, {other: rate} if other != own else {}).convert(amount, other)
    assert type(found) is int
    if own == other:
        assert found == amount
        return
    exact = amount * Fraction(rate) * Fraction(10) ** (minor_digits(own) - minor_digits(other))
    assert found == round(exact) == converted(amount, other, own, str(rate))
    assert abs(found - exact) <= Fraction(1, 2)


@given(currencies, rates, amounts, amounts)
def test_conversion_keeps_order_and_sign(own: str, rate: Decimal, a: int, b: int) -> None:
    money = Money(own, {"XTS": rate})
    less, more = sorted((a, b))
    assert money.convert(less, "XTS") <= money.convert(more, "XTS")
    assert money.convert(-a, "XTS") == -money.convert(a, "XTS")
    assert money.convert(0, "XTS") == 0
    assert not money.knows("XXX") and money.knows("XTS") and money.knows(own)


@settings(max_examples=12 * EXAMPLES)
@given(cases(), st.integers(1, 3), st.data())
def test_a_damaged_file_is_told_what_is_wrong_or_compiles(case: Case, times: int, data: st.DataObject) -> None:
    tables = dict(case.tables)
    for _ in range(times):
        tables = data.draw(damaged(tables))
    try:
        definitions = parse_definitions(toml(_without_null(tables)))
    except DefinitionsError as error:
        assert error.problems
        return
    decode = EventDecoder.of(definitions).decoder_for_topic(definitions.sources[-1].topic)
    assert isinstance(decode(json.dumps(case.record).encode()), Event | Rejection)


def _without_null(value: Any) -> Any:
    """What TOML can say of it: no null, no lone surrogate."""
    if isinstance(value, dict):
        return {k: _without_null(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_null(v) for v in value if v is not None]
    return value.replace("\ud800", "") if isinstance(value, str) else value
