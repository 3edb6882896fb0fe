"""Expressions in plain words."""

from __future__ import annotations

import pytest
from tests.property.shard import definitions_text

from profilestream.core.meaning import givers, length, meaning
from profilestream.wire.definitions import parse_definitions

STREAMS = {"order": "purchase[kind == 'order']", "big_sofa": "item[category in ('sofa', 'big sofa') and quantity > 1]"}


def trait(text: str, **others: str) -> str:
    found = parse_definitions(definitions_text({**others, "it": text}, {}, STREAMS))
    return meaning(found.by_trait["it"].node, {found.by_trait[name].node: name for name in others})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count(order, over='30d')", "number of purchase events where kind is order, in the last 30 days"),
        ("sum(purchase.amount_minor)", "sum of amount_minor of purchase events"),
        (
            "sum(order.amount_minor, over='24h', ago='48h')",
            "sum of amount_minor of purchase events where kind is order, in the 1 day that ended 2 days ago",
        ),
        ("last(purchase.occurred_at)", "time of the latest purchase event"),
        ("first(browsing.campaign)", "campaign of the first browsing event"),
        ("mean_gap(order)", "mean time between purchase events where kind is order"),
        ("top(hour(purchase.occurred_at), 1)", "the most frequent value of hour of time among purchase events"),
        ("top(browsing.sku, 3)", "the 3 most frequent values of sku among browsing events"),
        ("distinct(date(event.occurred_at))", "number of different values of date of time among events of any type"),
        ("streak(date(order.occurred_at))",
         "days in a row with purchase events where kind is order, up to today or yesterday"),
        ("unmatched(browsing.sku, item.sku, within='2d', over='30d')",
         "values of sku of browsing events without the same sku of purchase items within 2 days, in the last 30 days"),
        ("count(browsing, by=device)", "number of browsing events, for each device"),
        ("latest(attributes.age)", "the fact age, as last stated"),
        (
            "count(big_sofa)",
            'number of purchase items where category is one of sofa, "big sofa" and quantity is more than 1',
        ),
        ("count(purchase[not (kind == 'order' or amount_minor > 5)])",
         "number of purchase events where not (kind is order or amount_minor is more than 5)"),
        ("mean_gap(purchase) / days(1)", "mean time between purchase events divided by 1 day"),
        ("-count(purchase)", "minus number of purchase events"),
        ("default(count(browsing, by=device)['pad'], 0)",
         "pad in (number of browsing events, for each device), or 0 where that is absent"),
        ("score(count(purchase), 2_000, 5_000)",
         "score 1 to 3 of number of purchase events, by the breaks 2,000, 5,000"),
        ("has(last(browsing.sku))", "sku of the latest browsing event is there"),
        ("last(purchase.channel) not in ('web', 'shop')",
         "channel of the latest purchase event is not one of web, shop"),
    ],
)  # fmt: skip
def test_a_trait_is_said_in_plain_words(text: str, expected: str) -> None:
    assert trait(text) == expected


def test_other_traits_are_called_by_their_names_and_what_is_longer_stands_in_brackets() -> None:
    assert trait("spend / orders", spend="sum(purchase.amount_minor)", orders="count(purchase)") == (
        "spend divided by orders"
    )
    assert trait("spend / count(purchase, over='7d')", spend="sum(purchase.amount_minor)") == (
        "spend divided by (number of purchase events, in the last 7 days)"
    )
    assert trait("spend", spend="sum(purchase.amount_minor)") == "sum of amount_minor of purchase events"


def test_what_would_give_an_absent_value_is_said() -> None:
    found = parse_definitions(
        definitions_text({"a": "last(support[rating < 3].occurred_at, over='7d')", "b": "latest(attributes.vip)"})
    )
    assert givers(found.by_trait["a"].node) == ("support events where rating is less than 3, in the last 7 days",)
    assert givers(found.by_trait["b"].node) == ("attributes events that set vip",)


def test_a_length_is_in_its_largest_whole_unit() -> None:
    assert [length(n) for n in (1, 60_000, 5_400_000, 86_400_000, 30 * 86_400_000)] == [
        "1 millisecond", "1 minute", "90 minutes", "1 day", "30 days",
    ]  # fmt: skip
