"""What the reading commands show to a person, without servers: values, times, cards, plain and on a terminal."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from rich.console import Console
from tests.property.shard import DAY, T0, Shard, definitions_text

from profilestream.cli import cards, explaining, people
from profilestream.core.definitions import Definitions
from profilestream.core.engine import Engine
from profilestream.core.events import BUILT_IN
from profilestream.core.explanation import Explanation, at_clock, explain_segments
from profilestream.operations.status import ShardStatus, Status
from profilestream.store.commits import Head
from profilestream.store.metadata import Generation
from profilestream.store.reader import Profile
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.explanations import explanation_object
from profilestream.wire.schemas import schemas

SCHEMAS = schemas(BUILT_IN)
UTC, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")
TEXT = definitions_text(
    {
        "orders": "count(purchase)",
        "spend": "sum(purchase.amount_minor)",
        "last_at": "last(purchase.occurred_at)",
        "seen_at": "last(browsing.occurred_at)",
        "gap": "mean_gap(purchase)",
        "by_channel": "sum(purchase.amount_minor, by=channel)",
    },
    {
        "regular": ("orders >= 2 and not has(seen_at)", "since(last_at) > days(30)"),
        "big": "spend > 1_000_000 or 5 < orders",
        "waiting": "after(last_at, seen_at)",
    },
    timezone="Europe/Berlin",
)
GENERATION = Generation("g1", 4, TEXT, "f00", "2026-01-01T00:00:00.000Z", "live")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (1_234_567, "1,234,567"), (-5, "-5"), (0.25, "0.25"), (1_234.5, "1,234.5"), (3.0, "3"), (1e-9, "1e-09"),
     (1 / 3, "0.3333"), (2.5e20, "2.5e+20"), (10**30, f"{10**30:,}")],
)  # fmt: skip
def test_numbers_have_thousands_separators_and_few_decimals(value: float, expected: str) -> None:
    assert people.number(value) == expected


@pytest.mark.parametrize(
    ("length_ms", "expected"),
    [(0, "0 ms"), (250, "250 ms"), (1_500, "1.5 s"), (60_000, "1 m"), (3_661_000, "1 h 1 m"), (DAY, "1 d"),
     (DAY + 60_000, "1 d"), (30.5 * DAY, "30 d 12 h"), (-DAY, "-1 d"), (4_000 * DAY, "4,000 d")],
)  # fmt: skip
def test_a_duration_is_its_two_greatest_units(length_ms: float, expected: str) -> None:
    assert people.duration(length_ms) == expected


def test_a_time_is_in_the_zone_and_says_how_long_ago_it_is() -> None:
    assert people.value("2026-07-01T10:00:00.000Z", "time", BERLIN) == "2026-07-01 12:00:00 CEST"
    assert (
        people.value("2026-01-01T00:00:00.001Z", "time", UTC, T0 + 1 + DAY) == "2026-01-01 00:00:00.001 UTC (1 d ago)"
    )
    assert people.relative(T0, T0) == "now"
    assert people.relative(T0 + 90_000, T0) == "in 1 m 30 s"
    assert people.moment(253_402_300_799_999, BERLIN) == "beyond the year 9999"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        (True, "true"),
        ("web", "web"),
        ("", '""'),
        (" a", '" a"'),
        ("a\x1b[31m\n\x9b\x7f", r'"a\u001b[31m\n\u009b\u007f"'),
        ([], "none"),
        (["a", 1_000, None, [1, "b"]], 'a, 1,000, null, [1,"b"]'),
        ({"shoes": 12_000, "two words": 1}, "shoes 12,000, two words 1"),
        (list(range(20)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, and 8 more"),
        ("x" * 300, "x" * 200 + "..."),
    ],
)
def test_a_value_is_one_line_that_a_terminal_shows_as_it_is(value: Any, expected: str) -> None:
    assert people.value(value, "json", UTC) == expected


# Cards


def recorded(terminal: bool = False, width: int = 60) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=width, markup=False, highlight=False, soft_wrap=True
    )


def text_of(out: Console) -> str:
    return out.file.getvalue()  # type: ignore[attr-defined, no-any-return]


class Found(NamedTuple):
    customer_id: str
    definitions: Definitions
    clock: int
    traits: dict[str, Any]
    explanations: list[Explanation]


def show_all(out: Console, found: Found) -> None:
    explaining.show_all(out, found.customer_id, found.definitions, found.clock, found.traits, found.explanations)


def explained(clock: int = T0 + 5 * DAY) -> Found:
    definitions = parse_definitions(TEXT)
    engine = Engine(definitions)
    events = [
        {
            "type": "purchase",
            "event_id": f"e{n}",
            "customer_id": "c",
            "occurred_at": T0 + n * DAY,
            "amount_minor": 1_000,
            "channel": "[bold]web",
        }
        for n in range(3)
    ]
    profile = Shard(engine).take_all(events).profiles["c"]
    traits = engine.values(at_clock(engine, profile, clock))
    return Found("c 1", definitions, clock, traits, explain_segments(engine, profile, clock))


def one(name: str, clock: int = T0 + 5 * DAY) -> str:
    found = explained(clock)
    out = recorded()
    out.width = 500
    explaining.show_explanation(
        out, found.customer_id, found.definitions, next(e for e in found.explanations if e.segment == name)
    )
    return text_of(out)


def test_the_headline_says_since_when_and_the_table_what_it_came_to() -> None:
    lines = one("regular").splitlines()
    assert lines[0] == "customer c 1 is in regular since 2026-01-02 01:00:00 CET (4 d ago), crossing 1"
    assert "enter orders >= 2 and not has(seen_at)" in lines
    assert "exit  since(last_at) > days(30)" in lines
    table = [line.split("  ") for line in lines if line.startswith(("enter  ", "exit   "))]
    assert [[cell.strip() for cell in row if cell.strip()] for row in table] == [
        ["enter", "yes", "orders >= 2", "3", "2", "1 above"],
        ["enter", "yes", "not has(seen_at)", "-"],
        ["exit", "no", "since(last_at) > days(30)", "3 d", "30 d", "27 d below", "in 27 d"],
    ]
    assert lines[-3] == "nearest way out: since(last_at) > days(30) (is 3 d, 27 d more would do)"
    assert lines[-2] == (
        "with no event will leave at 2026-02-02 01:00:00.001 CET (in 27 d): since(last_at) > days(30) holds then"
    )
    assert lines[-1] == "at the shard's clock, 2026-01-06 01:00:00 CET"


def test_one_who_never_was_in_and_one_who_left_are_told_apart() -> None:
    out = one("big")
    assert out.startswith("customer c 1 is not in big and never was\n")
    table = [" ".join(line.split()) for line in out.splitlines() if line.startswith("enter  ")]
    assert table == [
        "enter no spend > 1_000_000 3,000 1,000,000 needs 997,001 more",
        "enter no 5 < orders 5 3 needs 3 more",
    ]
    assert "\nnearest way in: 5 < orders (is 3, needs 3 more); or in other ways\n" in out
    left = one("regular", T0 + 60 * DAY)
    assert left.startswith(
        "customer c 1 is not in regular; left at 2026-02-02 01:00:00.001 CET (27 d 23 h ago), crossing 2\n"
    )
    assert "\nfails on: exit, which holds: since(last_at) > days(30) (is 58 d, 28 d too long)\n" in left
    assert "with no event will not enter" in left


def test_all_of_a_customer_is_traits_with_their_definitions_and_segments_with_why() -> None:
    out = recorded()
    show_all(out, explained())
    lines = [" ".join(line.split()) for line in text_of(out).splitlines()]
    assert "spend 3,000 sum(purchase.amount_minor)" in lines
    assert "by_channel [bold]web 3,000 sum(purchase.amount_minor, by=channel)" in lines
    assert "seen_at - last(browsing.occurred_at)" in lines
    assert "gap 1 d mean_gap(purchase)" in lines
    assert "regular yes enter holds: orders >= 2 (is 3); not has(seen_at) (is absent)" in lines
    assert (
        "big no enter does not hold: spend > 1_000_000 (is 3,000, needs 997,001 more); 5 < orders (is 3, needs 3 more)"
        in lines
    )
    reason = "after(last_at, seen_at) (is 2026-01-03 01:00:00 CET against absent)"
    assert f"waiting yes enter holds: {reason}" in lines


def test_definitions_without_segments_or_traits_are_said_to_have_none() -> None:
    definitions = parse_definitions("")
    out = recorded()
    show_all(out, Found("c", definitions, T0, {}, []))
    assert text_of(out).endswith("the definitions have no segments\n")


def test_a_member_that_enter_would_not_let_in_stays_for_want_of_exit() -> None:
    found = explained().explanations[0]
    segment = explained().definitions.segments[0]
    stays = explaining.why(replace(found, enters=False), segment, BERLIN)
    assert stays == "stays, as exit does not hold: since(last_at) > days(30) (is 3 d, 27 d more would do)"


def test_the_public_object_has_exactly_the_fields_of_the_contract() -> None:
    found = explanation_object("c 1", explained().explanations[0])
    jsonschema.validate(found, SCHEMAS["explain.json"])
    keys = ("customer_id", "segment", "member", "crossing", "since", "conditions", "changes_at")
    assert list(found)[:7] == list(keys)
    conditions = [{key: c[key] for key in ("text", "holds", "value", "threshold")} for c in found["conditions"]]
    assert {key: found[key] for key in keys} | {"conditions": conditions} == {
        "customer_id": "c 1",
        "segment": "regular",
        "member": True,
        "crossing": 1,
        "since": "2026-01-02T00:00:00.000Z",
        "conditions": [
            {"text": "orders >= 2", "holds": True, "value": 3, "threshold": 2},
            {"text": "has(seen_at)", "holds": False, "value": None, "threshold": None},
            {"text": "since(last_at) > days(30)", "holds": False, "value": 3 * DAY, "threshold": 30 * DAY},
        ],
        "changes_at": "2026-02-02T00:00:00.001Z",
    }


def test_the_public_object_says_besides_what_the_answer_hangs_on() -> None:
    found = explanation_object("c 1", explained().explanations[0])
    assert found["changes_by"] == ["since(last_at) > days(30)"] and found["looked_until"] is None
    rest = [
        {k: v for k, v in c.items() if k not in ("text", "holds", "value", "threshold")} for c in found["conditions"]
    ]
    assert rest == [
        {
            "part": "enter", "negated": False, "decides": False, "changes_at": None, "distance": 1,
            "step": {"by": -2, "beyond": False},
        },
        {
            "part": "enter", "negated": True, "decides": False, "changes_at": None, "given_by": ["browsing events"],
        },
        {
            "part": "exit", "negated": False, "decides": True, "changes_at": "2026-02-02T00:00:00.001Z",
            "distance": -27 * DAY, "step": {"by": 27 * DAY + 1, "beyond": False},
        },
    ]  # fmt: skip


PROFILE = Profile(
    customer_id="x" * 150,
    generation="g1",
    shard=3,
    revision=1_234,
    as_of="2026-01-03T00:00:00.000Z",
    event_time="2026-01-02T23:00:00.000Z",
    valid_until=None,
    traits={"orders": 3, "last_at": "2026-01-01T00:00:00.000Z"},
    segments={"regular": {"since": "2026-01-02T00:00:00.000Z", "crossing": 1}},
)


def test_a_profile_is_a_card_and_a_long_id_stays_whole() -> None:
    out = recorded(width=40)
    cards.show_profile(out, PROFILE, parse_definitions(TEXT))
    lines = text_of(out).splitlines()
    assert lines[0] == f"customer {'x' * 150}"
    flat = [" ".join(line.split()) for line in lines]
    assert "events 1,234" in flat
    assert "newest event 2026-01-03 00:00:00 CET (1 h ago)" in flat
    assert "valid until the next event" in flat
    assert "last_at 2026-01-01 01:00:00 CET (2 d ago)" in flat
    assert "spend -" in flat
    assert "regular since 2026-01-02 01:00:00 CET (1 d ago), crossing 1" in flat
    nowhere = recorded()
    cards.show_profile(nowhere, replace(PROFILE, segments={}), parse_definitions(TEXT))
    assert text_of(nowhere).rstrip().endswith("in none")


def test_only_a_terminal_gets_colours_and_signs() -> None:
    plain, coloured = recorded(), recorded(terminal=True, width=200)
    for out in (plain, coloured):
        show_all(out, explained())
    assert "\x1b" not in text_of(plain) and "✓" not in text_of(plain)
    assert "\x1b[32m✓" in text_of(coloured)


# Status


def status(shards: int, **fields: Any) -> Status:
    found = [
        ShardStatus(n, Head(clock=T0 + n * DAY), n, 2 * n, T0 if n else None, {"purchases": n}) for n in range(shards)
    ]
    return Status("ps", GENERATION, found, "redis://h:1", "7.2.0", 3 * 1024**2, "h:2", **fields)


def lines_of(found: Status) -> list[str]:
    out = recorded()
    cards.show_status(out, found)
    return [" ".join(line.split()) for line in text_of(out).splitlines()]


def test_status_says_what_waits_where() -> None:
    lines = lines_of(status(4, forwarded={"browsing": 5}, dead_letters=7))
    assert "redis redis://h:1, 7.2.0, 3.0 MiB used" in lines
    assert "clock 2026-01-04 00:00:00 UTC; the shard furthest behind by 3 d" in lines
    assert "lag 11 records (purchases 6, browsing 5)" in lines
    assert "outbox 6 changes to announce" in lines
    assert "dead letters 7" in lines
    assert lines[-1] == "3 2026-01-04 00:00:00 UTC 3 3 6 2026-01-01 00:00:00 UTC"


def test_status_asks_about_a_former_generation_whose_time_is_over() -> None:
    former = Generation("g0", 2, "", "f", "2026", "kept", kept_until="2026-01-02T00:00:00.000Z")
    (line,) = [line for line in lines_of(status(2, over=(former,))) if line.startswith("past")]
    assert "g0 was kept in step until 2026-01-02T00:00:00.000Z: `profilestream drop g0`" in line


def test_status_without_kafka_says_so_and_goes_on() -> None:
    lines = lines_of(status(2, kafka_problem="Kafka at h:2 does not answer"))
    assert "kafka Kafka at h:2 does not answer" in lines
    assert "lag unknown while Kafka does not answer" in lines
    assert lines[-1] == "1 2026-01-02 00:00:00 UTC unknown 1 2 2026-01-01 00:00:00 UTC"


def test_of_many_shards_those_with_most_waiting_are_shown() -> None:
    lines = lines_of(status(40))
    assert lines[-1] == "the 32 shards with most waiting of 40; --json has all"
    assert sum(line.startswith("39 ") for line in lines) == 1
    assert not any(line.startswith("0 2026") for line in lines)


def test_topics_that_are_not_there_point_to_init() -> None:
    lines = lines_of(status(1, missing_topics=("purchases", "rekeyed")))
    assert "no topic purchases, rekeyed; run `profilestream init`" in lines


def test_a_shard_before_its_first_event_has_no_clock() -> None:
    found = status(1)
    found.shards[0].head.clock = None
    assert "clock no shard has had an event" in lines_of(found)
    assert lines_of(found)[-1].startswith("0 no event yet")
