"""Who is live, who is silent, and what follows from it: records, roles, limits, rates."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from profilestream import roles
from profilestream.cli.replaying import _numbers, _only, _rate, _start
from profilestream.core.engine import Engine
from profilestream.core.errors import LogMismatch, NotFound, UsageError
from profilestream.operations import replay as replaying
from profilestream.operations.promote import changed_by
from profilestream.pace import Pace
from profilestream.repair import Superseded, needs_turn
from profilestream.roles import role_of
from profilestream.settings import Settings
from profilestream.store.keys import Keys
from profilestream.store.metadata import Generation, _fields, parse_generation
from profilestream.store.profile_writes import ProfileWriter
from profilestream.stream.announcer import AnnouncedPosition
from profilestream.stream.generations import Generations, Live
from profilestream.stream.slices import Inbox, Slice
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import decode_state, encode_state

TEXT = """
[traits]
orders = "count(purchase)"
[segments.buyer]
enter = "orders >= 1"
[segments.regular]
enter = "orders >= 2"
"""
SHOPS = '\n[sources.shop]\ntopic = "shop.orders"\ntype = "purchase"\nmap = { amount_minor = "total" }\n'
G1 = Generation("g1", 4, TEXT, "f1", "2026-01-01T00:00:00.000Z", "live")


def record(key: str, value: Any, offset: int = 0) -> Any:
    encoded = None if value is None else value if isinstance(value, bytes) else msgspec.json.encode(value)
    return SimpleNamespace(key=key.encode(), value=encoded, offset=offset)


def read(*records: Any) -> Generations:
    found = Generations()
    for one in records:
        found = found.with_record("ps", "generations", one)
    return found


def slices(topic: str, offsets: range) -> Slice:
    records = [
        SimpleNamespace(topic=topic, partition=0, offset=n, timestamp=n, key=b"", value=b"", headers=())
        for n in offsets
    ]
    return Slice(topic, 0, offsets.start, records)


def taken(inbox: Inbox) -> list[int]:
    found = []
    while (one := inbox.take()) is not None:
        found.append(one.offset)
    return found


def test_records_without_the_later_fields_read_and_are_of_the_first_turn() -> None:
    old = {"name": "g1", "shards": 4, "definitions": TEXT, "fingerprint": "f1", "created_at": "2026", "state": "live"}
    known = read(record("ps/g1", old), record("ps/live", b'{"name":"g1"}'))
    assert known.live is not None and (known.live.turn, known.turn) == (1, 1)
    assert (known.live.method, known.live.start, known.live.only) == ("replay", {"from": "beginning"}, {})
    meta: Any = {name: str(old[name]) for name in old if name != "name"}
    assert parse_generation(Keys("ps", "g1"), meta).turn == 0


def test_a_generation_comes_back_from_redis_as_it_was() -> None:
    only, start = {"shards": [0, 3]}, {"offsets": {"purchases": {"0": 12}}}
    made = Generation("g7", 4, TEXT, "f", "2026", "kept", "g1", "carry", start, only, {"x": "2026"}, "none", "2027", 9)
    stored: Any = {name: value if isinstance(value, bytes) else str(value) for name, value in _fields(made).items()}
    assert parse_generation(Keys("ps", "g7"), stored) == made


def test_a_number_is_never_given_twice_though_its_generation_was_dropped() -> None:
    known = read(record("ps/g1", G1), record("ps/g12", G1), record("ps/g12", None), record("ps/g4/topics/x", b"1"))
    assert (set(known.by_name), known.last_number) == ({"g1"}, 12)
    assert read(record("ps/g1", G1), record("ps/g9/topics/purchases", b"1"), record("other/g20", G1)).last_number == 9


def test_the_live_generation_forwards_all_strays_and_a_silent_one_those_of_topics_that_nobody_else_reads() -> None:
    g2 = Generation("g2", 4, TEXT + SHOPS, "f2", "2026", "building")
    known = Generations({"g1": G1, "g2": g2}, Live("g1"))
    live, silent = role_of("g1", known, Settings()), role_of("g2", known, Settings())
    assert not live.is_silent and live.forwards("purchases") and live.forwards("shop.orders")
    assert silent.is_silent and not silent.forwards("purchases") and not silent.forwards("rekeyed")
    assert silent.forwards("shop.orders")


def test_of_a_shard_only_the_turn_that_is_live_is_announced() -> None:
    position = AnnouncedPosition("g1", 5, "ab", turn=2)
    assert not needs_turn(None, "g1", 1, 0) and needs_turn(None, "g2", 2, 0)
    assert not needs_turn(position, "g1", 2, 0) and needs_turn(position, "g2", 3, 0)
    with pytest.raises(Superseded):
        needs_turn(position, "g3", 1, 0)
    with pytest.raises(LogMismatch, match="turn 2"):
        needs_turn(position, "g3", 2, 0)


def test_a_silent_inbox_gives_what_lies_below_the_live_position_and_goes_on_as_that_moves() -> None:
    inbox = Inbox({"a": 0, "b": 0}, {"a": 3, "b": 0})
    inbox.put(slices("a", range(0, 6)))
    inbox.put(slices("b", range(0, 2)))
    assert taken(inbox) == [0, 1, 2] and inbox.holds_back("a") and inbox.holds_back("b")
    assert inbox.is_at_limit("a") and not inbox
    inbox.allow({"a": 5, "b": 0})
    assert taken(inbox) == [3, 4]
    inbox.put(slices("a", range(6, 8)))
    inbox.allow({"a": 8, "b": 2})
    assert sorted(taken(inbox)) == [0, 1, 5, 6, 7] and not inbox.holds_back()
    inbox.allow({"a": 6})  # the live shard was set back: what is folded stays
    assert inbox.expected("a") == 8 and inbox.is_at_limit("a")


def test_a_customer_without_an_event_keeps_the_numbers_that_were_announced_and_no_profile() -> None:
    engine = Engine(parse_definitions(TEXT, "here"))
    profile = engine.new_profile("c1")
    found = engine.reconcile(profile, {"buyer": 3, "regular": 2, "gone": 5, "left": 4}, 1_000)
    assert found is not None
    assert [(c.segment, c.crossing) for c in found] == [("gone", 6), ("buyer", 4)]
    write = ProfileWriter(engine).write(profile, True)
    assert (write.fields, write.removed, write.due) == ((), (), None)
    again = decode_state(encode_state(profile, engine), "c1", engine)
    assert again.members == {"buyer": [4, 1_000], "regular": [2, 1_000]} and again.revision == 0
    fresh = engine.new_profile("c1")
    assert (again.positions, again.flips, again.due) == (fresh.positions, fresh.flips, fresh.due)


async def test_a_pace_holds_all_who_share_it_to_one_rate_and_another_rate_counts_at_once() -> None:
    pace = Pace(1_000)
    began = time.monotonic()
    await asyncio.gather(*(pace.take(100) for _ in range(8)))
    assert time.monotonic() - began > 0.3
    pace.rate = 10
    waiting = asyncio.create_task(pace.take(1))
    await asyncio.sleep(0)
    pace.rate = None
    async with asyncio.timeout(10):
        await waiting


async def test_a_rate_is_set_of_a_generation_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: dict[str, float | None] = {}

    async def read_all(*where: Any) -> Generations:
        return read(record("ps/g1", G1))

    async def set_rate(settings: Settings, name: str, rate: float | None) -> None:
        rates[name] = rate

    monkeypatch.setattr(replaying.generations, "read_all", read_all)
    monkeypatch.setattr(replaying, "set_rate", set_rate)
    settings = Settings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1/0")
    with pytest.raises(NotFound, match=r"no generation `g2` \(there are: g1\)"):
        await replaying.change_rate(settings, "g2", 5)
    await replaying.change_rate(settings, "g1", 5)
    assert rates == {"g1": 5}


async def test_who_waits_at_a_low_rate_does_not_wait_on_once_it_is_raised() -> None:
    pace = Pace(1)
    await pace.take(100_000)
    behind = asyncio.create_task(pace.take(1))
    await asyncio.sleep(0)
    pace.rate = 1_000_000
    async with asyncio.timeout(10):  # at the first rate it would be a day
        await behind


def test_definitions_are_not_parsed_each_time_that_a_role_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = roles.parse_definitions

    def counting(text: str, where: str) -> Any:
        parsed.append(where)
        return parse(text, where)

    monkeypatch.setattr(roles, "parse_definitions", counting)
    text = TEXT + "# of this test alone\n"
    known = read(record("ps/g1", replace(G1, definitions=text)), record("ps/g2", G1), record("ps/live", {"name": "g1"}))
    found = {role_of("g2", known, Settings()) for _ in range(3)}
    assert len(found) == 1 and len(parsed) == 1


def test_a_kept_generation_is_in_step_until_its_time_is_over_and_then_is_asked_about() -> None:
    kept = Generation("g1", 4, TEXT, "f", "2026", "kept", kept_until="2026-01-02T00:00:00.000Z")
    assert not kept.is_over(1_767_225_600_000) and kept.is_over(1_767_312_000_001)
    assert not replace(kept, kept_until="").is_over(1_767_312_000_001)
    assert not replace(kept, state="live").is_over(1_767_312_000_001)
    assert "until 2026-01-02T00:00:00.000Z" in kept.question and "`profilestream drop g1`" in kept.question


def test_of_former_generations_the_last_one_is_kept_in_step() -> None:
    day, now = 86_400_000, 1_767_225_600_000
    known = Generations({n: Generation(n, 4, TEXT, "f", "2026", "building") for n in ("g1", "g2", "g3")})
    known.by_name["g1"] = replace(known.by_name["g1"], state="live")
    known = replace(known, live_now=Live("g1"))
    states = []
    for turn, name in enumerate(("g2", "g3", "g2"), 2):
        known = replace(known, by_name=known.by_name | changed_by(known, name, now, day), live_now=Live(name, turn))
        states.append({n: (g.state, g.state == "kept" and not g.is_over(now + 1)) for n, g in known.by_name.items()})
        now += 1_000
    assert states == [
        {"g1": ("kept", True), "g2": ("live", False), "g3": ("building", False)},
        {"g1": ("kept", False), "g2": ("kept", True), "g3": ("live", False)},
        {"g1": ("kept", False), "g2": ("live", False), "g3": ("kept", True)},
    ]


def test_what_a_replay_is_asked_for_is_read_or_refused(tmp_path: Any) -> None:
    assert _start("2026-01-01T01:00:00+01:00", None) == {"from": "2026-01-01T00:00:00.000Z"}
    offsets = tmp_path / "offsets.json"
    offsets.write_text('{"purchases": {"0": 7}}')
    assert _start("beginning", offsets) == {"offsets": {"purchases": {"0": 7}}}
    with pytest.raises(UsageError, match="not both"):
        _start("2026-01-01T00:00:00Z", offsets)
    customers = tmp_path / "customers"
    customers.write_text("c2\nc1\n\nc2\n")
    assert _only(customers, None) == {"customers": ["c1", "c2"]}
    for many in ("\n".join(f"c{n}" for n in range(10_001)), "c" * 300_000):
        customers.write_text(many)
        with pytest.raises(UsageError, match="at most 10,000 customers"):
            _only(customers, None)
    assert _only(None, "0,3-5") == {"shards": [0, 3, 4, 5]}
    assert _numbers("7") == [7] and _rate("none") is None and _rate("12.5") == 12.5
    for bad in ("", "x", "3-", "-1"):
        with pytest.raises(Exception, match="ranges"):
            _numbers(bad)
    for bad in ("0", "inf", "x"):
        with pytest.raises(Exception, match="number from 1"):
            _rate(bad)
