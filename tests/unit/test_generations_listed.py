"""Generations as they are listed and dropped, without servers."""

from __future__ import annotations

import pytest

from profilestream.cli.generations import _complete, _made, _state
from profilestream.core.errors import UsageError
from profilestream.operations.drop import _mark, _take_away
from profilestream.operations.generations import Listed, in_order, listed_object, state_of
from profilestream.operations.status import ShardStatus, Status
from profilestream.store.commits import Head
from profilestream.store.metadata import Generation
from profilestream.stream.generations import Generations, Live

DAY = 86_400_000


def generation(name: str, state: str = "kept", created: str = "2026-01-01T00:00:00.000Z", **more: object) -> Generation:
    return Generation(name, 1, "", "abc", created, state, **more)  # type: ignore[arg-type]


def listed(one: Generation, state: str = "kept", **head: object) -> Listed:
    shard = ShardStatus(0, Head(**head), 0, 0, None, {"purchases": 3})  # type: ignore[arg-type]
    status = Status("ps", one, [shard], "redis", None, None, "kafka")
    return Listed(one, state, 7, status, 1_767_225_600_000 + 2 * DAY)


KNOWN = Generations(
    {
        "g1": generation("g1", "live"),
        "g2": generation("g2", "live", "2026-01-02T00:00:00.000Z"),
        "g3": generation("g3", "building", "2026-01-03T00:00:00.000Z"),
    },
    Live("g2", 2),
)


def test_the_live_one_comes_first_and_then_the_newest() -> None:
    assert [g.name for g in in_order(KNOWN)] == ["g2", "g3", "g1"]
    assert [state_of(KNOWN, g) for g in in_order(KNOWN)] == ["live", "building", "kept"]


def test_a_listed_generation_tells_lag_age_and_what_it_does_not_know() -> None:
    one = listed(generation("g2"), clock=5, starts={"purchases": 9})
    told = listed_object(one)
    assert (told["lag"], told["age_ms"], told["late_topics"]) == (3, 2 * DAY, ["purchases"])
    assert told["clock"] == "1970-01-01T00:00:00.005Z"
    assert _complete(one) == "since the log began (purchases)"
    assert _complete(listed(generation("g2"))) == "since the beginning"


def test_what_is_not_complete_is_shown_by_some_traits() -> None:
    since = {f"t{n}": f"2026-01-0{n + 1}T00:00:00.000Z" for n in range(5)}
    shown = _complete(listed(generation("g2", complete_since=since)))
    assert shown.startswith("but t0 since 2026-01-01T00:00:00.000Z, ") and shown.endswith("and 2 more")
    alike = dict.fromkeys(since, "2026-01-01T00:00:00.000Z")
    shown = _complete(listed(generation("g2", complete_since=alike)))
    assert shown == "since 2026-01-01T00:00:00.000Z, 5 traits"


def test_how_it_was_made_and_for_how_long_it_is_kept_are_shown() -> None:
    assert _made(listed(generation("g2"))) == "from the log"
    assert _made(listed(generation("g2", start={"from": "2026-01-01"}))) == "from the log since 2026-01-01"
    assert _made(listed(generation("g2", method="carry", base="g1"))) == "carried from g1"
    now, later = "2026-01-03T00:00:00.000Z", "2026-01-04T00:00:00.000Z"
    assert _state(listed(generation("g2", kept_until=later))) == f"kept until {later}"
    assert _state(listed(generation("g2", kept_until=now))) == f"kept until {now}, past"
    assert _state(listed(generation("g2", only={"shards": [1]}), "building")) == "building, a trial"
    assert _state(listed(generation("g2"), "live", repair=True)) == "live, 1 shard silent"


def test_the_live_one_is_neither_marked_nor_taken_away() -> None:
    for decide in (_mark, _take_away):
        with pytest.raises(UsageError, match="g2 is live"):
            decide(KNOWN, "g2")
    written, live = _mark(KNOWN, "g1")
    marked = written["g1"]
    assert marked is not None and marked.state == "dropping" and live is None
    assert _take_away(KNOWN, "g1") == ({"g1": None}, None)
