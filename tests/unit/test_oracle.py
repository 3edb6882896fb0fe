"""The oracle against answers worked out by hand from the contract's text."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from tests import cdnow
from tests.oracle import Oracle, Outcome, format_time, murmur2, parse_time, shard_of

DAY = 86_400_000
T0 = parse_time("2026-01-01T00:00:00Z")
_ids = count()


def event(type_name: str, at_ms: int, customer: str = "c", /, **fields: Any) -> dict[str, Any]:
    """An event with an id of its own."""
    return {
        "type": type_name,
        "event_id": f"e{next(_ids):04d}",
        "customer_id": customer,
        "occurred_at": at_ms,
        **fields,
    }


def order(at_ms: int, amount: int = 100, **fields: Any) -> dict[str, Any]:
    """A purchase of kind order."""
    return event("purchase", at_ms, amount_minor=amount, **fields)


def facts(**values: Any) -> dict[str, Any]:
    """An `attributes` event that sets facts."""
    return event("attributes", T0, set=values)


def run(definitions: str, *events: dict[str, Any], until_ms: int | None = None) -> Outcome:
    """One shard's outcome."""
    return Oracle(definitions).run(events, until_ms)


def trait(expression: str, *events: dict[str, Any], until_ms: int | None = None, extra: str = "") -> Any:
    """The value of one expression for customer c; None when it is absent."""
    text = f"{extra}\n[traits]\nx = {expression!r}\n"
    return run(text, *events, until_ms=until_ms).customers["c"].traits.get("x")


def crossings(definitions: str, *events: dict[str, Any], until_ms: int | None = None) -> list[tuple[Any, ...]]:
    """(segment, change, crossing, cause, time) of every change of customer c."""
    changes = run(definitions, *events, until_ms=until_ms).customers["c"].changes
    return [(c.segment, c.change, c.crossing, c.cause, c.time_ms) for c in changes]


def test_times_are_floored_to_the_millisecond_and_written_in_utc() -> None:
    assert format_time(parse_time("2026-01-31T10:30:00.0019+01:00")) == "2026-01-31T09:30:00.001Z"
    assert parse_time("1969-12-31T23:59:59.9999Z") == -1
    assert parse_time(1234) == 1234


def test_the_partitioner_agrees_with_kafkas_own_test_vectors() -> None:
    assert murmur2(b"21") - 2**32 == -973932308
    assert murmur2(b"foobar") - 2**32 == -790332482
    assert murmur2(b"a-little-bit-long-string") - 2**32 == -985981536
    assert shard_of("21", 4) == (-973932308 & 0x7FFFFFFF) % 4


def test_since_more_than_30_days_first_holds_at_30_days_and_one_millisecond() -> None:
    text = """
    [traits]
    last_order_at = "last(purchase.occurred_at)"
    [segments.lapsing]
    enter = "since(last_order_at) > days(30)"
    [segments.lapsed]
    enter = "since(last_order_at) >= days(30)"
    """
    due = T0 + 30 * DAY
    assert crossings(text, order(T0), until_ms=due) == [("lapsed", "entered", 1, "time", due)]
    later = crossings(text, order(T0), until_ms=due + 1)
    assert later[1:] == [("lapsing", "entered", 1, "time", due + 1)]


def test_what_falls_due_at_an_events_own_time_happens_before_the_event() -> None:
    text = '[traits]\nt = "last(purchase.occurred_at)"\n[segments.quiet]\nenter = "since(t) >= days(1)"\n'
    assert crossings(text, order(T0), order(T0 + DAY)) == [
        ("quiet", "entered", 1, "time", T0 + DAY),
        ("quiet", "exited", 2, "event", T0 + DAY),
    ]


def test_days_since_steps_at_whole_days() -> None:
    text = '[traits]\nd = "days_since(first(purchase.occurred_at))"\n[segments.old]\nenter = "d >= 2"\n'
    assert crossings(text, order(T0), until_ms=T0 + 9 * DAY) == [("old", "entered", 1, "time", T0 + 2 * DAY)]


