"""Dwell, exit dwell, cooldown, samples and segments on segments against the oracle, where they matter: conditions that
come and go within minutes, and instants on the edge of what the segments wait for."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.oracle import Oracle
from tests.property.shard import MINUTE, T0, Shard, definitions_text
from tests.property.test_engine_against_oracle import engine_changes, oracle_changes

from profilestream.core.engine import Engine
from profilestream.wire.definitions import parse_definitions

TRAITS = {
    "open": "count(support[kind == 'opened']) - count(support[kind == 'closed'])",
    "recent": "count(browsing, over='15m')",
    "seen_at": "last(browsing.occurred_at)",
}
CONDITIONS = ("open > 0", "open == 1", "recent > 0", "recent >= 2", "since(seen_at) >= minutes(4)", "open >= recent")
SPANS = ("1m", "2m", "5m", "16m")
NAMES = ("a", "b", "c", "d")

minutes = st.builds(lambda n, ms: n * MINUTE + ms, st.integers(0, 20), st.sampled_from((0, 0, 0, -1, 1)))


@st.composite
def files(draw: st.DrawFn) -> str:
    rank = draw(st.permutations(range(len(NAMES))))
    tables: dict[str, dict[str, Any]] = {}
    for n, name in enumerate(NAMES):
        before = [other for m, other in enumerate(NAMES) if rank[m] < rank[n]]
        texts = [*CONDITIONS, *(f"{word}in_segment('{other}')" for other in before for word in ("", "not "))]

        def condition(texts: list[str] = texts) -> str:
            parts = draw(st.lists(st.sampled_from(texts), min_size=1, max_size=2))
            return f" {draw(st.sampled_from(('and', 'or')))} ".join(parts)

        table: dict[str, Any] = {"enter": condition()}
        if draw(st.booleans()):
            table["exit"] = condition()
        table |= draw(
            st.dictionaries(st.sampled_from(("dwell", "exit_dwell", "cooldown")), st.sampled_from(SPANS), max_size=2)
        )
        if draw(st.integers(0, 4)) == 0:
            table["sample"] = 0.5
        tables[name] = table
    return definitions_text(TRAITS, tables)


@st.composite
def happenings(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events of two customers a few minutes apart, some of them late."""
    at, events = T0, []
    for n in range(draw(st.integers(1, 12))):
        at += draw(minutes) // 2
        late = draw(st.sampled_from((0, 0, 0, 0, 7 * MINUTE)))
        kind = draw(st.sampled_from(("opened", "closed", "page_view", "page_view")))
        events.append(
            {
                "type": "browsing" if kind == "page_view" else "support",
                "event_id": f"e{n}", "customer_id": draw(st.sampled_from(("c1", "c2"))), "occurred_at": at - late,
                "kind": kind,
            }
        )  # fmt: skip
    return events


@given(files(), happenings(), st.lists(minutes, min_size=1, max_size=3), st.booleans())
def test_crossings_come_at_the_instants_of_the_oracle_also_after_a_crash_and_a_long_absence(
    text: str, events: list[dict[str, Any]], waits: list[int], crashes: bool
) -> None:
    shard = Shard(Engine(parse_definitions(text)))
    for n, event in enumerate(events):
        shard.take(event, cause=n)
        if crashes:
            shard.crash()
    until = shard.clock or 0
    for wait in waits:
        until += wait if wait > 0 else 0
        shard.pass_time(until)
        if crashes:
            shard.crash()
    outcome = Oracle(text).run(events, until)
    for name, customer in outcome.customers.items():
        assert engine_changes(shard, name) == oracle_changes(outcome, name)
        assert set(shard.members(name)) == customer.memberships.keys()
        profile = shard.profiles[name]
        assert set(shard.engine.evaluate(profile, until)) == customer.memberships.keys()
        assert profile.due > until
