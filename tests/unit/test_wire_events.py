"""Decoding events: what is accepted, and the exact reason where it is not."""

import json
from typing import Any

import pytest

from profilestream.core.events import BUILT_IN, EVENT_BYTES_MAX, EventType, declare
from profilestream.wire.dead_letters import Rejection
from profilestream.wire.events import COMMAND, Event, EventDecoder
from profilestream.wire.faults import NESTING_MAX

OWN = declare(
    "review",
    "reviews",
    {
        "stars": "int 1..5",
        "class": "string?",
        "score": "number 0.5..?",
        "read_at": "time?",
        "public": "boolean = true",
        "weight": "number = 1.5",
        "extra": "json",
        "visits": [{"at": "time?", "pages": "int = 1"}],
    },
)
DECODER = EventDecoder({**BUILT_IN, "review": OWN})
COMMON: dict[str, Any] = {"event_id": "e1", "customer_id": "c1", "occurred_at": "2026-01-31T09:30:00Z"}
REQUIRED: dict[str, dict[str, Any]] = {
    "purchase": {"amount_minor": 100},
    "browsing": {"kind": "page_view"},
    "support": {"kind": "rated"},
    "engagement": {"kind": "sent"},
    "attributes": {},
    "review": {"stars": 5, "extra": 0},
}


def decode(type_name: str, **fields: Any) -> Any:
    return DECODER.decode(type_name, json.dumps({**COMMON, **REQUIRED[type_name], **fields}).encode())


