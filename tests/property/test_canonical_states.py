"""Folding the same records twice gives the same bytes, however they are cut into commits and time passes in between."""

from __future__ import annotations

from typing import Any

from hypothesis import given, target
from hypothesis import strategies as st
from tests.property.committed import Committed
from tests.property.generated import definition_texts, event_lists, offsets
from tests.property.shard import DAY, HOUR, T0, engine_of
from tests.property.test_foresight import PACED

from profilestream.core.engine import Engine
from profilestream.core.foresight import INSTANTS_MAX
from profilestream.wire.definitions import parse_definitions

ALL = 10**6

MORE = """
[segments.nobody]
enter = "count(event, over='7d') >= 1_000 or count(event, over='24h') >= 1_000"
[segments.yesterday]
enter = "count(event, over='24h', ago='24h') >= 1"
"""
"""Instants at which something moves inside and nothing shows, before and behind those at which somebody crosses."""


def come_to_rest(shard: Committed, clock: int, instants_max: int = ALL) -> Committed:
    """All that is due at a last clock passes."""
    shard.clock = max(shard.clock, clock)
    return shard.pass_all(instants_max)


def folded_at_once(engine: Engine, events: list[dict[str, Any]], clock: int) -> Committed:
    shard = Committed(engine)
    shard.fold(events)
    return come_to_rest(shard, clock)


def folded_as_time_passes(engine: Engine, events: list[dict[str, Any]], clock: int) -> Committed:
    """Each record in a commit of its own, and the clock at each instant that shows on the way to the last one."""
    shard = Committed(engine)
    for event in events:
        shard.fold([event])
        come_to_rest(shard, 0)
    while (following := shard.first_due()) is not None and following <= clock:
        come_to_rest(shard, following)
    return come_to_rest(shard, clock)


def folded_somehow(engine: Engine, events: list[dict[str, Any]], clock: int, data: st.DataObject) -> Committed:
    """In commits cut anywhere; between them time passes for anybody, by any steps, and what is at hand is let go."""
    shard, waiting, passed = Committed(engine), list(events), 0
    while waiting:
        records = data.draw(st.integers(1, len(waiting)), label="records of the commit")
        shard.fold(waiting[:records])
        del waiting[:records]
        for _ in range(data.draw(st.integers(0, 2), label="turns of time")):
            if due := shard.due():
                some = data.draw(st.lists(st.sampled_from(due), min_size=1, unique=True), label="for whom")
                shard.pass_time(some, data.draw(st.integers(1, 3), label="instants"))
                passed += len(some)
            if data.draw(st.booleans(), label="let go"):
                shard.forget()
    target(passed)
    if data.draw(st.booleans(), label="the clock moves on by steps"):
        for step in data.draw(st.lists(offsets, max_size=8)):
            come_to_rest(shard, min(shard.clock + step, clock), data.draw(st.integers(1, 3)))
            if data.draw(st.booleans(), label="let go"):
                shard.forget()
    return come_to_rest(shard, clock, data.draw(st.integers(1, 5), label="instants"))


@given(definition_texts(), st.booleans(), event_lists(customers=2), st.booleans(), offsets, st.data())
def test_the_same_records_give_the_same_bytes_however_they_are_cut_and_time_passes(
    text: str, paced: bool, events: list[dict[str, Any]], near: bool, wait: int, data: st.DataObject
) -> None:
    engine = Engine(parse_definitions(text + MORE + PACED * paced), keys_max=3)
    if near:
        events = [{**e, "occurred_at": T0 + (e["occurred_at"] - T0) % (3 * DAY)} for e in events]
        wait %= 9 * DAY
    events = data.draw(st.permutations([*events, *data.draw(st.lists(st.sampled_from(events), max_size=2))]))
    clock = max(e["occurred_at"] for e in events) + wait
    once = folded_at_once(engine, events, clock)
    for again in (folded_as_time_passes(engine, events, clock), folded_somehow(engine, events, clock, data)):
        assert again.stored == once.stored
        assert again.crossings == once.crossings


WINDOWS = {
    "spend_1d": "sum(purchase.amount_minor, over='24h')",
    "spend_7d": "sum(purchase.amount_minor, over='7d')",
    "largest": "max(purchase.amount_minor, over='30d')",
    "favourite": "top(purchase.channel, 2, over='7d')",
}
SEGMENTS: dict[str, Any] = {
    "spender": {"enter": "spend_7d >= 300", "exit": "spend_7d < 100", "dwell": "2h", "exit_dwell": "1h"},
    "quiet": "since(last(purchase.occurred_at)) > hours(30)",
}


def orders(count: int, every_ms: int) -> list[dict[str, Any]]:
    return [
        {
            "type": "purchase", "event_id": str(n), "customer_id": "c", "occurred_at": T0 + n * every_ms + n * 61_007,
            "amount_minor": 100 + n, "channel": f"ch{n % 3}",
        }
        for n in range(count)
    ]  # fmt: skip


def test_a_shard_that_was_away_for_weeks_has_the_bytes_of_one_that_looked_each_hour() -> None:
    """By instants that show, of which there are many, and by those where nothing shows."""
    engine = engine_of(WINDOWS, SEGMENTS)
    events = orders(3 * INSTANTS_MAX, 25 * HOUR)
    away = folded_at_once(engine, events, T0 + 45 * DAY)
    at_work, instants = folded_as_time_passes(engine, events, 0), set()
    for hours in range(45 * 24):
        come_to_rest(at_work, T0 + hours * HOUR)
        instants.add(at_work.stored["c"][1]["_as_of"])
    assert len(instants) > 10
    assert come_to_rest(at_work, T0 + 45 * DAY).stored == away.stored


def test_a_profile_is_as_of_the_last_instant_that_showed_whatever_the_clock_is() -> None:
    engine = engine_of({"orders_1d": "count(purchase, over='1d')"}, {"two": "orders_1d >= 2"})
    shard = folded_at_once(engine, orders(1, HOUR), T0 + 3 * DAY)
    assert shard.stored["c"][1]["_as_of"] == "2026-01-02T00:00:00.000Z"
    assert come_to_rest(shard, T0 + 9 * DAY).stored["c"][1]["_as_of"] == "2026-01-02T00:00:00.000Z"