def test_another_customers_event_moves_the_clock_of_the_shard() -> None:
    text = '[traits]\nt = "last(purchase.occurred_at)"\n[segments.quiet]\nenter = "since(t) > days(2)"\n'
    events = [order(T0), event("browsing", T0 + 9 * DAY, "other", kind="search")]
    assert crossings(text, *events) == [("quiet", "entered", 1, "time", T0 + 2 * DAY + 1)]


def test_a_late_event_is_folded_at_the_present_clock() -> None:
    text = '[traits]\nn = "count(purchase)"\n[segments.two]\nenter = "n >= 2"\n'
    assert crossings(text, order(T0), order(T0 - 5 * DAY)) == [("two", "entered", 1, "event", T0)]


def test_a_30_day_window_has_tiles_of_one_day() -> None:
    noon = T0 + DAY // 2
    expression = "sum(purchase.amount_minor, over='30d')"
    assert trait(expression, order(noon), until_ms=T0 + 30 * DAY - 1) == 100
    assert trait(expression, order(noon), until_ms=T0 + 30 * DAY) == 0


@pytest.mark.parametrize(
    ("over", "tile_ms"),
    [
        ("15m", 60_000), ("1h", 60_000), ("2h", 300_000), ("24h", 3_600_000), ("7d", 6 * 3_600_000),
        ("30d", DAY), ("90d", DAY), ("1y", 7 * DAY),
    ],
)  # fmt: skip
def test_an_event_counts_until_its_tile_is_as_old_as_the_window(over: str, tile_ms: int) -> None:
    sizes = {"m": 60_000, "h": 3_600_000, "d": DAY, "y": 365 * DAY}
    start = T0 - T0 % tile_ms
    leaves = start + int(over[:-1]) * sizes[over[-1]]
    for at in (start, start + tile_ms - 1):
        assert trait(f"count(purchase, over='{over}')", order(at), until_ms=leaves - 1) == 1
        assert trait(f"count(purchase, over='{over}')", order(at), until_ms=leaves) == 0


def test_ago_moves_the_whole_window_back() -> None:
    expression = "count(purchase, over='30d', ago='30d')"
    noon = T0 + DAY // 2
    assert trait(expression, order(noon), until_ms=noon + 30 * DAY - 1) == 0
    assert trait(expression, order(noon), until_ms=noon + 30 * DAY) == 1
    assert trait(expression, order(noon), until_ms=T0 + 60 * DAY - 1) == 1
    assert trait(expression, order(noon), until_ms=T0 + 60 * DAY) == 0


def test_a_segment_falls_with_its_window_by_time_alone() -> None:
    text = "[segments.big]\nenter = \"sum(purchase.amount_minor, over='30d') >= 150\"\n"
    events = [order(T0 + 5), order(T0 + 3 * DAY)]
    assert crossings(text, *events, until_ms=T0 + 99 * DAY) == [
        ("big", "entered", 1, "event", T0 + 3 * DAY),
        ("big", "exited", 2, "time", T0 + 30 * DAY),
    ]


def test_hysteresis_keeps_a_member_until_exit_holds() -> None:
    text = """
    [traits]
    open = "count(support[kind == 'opened']) - count(support[kind == 'closed'])"
    [segments.busy]
    enter = "open >= 3"
    exit = "open < 2"
    """
    kinds = ["opened", "opened", "opened", "closed", "closed", "opened"]
    events = [event("support", T0 + i, kind=k) for i, k in enumerate(kinds)]
    assert crossings(text, *events) == [
        ("busy", "entered", 1, "event", T0 + 2),
        ("busy", "exited", 2, "event", T0 + 4),
    ]


def test_nobody_enters_while_exit_holds() -> None:
    text = '[segments.s]\nenter = "count(purchase) >= 1"\nexit = "count(purchase) < 3"\n'
    assert crossings(text, order(T0), order(T0 + 1), order(T0 + 2)) == [("s", "entered", 1, "event", T0 + 2)]


