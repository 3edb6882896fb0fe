"""Dwell, exit dwell, cooldown, samples and segments on segments, against timelines worked out by hand.

A ticket that is opened or closed turns the condition `open > 0`; times are ms after T0.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from tests.property.shard import MINUTE, T0, Shard, definitions_text, engine_of

from profilestream.core.dependence import by_dependence, circles
from profilestream.core.explanation import explain_segment
from profilestream.core.pacing import is_sampled
from profilestream.core.problems import DefinitionsError
from profilestream.wire.definitions import parse_definitions

M = MINUTE
OPEN = {"open": "count(support[kind == 'opened']) - count(support[kind == 'closed'])"}
HELD = "open > 0"
_ids = count()


def happens(kind: str, at: int, customer: str = "c") -> dict[str, Any]:
    """A ticket is opened or closed, or (any other word) a page is seen."""
    type_name = "support" if kind in ("opened", "closed") else "browsing"
    return {
        "type": type_name, "event_id": f"e{next(_ids):06d}", "customer_id": customer, "occurred_at": T0 + at,
        "kind": kind,
    }  # fmt: skip


def shard(segments: dict[str, Any], *events: tuple[str, int], until: int = 0, traits: Any = None) -> Shard:
    found = Shard(engine_of(OPEN | (traits or {}), segments))
    for n, (kind, at) in enumerate(events):
        found.take(happens(kind, at), cause=n)
    return found.pass_time(T0 + until)


def crossings(segments: dict[str, Any], *events: tuple[str, int], until: int = 0) -> list[tuple[str, int, int, Any]]:
    """(segment, crossing, ms after T0, the causing event's number or None) of every change."""
    found = shard(segments, *events, until=until)
    return [(c.segment, c.crossing, c.at - T0, c.event) for c in found.changes["c"]]


# Dwell


def test_a_customer_enters_by_time_at_exactly_the_end_of_the_dwell() -> None:
    vip = {"vip": {"enter": HELD, "dwell": "10m"}}
    assert crossings(vip, ("opened", 0), until=10 * M - 1) == []
    assert crossings(vip, ("opened", 0), until=10 * M) == [("vip", 1, 10 * M, None)]
    assert crossings(vip, ("opened", 0), ("seen", 10 * M + 5)) == [("vip", 1, 10 * M, None)]


def test_a_condition_that_ends_before_the_dwell_is_over_begins_anew() -> None:
    events = (("opened", 0), ("closed", 10 * M - 1), ("opened", 11 * M))
    assert crossings({"vip": {"enter": HELD, "dwell": "10m"}}, *events, until=60 * M) == [("vip", 1, 21 * M, None)]


def test_an_event_at_the_last_instant_of_a_dwell_comes_behind_the_entry() -> None:
    found = crossings({"vip": {"enter": HELD, "dwell": "10m"}}, ("opened", 0), ("closed", 10 * M))
    assert found == [("vip", 1, 10 * M, None), ("vip", 2, 10 * M, 1)]


def test_time_that_ends_the_condition_at_the_last_instant_of_a_dwell_keeps_the_customer_out() -> None:
    windowed = {"vip": {"enter": "count(browsing, over='15m') > 0", "dwell": "15m"}}
    assert crossings(windowed, ("seen", 0), until=60 * M) == []
    windowed["vip"]["dwell"] = "14m"
    assert crossings(windowed, ("seen", 0), until=60 * M) == [("vip", 1, 14 * M, None), ("vip", 2, 15 * M, None)]


def test_an_exit_that_holds_interrupts_a_dwell() -> None:
    vip = {"vip": {"enter": HELD, "exit": "open > 1", "dwell": "10m"}}
    events = (("opened", 0), ("opened", 5 * M), ("closed", 6 * M))
    assert crossings(vip, *events, until=60 * M) == [("vip", 1, 16 * M, None)]


def test_a_late_event_neither_moves_nor_interrupts_a_dwell() -> None:
    events = (("opened", 5 * M), ("seen", 7 * M), ("opened", 1 * M))
    assert crossings({"vip": {"enter": HELD, "dwell": "10m"}}, *events, until=60 * M) == [("vip", 1, 15 * M, None)]


# Exit dwell


def test_a_member_leaves_by_time_at_exactly_the_end_of_the_exit_dwell() -> None:
    vip = {"vip": {"enter": HELD, "exit_dwell": "5m"}}
    events = (("opened", 0), ("closed", 1 * M), ("opened", 6 * M - 1), ("closed", 8 * M))
    assert crossings(vip, *events, until=60 * M) == [("vip", 1, 0, 0), ("vip", 2, 13 * M, None)]


def test_what_was_waited_for_before_an_entry_does_not_count_for_leaving() -> None:
    vip = {"vip": {"enter": HELD, "dwell": "10m", "exit_dwell": "5m"}}
    events = (("opened", 0), ("closed", 30 * M))
    assert crossings(vip, *events, until=60 * M) == [("vip", 1, 10 * M, None), ("vip", 2, 35 * M, None)]


# Cooldown


def test_nobody_enters_again_before_the_cooldown_is_over_and_then_at_that_instant() -> None:
    vip = {"vip": {"enter": HELD, "cooldown": "20m"}}
    events = (("opened", 0), ("closed", 1 * M), ("opened", 2 * M))
    first = [("vip", 1, 0, 0), ("vip", 2, 1 * M, 1)]
    assert crossings(vip, *events, until=21 * M - 1) == first
    assert crossings(vip, *events, until=60 * M) == [*first, ("vip", 3, 21 * M, None)]


def test_after_a_cooldown_an_event_lets_in_as_ever() -> None:
    events = (("opened", 0), ("closed", 1 * M), ("opened", 2 * M), ("closed", 3 * M), ("opened", 30 * M))
    found = crossings({"vip": {"enter": HELD, "cooldown": "20m"}}, *events, until=60 * M)
    assert found == [("vip", 1, 0, 0), ("vip", 2, 1 * M, 1), ("vip", 3, 30 * M, 4)]


@pytest.mark.parametrize(("opened_at", "enters_at"), [(12, 31), (25, 35)])
def test_a_dwell_counts_during_a_cooldown(opened_at: int, enters_at: int) -> None:
    vip = {"vip": {"enter": HELD, "dwell": "10m", "cooldown": "20m"}}
    events = (("opened", 0), ("closed", 11 * M), ("opened", opened_at * M))
    found = crossings(vip, *events, until=60 * M)
    assert found == [("vip", 1, 10 * M, None), ("vip", 2, 11 * M, 1), ("vip", 3, enters_at * M, None)]


def test_after_a_long_absence_each_crossing_has_its_own_time() -> None:
    segments = {
        "slow": {"enter": HELD, "dwell": "1d"},
        "quick": {"enter": HELD, "dwell": "1m"},
        "followed": {"enter": "in_segment('quick')", "dwell": "2m"},
    }
    found = crossings(segments, ("opened", 0), until=3 * 1440 * M)
    assert found == [("quick", 1, M, None), ("followed", 1, 3 * M, None), ("slow", 1, 1440 * M, None)]


def test_what_waits_is_part_of_the_state_and_of_the_instant_until_which_nothing_changes() -> None:
    found = shard({"vip": {"enter": HELD, "dwell": "10m", "exit_dwell": "3m"}}, ("opened", 7))
    assert found.profiles["c"].held == {"vip": T0 + 7}
    assert found.crash().profiles["c"].due == T0 + 10 * M + 7
    found.pass_time(T0 + 20 * M)
    assert found.crossings() == [("vip", 1, T0 + 10 * M + 7)] and found.profiles["c"].held == {}
    assert found.profiles["c"].as_of == T0 + 10 * M + 7
    found.take(happens("closed", 21 * M))
    assert found.crash().profiles["c"].due == T0 + 24 * M


# Segments on segments


def test_a_segment_and_one_that_names_it_cross_at_one_instant_by_the_same_event_in_the_file_s_order() -> None:
    segments = {
        "gift": {"enter": "in_segment('vip') and open < 5"},
        "vip": {"enter": HELD},
        "stranger": {"enter": "not in_segment('gift')"},
    }
    assert crossings(segments, ("opened", 3), ("closed", 9)) == [
        ("gift", 1, 3, 0), ("vip", 1, 3, 0), ("gift", 2, 9, 1), ("vip", 2, 9, 1), ("stranger", 1, 9, 1),
    ]  # fmt: skip


def test_a_segment_that_names_one_that_waits_enters_with_it_by_time() -> None:
    segments = {"gift": {"enter": "in_segment('vip')"}, "vip": {"enter": HELD, "dwell": "10m"}}
    assert crossings(segments, ("opened", 0), until=60 * M) == [("gift", 1, 10 * M, None), ("vip", 1, 10 * M, None)]


def test_a_chain_of_segments_crosses_at_once_after_a_crash_too() -> None:
    chain = {f"s{n}": {"enter": f"in_segment('s{n + 1}')"} for n in range(50)} | {"s50": {"enter": HELD}}
    found = shard(chain, ("opened", 0)).crash()
    assert len(found.members()) == 51
    found.take(happens("closed", 1))
    assert found.members() == []
    assert [name for name, crossing, _ in found.crossings() if crossing == 2] == [f"s{n}" for n in range(51)]


def test_an_order_of_dependence_keeps_the_given_one_where_it_can() -> None:
    assert by_dependence({"a": ["c"], "b": [], "c": ["b"], "d": ["unknown"]}) == ["b", "c", "a", "d"]
    assert by_dependence({"a": ["b"], "b": ["a"], "c": ["a"], "d": []}) == ["d"]


def test_every_circle_is_named_once_from_its_first_name_on() -> None:
    named = {"x": ["b"], "a": ["a"], "c": ["b"], "b": ["d"], "d": ["c"], "e": []}
    assert sorted(circles(named)) == [["a", "a"], ["c", "b", "d", "c"]]
    assert list(circles({"a": ["b"], "b": []})) == []
    long = {f"s{n}": [f"s{n + 1}"] for n in range(20_000)} | {"s20000": []}
    assert list(circles(long)) == [] and by_dependence(long)[0] == "s20000"


# Samples


def test_a_sample_is_the_same_customers_for_ever() -> None:
    """Pinned: changing the hash would change who is in every sample."""
    found = [f"c{n}" for n in range(40) if is_sampled("vip", f"c{n}", 0.1)]
    assert found == ["c2", "c5", "c8", "c13", "c31", "c38"]


def test_a_greater_sample_has_everybody_of_a_smaller_one_and_another_segment_s_is_independent() -> None:
    customers = [f"c{n}" for n in range(20_000)]
    tenth = {c for c in customers if is_sampled("vip", c, 0.1)}
    fifth = {c for c in customers if is_sampled("vip", c, 0.2)}
    other = {c for c in customers if is_sampled("gift", c, 0.1)}
    assert tenth < fifth
    assert 1_850 < len(tenth) < 2_150 and 3_800 < len(fifth) < 4_200
    assert 130 < len(tenth & other) < 270  # of 20,000: a hundredth
    assert all(is_sampled("vip", c, 1) for c in customers)


def test_one_who_is_not_in_the_sample_never_enters() -> None:
    engine = engine_of(OPEN, {"half": {"enter": HELD, "sample": 0.5}, "all": {"enter": HELD, "sample": 1}})
    found = Shard(engine)
    for n in range(40):
        found.take(happens("opened", n, f"c{n}"))
    for n in range(40):
        name = f"c{n}"
        assert found.members(name) == (["half"] if is_sampled("half", name, 0.5) else []) + ["all"]


# After a repair


def test_after_a_repair_a_cooldown_counts_from_the_leaving_that_subscribers_were_told() -> None:
    vip = {"vip": {"enter": HELD, "dwell": "10m", "cooldown": "20m"}}
    found = shard(vip, ("opened", 0))
    profile = found.profiles["c"]
    (exited,) = found.engine.reconcile(profile, {"vip": 3}, T0 + 5 * M) or []
    assert (exited.crossing, exited.at) == (4, T0 + 5 * M)
    assert profile.due == T0 + 25 * M
    assert found.crash().profiles["c"].due == T0 + 25 * M
    found.pass_time(T0 + 60 * M)
    assert found.crossings() == [("vip", 5, T0 + 25 * M)]


def test_a_repair_leaves_what_waits_as_it_is_where_memberships_are_what_was_announced() -> None:
    vip = {"vip": {"enter": HELD, "dwell": "10m", "exit_dwell": "5m"}}
    found = shard(vip, ("opened", 0), ("closed", 11 * M))
    assert found.engine.reconcile(found.profiles["c"], {"vip": 7}, T0 + 12 * M) == []
    assert found.profiles["c"].due == T0 + 16 * M
    found.pass_time(T0 + 60 * M)
    assert found.crossings()[1:] == [("vip", 8, T0 + 16 * M)]


def test_a_cooldown_goes_on_after_a_repair_by_which_nothing_was_ever_announced() -> None:
    vip = {"vip": {"enter": HELD, "cooldown": "60m"}}
    found = shard(vip, ("opened", 0), ("closed", 10 * M), ("opened", 20 * M), ("seen", 40 * M))
    profile = found.profiles["c"]
    assert found.engine.reconcile(profile, {"vip": 0}, T0 + 50 * M) == []
    assert profile.due == found.crash().profiles["c"].due == T0 + 70 * M, "not at an instant that is over"
    explanation = explain_segment(found.engine, profile, "vip", T0 + 50 * M)
    assert (explanation.crossing, explanation.crossed_at, explanation.cools_until) == (0, None, T0 + 70 * M)
    found.pass_time(T0 + 90 * M)
    assert found.crossings()[2:] == [("vip", 1, T0 + 70 * M)]


# Explanations


def explained(table: dict[str, Any], *events: tuple[str, int], at: int) -> Any:
    found = shard({"vip": table}, *events)
    return explain_segment(found.engine, found.profiles["c"], "vip", T0 + at)


def test_an_explanation_tells_since_when_an_entry_waits_and_when_it_comes() -> None:
    found = explained({"enter": HELD, "dwell": "10m"}, ("opened", 3), at=5 * M)
    assert (found.member, found.enters) == (False, True)
    assert (found.held_since, found.crosses_at, found.changes_at) == (T0 + 3, T0 + 10 * M + 3, T0 + 10 * M + 3)


def test_an_explanation_tells_since_when_a_leaving_waits() -> None:
    found = explained({"enter": HELD, "exit_dwell": "5m"}, ("opened", 0), ("closed", M), at=2 * M)
    assert (found.member, found.leaves) == (True, True)
    assert (found.held_since, found.crosses_at, found.changes_at) == (T0 + M, T0 + 6 * M, T0 + 6 * M)


def test_an_explanation_tells_until_when_a_cooldown_lasts_also_where_the_condition_does_not_hold() -> None:
    table, events = {"enter": HELD, "cooldown": "20m"}, (("opened", 0), ("closed", M), ("opened", 2 * M))
    found = explained(table, *events, at=3 * M)
    assert (found.cools_until, found.held_since, found.changes_at) == (T0 + 21 * M, T0 + 2 * M, T0 + 21 * M)
    found = explained(table, *events[:2], at=3 * M)
    assert (found.cools_until, found.held_since, found.changes_at) == (T0 + 21 * M, None, None)
    assert explained(table, *events[:2], at=21 * M).cools_until is None


def test_an_explanation_does_not_promise_an_entry_that_time_itself_prevents() -> None:
    table = {"enter": "count(browsing, over='15m') > 0", "dwell": "1h"}
    found = explained(table, ("seen", 0), at=M)
    assert (found.held_since, found.crosses_at, found.changes_at) == (T0, T0 + 60 * M, None)


def test_an_explanation_tells_whether_the_customer_is_in_the_sample() -> None:
    inside = is_sampled("vip", "c", 0.5)
    assert explained({"enter": HELD, "sample": 0.5}, ("opened", 0), at=0).sampled is inside
    assert explained({"enter": HELD}, ("opened", 0), at=0).sampled is None


# Mistakes


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('dwell = "10"', 'definitions:4:10: `dwell` is a length of time such as "10m"'),
        ('exit_dwell = "30s"', "4:15: `exit_dwell` is a length of time"),
        ('cooldown = "11y"', "4:13: `cooldown` is a length of time"),
        ("cooldown = 10", "4:12: `cooldown` must be a text in quotes"),
        ("sample = 0", "4:10: `sample` is a share of all customers, above 0 and at most 1"),
        ("sample = 1.5", "`sample` is a share"),
        ("sample = nan", "`sample` is a share"),
        ('sample = "half"', "`sample` must be a number"),
        ("sample = true", "`sample` must be a number"),
        ('dwel = "10m"', "unknown key `dwel`; did you mean `dwell`?"),
    ],
)
def test_a_mistake_in_a_pace_is_named_with_its_place(lines: str, message: str) -> None:
    text = f'[traits]\n[segments.vip]\nenter = "count(purchase) > 0"\n{lines}\n'
    with pytest.raises(DefinitionsError) as found:
        parse_definitions(text)
    assert message in str(found.value)
    assert len(found.value.problems) == 1


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("in_segment('vpi')", "unknown segment `vpi`; did you mean `vip`?"),
        ("in_segment(vip)", "unknown trait `vip`"),
        ("in_segment(3)", "in_segment() takes a segment's name in quotes: in_segment('vip')"),
        ("in_segment('vip', 'x')", "in_segment() is written in_segment('segment')"),
        (
            "in_segment('vip') == True",
            "`in_segment` stands only in conditions (enter and exit), joined by and, or, not",
        ),
        ("has(in_segment('vip'))", "`in_segment` stands only in conditions"),
        ("count(purchase[in_segment('vip')]) > 0", "`in_segment` stands only in conditions"),
        ("in_segment('other')", "segments go round in a circle: other -> other"),
    ],
)
def test_a_mistake_with_a_named_segment_is_named(condition: str, message: str) -> None:
    text = definitions_text({}, {"vip": "count(purchase) > 0", "other": condition})
    with pytest.raises(DefinitionsError) as found:
        parse_definitions(text)
    assert message in str(found.value)


