"""How a plan is applied: from where the new generation is made, what it does not know, and what is refused."""

from __future__ import annotations

import asyncio
import io
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.property.shard import DAY, T0
from tests.unit.test_planning import AFTER, BEFORE, GENERATION, plan_of, reach_of

from profilestream.cli.applying import _can_be_asked, _goes_on
from profilestream.core.errors import LogMismatch, ProfilestreamError, ServerUnavailable
from profilestream.operations import apply as operation
from profilestream.operations.apply import Choice, check_history, effort, wish_of
from profilestream.operations.plan import Plan
from profilestream.operations.reach import FORWARDED
from profilestream.operations.replay import Replay
from profilestream.settings import Settings
from profilestream.store.commits import Carriage, Head

CHANGED = BEFORE.replace("sum(purchase.amount_minor)", "sum(purchase[kind == 'order'].amount_minor)")
RAISED = BEFORE.replace("50_000", "60_000")
SINCE = "2026-01-05T00:00:00.000Z"


def cut(**fields: Any) -> Any:
    return reach_of("purchases", "purchase", **({"gone": 1, "gone_ms": T0 + DAY} | fields))


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation.time, "time_ns", lambda: (T0 + 9 * DAY) * 1_000_000)


def live_with(plan: Plan, **since: str) -> Plan:
    return replace(plan, live=replace(GENERATION, complete_since=since))


def test_what_needs_no_log_begins_where_the_live_shards_stand() -> None:
    plan = plan_of(RAISED)
    wish = wish_of(plan, Choice())
    assert (wish.start, wish.method, wish.only, wish.complete_since) == ({"from": "live"}, "carry", {}, {})
    assert effort(plan.changes, Choice()) == "everything from the live profiles"


def test_what_needs_the_log_is_folded_from_its_beginning_unless_it_is_to_begin_now() -> None:
    plan = plan_of(AFTER)
    assert wish_of(plan, Choice()).start == {"from": "beginning"}
    assert wish_of(plan, Choice()).complete_since == {}
    assert effort(plan.changes, Choice()) == "2 aggregates from the log, all else from the live profiles"
    now = wish_of(plan, Choice(from_now=True))
    assert now.start == {"from": "live"}
    assert now.complete_since == {"views_7d": "2026-01-10T00:00:00.000Z", "best": "2026-01-10T00:00:00.000Z"}
    assert "what is new empty from now on" in effort(plan.changes, Choice(from_now=True))


@pytest.mark.parametrize(
    ("reach", "since"),
    [
        (cut(), "2026-01-02T00:00:00.000Z"),
        (cut(gone_ms=None), "2026-01-10T00:00:00.000Z"),
        (cut(gone=0, compacted=True), "2026-01-10T00:00:00.000Z"),
        (cut(gone=0, gone_ms=None), None),
        (reach_of("rekeyed", FORWARDED, gone=1, gone_ms=T0), "2026-01-01T00:00:00.000Z"),
        (reach_of("support", "support", gone=1, gone_ms=T0), None),
    ],
)
def test_a_new_trait_of_a_cut_log_knows_what_is_left_of_it(reach: Any, since: str | None) -> None:
    wish = wish_of(plan_of(AFTER, reaches=(reach,)), Choice())
    assert wish.complete_since.get("best") == since


def test_a_shorter_window_than_the_log_reaches_back_is_whole_and_refused_nobody() -> None:
    month, week = (BEFORE.replace("amount_minor)", f"amount_minor, over='{n}d')") for n in (30, 7))
    for clock, since in ((T0 + 2 * DAY, {"spend": "2026-01-02T00:00:00.000Z"}), (T0 + 9 * DAY, {})):
        plan = plan_of(week, reaches=(cut(),), before=month, clock=clock)
        assert wish_of(plan, Choice()).complete_since == since
        if since:
            with pytest.raises(ProfilestreamError, match="spend, big: cannot be folded again"):
                check_history(plan, Choice())
        else:
            check_history(plan, Choice())


def test_what_the_live_generation_does_not_know_goes_on_being_unknown() -> None:
    kept = wish_of(live_with(plan_of(RAISED), spend=SINCE, gone=SINCE), Choice())
    assert kept.complete_since == {"spend": SINCE}
    refolded = wish_of(live_with(plan_of(CHANGED), spend=SINCE), Choice())
    assert refolded.complete_since == {}  # the log has all of it


