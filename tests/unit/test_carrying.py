"""Which aggregates and segments two definitions files have in common, and what carrying does with memberships."""

from __future__ import annotations

from typing import Any

import pytest
from tests.property.shard import DAY, HOUR, MINUTE, T0, Shard, definitions_text

from profilestream.core.carrying import Carried, Carrier
from profilestream.core.engine import Engine
from profilestream.core.unchanged import Unchanged
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import Event, EventDecoder

OWN = '[types.review]\nfields = {{ sku = "string", stars = "int 1..5"{more} }}\n'


def of_files(former: str, new: str) -> Unchanged:
    return Unchanged(parse_definitions(former), parse_definitions(new))


def is_carried(former: str, new: str, trait: str = "t") -> bool:
    """Whether nothing of a trait of the new file is fresh."""
    definitions = parse_definitions(new)
    return not Unchanged(parse_definitions(former), definitions).fresh(definitions.by_trait[trait].node)


def trait(text: str, head: str = "") -> str:
    return f"{head}\n[traits]\nt = {text!r}\n"


@pytest.mark.parametrize(
    ("former", "new"),
    [
        ("count(purchase)", "count(purchase) * 2"),
        ("sum(purchase.amount_minor) / count(purchase)", "count(purchase) - sum(purchase.amount_minor)"),
        ("top(browsing.sku, 3)", "top(browsing.sku, 5)"),
        ("count(purchase[kind == 'order' ])", "count(purchase[kind=='order'])"),
    ],
)
def test_an_aggregate_is_carried_whatever_is_made_of_it(former: str, new: str) -> None:
    assert is_carried(trait(former), trait(new))


@pytest.mark.parametrize(
    ("former", "new"),
    [
        ("count(purchase)", "count(browsing)"),
        ("count(purchase, over='30d')", "count(purchase, over='90d')"),
        ("count(purchase, over='30d')", "count(purchase, over='30d', ago='30d')"),
        ("count(purchase[kind == 'order'])", "count(purchase[kind == 'refund'])"),
        ("sum(item.amount_minor, by=category)['a']", "sum(item.amount_minor, by=sku)['a']"),
    ],
)
def test_another_aggregate_is_fresh(former: str, new: str) -> None:
    assert not is_carried(trait(former), trait(new))


def test_another_zone_changes_what_asks_for_days_and_nothing_else() -> None:
    zone = '[settings]\ntimezone = "Europe/Berlin"'
    for text in ("streak(date(event.occurred_at))", "distinct(date(event.occurred_at))", "count(purchase, by=kind)"):
        assert is_carried(trait(text), trait(text, zone)) == ("date" not in text)
    node = parse_definitions(trait("hour(last(purchase.occurred_at))")).by_trait["t"].node
    unchanged = of_files(trait("hour(last(purchase.occurred_at))"), trait("hour(last(purchase.occurred_at))", zone))
    assert not unchanged.fresh(node)  # its state is carried, its value is another
    assert not unchanged.means_the_same(node)


def test_rates_change_what_counts_events_with_amounts_and_nothing_else() -> None:
    euros = '[settings]\ncurrency = "EUR"\nrates = { USD = "0.92" }'
    for text, carried in (("count(purchase)", False), ("count(item)", False), ("count(browsing)", True)):
        assert is_carried(trait(text), trait(text, euros)) is carried
        assert is_carried(trait(text, euros), trait(text, euros))


@pytest.mark.parametrize(
    ("more", "carried"),
    [
        (', text = "string?"', True),
        (', size = "int = 1"', True),
        (', text = "string"', False),
    ],
)
def test_a_field_that_may_be_absent_changes_no_type(more: str, carried: bool) -> None:
    former, new = (trait("count(review)", OWN.format(more=m)) for m in ("", more))
    assert is_carried(former, new) is carried
    assert is_carried(new, former) is carried


def test_a_field_of_another_range_and_a_topic_more_change_the_type() -> None:
    former = trait("count(review)", OWN.format(more=""))
    assert not is_carried(former, former.replace("1..5", "1..10"))
    shop = '[sources.shop]\ntopic = "shop"\ntype = "review"\nmap = { event_id = "id" }\n'
    assert not is_carried(former, former + shop)
    assert is_carried(former + shop, former + shop)
    assert not is_carried(former + shop, former + shop.replace('"id"', '"uid"'))
    assert is_carried(former + shop, former.replace("stars", 'text = "string?", stars') + shop)


