"""When a profile is woken: at the first instant at which time alone changes something that shows, never later."""

from __future__ import annotations

from typing import Any

from hypothesis import given, target
from hypothesis import strategies as st
from tests.property.generated import definition_texts, event_lists
from tests.property.shard import DAY, HOUR, T0, Shard, engine_of

from profilestream.core.engine import Crossing, Engine
from profilestream.core.foresight import INSTANTS_MAX, MERGED_MAX
from profilestream.core.profile import Profile
from profilestream.core.words import NEVER
from profilestream.store.commits import ProfileWrite
from profilestream.store.profile_writes import ProfileWriter
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import decode_state, encode_state
from profilestream.wire.values import encode_value


def written(engine: Engine, profile: Profile) -> ProfileWrite:
    return ProfileWriter(engine).write(decode_state(encode_state(profile, engine), "c", engine), True)


def seen(engine: Engine, profile: Profile) -> Any:
    """What shows of a profile: values, as bytes, memberships, and what waits."""
    members = {name: tuple(m) for name, m in profile.members.items() if m[0] % 2}
    return encode_value(engine.values(profile)), members, dict(profile.held)


PACED = """
[segments.paced]
enter = "count(purchase, over='1h') >= 1 and not in_segment('calm')"
exit = "count(purchase, over='24h') == 0"
dwell = "30m"
exit_dwell = "2h"
cooldown = "2d"
[segments.calm]
enter = "since(last(browsing.occurred_at)) > hours(5)"
dwell = "15m"
"""


@given(definition_texts(json_kinds=False), st.booleans(), event_lists())
def test_a_profile_wakes_at_the_first_instant_that_shows_and_is_urgent_where_it_crosses(
    text: str, paced: bool, events: list[dict[str, Any]]
) -> None:
    engine = Engine(parse_definitions(text + PACED if paced else text))
    shard = Shard(engine).take_all(events)
    profile = shard.profiles["c"]
    write = written(engine, profile)
    woken = decode_state(encode_state(profile, engine), "c", engine)
    before, silent = seen(engine, woken), 0
    crossings: list[Crossing] = []
    while woken.due < NEVER and (write.due is None or woken.due < write.due):
        engine.advance(woken, woken.due, crossings)
        silent += 1
        assert seen(engine, woken) == before, f"something shows at {woken.as_of}, the timer is at {write.due}"
        assert not crossings
    target(silent)
    if write.due is None:
        assert write.urgent is None
        return
    assert woken.due == write.due
    engine.advance(woken, woken.due, crossings)
    assert seen(engine, woken) != before or silent >= INSTANTS_MAX - 1, "a wake at which nothing shows"
    assert bool(crossings) == (write.urgent == write.due) or silent >= INSTANTS_MAX - 1
    if write.urgent is not None:
        assert write.urgent >= write.due


def test_what_changes_a_value_next_and_what_crosses_soon_after_are_two_instants() -> None:
    engine = engine_of(
        {"orders_1d": "count(purchase, over='1d')", "last_at": "last(purchase.occurred_at)"},
        {"quiet": "since(last_at) > hours(24)", "away": "since(last_at) > days(9)"},
    )
    order = {"type": "purchase", "event_id": "e", "customer_id": "c", "occurred_at": T0 + 1_000, "amount_minor": 1}
    shard = Shard(engine).take_all([order])
    write = written(engine, shard.profiles["c"])
    assert (write.due, write.urgent) == (T0 + DAY, T0 + DAY + 1_001), "the tile of the order's hour, then `since`"
    write = written(engine, shard.pass_time(T0 + DAY + HOUR).profiles["c"])
    assert write.due == write.urgent == T0 + 9 * DAY + 1_001


def test_a_greatest_value_that_stays_the_greatest_wakes_nobody() -> None:
    engine = engine_of({"largest": "max(purchase.amount_minor, over='30d')"}, {"one": "sum(purchase.amount_minor) < 0"})
    orders = [
        {"type": "purchase", "event_id": str(n), "customer_id": "c", "occurred_at": T0 + n * DAY, "amount_minor": n}
        for n in range(INSTANTS_MAX)
    ]
    shard = Shard(engine).take_all(orders)
    assert shard.profiles["c"].due == T0 + 30 * DAY, "inside, the first tile leaves"
    assert written(engine, shard.profiles["c"]).due == T0 + (30 + INSTANTS_MAX - 1) * DAY


def test_a_look_that_would_take_long_is_left_out() -> None:
    engine = engine_of({"favourite": "top(browsing.sku, 1, over='30d')"})

    def due(products: int) -> int | None:
        shard = Shard(engine)
        for n in range(30 * products):
            view = {"kind": "search", "sku": f"s{n % products}", "customer_id": "c", "event_id": str(n)}
            shard.take(view | {"type": "browsing", "occurred_at": T0 + n // products * DAY})
        return written(engine, shard.profiles["c"]).due

    assert due(2) == T0 + (30 + INSTANTS_MAX) * DAY
    assert due(MERGED_MAX // 30 + 1) == T0 + 30 * DAY


def test_a_threshold_of_time_that_changes_no_membership_wakes_nobody() -> None:
    engine = engine_of(
        {"last_at": "last(purchase.occurred_at)"}, {"lapsing": "count(purchase) >= 2 and since(last_at) > days(30)"}
    )
    order = {"type": "purchase", "event_id": "a", "customer_id": "c", "occurred_at": T0, "amount_minor": 1}
    shard = Shard(engine).take_all([order])
    assert written(engine, shard.profiles["c"]).due is None
    shard.take({**order, "event_id": "b"})
    write = written(engine, shard.profiles["c"])
    assert write.due == write.urgent == T0 + 30 * DAY + 1
