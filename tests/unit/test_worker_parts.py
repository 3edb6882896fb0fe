"""Parts of a worker, each beside a consumer that only notes what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from profilestream.beginning import Beginning
from profilestream.core.engine import Engine
from profilestream.core.errors import NotFound, ProfilestreamError
from profilestream.settings import Settings
from profilestream.shard import ANSWER_AGE_MS_MAX, Shard
from profilestream.store import profile_writes
from profilestream.store.commits import Carriage, Head
from profilestream.store.profile_writes import ProfileWriter
from profilestream.stream.forwarding import Forwarder
from profilestream.stream.reports import Troubles
from profilestream.stream.slices import Gap, Inbox, Slice
from profilestream.wire.definitions import parse_definitions
from profilestream.worker import Worker

PLACE = TP("browsing", 0)


class Noting:
    """A consumer that notes which partitions it was told to pause, and where to read on."""

    def __init__(self) -> None:
        self.paused: set[TP] = set()
        self.sought: dict[TP, int] = {}
        self.end: tuple[int | None, int | None] = (None, None)

    def on_buffer_full(self, tp: TP) -> None:
        self.paused.add(tp)

    def on_buffer_drop(self, tp: TP) -> None:
        self.paused.discard(tp)

    async def seek_all(self, places: dict[TP, int]) -> None:
        self.sought |= places

    def end_known(self, tp: TP) -> tuple[int | None, int | None]:
        return self.end

    def handed_on(self, tp: TP) -> tuple[int | None, int | None]:
        return 5, 5


def record(offset: int, timestamp: int = 0, value: bytes = b"{}") -> Any:
    place = {"topic": "browsing", "partition": 0, "key": b"", "headers": ()}
    return SimpleNamespace(offset=offset, timestamp=timestamp, value=value, **place)


def tools(**more: Any) -> Any:
    """What a shard and a forwarder share, as far as they are used here."""
    return SimpleNamespace(waiting_bytes_max=64 * 1024, troubles=Troubles(print), **more)


async def test_a_forwarder_pauses_by_bytes_and_when_it_lets_go_its_partitions_are_fetched_again() -> None:
    consumer = Noting()
    forwarder = Forwarder(tools())
    forwarder.begin([], [], consumer)
    forwarder._expected = {PLACE: 0}
    forwarder.put(Slice(PLACE.topic, 0, 0, [record(0, value=bytes(60_000))]))
    assert consumer.paused == set()
    forwarder.put(Slice(PLACE.topic, 0, 1, [record(1, value=bytes(60_000))]))
    assert consumer.paused == {PLACE}
    forwarder.end()
    assert consumer.paused == set()


async def test_partitions_that_another_generation_forwards_have_a_position_and_are_not_read() -> None:
    consumer = Noting()
    forwarder = Forwarder(tools())
    forwarder.begin([], [PLACE], consumer)
    assert forwarder._task is not None
    await forwarder._task
    assert consumer.paused == {PLACE} and consumer.sought == {PLACE: 0}
    forwarder.put(Slice(PLACE.topic, 0, 0, [record(0)]))
    assert not forwarder._queue
    forwarder.begin([], [], consumer)
    assert consumer.paused == set()


async def test_while_nobody_works_on_a_partition_it_is_not_read_for_nothing() -> None:
    consumer = Noting()
    piece = Slice(PLACE.topic, 0, 0, [record(0)])
    forwarder = Forwarder(tools())
    forwarder.begin([], [], consumer)
    forwarder.put(piece)
    assert consumer.paused == {PLACE}
    consumer.paused.clear()
    Shard(0, ["browsing"], SimpleNamespace(), consumer, tools(), True).put(piece)  # type: ignore[arg-type]
    assert consumer.paused == {PLACE}


@pytest.mark.parametrize(("age_ms", "end", "follows"), [(0, 5, True), (ANSWER_AGE_MS_MAX * 2, 5, False), (0, 6, False)])
def test_the_clock_follows_the_wall_clock_on_fresh_answers_only(age_ms: int, end: int, follows: bool) -> None:
    consumer: Any = Noting()
    asked = time.time_ns() // 1_000_000 - age_ms
    consumer.end = (end, asked)
    shard = Shard(0, ["browsing"], SimpleNamespace(), consumer, SimpleNamespace(), True)  # type: ignore[arg-type]
    shard._updater = SimpleNamespace(inbox=Inbox({"browsing": 5}))  # type: ignore[assignment]
    assert shard._wall_clock() == (asked if follows else None)


async def test_a_shard_that_begins_anew_while_it_is_stopped_still_stops() -> None:
    shard = Shard(0, [], SimpleNamespace(head="h"), Noting(), SimpleNamespace(), False)  # type: ignore[arg-type]

    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun > 1:
            shard.failure = ProfilestreamError("began anew")  # ends it, so that the test ends too
            return
        shard._work = asyncio.create_task(asyncio.sleep(60))
        try:
            await asyncio.shield(shard._work)
        except asyncio.CancelledError:
            raise ConnectionError from None

    async def revive() -> None:
        return None

    shard._tools = tools(revive_producer=revive, report=lambda line: None)
    shard._work_from_head = work  # type: ignore[method-assign]
    shard.start()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    shard.begin_anew()
    async with asyncio.timeout(5):
        await shard.stop()
    assert begun == 1


async def test_a_shard_stops_though_a_client_library_takes_in_its_cancellation() -> None:
    shard = Shard(0, [], SimpleNamespace(head="h"), Noting(), SimpleNamespace(), False)  # type: ignore[arg-type]
    ended = False

    async def work() -> None:
        nonlocal ended
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        try:
            await asyncio.sleep(60)
        finally:
            ended = True

    async def revive() -> None:
        return None

    shard._tools = tools(revive_producer=revive, report=lambda line: None)
    shard._work_from_head = work  # type: ignore[method-assign]
    shard.start()
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await shard.stop()
    assert ended


async def test_a_shard_that_has_carried_goes_on_silently_though_the_former_generation_is_dropped() -> None:
    async def dropped() -> Any:
        raise NotFound("there is no generation g1")

    async def read_head() -> Head:
        return Head(commit="c1", sequence=7, repair=True, carried=Carriage(done=True))

    async def nothing_there(head: Head) -> bool:
        return True

    beginning = Beginning(0, [], Noting(), tools(former=dropped))
    store = SimpleNamespace(read_head=read_head, absorb_outbox=nothing_there)
    head, repair = await beginning.head(store, SimpleNamespace(live=None))  # type: ignore[arg-type]
    assert head.sequence == 7 and repair is None


def test_an_inbox_trims_what_is_below_its_position_and_refuses_what_lies_beyond() -> None:
    inbox = Inbox({"browsing": 3})
    inbox.put(Slice("browsing", 0, 0, [record(1), record(3), record(7)]))
    assert [inbox.take().offset for _ in range(2)] == [3, 7]  # type: ignore[union-attr]
    assert inbox.positions == {"browsing": 8}
    with pytest.raises(Gap):
        inbox.put(Slice("browsing", 0, 9, [record(9)]))


def test_an_inbox_merges_topics_by_timestamp_and_waits_for_none() -> None:
    inbox = Inbox({"browsing": 0, "support": 0})
    inbox.put(Slice("browsing", 0, 0, [record(0, 10), record(1, 30)]))
    late = record(0, 20)
    late.topic = "support"
    inbox.put(Slice("support", 0, 0, [late]))
    taken = [inbox.take() for _ in range(4)]
    assert [r and r.timestamp for r in taken] == [10, 20, 30, None]


def test_an_inbox_gives_nothing_from_its_limits_on_until_they_are_lifted() -> None:
    inbox = Inbox({"browsing": 3, "support": 0}, {"browsing": 5, "support": 0, "purchases": 0})
    inbox.put(Slice("browsing", 0, 3, [record(3), record(4), record(6, 9)]))
    inbox.put(Slice("browsing", 0, 7, [record(7, 10)]))
    late = record(0, 5)
    late.topic = "support"
    inbox.put(Slice("support", 0, 0, [late]))
    assert [r and r.offset for r in (inbox.take(), inbox.take(), inbox.take())] == [3, 4, None]
    assert inbox.positions == {"browsing": 5, "support": 0}
    assert inbox.is_level() and inbox.waiting_bytes("browsing") > 0
    inbox.lift()
    taken = [inbox.take() for _ in range(4)]
    assert [r and (r.topic, r.offset) for r in taken] == [("support", 0), ("browsing", 6), ("browsing", 7), None]
    assert inbox.waiting_bytes("browsing") == inbox.waiting_bytes("support") == 0


def test_an_inbox_is_level_once_every_topic_has_reached_its_limit() -> None:
    inbox = Inbox({"browsing": 0, "support": 2}, {"browsing": 2, "support": 2, "purchases": 7})
    assert not inbox.is_level()
    inbox.put(Slice("browsing", 0, 0, [record(0)]))
    assert not inbox.is_level()
    inbox.take()
    assert not inbox.is_level()  # the record before the limit may be a hole, or yet to come
    inbox.put(Slice("browsing", 0, 1, [record(3)]))
    assert inbox.is_level()


def test_what_did_not_fit_is_no_longer_said_once_its_tiles_are_gone() -> None:
    text = "[traits]\nby_device = \"count(browsing, by=device, over='15m')\"\n"
    engine = Engine(parse_definitions(text), keys_max=1)
    profile, writer = engine.new_profile("c"), ProfileWriter(engine)
    for number, device in enumerate(("phone", "desk")):
        event = SimpleNamespace(event_id=f"e{number}", occurred_at=0, kind="page_view", device=device)
        engine.fold(profile, event, engine.handlers["browsing"], 0, 0, [], None)
    assert "_missed" in writer.write(profile, False).fields
    engine.advance(profile, 3_600_000, [])
    assert "_missed" in writer.write(profile, False).removed


def test_any_mixture_of_event_types_is_written_and_few_of_them_have_a_function_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    types = ("purchase", "browsing", "support", "engagement")
    text = "[traits]\n" + "".join(f'{name}_count = "count({name})"\n' for name in types)
    engine = Engine(parse_definitions(text))
    compiled: list[int] = []
    difference = engine.difference
    monkeypatch.setattr(profile_writes, "DIFFERENCES_MAX", 3)

    def noted(changed: int, encode: Any) -> Any:
        compiled.append(changed)
        return difference(changed, encode)

    monkeypatch.setattr(engine, "difference", noted)
    profile, writer, written = engine.new_profile("c"), ProfileWriter(engine), dict[str, Any]()
    for number, mixture in enumerate(m for size in range(1, 5) for m in combinations(types, size)):
        for name in mixture:
            event = SimpleNamespace(event_id=f"e{number}", occurred_at=number)
            engine.fold(profile, event, engine.handlers[name], number, 0, [], None)
        fields = writer.write(profile, False).fields
        written |= dict(zip(fields[::2], fields[1::2], strict=True))
        assert {name: written[name] for name in engine.values(profile)} == engine.values(profile)
    assert len(compiled) == len(set(compiled)) <= 4


@pytest.mark.parametrize(("only", "silent", "ends"), [("g2", True, True), ("g2", False, False), (None, False, False)])
async def test_a_shard_that_stands_still_ends_a_replay_and_no_worker(
    only: str | None, silent: bool, ends: bool
) -> None:
    stuck = ProfilestreamError("shard 3 cannot go on")
    worker = Worker(Settings(kafka="127.0.0.1:1", redis="redis://127.0.0.1:1"), only=only)
    work: Any = SimpleNamespace(
        role=SimpleNamespace(is_silent=silent), failure=lambda least: stuck if least != "all shards" else None
    )
    worker.works["g2"] = work
    with pytest.raises(ProfilestreamError, match="shard 3") if ends else contextlib.nullcontext():
        await worker._look_for_failures(anything=False)
    assert worker.works == {"g2": work}