def test_a_fact_that_gets_a_type_is_fresh_and_others_are_not() -> None:
    age, city = ("[traits]\nage = 'latest(attributes.age)'\ncity = 'latest(attributes.city)'\n",) * 2
    typed = '[attributes]\nage = "int 0..130"\n' + city
    assert not is_carried(age, typed, "age")
    assert is_carried(age, typed, "city")


def test_a_segment_stands_by_its_conditions_its_pacing_and_those_that_it_names() -> None:
    former = {
        "same": {"enter": "count(purchase) >= 2"},
        "paced": {"enter": "count(purchase) >= 2", "dwell": "1h"},
        "by_paced": {"enter": "in_segment('paced')"},
        "moved": {"enter": "count(purchase) >= 2"},
        "gone": {"enter": "count(purchase) >= 2"},
        "told": {"enter": "count(purchase) >= 2", "description": "One"},
    }
    new = former | {
        "paced": {"enter": "count(purchase) >= 2", "dwell": "2h"},
        "moved": {"enter": "count(purchase) >= 3"},
        "more": {"enter": "in_segment('same')"},
        "told": {"enter": "count( purchase ) >= 2", "description": "Two"},
    }
    del new["gone"]
    assert of_files(definitions_text({}, former), definitions_text({}, new)).segments == {
        "same": "same", "paced": "alike", "by_paced": "alike", "moved": "anew", "told": "same", "more": "added",
    }  # fmt: skip


def test_a_segment_of_a_trait_that_changed_has_changed_too() -> None:
    former = definitions_text({"n": "count(purchase)"}, {"g": "n >= 2"})
    new = definitions_text({"n": "count(browsing)"}, {"g": "n >= 2"})
    assert of_files(former, new).segments == {"g": "anew"}


# Memberships

Segments = dict[str, Any]


def carry(former: Segments, new: Segments, purchases: int, wait: int = 0) -> Carried:
    """One customer who bought once a minute, then nothing for a while, carried then."""
    traits = {"purchases": "count(purchase)", "last_at": "last(purchase.occurred_at)"}
    engines = [Engine(parse_definitions(definitions_text(traits, segments))) for segments in (former, new)]
    shard = Shard(engines[0])
    for n in range(purchases):
        shard.take(
            {"type": "purchase", "event_id": f"e{n}", "customer_id": "c", "occurred_at": T0 + n * MINUTE}
            | {"amount_minor": 1}
        )
    now = (shard.clock or 0) + wait
    return Carrier(*engines).carry(shard.profiles["c"], None, now)


def test_who_belongs_in_a_changed_segment_enters_and_who_does_not_leaves_with_the_next_numbers() -> None:
    former = {"up": "count(purchase) >= 2", "down": "count(purchase) >= 4", "kept": "count(purchase) >= 3"}
    new = {"up": "count(purchase) >= 5", "down": "count(purchase) >= 1", "kept": "count(purchase) > 2"}
    carried = carry(former, new, purchases=3, wait=HOUR)
    now = T0 + 2 * MINUTE + HOUR
    assert carried.profile.members == {"up": [2, now], "down": [1, now], "kept": [1, T0 + 2 * MINUTE]}
    assert [(c.segment, c.crossing, c.at) for c in carried.anew] == [("up", 2, now), ("down", 1, now)]


def test_a_segment_that_is_no_more_has_no_members() -> None:
    carried = carry({"g": "count(purchase) >= 1", "h": "count(purchase) >= 1"}, {"h": "count(purchase) >= 1"}, 1)
    assert carried.profile.members == {"h": [1, T0]}
    assert not carried.anew


def test_a_shorter_dwell_counts_from_when_the_condition_began_to_hold() -> None:
    def segments(dwell: str) -> Segments:
        return {"g": {"enter": "count(purchase) >= 1", "dwell": dwell}}

    waits = carry(segments("10m"), segments("20m"), purchases=1, wait=7 * MINUTE)
    assert not waits.profile.members
    assert waits.profile.due == T0 + 20 * MINUTE
    enters = carry(segments("10m"), segments("5m"), purchases=1, wait=7 * MINUTE)
    assert enters.profile.members == {"g": [1, T0 + 7 * MINUTE]}
    stays = carry(segments("10m"), segments("20m"), purchases=1, wait=12 * MINUTE)
    assert stays.profile.members == {"g": [1, T0 + 10 * MINUTE]}
    assert [(c.segment, c.at) for c in stays.due] == [("g", T0 + 10 * MINUTE)]