def test_changes_of_one_instant_are_in_the_files_order_and_carry_the_named_traits() -> None:
    text = """
    [traits]
    n = "count(purchase)"
    at = "last(purchase.occurred_at)"
    missing = "latest(attributes.plan)"
    [segments.z]
    enter = "n >= 1 and not has(missing)"
    [segments.a]
    enter = "has(at) and count(purchase[kind == 'order']) >= 1"
    """
    changes = run(text, order(T0)).customers["c"].changes
    assert [(c.segment, dict(c.values)) for c in changes] == [
        ("z", {"n": 1}),
        ("a", {"at": "2026-01-01T00:00:00.000Z"}),
    ]


def test_an_id_seen_before_is_dropped_per_type_and_customer() -> None:
    first = order(T0)
    other_type = {**event("browsing", T0, kind="search"), "event_id": first["event_id"]}
    outcome = run('[traits]\nn = "count(event)"\n', first, first, other_type, {**first, "customer_id": "d"})
    assert outcome.customers["c"].traits == {"n": 2}
    assert outcome.customers["d"].traits == {"n": 1}
    assert outcome.duplicates == 1


def test_an_id_is_forgotten_after_256_others_and_after_24_hours() -> None:
    text = '[traits]\nn = "count(purchase)"\n'
    first = order(T0)
    assert run(text, first, *(order(T0) for _ in range(255)), first).customers["c"].traits["n"] == 256
    assert run(text, first, *(order(T0) for _ in range(256)), first).customers["c"].traits["n"] == 258
    assert run(text, first, {**first, "arrived_at": DAY - 1}).customers["c"].traits["n"] == 1
    assert run(text, first, {**first, "arrived_at": DAY}).customers["c"].traits["n"] == 2


def test_aggregates_of_nothing_are_zero_empty_or_absent() -> None:
    search = event("browsing", T0, kind="search")
    for expression, empty in {
        "count(purchase)": 0,
        "sum(purchase.amount_minor, over='30d')": 0,
        "distinct(purchase.channel)": 0,
        "count(purchase, by=channel)": {},
        "top(purchase.channel, 3)": [],
    }.items():
        assert trait(expression, search) == empty, expression
    for verb in ("mean", "min", "max", "first", "last"):
        assert trait(f"{verb}(purchase.amount_minor)", search) is None
    assert trait("mean_gap(purchase)", search) is None
    assert trait("sum(purchase.amount_minor, over='30d')", order(T0), until_ms=T0 + 40 * DAY) == 0


def test_top_goes_by_count_then_by_code_points_of_the_json_text() -> None:
    skus = ["b", "a", "b", "é", "Z", "a"]
    views = [event("browsing", T0, kind="product_view", sku=s) for s in skus]
    assert trait("top(browsing.sku, 3)", *views) == ["a", "b", "Z"]
    at = [T0 + h * 3_600_000 for h in (9, 10, 9, 10)]
    assert trait("top(hour(purchase.occurred_at), 2)", *map(order, at)) == [10, 9]  # "10" < "9" as text


def test_mean_gap_is_the_span_by_one_less_than_the_count() -> None:
    orders = [order(T0), order(T0 + 10 * DAY), order(T0 + 2 * DAY)]
    assert trait("mean_gap(purchase) / days(1)", *orders) == 5.0
    assert trait("mean_gap(purchase)", order(T0)) is None


def test_first_and_last_go_by_time_then_event_id() -> None:
    same = [order(T0, 1, channel="x"), order(T0, 2, channel="y"), order(T0 - 1, 3)]
    assert trait("first(purchase.amount_minor)", *same) == 3
    assert trait("last(purchase.amount_minor)", *same) == 2
    assert trait("last(purchase.amount_minor)", *reversed(same)) == 2
    assert trait("first(purchase.channel)", *same) == "x"  # absent values are skipped


def test_latest_is_the_last_said_of_a_fact_and_unset_wins() -> None:
    assert trait("latest(attributes.age)", facts(age=1), facts(age=2)) == 2
    gone = event("attributes", T0 + 1, unset=["age"], set={"age": 9, "name": "n"})
    assert trait("latest(attributes.age)", facts(age=1), gone) is None
    assert trait("latest(attributes.age)", facts(age=1), event("attributes", T0 + 1, set={"age": None})) is None
    assert trait("latest(attributes.age)", event("attributes", T0 + 1, set={"age": 5}), facts(age=1)) == 5