def raw(type_name: str, text: str) -> Any:
    """Decodes an event with members appended as they stand."""
    given = json.dumps({**COMMON, **REQUIRED[type_name]})[:-1]
    return DECODER.decode(type_name, f"{given}, {text}}}".encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("type_name", sorted(REQUIRED))
def test_the_least_event_of_each_type_is_accepted(type_name: str) -> None:
    event = decode(type_name)
    assert isinstance(event, Event)
    assert event.type_name == type_name
    assert (event.event_id, event.customer_id, event.occurred_at, event.source) == (
        "e1",
        "c1",
        1_769_851_800_000,
        None,
    )


def test_every_field_of_a_purchase_is_an_attribute() -> None:
    item = {"sku": "s", "category": "shoes", "quantity": 2, "unit_price_minor": 50}
    event = decode("purchase", kind="refund", order_id="o", currency="EUR", items=[item], channel="web", x=1)
    assert (event.kind, event.order_id, event.currency, event.channel) == ("refund", "o", "EUR", "web")
    (read,) = event.items
    assert (read.sku, read.category, read.quantity, read.unit_price_minor) == ("s", "shoes", 2, 50)


def test_null_is_the_same_as_absent_and_defaults_stand_in_for_both() -> None:
    for event in (
        decode("purchase", items=[{}]),
        decode("purchase", kind=None, currency=None, items=[{"quantity": None}]),
    ):
        assert (event.kind, event.currency, event.items[0].quantity) == ("order", None, 1)
    assert decode("purchase", items=None).items is None
    assert (decode("review", public=None).public, decode("review").weight) == (True, 1.5)
    assert decode("review", visits=[{"pages": None}]).visits[0].pages == 1


def test_a_keyword_as_field_name_is_held_with_an_underscore() -> None:
    assert getattr(decode("review", **{"class": "a"}), "class_") == "a"  # noqa: B009


def test_times_are_milliseconds_wherever_they_stand() -> None:
    event = decode("review", occurred_at=12, read_at="1970-01-01T00:00:01Z", visits=[{"at": 5}, {"at": None}])
    assert (event.occurred_at, event.read_at) == (12, 1000)
    assert [visit.at for visit in event.visits] == [5, None]


def test_facts_are_any_json_with_exact_integers() -> None:
    given = {"age": 10**30, "deep": [[{"a": None}]], "n": 0.1, "t": True, "é": "😀"}
    event = decode("attributes", set=given, unset=["x"])
    assert (event.set, event.unset) == (given, ["x"])


@pytest.mark.parametrize("customer_id", ["é" * 200, "a b", "a\u00a0b", "a\u200bb", "😀", "\ue000"])
def test_a_customer_id_is_any_unicode_without_control_characters(customer_id: str) -> None:
    assert decode("browsing", customer_id=customer_id).customer_id == customer_id


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("browsing", {"event_id": None}, "missing_field", "event_id"),
    ("browsing", {"customer_id": None}, "missing_field", "customer_id"),
    ("browsing", {"occurred_at": None}, "missing_field", "occurred_at"),
    ("browsing", {"kind": None}, "missing_field", "kind"),
    ("review", {"extra": None}, "missing_field", "extra"),
    ("browsing", {"event_id": ""}, "empty_id", "event_id"),
    ("browsing", {"customer_id": ""}, "empty_id", "customer_id"),
    ("browsing", {"event_id": 7}, "wrong_type", "event_id"),
    ("browsing", {"event_id": "e" * 201}, "out_of_range", "event_id"),
    ("browsing", {"customer_id": "é" * 201}, "out_of_range", "customer_id"),
    ("browsing", {"customer_id": "a\u0085"}, "out_of_range", "customer_id"),
    ("browsing", {"customer_id": "a\n"}, "out_of_range", "customer_id"),
    ("browsing", {"customer_id": "\ud800"}, "out_of_range", "customer_id"),
    ("browsing", {"url": "\udc00"}, "out_of_range", "url"),
    ("browsing", {"unknown": ["\udc00"]}, "out_of_range", "an undeclared field"),
    ("browsing", {"occurred_at": "yesterday"}, "bad_time", "occurred_at"),
    ("browsing", {"occurred_at": "2026-01-31T09:30:00"}, "bad_time", "occurred_at"),
    ("browsing", {"occurred_at": 10**15}, "bad_time", "occurred_at"),
    ("browsing", {"occurred_at": 10**30}, "bad_time", "occurred_at"),
    ("browsing", {"occurred_at": True}, "wrong_type", "occurred_at"),
    ("browsing", {"occurred_at": 1.0}, "wrong_type", "occurred_at"),
    ("review", {"read_at": "x"}, "bad_time", "read_at"),
    ("review", {"visits": [{}, {"at": "x"}]}, "bad_time", "visits[1].at"),
    ("purchase", {"amount_minor": None}, "missing_field", "amount_minor"),
    ("purchase", {"amount_minor": -1}, "out_of_range", "amount_minor"),
    ("purchase", {"amount_minor": 2**63}, "out_of_range", "amount_minor"),
    ("purchase", {"amount_minor": 10**5000}, "out_of_range", "amount_minor"),
    ("purchase", {"amount_minor": 1.0}, "wrong_type", "amount_minor"),
    ("purchase", {"amount_minor": True}, "wrong_type", "amount_minor"),
    ("purchase", {"amount_minor": "1"}, "wrong_type", "amount_minor"),
    ("purchase", {"currency": "eur"}, "currency", "currency"),
    ("purchase", {"currency": "EUR\n"}, "currency", "currency"),
    ("purchase", {"currency": ""}, "currency", "currency"),
    ("purchase", {"currency": 1}, "wrong_type", "currency"),
    ("purchase", {"items": {}}, "wrong_type", "items"),
    ("purchase", {"items": [{}, None]}, "wrong_type", "items[1]"),
    ("purchase", {"items": [{"quantity": 0}]}, "out_of_range", "items[0].quantity"),
    ("purchase", {"items": [{"unit_price_minor": False}]}, "wrong_type", "items[0].unit_price_minor"),
    ("support", {"sentiment": 1.01}, "out_of_range", "sentiment"),
    ("support", {"sentiment": -2}, "out_of_range", "sentiment"),
    ("support", {"sentiment": "good"}, "wrong_type", "sentiment"),
    ("support", {"rating": 0}, "out_of_range", "rating"),
    ("support", {"rating": 6}, "out_of_range", "rating"),
    ("review", {"score": 0.4}, "out_of_range", "score"),
    ("review", {"score": 0}, "out_of_range", "score"),
    ("review", {"public": 1}, "wrong_type", "public"),
    ("attributes", {"set": []}, "wrong_type", "set"),
    ("attributes", {"set": {"\ud800": 1}}, "out_of_range", "set"),
    ("attributes", {"set": {"a": 10**4300}}, "out_of_range", "set"),
    ("attributes", {"unset": "age"}, "wrong_type", "unset"),
    ("attributes", {"unset": ["age", None]}, "wrong_type", "unset[1]"),
]


@pytest.fixture(autouse=True)
def long_integers(monkeypatch: pytest.MonkeyPatch) -> Any:
    import sys

    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.parametrize(("type_name", "fields", "reason", "path"), REFUSED)