def test_a_dwell_of_another_condition_begins_now() -> None:
    former = {"g": {"enter": "count(purchase) >= 1", "dwell": "10m"}}
    new = {"g": {"enter": "count(purchase) < 5", "dwell": "10m"}}
    carried = carry(former, new, purchases=1, wait=7 * MINUTE)
    assert carried.profile.held == {"g": T0 + 7 * MINUTE}
    assert carried.profile.due == T0 + 17 * MINUTE


def test_who_waits_and_is_not_in_the_new_sample_waits_no_more() -> None:
    table: dict[str, Any] = {"enter": "count(purchase) >= 1", "dwell": "10m"}
    assert carry({"g": table}, {"g": table}, purchases=1, wait=7 * MINUTE).profile.held == {"g": T0}
    nobody = carry({"g": table}, {"g": table | {"sample": 1e-9}}, purchases=1, wait=7 * MINUTE)
    assert not nobody.profile.held


def test_a_cooldown_counts_from_the_leaving_under_the_former_definitions() -> None:
    table: dict[str, Any] = {"enter": "since(last(purchase.occurred_at)) < hours(1)", "cooldown": "1d"}
    carried = carry({"g": table}, {"g": table | {"enter": "count(purchase) >= 1"}}, purchases=1, wait=2 * HOUR)
    assert carried.profile.members == {"g": [2, T0 + HOUR]}
    assert carried.profile.due == T0 + HOUR + DAY


def test_two_traits_of_one_former_state_do_not_share_it() -> None:
    former = Engine(parse_definitions(definitions_text({"a": "top(browsing.sku, 1)"})))
    new = Engine(parse_definitions(definitions_text({"a": "top(browsing.sku, 1)", "b": "top(browsing.sku, 2)"})))
    event = {"type": "browsing", "customer_id": "c", "occurred_at": T0, "kind": "page_view"}
    shard = Shard(former).take_all([event | {"event_id": "e1", "sku": "x"}])
    after = Shard(new)
    after.profiles["c"], after.changes["c"] = Carrier(former, new).carry(shard.profiles["c"], None, T0).profile, []
    after.take(event | {"event_id": "e2", "sku": "y"})
    assert after.values() == {"a": ["x"], "b": ["x", "y"]}


def test_fresh_windows_stand_at_the_clock_of_the_carrying() -> None:
    former, new = (
        Engine(parse_definitions(definitions_text(traits)))
        for traits in ({"a": "count(purchase)"}, {"a": "count(purchase)", "b": "count(purchase, over='1h')"})
    )
    event = {"type": "purchase", "event_id": "e", "customer_id": "c", "occurred_at": T0, "amount_minor": 1}
    one, own = (Shard(engine).take_all([event]) for engine in (former, new))
    carried = Carrier(former, new).carry(one.profiles["c"], own.profiles["c"], T0 + 2 * HOUR)
    assert new.values(carried.profile) == {"a": 1, "b": 0}
    assert carried.profile.due > T0 + 2 * HOUR


def test_duplicates_are_known_by_what_either_side_has_had() -> None:
    """The log no longer has the first purchase; the former definitions never read reviews."""
    own_type = OWN.format(more="")
    former, new = (
        Engine(parse_definitions(head + "[traits]\n" + "\n".join(f"{n} = {t!r}" for n, t in traits.items())))
        for head, traits in (
            ("", {"a": "count(purchase)"}),
            (own_type, {"a": "count(purchase)", "b": "count(review)"}),
        )
    )
    first, second, later = (
        {"type": "purchase", "event_id": f"e{n}", "customer_id": "c", "occurred_at": T0 + n, "amount_minor": 1}
        for n in range(3)
    )
    decode = EventDecoder.of(new.definitions)
    review = decode.decode(
        "review", f'{{"event_id": "r", "customer_id": "c", "occurred_at": {T0 + 9}, "sku": "x", "stars": 1}}'.encode()
    )
    assert isinstance(review, Event)
    whole, own = Shard(former).take_all([first, second]), Shard(new).take_all([second])
    own.fold(review)
    after = Shard(new)
    after.profiles["c"] = Carrier(former, new).carry(whole.profiles["c"], own.profiles["c"], T0 + 9).profile
    after.changes["c"] = []
    after.take_all([first, second, later])
    after.fold(review)
    assert (after.values(), after.duplicates) == ({"a": 3, "b": 1}, 3)
    assert after.profiles["c"].event_time == T0 + 9
