"""`replay`: makes another generation beside the live one, folded from the log, and keeps it in step.

Steps; each is found done or not done by the next run, and by other processes that share the work:

1. Topics that the definitions read and that are not there yet are made.
2. The generation is written to topic `generations`, as one in the making; from here on `replay NAME` goes on with it.
3. Redis gets a copy of what it is.
4. Its shards are folded, as every generation's are: each shard's head says where it goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from profilestream.carrying import FROM_LIVE
from profilestream.core.counting import counted
from profilestream.core.definitions import Definitions
from profilestream.core.errors import NotFound, ServerUnavailable, UsageError
from profilestream.generation_work import PROGRAM
from profilestream.operations.archives import check_start, start_with
from profilestream.operations.initialise import make_topics, server_addresses
from profilestream.operations.promote import became_live
from profilestream.operations.sizes import count_customers
from profilestream.pace import Pace
from profilestream.settings import Settings
from profilestream.store.connection import AsyncClient, check_server, connect, reaching
from profilestream.store.keys import Keys
from profilestream.store.metadata import Generation, write_generation
from profilestream.store.places import read_heads, read_positions
from profilestream.stream import generations
from profilestream.stream.archive import Archive
from profilestream.stream.generations import Changed, Generations, group_of
from profilestream.stream.topic_layout import event_topics
from profilestream.stream.topics import Admin, Report
from profilestream.wire.times import format_time, parse_time
from profilestream.worker import Worker

LOOK_S: Final = 1.0
RATE_S: Final = 15.0
"""The rate that is shown is that of about the last so many seconds."""


Bounds = Mapping[tuple[str, int], tuple[int, int]]
"""By topic and shard the offset at which the log begins, and at which it ends."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a new generation: where it starts (see `Generation.start`), what a trial is limited to,
    whether profiles of the live one are taken over (`method`), which traits do not know all of the past, and which
    generation has to be live (`base`, if that matters)."""

    start: Mapping[str, Any]
    only: Mapping[str, Any]
    method: Literal["replay", "carry"] = "replay"
    complete_since: Mapping[str, str] = field(default_factory=dict)
    base: str | None = None


async def make_generation(
    settings: Settings, definitions: Definitions, wish: Wish, report: Report, archive: Archive | None = None
) -> Generation:
    """Steps 1 to 3; with an archive the generation begins where that begins.

    Raises UsageError for a wish that cannot be meant, NotFound where no generation is live, ProfilestreamError
    where that is another than the one it has to be, LogMismatch where archive and log do not join.
    """
    kafka, redis = server_addresses(settings)
    topics = event_topics(definitions)
    known = await generations.read_all(kafka, settings.generations_topic, settings.namespace)
    if known.live is None:
        raise NotFound(f"namespace `{settings.namespace}` has no live generation; run `profilestream init` first")
    shards = known.live.shards
    if outside := [number for number in wish.only.get("shards", ()) if not 0 <= number < shards]:
        raise UsageError(f"there is no shard {outside[0]}; there are {shards}, from 0 on")
    client = connect(redis)
    try:
        await check_server(client)
        await make_topics(settings, topics, shards, report)  # 1
        read = (*topics, settings.rekeyed_topic)
        start = await _start(settings, read, wish.start)
        moment = wish.start.get("from")
        since = dict.fromkeys((t.name for t in definitions.traits), moment) if "offsets" in start and moment else {}
        if archive is not None:
            start |= await start_with(settings, archive, read, known.live, start.get("offsets", {}))

        def decide(known: Generations) -> Changed:
            assert known.live is not None
            if wish.base is not None and known.live.name != wish.base:
                raise became_live(known.live.name, wish.base)
            made = Generation(
                name=f"g{known.last_number + 1}",
                shards=shards,
                definitions=definitions.text,
                fingerprint=definitions.fingerprint,
                created_at=format_time(time.time_ns() // 1_000_000),
                state="building",
                base=known.live.name,
                method=wish.method,
                start=start,
                only=dict(wish.only),
                complete_since={**since, **wish.complete_since},
            )
            return {made.name: made}, None

        after = await generations.change(kafka, settings.generations_topic, settings.namespace, decide)  # 2
        made = after.by_name[f"g{after.last_number}"]
        await write_generation(client, settings.namespace, made)  # 3
    finally:
        await client.aclose()
    trial = ", a trial of a part, never to be promoted" if made.only else ""
    report(f"made generation {made.name}, beside {made.base}{trial}")
    return made


async def _start(settings: Settings, topics: tuple[str, ...], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The start with its offsets, which are then the same for every process and after every crash."""
    moment = asked.get("from")
    if "offsets" in asked:
        await _check_offsets(settings, topics, asked["offsets"])
        return dict(asked)
    if moment in (None, "beginning", FROM_LIVE):
        return dict(asked) or {"from": "beginning"}
    at_ms, offsets = parse_time(moment), dict[str, dict[str, int]]()
    async with Admin(str(settings.kafka)) as admin:
        for topic in topics:
            found = await admin.offsets_at(topic, at_ms)
            offsets[topic] = {str(partition): offset for partition, offset in found.items()}
    return {"from": moment, "offsets": offsets}