def test_items_carry_the_purchases_fields_and_their_own() -> None:
    bought = order(
        T0, 999, channel="web", items=[
            {"category": "shoes", "quantity": 2, "unit_price_minor": 50}, {"category": "hats"}, {"sku": "s"},
        ],
    )  # fmt: skip
    refund = order(T0, 5, kind="refund", items=[{"category": "shoes", "unit_price_minor": 7}])
    assert trait("count(item[category == 'shoes' and kind == 'order'])", bought, refund) == 1
    assert trait("sum(item.amount_minor, by=category)", bought, refund) == {"shoes": 107}
    assert trait("sum(item.quantity)", bought, refund) == 5
    assert trait("count(item[channel == 'web'], by=category)", bought) == {"shoes": 1, "hats": 1}


def test_event_ranges_over_all_types_but_facts() -> None:
    review = event("review", T0, stars=4)
    events = [order(T0), event("support", T0 + DAY, kind="opened"), facts(a=1), review]
    extra = "[types.review]\ntopic = 'reviews'\nfields = { stars = 'int 1..5' }"
    assert trait("count(event)", *events, extra=extra) == 3
    assert trait("distinct(date(event.occurred_at))", *events, extra=extra) == 2
    assert trait("mean(review.stars)", *events, extra=extra) == 4.0


def test_a_named_stream_may_be_narrowed_further() -> None:
    extra = "[streams]\norder = \"purchase[kind == 'order']\"\nweb = \"order[channel == 'web']\""
    events = [order(T0, channel="web"), order(T0), order(T0, channel="web", kind="refund")]
    assert trait("count(web)", *events, extra=extra) == 1
    assert trait("count(order[amount_minor > 1])", *events, extra=extra) == 2


def test_numbers_are_exact_and_quotients_correctly_rounded() -> None:
    big = 2**62 + 1
    assert trait("sum(purchase.amount_minor)", order(T0, big), order(T0, big)) == 2 * big
    assert trait("mean(purchase.amount_minor)", order(T0, big), order(T0, big), order(T0, 0)) == 2 * big / 3
    moods = [event("support", T0, kind="rated", sentiment=s) for s in (0.1, 0.2, -0.3)]
    assert trait("sum(support.sentiment)", *moods[:2]) == 0.3
    assert trait("sum(support.sentiment)", *moods) == 0
    assert trait("count(purchase) / 0", order(T0)) is None
    whole = trait("1 + 2 * 3 - 4", order(T0))
    assert whole == 3 and isinstance(whole, int)
    assert isinstance(trait("4 / 2", order(T0)), float)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("u > 1", None), ("not u > 1", None), ("u == u", None), ("u + 1 > 0", None),
        ("u > 1 and 1 > 2", False), ("u > 1 and 1 < 2", None), ("u > 1 or 1 < 2", True),
        ("u > 1 or 2 < 1", None),
        ("word > 1", None), ("word != 1", None), ("yes == 1", None), ("yes", True), ("not yes", False),
        ("word in ('a', 'b')", True), ("word not in ('b', 'c')", True), ("u in (1, 2)", None),
        ("1 < 2 < 3", True), ("1 < 2 < 2", False), ("1 < u < 0", None), ("has(u)", False),
        ("has(word)", True),
        ("default(u, 7) == 7", True), ("len(tags) == 2", True), ("lower(shout) == 'hey'", True),
        ("'x' in tags", True), ("box['k'] == 5", True), ("box['none'] == 5", None),
        ("has(box['none'])", False),
        ("score(15, 10, 20) == 2", True), ("score(10, 10, 20) == 2", True), ("has(score(u, 1))", False),
        ("after(at, never)", True), ("after(never, at)", False), ("after(at, at)", False),
        ("at + days(1) > at", True), ("at - at == days(0)", True), ("days(1) == hours(24)", True),
        ("-1 < 0", True), ("word == 'a' and u is_absent", "unsupported"),
    ],
)  # fmt: skip
def test_absence_is_sqls_null(condition: str, expected: Any) -> None:
    if expected == "unsupported":
        with pytest.raises(SyntaxError):
            trait(condition, order(T0))
        return
    names = ("u", "word", "yes", "tags", "shout", "box")
    traits = "".join(f'{name} = "latest(attributes.{name})"\n' for name in names)
    text = f'[traits]\n{traits}at = "last(attributes.occurred_at)"\nnever = "last(purchase.occurred_at)"\n'
    text += f'x = "{condition}"\n[segments.s]\nenter = "{condition}"\n'
    said = facts(word="a", yes=True, tags=["x", "y"], shout="HEY", box={"k": 5})
    customer = run(text, said).customers["c"]
    assert customer.traits.get("x") is expected
    assert ("s" in customer.memberships) is (expected is True)


