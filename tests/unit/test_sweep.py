"""Who would move, of one shard's customers: by hand, where a rule is easily got wrong."""

from __future__ import annotations

from typing import Any

from tests.property.shard import DAY, HOUR, T0, Shard

from profilestream.core.changes_between import changes_between
from profilestream.core.engine import Engine
from profilestream.operations.sweep import Judge, Outcome
from profilestream.settings import Settings
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import decode_state

TEXT = """
[traits]
orders = "count(purchase)"
spend = "sum(purchase.amount_minor)"
orders_1d = "count(purchase, over='24h')"

[segments.active]
enter = "orders_1d >= 1"

[segments.big]
enter = "spend >= 100"
exit = "spend < 50"

[segments.keen]
enter = "in_segment('active') and orders >= 2"
"""
"""`active` is left by time alone, `big` holds between its conditions, `keen` names `active`."""


def looked_at(new: str, events: list[dict[str, Any]], after_ms: int) -> tuple[dict[str, Outcome], set[Any]]:
    """What a look so long after the last event finds; no timer has had its turn meanwhile."""
    changes = changes_between(parse_definitions(TEXT), parse_definitions(new))
    shard = Shard(Engine(changes.before)).take_all(events)
    assert shard.clock is not None
    judge = Judge(Settings(), changes)
    moved = set()
    for customer, state in shard.states().items():
        profile = decode_state(state, customer, judge.engine)
        moved |= {(customer, *crossed) for crossed in judge.look(profile, shard.clock + after_ms)}
    return judge.outcomes, moved


def order(number: int, customer: str = "c", at: int = T0, amount: int = 60, **fields: Any) -> dict[str, Any]:
    return {"type": "purchase", "event_id": f"e{number}", "customer_id": customer, "occurred_at": at + number,
            "amount_minor": amount, **fields}  # fmt: skip


def test_who_has_left_by_time_that_nobody_has_written_yet_is_no_member_of_what_is_removed() -> None:
    without = TEXT.replace('[segments.active]\nenter = "orders_1d >= 1"\n', "").replace(
        "in_segment('active') and orders >= 2", "orders >= 2"
    )
    outcomes, moved = looked_at(without, [order(1)], after_ms=HOUR)
    assert (outcomes["active"].members, outcomes["active"].leaving) == (1, 1)
    assert moved == {("c", "active", False)}
    outcomes, moved = looked_at(without, [order(1)], after_ms=3 * DAY)
    assert (outcomes["active"].members, outcomes["active"].leaving) == (0, 0)
    assert moved == set()


def test_a_segment_that_is_named_and_has_not_changed_is_as_of_now() -> None:
    events = [order(1), order(2, at=T0 + 2 * DAY)]
    changed = TEXT.replace("in_segment('active') and orders >= 2", "not in_segment('active') and orders >= 2")
    outcomes, moved = looked_at(changed, events, after_ms=HOUR)
    assert (outcomes.keys(), outcomes["keen"].members) == ({"keen"}, 1)
    assert moved == {("c", "keen", False)}
    outcomes, moved = looked_at(changed, events, after_ms=3 * DAY)
    assert outcomes["keen"].members == 0  # it has left `active`, and so `keen`, with no event
    assert moved == {("c", "keen", True)}


def test_who_names_a_segment_that_moves_moves_with_it() -> None:
    chain = TEXT.replace("orders_1d >= 1", "orders_1d >= 3") + "[segments.keenest]\nenter = \"in_segment('keen')\"\n"
    outcomes, moved = looked_at(chain, [order(1), order(2)], after_ms=HOUR)
    assert outcomes.keys() == {"active", "keen", "keenest"}
    assert moved == {("c", "active", False), ("c", "keen", False)}


def test_a_member_stays_between_enter_and_exit_and_one_who_left_is_not_let_in() -> None:
    events = [order(1, "in", amount=120), order(2, "never", amount=120), order(3, "lower", amount=60)]
    raised = TEXT.replace("spend >= 100", "spend >= 200")
    assert looked_at(raised, events, HOUR)[1] == set()
    assert looked_at(raised.replace("spend < 50", "spend < 130"), events, HOUR)[1] == {
        ("in", "big", False), ("never", "big", False)
    }  # fmt: skip
    assert looked_at(TEXT.replace("spend >= 100", "spend >= 55"), events, HOUR)[1] == {("lower", "big", True)}


def test_one_who_has_left_a_removed_segment_before_leaves_no_more() -> None:
    text = TEXT.replace('[segments.big]\nenter = "spend >= 100"\nexit = "spend < 50"\n', "")
    outcomes, moved = looked_at(text, [order(1, amount=120)], HOUR)
    assert moved == {("c", "big", False)}
    events = [order(1), order(2, at=T0 + 3 * DAY, customer="other")]  # `c` has left `active` since
    gone = TEXT.replace('[segments.active]\nenter = "orders_1d >= 1"\n', "").replace("in_segment('active') and ", "")
    outcomes, moved = looked_at(gone, events, 0)
    assert moved == {("other", "active", False)}
    assert outcomes["active"].members == 1


def test_a_dwell_that_begins_is_counted_and_moves_nobody_yet() -> None:
    waiting = TEXT.replace("spend >= 100", "spend >= 55").replace(
        'exit = "spend < 50"', 'exit = "spend < 50"\ndwell = "1h"'
    )
    outcomes, moved = looked_at(waiting, [order(1), order(2, "small", amount=1)], 2 * DAY)
    assert (outcomes["big"].waiting, outcomes["big"].entering, moved) == (1, 0, set())


def test_nothing_is_told_of_what_needs_the_log_but_its_members() -> None:
    needy = TEXT.replace("spend >= 100", "spend >= 100 and count(browsing) > 1").replace(
        "[segments.keen]", "[segments.kin]"
    )
    outcomes, moved = looked_at(needy, [order(1, amount=120), order(2)], HOUR)
    assert not outcomes["big"].told and outcomes["big"].members == 1
    assert outcomes["kin"].told and outcomes["keen"].told
    assert moved == {("c", "keen", False), ("c", "kin", True)}


def test_a_segment_that_only_a_new_one_names_is_as_of_now() -> None:
    new = TEXT + "[segments.fresh]\nenter = \"in_segment('active') and spend > 10\"\n"
    assert looked_at(new, [order(1)], HOUR)[1] == {("c", "fresh", True)}
    assert looked_at(new, [order(1)], 3 * DAY)[1] == set()
