"""Topics in other systems' words: what a map means, to the fast way and to the slow one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from profilestream.core.problems import DefinitionsError
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import EventDecoder

BASE = """
[sources.theirs]
topic = "theirs"
type = "{type}"
"""


def decoder(mapping: str, type_name: str = "purchase", before: str = "", envelope: str = ""):
    text = before + BASE.format(type=type_name) + envelope + "\n[sources.theirs.map]\n" + mapping
    return EventDecoder.of(parse_definitions(text)).decoder_for_topic("theirs")


def decode(mapping: str, record: dict[str, Any], **options: Any) -> Any:
    return decoder(mapping, **options)(json.dumps(record).encode())


BY_CURRENCY = 'amount_minor = { path = "total", decimals = "currency" }'
RECORD = {"event_id": "e1", "customer_id": "c1", "occurred_at": 1_700_000_000_000, "amount_minor": 5}


@pytest.mark.parametrize(
    ("mapping", "change", "attribute", "value"),
    [
        ('order_id = "number"', {"number": 17}, "order_id", "17"),
        ('order_id = "order.number"', {"order": {"number": "A"}}, "order_id", "A"),
        ('order_id = "order.number"', {"order": None}, "order_id", None),
        ('order_id = "order.number"', {}, "order_id", None),
        ("order_id = \"'order.number'\"", {"order.number": "A"}, "order_id", "A"),
        ('kind = "order.kind"', {"order": {}}, "kind", "order"),
        ('kind = "order.kind"', {"order": {"kind": None}}, "kind", "order"),
        ('kind = "order.kind"', {}, "kind", "order"),
        ("kind = { value = 'refund' }", {"kind": "order"}, "kind", "refund"),
        ('kind = { path = "what", words = { "order.paid" = "order", back = "refund" } }', {"what": "back"},
         "kind", "refund"),
        ('kind = { path = "what", words = { back = "refund" } }', {"what": "gift"}, "kind", "gift"),
        ('kind = { path = "what", words = { order = "refund" } }', {}, "kind", "order"),
        ("order_id = false", {"order_id": {"is": "another thing"}}, "order_id", None),
        ('amount_minor = { path = "total", decimals = 2 }', {"total": "409.94"}, "amount_minor", 40_994),
        ('amount_minor = { path = "total", decimals = 2 }', {"total": 409.94}, "amount_minor", 40_994),
        ('amount_minor = { path = "total", decimals = 2 }', {"total": 4}, "amount_minor", 400),
        ('amount_minor = { path = "total", decimals = 2 }', {"total": "0.125"}, "amount_minor", 12),
        ('amount_minor = { path = "total", decimals = 2 }', {"total": "0.135"}, "amount_minor", 14),
        ('amount_minor = { path = "total", decimals = 2 }', {"total": 1.005}, "amount_minor", 100),
        ('amount_minor = { path = "money.total", decimals = 3 }', {"money": {"total": ".5"}}, None, "wrong_type"),
        ('amount_minor = { path = "total", decimals = 2 }', {"total": "-0.01"}, None, "out_of_range"),
        ('amount_minor = { path = "total", decimals = 2 }', {"total": True}, None, "wrong_type"),
        ('amount_minor = { path = "total", decimals = 2 }', {"total": "9" * 30}, None, "out_of_range"),
        (BY_CURRENCY, {"total": "12.345", "currency": "EUR"}, "amount_minor", 1_234),
        (BY_CURRENCY, {"total": "12.355", "currency": "EUR"}, "amount_minor", 1_236),
        (BY_CURRENCY, {"total": "1000", "currency": "JPY"}, "amount_minor", 1_000),
        (BY_CURRENCY, {"total": "2.5", "currency": "JPY"}, "amount_minor", 2),
        (BY_CURRENCY, {"total": 1.2345, "currency": "KWD"}, "amount_minor", 1_234),
        (BY_CURRENCY, {"total": 7, "currency": "CLF"}, "amount_minor", 70_000),
        (BY_CURRENCY, {"total": "free", "currency": "EUR"}, None, "wrong_type"),
        (BY_CURRENCY, {"total": True, "currency": "EUR"}, None, "wrong_type"),
        (BY_CURRENCY, {"total": None, "currency": "EUR"}, None, "missing_field"),
        (BY_CURRENCY, {"total": "-0.01", "currency": "EUR"}, None, "out_of_range"),
        (BY_CURRENCY, {"total": 1e300, "currency": "EUR"}, None, "out_of_range"),
        (BY_CURRENCY, {"total": 10**400, "currency": "EUR"}, None, "out_of_range"),
        (BY_CURRENCY, {"total": "92233720368547758.07", "currency": "EUR"}, "amount_minor", 2**63 - 1),
        (BY_CURRENCY, {"total": "92233720368547758.08", "currency": "EUR"}, None, "out_of_range"),
        (BY_CURRENCY, {"total": "-1", "currency": "euro"}, None, "currency"),
        (BY_CURRENCY, {"total": "1", "currency": 5}, None, "wrong_type"),
        (BY_CURRENCY, {"total": "1"}, None, "currency"),
        (BY_CURRENCY, {"total": "1", "currency": None}, None, "currency"),
        ('amount_minor = { path = "total", decimals = "currency", words = { free = 5 } }', {"total": "free"},
         "amount_minor", 5),
        (BY_CURRENCY + '\ncurrency = { path = "cur", words = { yen = "JPY" } }', {"total": "5", "cur": "yen"},
         "amount_minor", 5),
        (BY_CURRENCY + '\ncurrency = { value = "KWD" }', {"total": "5"}, "amount_minor", 5_000),
        (BY_CURRENCY + '\ncurrency = "total.cur"', {"total": {"cur": "EUR"}}, None, "wrong_type"),
        ('amount_minor = "total"', {"total": "42"}, "amount_minor", 42),
        ('amount_minor = "total"', {"total": "4.2"}, None, "wrong_type"),
        ('occurred_at = { path = "t", unit = "s" }', {"t": 1_700_000_000}, "occurred_at", 1_700_000_000_000),
        ('occurred_at = { path = "t", unit = "s" }', {"t": 1_700_000_000.1239}, "occurred_at", 1_700_000_000_123),
        ('occurred_at = { path = "t", unit = "s" }', {"t": "1700000000.5"}, "occurred_at", 1_700_000_000_500),
        ('occurred_at = { path = "t", unit = "s" }', {"t": -0.0001}, "occurred_at", -1),
        ('occurred_at = { path = "t", unit = "us" }', {"t": 1_700_000_000_123_999}, "occurred_at", 1_700_000_000_123),
        ('occurred_at = { path = "t", unit = "ms" }', {"t": "2023-11-14T22:13:20Z"}, "occurred_at",
         1_700_000_000_000),
        ('occurred_at = { path = "t", unit = "s" }', {"t": 1e300}, None, "bad_time"),
        ('occurred_at = { path = "t", unit = "s" }', {"t": "soon"}, None, "bad_time"),
        ('occurred_at = { path = "t", unit = "s" }', {"t": []}, None, "wrong_type"),
        ('currency = "cur"', {"cur": "eur"}, "currency", "EUR"),
        ('currency = "cur"', {"cur": "euro"}, None, "currency"),
        ('customer_id = "user.id"', {"user": {"id": 9}}, "customer_id", "9"),
        ('customer_id = "user.id"', {"user": {}}, None, "missing_field"),
        ('customer_id = "user.id"', {"user": {"id": None}}, None, "missing_field"),
        ('customer_id = "user.id"', {}, None, "missing_field"),
        ('customer_id = "user.id"', {"user": "c1"}, None, "wrong_type"),
        ('customer_id = "user.id"', {"user": {"id": ""}}, None, "empty_id"),
        ('customer_id = "user.id"', {"user": {"id": "a\u0007"}}, None, "out_of_range"),
        ('customer_id = "user.id"', {"user": {"id": 1.5}}, None, "wrong_type"),
        # one path for two fields, and a path through another's value
        ('customer_id = "user.id"\norder_id = "user.id"', {"user": {"id": "u"}}, "order_id", "u"),
        ('customer_id = "id"\norder_id = "id"', {"id": 3}, "customer_id", "3"),
        ('customer_id = "id"\norder_id = "id"', {}, None, "missing_field"),
        ('customer_id = "a.b"\nkind = "a.b.c"', {"a": {"b": "x"}}, None, "wrong_type"),
        # what only looks right
        ('currency = "cur"', {"cur": "e\u00df"}, None, "currency"),
        ('order_id = "n"', {"n": 10**30}, "order_id", "1" + "0" * 30),
        ('order_id = "n"', {"n": 10**2000}, None, "out_of_range"),
        ('amount_minor = "total"', {"total": "9" * 25}, None, "out_of_range"),
        ('order_id = "~kind"\nkind = { value = "refund" }', {"~kind": "x"}, "order_id", "x"),
    ],
)  # fmt: skip
def test_a_map_brings_values_to_their_fields(mapping: str, change: dict, attribute: str | None, value: Any) -> None:
    found = decode(mapping, RECORD | change)
    if attribute is None:
        assert isinstance(found, Rejection)
        assert found.reason == value
        assert "the value:" not in found.detail, "the slow way found nothing"
    else:
        assert not isinstance(found, Rejection), found
        assert getattr(found, attribute) == value


THEIRS = """
[types.thing.fields]
price_minor = "int = 3"
currency = "{declared}"
lines = [{{ cost_minor = "int 1..500 = 9" }}]
[sources.theirs]
topic = "theirs"
type = "thing"
[sources.theirs.map]
price_minor = {{ path = "deep.price", decimals = "currency" }}
currency = "deep.currency"
lines = {{ path = "lines", each = {{ cost_minor = {{ path = "cost", decimals = "currency" }} }} }}
"""


@pytest.mark.parametrize(
    ("declared", "settings", "record", "found"),
    [
        ("currency?", "", {"deep": {"price": "1.5", "currency": "kwd"}, "lines": [{"cost": ".2"}]}, "wrong_type"),
        ("currency?", "", {"deep": {"price": "1.5", "currency": "kwd"}, "lines": [{"cost": "0.2"}, {}]},
         (1_500, [200, 9])),
        ("currency?", "", {"lines": [{"cost": None}, {}]}, (3, [9, 9])),
        ("currency?", "", {"lines": [{"cost": 1}]}, "currency"),
        ("currency?", "currency = 'JPY'", {"deep": {"price": 1.5}, "lines": [{"cost": 7}]}, (2, [7])),
        ("currency?", "currency = 'JPY'\nrates = {EUR = 160}", {"deep": {"price": 1.5, "currency": "EUR"}}, (240, [])),
        ("currency?", "currency = 'EUR'\nrates = {JPY = '0.00625'}", {"deep": {"price": "1000", "currency": "JPY"}},
         (625, [])),
        ("currency?", "currency = 'EUR'", {"deep": {"price": "1000", "currency": "JPY"}}, "currency"),
        ("currency = JPY", "currency = 'EUR'\nrates = {JPY = '0.00625'}", {"deep": {"price": "1000"}}, (625, [])),
        ("currency = JPY", "", {"deep": {"price": "1000"}, "lines": [{"cost": 501}]}, "out_of_range"),
        ("currency", "currency = 'EUR'", {"deep": {"price": "1000"}, "lines": [{"cost": 501}]}, "missing_field"),
    ],
)  # fmt: skip
def test_decimals_of_the_currency_are_those_of_the_event_else_of_the_file(
    declared: str, settings: str, record: dict, found: Any
) -> None:
    text = f"[settings]\n{settings}\n" + THEIRS.format(declared=declared)
    read = EventDecoder.of(parse_definitions(text)).decoder_for_topic("theirs")
    event = read(json.dumps({"event_id": "e", "customer_id": "c", "occurred_at": 0} | record).encode())
    if isinstance(found, str):
        assert isinstance(event, Rejection) and event.reason == found
        assert not event.detail.startswith("the value:"), "the slow way found nothing"
    else:
        assert not isinstance(event, Rejection), event
        assert (event.price_minor, [line.cost_minor for line in event.lines or ()]) == found


def test_of_a_currency_that_comes_twice_the_last_gives_the_decimals() -> None:
    text = "[settings]\n" + THEIRS.format(declared="currency?")
    read = EventDecoder.of(parse_definitions(text)).decoder_for_topic("theirs")
    record = '{"event_id": "e", "customer_id": "c", "occurred_at": 0, "lines": [{"cost": 6}], "deep": %s, "deep": %s}'
    yen, euro = '{"price": 4, "currency": "JPY"}', '{"price": 4, "currency": "JPY", "currency": "EUR"}'
    assert read((record % (euro, yen)).encode()).price_minor == 4
    found = read((record % (yen, euro)).encode())
    assert isinstance(found, Rejection) and found.reason == "out_of_range"
    assert found.detail.startswith("lines[0].cost (cost_minor): expected an amount such as 12.5")


def test_fields_that_a_map_does_not_name_stay_strict() -> None:
    assert decode('order_id = "n"', RECORD | {"customer_id": 5}).reason == "wrong_type"
    assert decode('order_id = "n"', RECORD | {"amount_minor": "5"}).reason == "wrong_type"


def test_a_list_of_records_is_mapped_element_by_element() -> None:
    mapping = """
    [sources.theirs.map.items]
    path = "cart.lines"
    each = { sku = "product.id", category = { value = "all" }, unit_price_minor = { path = "price", decimals = 2 } }
    """
    lines = [{"product": {"id": 7}, "price": "1.50", "quantity": 2}, {"price": None}, {}]
    found = decode(mapping, RECORD | {"cart": {"lines": lines}})
    assert [(i.sku, i.category, i.quantity, i.unit_price_minor) for i in found.items] == [
        ("7", "all", 2, 150),
        (None, "all", 1, None),
        (None, "all", 1, None),
    ]
    assert decode(mapping, RECORD).items is None
    bad = decode(mapping, RECORD | {"cart": {"lines": [{}, {"price": "much"}]}})
    assert bad == Rejection("wrong_type", bad.detail)
    assert bad.detail.startswith("cart.lines (items)[1].price (unit_price_minor): expected")


def test_an_object_is_put_together_from_paths() -> None:
    mapping = """
    [sources.theirs.map.set]
    each = { age = "person.age", city = "person.address.city", plan = { value = "free" } }
    """
    record = {"event_id": "e", "customer_id": "c", "occurred_at": 0}
    facts = '[attributes]\nage = "int 0..130"\n'
    person = {"age": "41", "address": {"city": None}}
    assert decode(mapping, record | {"person": person}, type_name="attributes", before=facts).set == {
        "age": 41,
        "city": None,
        "plan": "free",
    }
    assert decode(mapping, record, type_name="attributes").set == {"plan": "free"}
    bad = decode(mapping, record | {"person": {"age": 131}}, type_name="attributes", before=facts)
    assert (bad.reason, bad.detail.split(":")[0]) == ("out_of_range", "person.age (set.age)")


def test_a_cloudevent_is_read_with_its_envelope() -> None:
    event = {
        "specversion": "1.0", "id": "e1", "source": "shop", "type": "order.paid", "subject": "c1",
        "time": "2026-01-31T09:30:00Z", "data": {"amount_minor": 700, "order": {"no": 5}},
    }  # fmt: skip
    read = decoder('order_id = "data.order.no"', envelope='envelope = "cloudevents"')
    found = read(json.dumps(event).encode())
    assert (found.event_id, found.customer_id, found.source, found.amount_minor, found.order_id) == (
        "e1", "c1", "shop", 700, "5",
    )  # fmt: skip
    assert read(json.dumps(event | {"data": None}).encode()).detail.startswith("data.amount_minor (amount_minor)")
    assert read(json.dumps(event | {"subject": 7}).encode()).reason == "wrong_type"


def test_a_key_that_only_looks_like_a_hidden_one_changes_nothing() -> None:
    mapping = "kind = { value = 'refund' }\norder_id = 'o.id'\nchannel = false"
    hostile = {"~kind": 5, "~order_id": "x", "~channel": "x", "_0": 1, "o": None}
    found = decode(mapping, RECORD | hostile)
    assert (found.kind, found.order_id, found.channel) == ("refund", None, None)


def test_an_integer_too_long_to_be_written_is_a_dead_letter() -> None:
    text = json.dumps(RECORD)[:-1] + ', "n": ' + "9" * 5000 + "}"
    found = decoder('order_id = "n"')(text.encode())
    assert found == Rejection("out_of_range", "n (order_id): expected a string")


def test_a_boolean_takes_the_words_of_its_map_and_no_other_text() -> None:
    flag = '[types.visit]\nfields = { paid = "boolean" }\n'
    read = decoder('paid = { path = "p", words = { yes = true } }', type_name="visit", before=flag)
    record = {"event_id": "e", "customer_id": "c", "occurred_at": 0}
    assert [read(json.dumps(record | {"p": p}).encode()).paid for p in ("yes", True, False)] == [True, True, False]
    assert read(json.dumps(record | {"p": "maybe"}).encode()).reason == "wrong_type"


@pytest.mark.parametrize("twice", ['"user": {"id": "a"}, "user": {}', '"user": null, "user": {"id": "a"}'])
def test_of_an_object_that_comes_twice_each_must_have_what_is_required(twice: str) -> None:
    text = json.dumps(RECORD)[:-1] + f", {twice}}}"
    found = decoder('customer_id = "user.id"')(text.encode())
    assert (found.reason, found.detail.split(":")[0]) == ("missing_field", "user.id (customer_id)")


def test_a_constant_is_not_looked_for_in_a_record_that_is_refused() -> None:
    facts = '[attributes]\nage = "int"\nplan = "string"\n'
    mapping = 'set = { path = "person", each = { plan = { value = "free" }, age = "age" } }'
    record = {"event_id": "e", "customer_id": "c", "occurred_at": 0, "person": {"age": "old"}}
    assert decode(mapping, record, type_name="attributes", before=facts).detail.startswith("person.age (set.age)")


def test_facts_and_elements_may_be_called_as_an_event_s_ids_are() -> None:
    record = {"event_id": "e", "customer_id": "c", "occurred_at": 0, "n": 5, "lines": [{"customer_id": 7}]}
    facts = '[attributes]\nevent_id = "int"\n'
    assert decode('set = { each = { event_id = "n" } }', record, type_name="attributes", before=facts).set == {
        "event_id": 5
    }
    own = '[types.visit]\nfields = { lines = [{ customer_id = "int" }] }\n'
    assert decode("", record, type_name="visit", before=own).lines[0].customer_id == 7


def test_an_object_of_an_element_is_put_together_too() -> None:
    own = '[types.visit]\nfields = { lines = [{ props = "object" }] }\n'
    mapping = 'lines = { path = "l", each = { props = { each = { a = "x.y" } } } }'
    record = {"event_id": "e", "customer_id": "c", "occurred_at": 0, "l": [{"x": {"y": 1}}, {}]}
    found = decode(mapping, record, type_name="visit", before=own)
    assert [line.props for line in found.lines] == [{"a": 1}, {}]


def consumed(text: str) -> list[tuple[str, str]]:
    return [(s.topic, s.type_name) for s in parse_definitions(text).sources]


def test_a_source_in_our_words_renames_the_topic_and_a_mapped_one_is_read_besides() -> None:
    renamed = consumed('[sources.a]\ntopic = "eu"\ntype = "purchase"\n[sources.b]\ntopic = "us"\ntype = "purchase"\n')
    assert renamed[:2] == [("eu", "purchase"), ("us", "purchase")]
    assert ("purchases", "purchase") not in renamed
    both = consumed('[sources.a]\ntopic = "eu"\ntype = "purchase"\nmap = { order_id = "n" }\n')
    assert both[:2] == [("purchases", "purchase"), ("eu", "purchase")]
    place = consumed('[sources.a]\ntopic = "purchases"\ntype = "purchase"\nmap = { order_id = "n" }\n')
    assert [t for t in place if t[1] == "purchase"] == [("purchases", "purchase")]
    assert consumed('[sources.c]\ntopic = "orders-to-us"\ntype = "command"\n')[-1] == ("orders-to-us", "command")
    own = '[types.review]\nfields = { stars = "int 1..5" }\n'
    assert consumed(own)[-2] == ("review", "review")
    mapped = own + '[sources.a]\ntopic = "ratings"\ntype = "review"\nmap = { stars = "n" }\n'
    assert consumed(mapped)[-2] == ("ratings", "review")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[sources.a]\ntopic = "t"\ntype = "purchas"', "unknown type `purchas`; did you mean `purchase`?"),
        ('[sources.a]\ntopic = "browsing"\ntype = "purchase"', "topic `browsing` is that of the type `browsing`"),
        ('[sources.a]\ntopic = "t/t"\ntype = "purchase"', "`t/t` cannot name a topic"),
        ('[sources.a]\ntopic = "t"\ntype = "purchase"\nenvelope = "avro"', "unknown envelope `avro`"),
        ('[sources.a]\ntopic = "t"\ntype = "command"\nmap = { kind = "k" }', "commands are read in their own words"),
        ('[sources.a]\ntopic = "t"\n', '[sources.a] needs `type = "..."`'),
        ('[sources.a]\ntopic = "t"\ntype = "attributes"\nmap = { set = { each = { x = { value = nan } } } }',
         "`set.x`: infinities and nan are no JSON numbers"),
        ("[sources.a.map]\nx = 1", '[sources.a] needs `topic = "..."`'),
        *[
            (f'[sources.a]\ntopic = "t"\ntype = "purchase"\nmap = {{ {line} }}', message)
            for line, message in {
                'id = "event_id"': "`id` is no field of `purchase`",
                'kind = "a..b"': "`a..b` is no path",
                "kind = 5": "write a path such as",
                "amount_minor = false": "`amount_minor` is required",
                'kind = { path = "k", decimals = 2 }': "only an int has `decimals`",
                'items = { path = "i", each = { quantity = { path = "q", decimals = "currency" } } }': "only an amount",
                'amount_minor = { path = "k", decimals = "cents" }': 'is a number from 0 to 9, or "currency"',
                'occurred_at = { path = "k", unit = "days" }': '`unit` is one of "s", "ms", "us"',
                "amount_minor = { value = -1 }": "the constant is not what the field takes: an integer of at least 0",
                'amount_minor = { path = "k", words = { free = "0" } }': "the word for `free` is not what",
                'items = { each = { sku = "s" } }': "say where it is found",
                'items = { path = "i", each = { size = "s" } }': "`size` is none of its fields",
                'kind = { pat = "k" }': "unknown key `pat`; did you mean `path`?",
            }.items()
        ],
    ],
)  # fmt: skip
def test_mistakes_of_sources_are_told_with_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(DefinitionsError) as found:
        parse_definitions(text, "f.toml")
    assert message in str(found.value)
    assert all(problem.line for problem in found.value.problems)


def test_each_field_of_a_map_tells_its_own_mistake_at_its_line() -> None:
    text = """\
[sources.a]
topic = "t"
type = "purchase"
[sources.a.map]
event_id = 5
customer_id = { path = "a", pth = "b" }
occured_at = "at"
amount_minor = false
items = { path = "i", each = { size = "s", quantity = { path = "q", unit = "s" } } }
"""
    with pytest.raises(DefinitionsError) as found:
        parse_definitions(text, "f.toml")
    assert [(p.line, p.message.split("`")[1]) for p in found.value.problems] == [
        (5, "event_id"),
        (6, "customer_id"),
        (7, "occured_at"),
        (8, "amount_minor"),
        (9, "items.quantity"),
        (9, "items"),
    ]


def test_a_text_that_is_no_amount_is_told_what_one_looks_like() -> None:
    found = decode('amount_minor = { path = "total", decimals = 2 }', RECORD | {"total": "1,00"})
    assert isinstance(found, Rejection) and found.reason == "wrong_type"
    assert found.detail.startswith('total (amount_minor): expected an amount such as 12.5 or "12.50"')
    assert "1,00" not in found.detail