def test_a_refusal_names_the_exact_reason_and_field(
    type_name: str, fields: dict[str, Any], reason: str, path: str
) -> None:
    rejection = decode(type_name, **fields)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == reason
    assert rejection.detail.split(":")[0] == path


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty_value"),
        (b"", "empty_value"),
        (b" ", "not_json"),
        (b"{", "not_json"),
        (b"{} {}", "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": -Infinity}', "not_json"),
        (b'{"a": 01}', "not_json"),
        (b'{"a": "\x01"}', "not_json"),
        (b'\xef\xbb\xbf{"a": 1}', "not_json"),
        ('{"a": 1}'.encode("utf-16"), "not_json"),
        (b"[]", "wrong_type"),
        (b"null", "wrong_type"),
        (b"7", "wrong_type"),
        (b"{}", "missing_field"),
        (b"{" * 100_000, "too_large"),
        (b'{"a": ' + b"[" * NESTING_MAX + b"]" * NESTING_MAX + b"}", "too_large"),
        (b" " * (EVENT_BYTES_MAX + 1), "too_large"),
        (b" " * EVENT_BYTES_MAX, "not_json"),
    ],
)
@pytest.mark.parametrize("type_name", ["purchase", COMMAND])
def test_bytes_that_are_no_object_are_refused_before_any_field(
    type_name: str, value: bytes | None, reason: str
) -> None:
    rejection = DECODER.decode(type_name, value)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == reason


def test_text_that_is_not_utf8_is_not_json_even_where_nobody_looks() -> None:
    for member in (b'"event_id":"\xff"', b'"unknown":"\xff"', b'"\xff":1', b'"unknown":"\xed\xa0\x80"'):
        text = json.dumps({**COMMON, "kind": "x"}).encode()[:-1] + b"," + member + b"}"
        assert DECODER.decode("browsing", text).reason == "not_json"  # type: ignore[union-attr]


def test_nesting_up_to_the_limit_and_an_event_up_to_the_byte_limit_are_accepted() -> None:
    deep = NESTING_MAX - 2
    assert isinstance(raw("attributes", f'"set": {{"a": {"[" * deep}{"]" * deep}}}'), Event)
    assert isinstance(raw("attributes", f'"unknown": "{"[" * 1000}"'), Event)
    short = len(json.dumps({**COMMON, **REQUIRED["browsing"], "url": ""}))
    assert isinstance(decode("browsing", url="u" * (EVENT_BYTES_MAX - short)), Event)
    assert decode("browsing", url="u" * (EVENT_BYTES_MAX - short + 1)).reason == "too_large"


def test_a_purchase_of_a_thousand_items_is_accepted() -> None:
    assert len(decode("purchase", items=[{"sku": "s"}] * 1000).items) == 1000


def test_numbers_beyond_a_double_are_refused_only_where_they_are_declared() -> None:
    assert raw("attributes", '"set": {"a": 1e999}').reason == "out_of_range"
    assert raw("review", '"score": 1e999').reason == "out_of_range"
    assert isinstance(raw("review", f'"unknown": [1e999, {"9" * 5000}]'), Event)


def test_of_a_name_given_twice_each_value_must_stand_and_the_last_counts() -> None:
    assert raw("browsing", '"url": "a", "url": "b"').url == "b"
    assert raw("browsing", '"url": 1, "url": "b"').reason == "wrong_type"
    assert raw("browsing", '"kind": null, "kind": "b"').reason == "missing_field"


def test_an_unknown_kind_is_valid() -> None:
    assert decode("engagement", kind="teleported").kind == "teleported"


def test_every_command_is_a_dead_letter() -> None:
    for value, reason in (
        (b'{"kind": "erase", "customer_id": "c"}', "unknown_command"),
        (b'{"kind": 1}', "wrong_type"),
        (b'{"kind": null}', "missing_field"),
    ):
        assert DECODER.decode(COMMAND, value).reason == reason  # type: ignore[union-attr]


@pytest.mark.parametrize(("type_name", "fields", "reason", "path"), REFUSED)
def test_a_detail_holds_no_value_and_no_undeclared_name(
    type_name: str, fields: dict[str, Any], reason: str, path: str
) -> None:
    secret = "s3cr3t"
    for bad in ({"customer_id": secret + "\n"}, {secret: "\ud800"}, {"occurred_at": secret}):
        assert secret not in decode(type_name, **{**fields, **bad}).detail


@pytest.mark.parametrize(
    "fields",
    [
        {"event_id": "int"},
        {"occurred_at": "string"},
        {"type_name": "string?"},
        {"class": "string?", "class_": "string?"},
        {"n": "int 1..5 = 6"},
        {"b": "boolean = yes"},
        {"c": "currency = euro"},
        {"t": "time = noon"},
        {"x": "object = 1"},
    ],
)
def test_a_type_that_cannot_be_an_events_is_refused_by_name(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="review"):
        EventDecoder({"review": declare("review", "reviews", fields)})


def test_an_unknown_type_is_a_bug_of_the_caller() -> None:
    with pytest.raises(KeyError):
        DECODER.decode("nothing", b"{}")


def test_the_bound_callable_is_the_decoder_of_its_type() -> None:
    types: dict[str, EventType] = dict(BUILT_IN)
    decoder = EventDecoder(types)
    event = decoder.decode("support", json.dumps({**COMMON, "kind": "opened"}).encode())
    assert isinstance(event, Event) and event.type_name == "support"
