"""A trial: events folded in memory, and which type a line of a file is of."""

from __future__ import annotations

import json

import pytest

from profilestream.core.errors import UsageError
from profilestream.operations.trial import Lines, Trial
from profilestream.wire.definitions import parse_definitions

DEFINITIONS = """
[traits]
orders = "count(purchase)"
last_order_at = "last(purchase.occurred_at)"
[segments.lapsing]
enter = "orders >= 1 and since(last_order_at) > days(30)"
[segments.regular]
enter = "orders >= 2"
[types.review]
topic = "reviews"
fields = { stars = "int 1..5" }
[sources.web]
topic = "web.orders"
type = "purchase"
map = { event_id = "id", customer_id = "user.id", occurred_at = "at", amount_minor = "cents" }
"""
DAY = 86_400_000


def trial() -> Trial:
    return Trial(parse_definitions(DEFINITIONS))


def purchase(n: int, day: int, customer: str = "c") -> bytes:
    fields = {"event_id": f"e{n}", "customer_id": customer, "occurred_at": day * DAY, "amount_minor": 1}
    return json.dumps(fields).encode()


def told(found: Trial) -> list[tuple]:
    return [(c.customer_id, c.change, c.segment, c.crossing, c.at_ms, c.line) for c in found.changes]


def test_time_passes_for_everyone_between_two_events() -> None:
    found = trial()
    found.feed("purchase", purchase(1, 0, "a"), 1)
    found.feed("purchase", purchase(2, 40, "b"), 2)
    assert told(found) == [("a", "entered", "lapsing", 1, 30 * DAY + 1, None)]
    found.feed("purchase", purchase(3, 41, "a"), 3)
    assert told(found)[1:] == [
        ("a", "exited", "lapsing", 2, 41 * DAY, 3),
        ("a", "entered", "regular", 1, 41 * DAY, 3),
    ]
    assert found.segments("a") == {"regular": 41 * DAY}
    assert found.traits("a")["orders"] == 2
    assert found.traits("nobody") == {}


def test_time_goes_on_after_the_last_event_and_never_back() -> None:
    found = trial()
    found.feed("purchase", purchase(1, 0), 1)
    found.advance(30 * DAY)
    assert not found.changes
    found.advance(30 * DAY + 1)
    assert told(found) == [("c", "entered", "lapsing", 1, 30 * DAY + 1, None)]
    found.advance(0)
    assert found.clock == 30 * DAY + 1


def test_a_duplicate_counts_once_and_a_late_event_leaves_the_clock() -> None:
    found = trial()
    for line, value in enumerate((purchase(1, 5), purchase(1, 5), purchase(2, 3)), 1):
        found.feed("purchase", value, line)
    assert (found.events, found.duplicates, found.clock) == (2, 1, 5 * DAY)
    assert told(found) == [("c", "entered", "regular", 1, 5 * DAY, 3)]


def test_what_is_no_event_is_kept_with_its_line_and_reason() -> None:
    found = trial()
    found.feed("purchase", b"{}", 7)
    assert [(x.line, x.type_name, x.reason) for x in found.letters] == [(7, "purchase", "missing_field")]
    assert found.customers == []


def test_a_stranger_is_explained_as_one_without_events() -> None:
    explanation = trial().explain("nobody", "regular")[0]
    assert (explanation.member, explanation.crossing) == (False, 0)


@pytest.mark.parametrize(
    ("topic", "stem", "line", "type_name"),
    [
        (None, "x", {"type": "review", "stars": 5}, "review"),
        ("review", "x", {"stars": 5}, "review"),
        ("reviews", "x", {"stars": 5}, "review"),
        (None, "reviews", {"stars": 5}, "review"),
        (None, "x", {"stars": 5}, "review"),
        (None, "x", {"amount_minor": 5}, "purchase"),
        (None, "x", {"kind": "product_view", "category": "shoes"}, "browsing"),
        ("browsing", "x", {"type": "review", "stars": 5}, "review"),
    ],
)  # fmt: skip
def test_the_type_of_a_line_is_said_named_or_found_by_its_fields(topic, stem, line, type_name) -> None:
    found = trial()
    common = {"event_id": "e", "customer_id": "c", "occurred_at": 0}
    Lines(found, topic, stem).feed(1, json.dumps(common | line).encode())
    assert found.events == 1
    assert found.traits("c")["orders"] == (1 if type_name == "purchase" else 0)


def test_a_line_of_a_mapped_topic_stands_in_its_words() -> None:
    found = trial()
    record = {"type": "order.paid", "id": 1, "user": {"id": 2}, "at": "1970-01-01T00:00:00Z", "cents": "5"}
    Lines(found, "web.orders", "x").feed(1, json.dumps(record).encode())
    assert found.traits("2")["orders"] == 1


@pytest.mark.parametrize(
    ("text", "reason"), [(b"{", "not_json"), (b'{"type": "x"}', "wrong_type"), (b"[]", "missing_field")]
)
def test_a_line_of_no_type_is_told(text: bytes, reason: str) -> None:
    found = trial()
    Lines(found, None, "x").feed(4, text)
    Lines(found, None, "x").feed(5, b"  \n")
    assert [(x.line, x.reason) for x in found.letters] == [(4, reason)]


def test_an_unknown_topic_is_told_with_the_one_that_may_have_been_meant() -> None:
    with pytest.raises(UsageError, match="did you mean `reviews`"):
        Lines(trial(), "review_s", "x")


def test_a_duplicate_of_a_later_time_lets_no_time_pass() -> None:
    found = trial()
    found.feed("purchase", purchase(1, 0, "a"), 1)
    found.feed("purchase", purchase(2, 1, "b"), 2)
    again = json.loads(purchase(2, 1, "b")) | {"occurred_at": 2 * DAY}
    found.feed("purchase", json.dumps(again).encode(), 3)
    assert (found.events, found.duplicates, found.clock) == (2, 1, DAY)
    found = trial()
    found.feed("purchase", purchase(1, 0, "a"), 1)
    found.feed("purchase", purchase(2, 30, "b"), 2)
    again = json.loads(purchase(2, 30, "b")) | {"occurred_at": 30 * DAY + 10}
    found.feed("purchase", json.dumps(again).encode(), 3)
    assert told(found) == [] and found.clock == 30 * DAY


def test_what_did_not_fit_into_a_full_map_is_counted() -> None:
    found = Trial(parse_definitions('[traits]\nby_order = "count(purchase, by=order_id)"\n'))
    for n in range(1_003):
        fields = {"event_id": f"e{n}", "customer_id": "c", "occurred_at": 0, "amount_minor": 1, "order_id": f"{n}"}
        found.feed("purchase", json.dumps(fields).encode(), n)
    assert len(found.traits("c")["by_order"]) == 1_000
    assert found.missed("c") == {"by_order": 3} and found.missed("nobody") == {}