def test_local_time_follows_the_time_zone() -> None:
    berlin = '[settings]\ntimezone = "Europe/Berlin"'
    summer = parse_time("2026-07-05T22:30:00Z")  # Monday 00:30 in Berlin
    for word, local in {"hour": 0, "weekday": 0, "date": "2026-07-06"}.items():
        assert trait(f"{word}(last(purchase.occurred_at))", order(summer), extra=berlin) == local
    assert trait("hour(last(purchase.occurred_at))", order(summer)) == 22


def test_amounts_in_another_currency_are_converted_half_to_even() -> None:
    euro = '[settings]\ncurrency = "EUR"\nrates = { USD = "0.5" }'
    events = [order(T0, 1, currency="USD"), order(T0, 3, currency="USD"), order(T0, 10)]
    assert trait("sum(purchase.amount_minor)", *events, order(T0, 5, currency="GBP"), extra=euro) == 12
    assert trait("sum(purchase.amount_minor)", *events) == 14


def test_each_currency_is_converted_in_its_own_minor_units() -> None:
    euros = '[settings]\ncurrency = "EUR"\nrates = { JPY = "0.00625", KWD = 3 }'
    orders = [order(T0, 4, currency="JPY"), order(T0, 1000, currency="KWD"), order(T0, 9, currency="XTS")]
    assert trait("sum(purchase.amount_minor)", *orders, extra=euros) == 2 + 300
    assert trait("count(purchase)", *orders, extra=euros) == 2


def test_what_an_own_type_or_a_typed_fact_refuses_changes_nothing() -> None:
    own = '[types.review]\nfields = { stars = "int 1..5 = 3", at = "time?" }\n[attributes]\nage = "int 0..130"'
    reviews = [event("review", T0), event("review", T0, stars=5), event("review", T0, stars=6)]
    assert trait("sum(review.stars)", *reviews, extra=own) == 8
    assert trait("latest(attributes.age)", facts(age=41), facts(age=131), facts(age="42"), extra=own) == 41


def test_a_topic_in_other_words_is_read_by_its_map() -> None:
    shop = """
    [sources.shop]
    topic = "orders"
    type = "purchase"
    map = { event_id = "id", customer_id = "user.no", amount_minor = { path = "total", decimals = 2 } }
    """
    records = [
        {"id": n, "user": {"no": "c"}, "occurred_at": T0, "total": total}
        for n, total in enumerate(("4.5", 0.125, "0.135", "free", None))
    ]
    arrivals = [{"topic": "orders", "record": record} for record in records]
    assert trait("sum(purchase.amount_minor)", *arrivals, extra=shop) == 450 + 12 + 14


def test_the_cdnow_sample_is_complete() -> None:
    events = cdnow.purchases()
    assert len(events) == cdnow.ORDERS == len({e["event_id"] for e in events})
    assert {e["customer_id"] for e in events} == {str(n) for n in range(1, cdnow.CUSTOMERS + 1)}
    assert sum(e["amount_minor"] for e in events) == cdnow.TOTAL_CENTS
    assert sum(e["items"][0]["quantity"] for e in events) == cdnow.TOTAL_CDS