def test_losing_what_the_live_generation_knows_has_to_be_allowed() -> None:
    plan = plan_of(CHANGED, reaches=(cut(),))
    with pytest.raises(ProfilestreamError, match=r"spend, big: cannot be folded again: .* --allow-history-loss"):
        check_history(plan, Choice())
    check_history(plan, Choice(allow_history_loss=True))
    whole = plan_of(CHANGED)
    check_history(whole, Choice())
    with pytest.raises(ProfilestreamError, match="spend, big: would begin empty now"):
        check_history(whole, Choice(from_now=True))
    check_history(plan_of(AFTER, reaches=(cut(),)), Choice())  # all of it is new
    check_history(plan_of(AFTER), Choice(from_now=True))


async def test_a_topic_that_only_the_new_definitions_read_is_waited_for_up_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, live = {"purchases": 7}, {"purchases": 9}

    async def heads(*where: Any) -> dict[int, Head]:
        return {0: Head(commit="c", positions=own, carried=Carriage(done=True))}

    async def positions(*where: Any) -> dict[int, dict[str, int]]:
        return {0: live}

    monkeypatch.setattr(operation, "read_heads", heads)
    monkeypatch.setattr(operation, "read_positions", positions)
    bounds = {("reviews", 0): (100, 150), ("purchases", 0): (0, 20)}
    client: Any = None
    for at, left in (({}, 52), ({"reviews": 149}, 3), ({"reviews": 160, "purchases": 9}, 0)):
        own.update(at)
        assert await operation._behind(Settings(), client, GENERATION, GENERATION, bounds) == (0, left)


async def test_a_lost_server_is_waited_for_while_a_generation_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [(0, 0), ServerUnavailable("Redis is away")]

    async def behind(*where: Any) -> tuple[int, int]:
        if isinstance(answer := answers.pop(), Exception):
            raise answer
        return answer

    monkeypatch.setattr(operation, "_behind", behind)
    settings = Settings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1/0")
    apply = operation.Apply(settings, plan_of(RAISED), Choice(), lambda: True, print)
    working: Any = SimpleNamespace(done=lambda: False)
    replay: Any = SimpleNamespace(bounds={}, live_name="g1")
    await apply._until_level(replace(GENERATION, name="g2", base="g1"), replay, working)
    assert not answers
    replay.live_name, answers = "g3", [(1, 0)]
    with pytest.raises(ProfilestreamError, match="generation g3 has become live meanwhile"):
        await apply._until_level(replace(GENERATION, name="g2", base="g1"), replay, working)


async def test_what_breaks_off_its_own_work_ends_an_apply_that_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    async def for_ever(*_: Any) -> float:
        return await asyncio.Event().wait() or 0.0

    async def broken() -> None:
        raise LogMismatch("shard 3 cannot go on")

    async def left_to_workers() -> None:
        apply.stop()  # somebody asks for it once workers have it: that they have it ends nothing

    monkeypatch.setattr(operation, "watch", for_ever)
    settings = Settings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1")
    apply = operation.Apply(settings, plan_of(RAISED), Choice(), lambda: True, print)
    async with asyncio.timeout(5):
        with pytest.raises(LogMismatch, match="shard 3"):
            await apply._until_reconciled(GENERATION, asyncio.create_task(broken()))
        with pytest.raises(ProfilestreamError, match=r"g1 is live, and workers reconcile what is left"):
            await apply._until_reconciled(GENERATION, asyncio.create_task(left_to_workers()))


async def test_a_replay_looks_again_where_redis_does_not_say_how_far_it_is() -> None:
    replay = Replay(Settings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1/0"), "g2", print)
    work: Any = SimpleNamespace()
    replay._worker.works["g2"] = work
    replay._looked_s -= 60
    await replay._look()
    with pytest.raises(ServerUnavailable):
        await replay._look_around(time.monotonic())


def test_where_nobody_can_be_asked_the_answer_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert not _goes_on("what differs is announced")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert _goes_on("what differs is announced")


@pytest.mark.parametrize(("stdin", "expected"), [("< /dev/null", "False"), ("<&-", "False"), ("< shop.toml", "True")])
def test_whether_anybody_can_be_asked_is_known_before_a_log_is_folded(
    stdin: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.toml").write_text("y")
    code = "from profilestream.cli.applying import _can_be_asked; print(_can_be_asked())"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {stdin}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
    monkeypatch.setattr("sys.stdin", io.StringIO("y"))
    assert _can_be_asked()