async def _check_offsets(settings: Settings, topics: tuple[str, ...], asked: Mapping[str, Mapping[str, int]]) -> None:
    """Raises UsageError for offsets that no log has: a shard would stand still there for good."""
    if unknown := sorted(asked.keys() - set(topics)):
        raise UsageError(f"--offsets: topic {unknown[0]} is not read; those that are: {', '.join(topics)}")
    async with Admin(str(settings.kafka)) as admin:
        for topic, places in asked.items():
            begins, ends = await admin.begin_offsets(topic), await admin.end_offsets(topic)
            for partition, offset in places.items():
                place = f"--offsets: topic {topic}, partition {partition}"
                if not partition.isascii() or not partition.isdigit() or int(partition) not in ends:
                    raise UsageError(f"{place}: there is none; its partitions are 0 to {len(ends) - 1}")
                begin, end = begins[int(partition)], ends[int(partition)]
                if not begin <= offset <= end:
                    raise UsageError(f"{place}: the log has offsets {begin} to {end}, so none can begin at {offset}")


async def change_rate(settings: Settings, name: str, rate: float | None) -> None:
    """As `set_rate`, of a generation that somebody names; raises NotFound where there is none of that name."""
    kafka, _ = server_addresses(settings)
    known = await generations.read_all(kafka, settings.generations_topic, settings.namespace)
    if name not in known.by_name:
        there = ", ".join(sorted(known.by_name)) or "none"
        raise NotFound(f"there is no generation `{name}` (there are: {there})")
    await set_rate(settings, name, rate)


async def set_rate(settings: Settings, name: str, rate: float | None) -> None:
    """How many records a second a replay may read, of all processes together; None for no limit. They look once a
    second."""
    _, redis = server_addresses(settings)
    key = Keys(settings.namespace, name).rate
    client = connect(redis)
    try:
        with reaching(client):
            await (client.delete(key) if rate is None else client.set(key, rate))
    finally:
        await client.aclose()


