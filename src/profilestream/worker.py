"""The worker process: follows which generations there are, and works on the live one and on those kept in step.

What concerns one generation is in generation_work.py. This decides only which of them are worked on here, and as what:
a promotion turns a silent work into the live one's and the other way round, without a process that ends or begins.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError

from profilestream.core.errors import NotFound, ProfilestreamError, ServerUnavailable, UsageError
from profilestream.generation_work import Clock, GenerationWork, Report
from profilestream.pace import Pace
from profilestream.roles import Role, role_of
from profilestream.settings import Settings
from profilestream.store.connection import connect, reaching
from profilestream.store.metadata import Generation
from profilestream.stream.archive import Archive
from profilestream.stream.endings import end_tasks
from profilestream.stream.following import follow_generations
from profilestream.stream.generations import Generations
from profilestream.stream.live import assert_live, take_up
from profilestream.stream.reports import Troubles, named
from profilestream.stream.topics import wait_for_kafka

# Profiles are many and have no cycles: looking through all of them for garbage, as Python does by default for every
# few thousand new objects, costs more than folding.
GARBAGE_THRESHOLDS = (50_000, 20, 100)
CAUGHT_UP_CHECK_S = 0.05
CHECK_S = 0.5
ASSERT_LIVE_S = 1.0

__all__ = ["Clock", "Report", "Worker"]


class Worker:
    """Folds the events of the live generation's shards, and of kept ones, until `stop`, or until caught up.

    `report` gets each line for a person. With the clock "event" time passes only as events say. With `only` it works on
    that generation and on no other, whatever that is: a replay is a worker of a generation in the making. What
    the log no longer has is read from `archive`.
    """

    def __init__(
        self,
        settings: Settings,
        report: Report = print,
        clock: Clock = "wall",
        only: str | None = None,
        pace: Pace | None = None,
        archive: Archive | None = None,
    ) -> None:
        if not settings.kafka or not settings.redis:
            raise UsageError("the worker needs --kafka and --redis (or PROFILESTREAM_KAFKA and PROFILESTREAM_REDIS)")
        self.settings = settings
        self.known = Generations()
        self.works: dict[str, GenerationWork] = {}
        self._beginning: dict[str, tuple[GenerationWork, asyncio.Task[bool]]] = {}
        self._report = report
        self._clock = clock
        self._only = only
        self._pace = pace
        self._archive = archive
        self._stopping = asyncio.Event()
        self._news = asyncio.Event()
        self._given_up: set[tuple[str, str]] = set()
        self._asked_about: set[tuple[str, str]] = set()
        self._waiting: set[str] = set()
        self._redis: Any = None
        self._troubles = Troubles(report)
        self._supervising = False

    def stop(self) -> None:
        """Asks `run` to return; to be called in the event loop's thread."""
        self._stopping.set()

    async def run(self, until_caught_up: bool = False, each_look: Callable[[], Any] | None = None) -> None:
        """Works. Lost servers are waited for, with one line each. `each_look` is awaited about twice a second.

        With `until_caught_up` returns once everything that was in the topics at the start, and what was forwarded
        because of it, is handled and what is due at each shard's clock has happened. Raises NotFound where there is no
        generation, StoreRefused for a Redis that cannot be used, LogMismatch when a shard cannot go on.
        """
        gc.freeze()
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        work = asyncio.create_task(self._work(until_caught_up, each_look))
        asked = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((work, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not work.done() and not self._supervising:
            # Still waiting for a server, perhaps: there is nothing to hand over.
            await end_tasks(work)
            return
        await work

    async def _work(self, until_caught_up: bool, each_look: Callable[[], Any] | None) -> None:
        settings, kafka = self.settings, str(self.settings.kafka)
        await wait_for_kafka(kafka, self._report)
        self.known = await take_up(settings, self._report)
        if self._only is not None and self._only not in self.known.by_name:
            raise NotFound(f"there is no generation `{self._only}`; see `profilestream generations`")
        self._redis = connect(str(settings.redis))
        following: list[asyncio.Task[None]] = []
        try:
            await self._match()
            self._supervising = True
            follow = follow_generations(kafka, settings.generations_topic, settings.namespace, self._heard, self._lost)
            following = [asyncio.create_task(follow), asyncio.create_task(self._keep_redis_true())]
            await self._supervise(until_caught_up, each_look, following)
        finally:
            await end_tasks(*following)
            await end_tasks(*(task for _, task in self._beginning.values()))
            works = [*self.works.values(), *(work for work, _ in self._beginning.values())]
            await asyncio.gather(*(work.stop() for work in works))
            if self._supervising:
                self._show(final=True)
            await self._redis.aclose()

    # Which generations

    def _heard(self, known: Generations) -> None:
        self._troubles.over("generations")
        if known.turn >= self.known.turn:  # never back: what Redis and others were told stays told
            self.known = known
            self._news.set()

    def _lost(self, error: ServerUnavailable) -> None:
        self._troubles.begin("generations", str(error), "trying again")

    def _wanted(self) -> dict[str, Generation]:
        """The generations to work on, the live one first."""
        known, now_ms = self.known, time.time_ns() // 1_000_000
        if self._only is not None:
            there = self._only in known.by_name and known.by_name[self._only].state != "dropping"
            return {self._only: known.by_name[self._only]} if there else {}
        kept = {
            name: generation
            for name, generation in known.by_name.items()
            if generation.state == "kept" and not generation.is_over(now_ms) and name != known.live_name
        }
        return ({known.live.name: known.live} if known.live is not None else {}) | kept

    async def _match(self) -> None:
        """Begins, ends and turns works, so that they are those that topic `generations` asks for.

        What is under way here is turned first, and joining a group is not waited for: while others rebalance it may
        take a minute, and a promotion of another generation is not to wait for it.
        """
        wanted = self._wanted()
        for name in wanted:
            role = role_of(name, self.known, self.settings)
            if name in self._beginning:
                self._beginning[name][0].follow(role)
            elif name in self.works:
                if role != self.works[name].role:
                    self._report(f"generation {name} {_is_now(role)}")
                self.works[name].follow(role)
        self._begun()
        for name, generation in wanted.items():
            known_here = name in self.works or name in self._beginning
            if not known_here and (name, generation.created_at) not in self._given_up:
                self._begin(generation, role_of(name, self.known, self.settings))
        for name in self.works.keys() - wanted.keys():
            work = self.works.pop(name)
            self._report(f"no longer folding generation {name}")
            await work.stop()
        if self._only is None:
            self._ask_about_kept()

    def _ask_about_kept(self) -> None:
        """A line, once, for each generation whose time to be kept is over: it takes room, and nobody else asks."""
        for generation in self.known.by_name.values():
            one = generation.name, generation.kept_until
            if generation.is_over(time.time_ns() // 1_000_000) and one not in self._asked_about:
                self._asked_about.add(one)
                self._report(generation.question)

    def _begin(self, generation: Generation, role: Role) -> None:
        work = GenerationWork(
            self.settings,
            generation,
            role,
            self._report,
            self._clock,
            self._assert_live,
            lambda: [name for name in self.known.by_name if name != generation.name],
            self._pace,
            "worker" if self._only is None else "replay",
            self._archive,
        )
        if generation.name not in self._waiting:
            meaning = f"{generation.shards} shards, definitions {generation.fingerprint}"
            self._report(f"folding generation {generation.name} ({meaning}){_as(role)}")
        task = asyncio.create_task(self._started(work))
        task.add_done_callback(lambda _: self._news.set())
        self._beginning[generation.name] = work, task

    async def _started(self, work: GenerationWork) -> bool:
        """Whether the work has begun. A lost server is waited for: the work is begun anew with a later look. Raises
        what else keeps the live generation, or the only one, from being worked on; another one is let go."""
        generation, part = work.generation, f"generation {work.generation.name}"
        try:
            await work.start()
        except (ServerUnavailable, KafkaError, OSError) as error:
            await work.stop()
            self._waiting.add(generation.name)
            self._troubles.begin(part, named(error, self.settings.kafka, self.settings.redis), "trying again")
            await asyncio.sleep(CHECK_S)
            return False
        except ProfilestreamError as error:
            await work.stop()
            if not work.role.is_silent or self._only is not None:
                raise
            self._report(f"generation {generation.name} is not kept in step: {error}")
            self._given_up.add((generation.name, generation.created_at))
            return False
        self._waiting.discard(generation.name)
        self._troubles.over(part)
        return True

    def _begun(self) -> None:
        """Takes in the works that have joined their groups."""
        for name, (work, task) in list(self._beginning.items()):
            if task.done():
                del self._beginning[name]
                if task.result():
                    self.works[name] = work

    async def _assert_live(self) -> None:
        """Where Redis does not say what the topic says, it is written again."""
        await assert_live(self._redis, self.settings.namespace, self.known)

    async def _keep_redis_true(self) -> None:
        while True:
            await asyncio.sleep(ASSERT_LIVE_S)
            try:
                with reaching(self._redis):
                    await self._assert_live()
            except ProfilestreamError:
                pass  # a lost Redis is waited for; the shards say so

    # Supervision

    async def _supervise(
        self, until_caught_up: bool, each_look: Callable[[], Any] | None, following: list[asyncio.Task[None]]
    ) -> None:
        """Shows the status line; returns when stopped or caught up, raises what keeps all from going on."""
        shown = time.monotonic()
        while not self._stopping.is_set():
            for task in following:
                if task.done():
                    task.result()
            self._news.clear()
            await self._match()
            await self._look_for_failures(anything=until_caught_up)
            if self._only is not None and not self.works and not self._beginning:
                raise NotFound(f"generation {self._only} is there no longer")
            if each_look is not None:
                await each_look()
            if time.monotonic() - shown >= self.settings.lag_report_interval_ms / 1000:
                shown = time.monotonic()
                self._show()
            caught_up = until_caught_up and not self._beginning
            if caught_up and all([await work.caught_up() for work in self.works.values()]):
                break
            await self._pause(CAUGHT_UP_CHECK_S if until_caught_up else CHECK_S)

    async def _look_for_failures(self, anything: bool) -> None:
        """A kept generation that cannot go on is let go; the live one's failure ends the process. So does any shard's
        of one in the making: without it nobody can promote it."""
        for name, work in list(self.works.items()):
            is_made = self._only is not None and work.role.is_silent
            failure = work.failure("anything" if anything else "a shard" if is_made else "all shards")
            if failure is None:
                continue
            if not work.role.is_silent or self._only is not None:
                raise failure
            self._report(f"generation {name} is no longer kept in step: {failure}")
            self._given_up.add((name, work.generation.created_at))
            del self.works[name]
            await work.stop()

    async def _pause(self, seconds: float) -> None:
        """Sleeps; news and `stop` wake it."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._stopping, self._news)]
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        await end_tasks(*waiting)

    def _show(self, final: bool = False) -> None:
        """The status line of the live generation; kept ones stay silent here too."""
        for work in self.works.values():
            if not work.role.is_silent and self._only is None:  # a replay tells of its progress itself
                line = work.counters.line(None if final else work.lag(), final)
                if line is not None:
                    self._report(line)


def _as(role: Role) -> str:
    return "" if role.live is not None else ", silently"


def _is_now(role: Role) -> str:
    return "is live now" if role.live is not None else "is no longer live; kept in step"
