"""What a plan says, shows and saves, without servers: reach, examples, cards, JSON, and a plan that is stale."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console
from tests.property.shard import DAY, T0

from profilestream.cli.plan_cards import show_plan
from profilestream.core.changes_between import changes_between
from profilestream.core.errors import ProfilestreamError, UsageError
from profilestream.core.events import BUILT_IN
from profilestream.operations import plan as planning
from profilestream.operations.costs import Estimate
from profilestream.operations.plan import Plan
from profilestream.operations.plan_files import check_current, is_plan, plan_object, read_plan, save
from profilestream.operations.reach import FORWARDED, Reach, incomplete
from profilestream.operations.sweep import EXAMPLES, Outcome, Sweep
from profilestream.settings import Settings
from profilestream.store.metadata import Generation
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.schemas import schemas

SCHEMA = schemas(BUILT_IN)["plan.json"]
BEFORE = """
[traits]
orders = "count(purchase)"
spend = "sum(purchase.amount_minor)"

[segments.big]
description = "Spends a lot"
enter = "spend >= 50_000"

[segments.old]
enter = "orders >= 3"
"""
AFTER = """
[traits]
orders = "count(purchase)"
spend = "sum( purchase.amount_minor )"
rich = "spend / orders"
views_7d = "count(browsing, over='7d')"
best = "max(purchase.amount_minor)"

[segments.big]
description = "Spends a lot"
enter = "spend >= 60_000"
dwell = "1h"