def test_a_trait_names_no_segment() -> None:
    with pytest.raises(DefinitionsError, match="`in_segment` stands only in conditions"):
        parse_definitions(definitions_text({"t": "in_segment('vip')"}, {"vip": "count(purchase) > 0"}))


def test_circles_are_told_with_their_path_all_of_them() -> None:
    ring = {"a": "in_segment('b')", "b": "not in_segment('c')", "c": "in_segment('a') or in_segment('ok')"}
    text = definitions_text({}, ring | {"ok": "count(purchase) > 0", "self": "in_segment('self')"})
    with pytest.raises(DefinitionsError) as found:
        parse_definitions(text)
    assert str(found.value).splitlines() == [
        "definitions:2:10: segments go round in a circle: a -> b -> c -> a",
        "definitions:10:10: segments go round in a circle: self -> self",
    ]


def test_a_segment_with_a_mistake_of_its_own_is_not_unknown_to_those_that_name_it() -> None:
    text = "[segments.vip]\nenter = 5\n[segments.gift]\nenter = \"in_segment('vip')\"\n"
    with pytest.raises(DefinitionsError) as found:
        parse_definitions(text)
    assert str(found.value) == "definitions:2:9: `enter` must be a text in quotes"


def test_each_pace_is_part_of_what_definitions_mean() -> None:
    paces = ({}, {"dwell": "10m"}, {"dwell": "1h"}, {"exit_dwell": "10m"}, {"cooldown": "1d"}, {"sample": 0.1})
    texts = [definitions_text(OPEN, {"vip": {"enter": HELD} | pace}) for pace in paces]
    assert len({parse_definitions(text).fingerprint for text in texts}) == len(paces)