class Replay:
    """Folds one generation that is in the making, until `stop`, until caught up, or until workers have it. What the log
    no longer has is read from `archive`.

    `report` gets a line each few seconds with how far it is, the rate, and the time left.
    """

    def __init__(
        self, settings: Settings, name: str, report: Report, clock: Any = "wall", archive: Archive | None = None
    ) -> None:
        server_addresses(settings)
        self._archive = archive
        self._settings = settings
        self._name = name
        self._report = report
        self._pace = Pace()
        self._worker = Worker(settings, report, clock, only=name, pace=self._pace, archive=archive)
        self._client: AsyncClient = connect(str(settings.redis))
        self._looked_s = self._told_s = time.monotonic()
        self._seen: list[tuple[float, int]] = []
        self._level = self._is_stopped = False

    @property
    def live_name(self) -> str | None:
        """Which generation is live, as far as has been heard here."""
        return self._worker.known.live_name

    @property
    def bounds(self) -> Bounds:
        """Where the log of each topic and shard began and ended when the work on it began; {} before that."""
        work = self._worker.works.get(self._name)
        return {} if work is None else {at: (begin, work.ends.get(at, begin)) for at, begin in work.begins.items()}

    def stop(self) -> None:
        """Asks `run` to return; to be called in the event loop's thread."""
        self._is_stopped = True
        self._worker.stop()

    async def run(self, until_caught_up: bool = False) -> None:
        """Works; raises as a worker does, NotFound when the generation is dropped, and UsageError where it needs an
        archive and there is none, or the other way round."""
        try:
            with contextlib.suppress(ServerUnavailable):  # lost servers are waited for; shards say the same
                await check_start(self._settings, self._name, self._archive)
                self._pace.rate = await self._rate()  # before anything is read; then as large as this process's part
            await self._worker.run(until_caught_up, self._look)
            if until_caught_up and not self._is_stopped:
                self._report(f"{self._name} has caught up")
        finally:
            await self._client.aclose()

    async def _look(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            with contextlib.suppress(ServerUnavailable):  # a lost server is waited for; the shards say so
                await self._look_around(now_s)

    async def _look_around(self, now_s: float) -> None:
        work = self._worker.works.get(self._name)
        if work is None:
            return
        rate = await self._rate()
        self._pace.rate = None if rate is None else rate * work.share
        if not work.role.is_silent:
            await self._leave_to_workers()
        if now_s - self._told_s >= self._settings.lag_report_interval_ms / 1000:
            self._told_s = now_s
            await self._tell(work.generation, work.begins, now_s)

    async def _rate(self) -> float | None:
        with reaching(self._client):
            rate = await self._client.get(Keys(self._settings.namespace, self._name).rate)
        return float(rate) if rate else None

    async def _leave_to_workers(self) -> None:
        """Once the generation is live and a worker process has joined, this one is not needed any more."""
        group = group_of(self._settings.namespace, self._name)
        async with Admin(str(self._settings.kafka)) as admin:
            if PROGRAM["worker"] in await admin.group_clients(group):
                self._report(f"{self._name} is live, and workers have it: the replay ends")
                self._worker.stop()

    async def _tell(self, generation: Generation, begins: Mapping[tuple[str, int], int], now_s: float) -> None:
        """How far it is, by the heads in Redis: all processes that share the work are counted."""
        done, left = await self._progress(generation, begins)
        self._seen.append((now_s, done))
        while len(self._seen) > 2 and now_s - self._seen[0][0] > RATE_S:
            del self._seen[0]
        before, span_s = self._seen[0][1], max(1e-9, now_s - self._seen[0][0])
        rate = (done - before) / span_s
        if generation.method == "carry" and (carrying := await self._carrying(generation)):
            self._level = False
            self._report(f"{self._name}: {carrying}")
            return
        if not left:
            if not self._level:
                self._report(f"{self._name}: {done:,} records, level with the live generation")
            self._level = True
            return
        self._level = False
        parts = [f"{100 * done / (done + left):.0f} % of {done + left:,} records"]
        if len(self._seen) > 1:
            parts += [f"{rate:,.0f}/s"] + ([f"{_span(left / rate)} left"] if rate > 0 else ["waiting"])
        self._report(f"{self._name}: {', '.join(parts)}")

    async def _carrying(self, generation: Generation) -> str:
        """How far taking profiles over has come; "" when all shards have them."""
        heads = await read_heads(self._client, self._settings.namespace, generation)
        left = sum(head.carried is None or not head.carried.done for head in heads.values())
        live = self._worker.known.live
        if not left or live is None:
            return ""
        namespace = self._settings.namespace
        own, all_ = [await count_customers(self._client, namespace, one) for one in (generation, live)]
        return f"{own:,} of {all_:,} customers; {left} of {counted(len(heads), 'shard')} yet to take over all profiles"

    async def _progress(self, generation: Generation, begins: Mapping[tuple[str, int], int]) -> tuple[int, int]:
        """Records passed, and records left up to where the live generation is (to the log's end, where it does not
        read a topic); holes count as records."""
        known = self._worker.known
        work = self._worker.works[self._name]
        own = await read_positions(self._client, self._settings.namespace, generation)
        live = await read_positions(self._client, self._settings.namespace, known.live) if known.live else {}
        done = left = 0
        for (topic, shard), begin in begins.items():
            if shard not in work.shards_worked_on:
                continue
            at = own.get(shard, {}).get(topic, begin)
            goal = live.get(shard, {}).get(topic, work.ends.get((topic, shard), at))
            done += max(0, at - begin)
            left += max(0, goal - at)
        return done, left


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h"