[segments.viewing]
enter = "views_7d > 3"
"""
GENERATION = Generation("g1", 4, BEFORE, parse_definitions(BEFORE).fingerprint, "2026-01-01T00:00:00.000Z", "live")
ESTIMATE = Estimate(1_000_000, 41_234.5, 2_000, 3 * 1024**2, 4 * 1024**2, 1024**2)


def plan_of(
    after: str = AFTER, reaches: tuple[Reach, ...] = (), before: str = BEFORE, clock: int | None = None, **fields: Any
) -> Plan:
    changes = changes_between(parse_definitions(before), parse_definitions(after))
    outcomes = {
        "big": Outcome(members=120, entering=2, leaving=7, waiting=3, enter_examples=["c1", "c2"],
                       leave_examples=["a", "b", "c", "d", "e"]),
        "viewing": Outcome(told=False),
        "old": Outcome(members=4, leaving=4, leave_examples=["x\n"]),
    }  # fmt: skip
    moved = {c.name: outcomes[c.name] for c in changes.segments if c.moves}
    swept = Sweep(moved, 2_000, {0: T0, 3: T0 + DAY}, 12.512) if moved else Sweep()
    lacking = tuple(incomplete(changes, reaches, 300_000, {}, clock))
    return Plan("ps", GENERATION, changes, swept, reaches, lacking, replace(ESTIMATE, **fields), T0)


def shown(plan: Plan, saved: Path | None = None) -> str:
    text = io.StringIO()
    out = Console(file=text, markup=False, highlight=False, emoji=False, soft_wrap=True, width=200)
    show_plan(out, plan, Path("shop.toml"), saved)
    return text.getvalue()


# What the log has


def reach_of(topic: str, type_name: str, **fields: Any) -> Reach:
    return Reach(topic, type_name, **({"records": 10, "begins_ms": T0} | fields))


@pytest.mark.parametrize(
    ("reaches", "expected"),
    [
        ((reach_of("purchases", "purchase"), reach_of("browsing", "browsing")), {}),
        ((reach_of("browsing", "browsing", gone=5, gone_ms=T0),),
         {"views_7d": T0 + 300_000 + 7 * DAY, "viewing": T0 + 300_000 + 7 * DAY}),
        ((reach_of("browsing", "browsing", gone=5, gone_ms=None),), {"views_7d": None, "viewing": None}),
        ((reach_of("browsing", "browsing", compacted=True),), {"views_7d": None, "viewing": None}),
        ((reach_of("browsing", "browsing", made_anew=True, gone_ms=T0),), {"views_7d": None, "viewing": None}),
        ((reach_of("purchases", "purchase", gone=1, gone_ms=T0),), {"best": None}),
        ((reach_of("rekeyed", FORWARDED, gone=1, gone_ms=T0),),
         {"views_7d": T0 + 300_000 + 7 * DAY, "best": None, "viewing": T0 + 300_000 + 7 * DAY}),
        ((reach_of("support", "support", gone=1, gone_ms=T0),), {}),
        ((reach_of("browsing", "browsing", gone=5, gone_ms=T0),
          reach_of("views", "browsing", gone=1, gone_ms=T0 + DAY)),
         {"views_7d": T0 + 300_000 + 8 * DAY, "viewing": T0 + 300_000 + 8 * DAY}),
    ],
)  # fmt: skip
def test_what_the_log_no_longer_has_makes_incomplete_what_needs_it(
    reaches: tuple[Reach, ...], expected: dict[str, int | None]
) -> None:
    found = plan_of(reaches=reaches).incomplete
    assert {one.name: one.since for one in found} == expected
    assert not any(one.lost for one in found)  # all of them are new


def test_a_trait_that_is_folded_anew_from_less_than_it_came_from_loses_history() -> None:
    changed = BEFORE.replace("sum(purchase.amount_minor)", "sum(purchase[kind == 'order'].amount_minor)")
    found = incomplete(
        changes_between(parse_definitions(BEFORE), parse_definitions(changed)),
        [reach_of("purchases", "purchase", gone=1, gone_ms=T0)],
        300_000,
        {},
    )
    assert [(one.name, one.is_trait, one.since, one.lost) for one in found] == [
        ("spend", True, None, True), ("big", False, None, True)
    ]  # fmt: skip


def test_what_is_made_of_an_incomplete_trait_is_incomplete_and_losing_less_than_that_is_no_loss() -> None:
    since = "2026-01-05T00:00:00.000Z"
    after = BEFORE.replace("[segments.big]", 'rich = "spend / orders"\n[segments.big]').replace("50_000", "60_000")
    changes = changes_between(parse_definitions(BEFORE), parse_definitions(after))
    found = incomplete(changes, [], 0, {"spend": since})
    assert [(one.name, one.since, one.lost, one.inherited) for one in found] == [
        ("rich", T0 + 4 * DAY, False, True), ("big", T0 + 4 * DAY, False, True)
    ]  # fmt: skip
    both = BEFORE.replace("[segments.big]", 'total = "sum(purchase.amount_minor)"\n[segments.big]', 1)
    changes = changes_between(parse_definitions(both), parse_definitions(both.replace("50_000", "60_000")))
    assert incomplete(changes, [], 0, {"spend": since}) == []  # `total` is whole, and is the same
    windowed = BEFORE.replace("sum(purchase.amount_minor)", "sum(purchase.amount_minor, over='30d')")
    shorter = windowed.replace("30d", "1d")
    changes = changes_between(parse_definitions(windowed), parse_definitions(shorter))
    cut = [reach_of("purchases", "purchase", gone=1, gone_ms=T0)]
    assert [one.lost for one in incomplete(changes, cut, 0, {})] == [True, True]
    assert [one.lost for one in incomplete(changes, cut, 0, {"spend": since})] == [False, True]


def test_a_window_that_lies_behind_what_is_gone_is_whole_and_loses_nothing() -> None:
    windowed = BEFORE.replace("sum(purchase.amount_minor)", "sum(purchase.amount_minor, over='30d')")
    changes = changes_between(parse_definitions(windowed), parse_definitions(windowed.replace("30d", "7d")))
    cut = [reach_of("purchases", "purchase", gone=1, gone_ms=T0)]
    at = T0 + 300_000 + 7 * DAY
    assert [(one.name, one.lost) for one in incomplete(changes, cut, 300_000, {}, at - 1)] == [
        ("spend", True), ("big", True)
    ]  # fmt: skip
    assert incomplete(changes, cut, 300_000, {}, at) == []
    unknown = [reach_of("purchases", "purchase", gone=1, gone_ms=None)]
    assert len(incomplete(changes, unknown, 300_000, {}, at + 1_000 * DAY)) == 2


# Who moves


def test_examples_are_those_whose_ids_come_first_in_whatever_order_they_are_found() -> None:
    outcome = Outcome()
    for number in range(99, -1, -7):
        outcome.cross(f"c{number:02d}", True)
    outcome.cross("z", False)
    assert (outcome.entering, outcome.leaving) == (15, 1)
    assert outcome.enter_examples == ["c01", "c08", "c15", "c22", "c29"]
    assert len(outcome.enter_examples) == EXAMPLES
    assert outcome.leave_examples == ["z"]


# What is shown


def test_a_person_sees_what_changes_who_moves_and_what_it_takes() -> None:
    reaches = (reach_of("browsing", "browsing", gone=5, gone_ms=T0), reach_of("support", "support", missing=True))
    assert shown(plan_of(reaches=reaches), Path("plan.json")).splitlines() == [
        f"generation g1 ({GENERATION.fingerprint}) and shop.toml ({parse_definitions(AFTER).fingerprint})",
        "",
        "traits",
        "  + rich      spend / orders              from what profiles hold",
        "  + views_7d  count(browsing, over='7d')  from the log",
        "  + best      max(purchase.amount_minor)  from the log",
        "",
        "segments",
        "  ~ big  120 members: 2 would enter, 7 leave, 115 members then; 3 more would wait to cross",
        "       enter   spend >= 60_000",
        "       was     spend >= 50_000",
        "       dwell   1h",
        "       was     (none)",
        "       enters  c1, c2",
        "       leaves  a, b, c, d, e and 2 more",
        "  + viewing  new; who moves is known when the log is folded",
        "       enter  views_7d > 3",
        "       needs  what only the log has",
        "  - old  removed: 4 members would leave",
        '       leaves  "x\\n" and 3 more',
        "",
        "1 definition the same in other words",
        "looked at 2,000 profiles in 12.5 s, at their shards' clocks (2026-01-02 00:00:00 UTC the latest)",
        "",
        "the log",
        "  topic     records  first arrived",
        "  browsing       10  2026-01-01 00:00:00 UTC  5 before that are gone",
        "  support        10  2026-01-01 00:00:00 UTC  is not there",
        "  views_7d: the log no longer has all that it needs; whole from 2026-01-08 00:05:00 UTC on",
        "  viewing: the log no longer has all that it needs; whole from 2026-01-08 00:05:00 UTC on",
        "",
        "what it takes",
        "  a replay of 1,000,000 records into a new generation, beside the live one",
        "  time: at least 24 s (an estimate: one process folds about 41,000 records a second here; Redis and Kafka "
        "come on top)",
        "  memory: about 4 MiB in Redis, beside 3 MiB of the live generation (an estimate, from a sample)",
        "  Redis has only 1 MiB left below its maxmemory; raise it first",
        "",
        "saved in plan.json",
    ]


def test_the_same_file_and_the_same_meaning_are_told_in_two_lines() -> None:
    assert shown(plan_of(BEFORE)).splitlines()[1:] == ["nothing changes: the same file"]
    same = BEFORE.replace("count(purchase)", "count( purchase )")
    assert shown(plan_of(same)).splitlines()[1:] == ["nothing changes: the same in other words"]
    assert plan_of(same).method == "none"


def test_a_change_that_only_a_ground_makes_says_which() -> None:
    found = shown(plan_of('[settings]\ncurrency = "EUR"\n' + BEFORE.replace("description", "#")))
    assert "  ~ spend   sum(purchase.amount_minor)  from the log\n            another currency\n" in found
    assert "\nanother currency\n" in found


def test_a_threshold_alone_needs_no_log() -> None:
    plan = plan_of(BEFORE.replace("spend >= 50_000", "spend >= 60_000"), records=0)
    assert plan.method == "sweep"
    assert "a walk over 2,000 profiles; the log is not needed" in shown(plan)
    assert "the log\n" not in shown(plan)


def test_of_very_many_changes_the_first_are_shown_and_how_many_more_there_are() -> None:
    many = "".join(f'[segments.s{n}]\nenter = "orders > {n}"\n' for n in range(60))
    changes = changes_between(parse_definitions(BEFORE), parse_definitions(BEFORE + many))
    outcomes = {c.name: Outcome() for c in changes.segments}
    plan = replace(plan_of(BEFORE), changes=changes, sweep=Sweep(outcomes))
    assert "  and 10 more; --json has all" in shown(plan)
    assert len(plan_object(plan)["segments"]) == 60


# What is saved


@pytest.mark.parametrize("after", [AFTER, BEFORE])
def test_a_plan_is_as_its_schema_says(after: str) -> None:
    plan = plan_of(after, reaches=(reach_of("browsing", "browsing", gone=5, gone_ms=T0), Reach("rekeyed", FORWARDED)))
    found = json.loads(json.dumps(plan_object(plan)))
    jsonschema.validate(found, SCHEMA)
    crossings = [{"customer_id": "c1", "segment": "big", "change": "entered"}]
    jsonschema.validate(found | {"crossings": crossings}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found | {"more": 1}, SCHEMA)


def test_a_saved_plan_is_read_back_and_is_refused_once_something_else_is_live(tmp_path: Path) -> None:
    path, definitions = tmp_path / "plan.json", tmp_path / "shop.toml"
    definitions.write_text(AFTER)
    save(plan_of(), path)
    assert is_plan(path) and not is_plan(definitions) and not is_plan(tmp_path / "nothing")
    saved = read_plan(path)
    assert (saved.namespace, saved.generation, saved.method) == ("ps", "g1", "replay")
    assert saved.definitions.text == AFTER
    check_current(saved, "ps", GENERATION)
    for namespace, live in (
        ("other", GENERATION),
        ("ps", replace(GENERATION, name="g2")),
        ("ps", replace(GENERATION, fingerprint="0123456789ab")),
    ):
        with pytest.raises(ProfilestreamError, match=r"othing was done|namespace `ps`, not `other`"):
            check_current(saved, namespace, live)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda text: text[:100], "no plan; make one with `profilestream plan FILE --out plan.json`"),
        (lambda text: "[" * 100_000, "no plan"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "another version"),
        (lambda text: text.replace("views_7d > 3", "views_7d > 4"), "altered by hand"),
        (lambda text: text.replace("views_7d > 3", "nothing > 4"), "do not stand"),
    ],
)
def test_what_is_no_plan_or_was_altered_is_refused(tmp_path: Path, edit: Any, message: str) -> None:
    path = tmp_path / "plan.json"
    save(plan_of(), path)
    path.write_text(edit(path.read_text()))
    with pytest.raises(UsageError, match=message):
        read_plan(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_plan(tmp_path / "gone.json")
    with pytest.raises(UsageError, match="cannot be written"):
        save(plan_of(), tmp_path / "no" / "plan.json")


async def test_a_stale_plan_is_refused_before_every_profile_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    async def live(settings: Any) -> Any:
        return GENERATION, None, {}

    async def log(*where: Any) -> Any:
        raise AssertionError("the log is looked at")

    def check(generation: Any) -> None:
        raise ProfilestreamError(f"by now {generation.name} is live")

    monkeypatch.setattr(planning, "_live", live)
    monkeypatch.setattr(planning, "read_reach", log)
    settings = Settings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1/0")
    with pytest.raises(ProfilestreamError, match="by now g1 is live"):
        await planning.make_plan(settings, parse_definitions(AFTER), check=check)
