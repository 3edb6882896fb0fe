"""`apply`: changed definitions become the live ones, by the least that serves.

Steps; the same command, run again, finds out which are done:

1. A generation in the making is written, which takes over from the live one what is unchanged. Where nothing else is
   needed its shards begin where the live ones stand; else they fold the log, of which only new aggregates matter. One
   that an interrupted run has written is gone on with.
2. Its shards are worked on until they are level with the live ones, and have compared what was announced. Nobody reads
   it, nobody hears of it.
3. `confirm` is asked; a "no" leaves the generation as it is.
4. It is promoted, and what differs is announced (promote.py).

Interrupted before step 4 nothing has changed for anybody; from then on workers bring it to its end by themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from profilestream.carrying import FROM_LIVE
from profilestream.core.changes_between import Changes
from profilestream.core.counting import counted
from profilestream.core.errors import ProfilestreamError, ServerUnavailable
from profilestream.operations.archives import ARCHIVE
from profilestream.operations.plan import Plan
from profilestream.operations.promote import Announce, became_live, promote, unaligned, watch
from profilestream.operations.reach import known_since
from profilestream.operations.replay import Bounds, Replay, Wish, make_generation, set_rate
from profilestream.roles import leader_of
from profilestream.settings import Settings
from profilestream.store.connection import AsyncClient, connect
from profilestream.store.metadata import Generation
from profilestream.store.places import read_heads, read_positions
from profilestream.stream import generations
from profilestream.stream.archive import Archive
from profilestream.stream.endings import end_tasks
from profilestream.stream.topics import Report
from profilestream.wire.times import format_time
from profilestream.worker import Clock

LOOK_S: Final = 0.2
NEAR_S: Final = 5.0
ALIGNING_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Choice:
    """How a plan is applied. With `from_now` nothing is read of the log: what needs it begins empty, at this moment."""

    announce: Announce = "net"
    from_now: bool = False
    allow_history_loss: bool = False
    rate: float | None = None
    clock: Clock = "wall"


class Apply:
    """Applies one plan; `confirm` is asked in a thread of its own, since it may take its time. What the log no longer
    has is read from `archive`."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        choice: Choice,
        confirm: Callable[[], bool],
        report: Report,
        archive: Archive | None = None,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._choice = choice
        self._confirm = confirm
        self._report = report
        # Nothing of it is read where everything is taken over.
        self._archive = archive if wish_of(plan, choice).start["from"] != FROM_LIVE else None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Asks `run` to return; to be called in the event loop's thread."""
        self._stopped.set()

    async def run(self, until_caught_up: bool = True) -> None:
        """Steps 1 to 4. Raises ProfilestreamError where history would be lost, the answer is no, or it is stopped."""
        choice = self._choice
        check_history(self._plan, choice)
        made = await self._generation()
        if choice.rate is not None:
            await set_rate(self._settings, made.name, choice.rate)
        replay = Replay(self._settings, made.name, self._report, choice.clock, self._archive)
        working = asyncio.create_task(replay.run())
        try:
            await self._until_level(made, replay, working)
            await self._until_aligned(made, working)
            if not await self._is_confirmed(made):
                raise ProfilestreamError(f"nothing has changed; {left_behind(made)}")
            _check_work(working, made)  # a shard that stands still would never open its turn
            promoted = await promote(
                self._settings,
                made.name,
                self._report,
                announce=choice.announce,
                cause="definition",
                allow_history_loss=choice.allow_history_loss,
                base=made.base,
            )
            await self._until_reconciled(promoted.live, working)
        finally:
            replay.stop()
            await asyncio.wait({working})

    async def _generation(self) -> Generation:
        """The one that an interrupted run has written, or a new one."""
        wish = wish_of(self._plan, self._choice)
        kafka = str(self._settings.kafka)
        known = await generations.read_all(kafka, self._settings.generations_topic, self._settings.namespace)
        for there in known.by_name.values():
            if (
                (there.state, there.base, there.method) == ("building", self._plan.live.name, wish.method)
                and there.fingerprint == self._plan.changes.after.fingerprint
                and not there.only
                and there.start.get("from") == wish.start["from"]
                and (ARCHIVE in there.start) == (self._archive is not None)
            ):
                self._report(f"going on with generation {there.name}, which is in the making")
                return there
        return await make_generation(self._settings, self._plan.changes.after, wish, self._report, self._archive)

    async def _is_confirmed(self, made: Generation) -> bool:
        """Asks; who is asked to stop does not wait for an answer, and the answer counts no more."""
        answer = asyncio.create_task(asyncio.to_thread(self._confirm))
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait({answer, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if self._stopped.is_set():
            raise ProfilestreamError(f"interrupted: nothing has changed; {left_behind(made)}")
        stopped.cancel()
        return answer.result()

    async def _until_aligned(self, made: Generation, working: asyncio.Task[None]) -> None:
        """Returns when what was announced is compared, or nothing of it was for a while: the promotion does the rest,
        and its shards fold nothing until then."""
        client = connect(str(self._settings.redis))
        least, moved_s = 0, time.monotonic()
        try:
            while True:
                _check_work(working, made)
                if self._stopped.is_set():
                    raise ProfilestreamError(f"interrupted: nothing has changed; {left_behind(made)}")
                with suppress(ServerUnavailable):
                    apart = await unaligned(self._settings, client, made)
                    if not least and apart:
                        self._report(f"{made.name}: comparing {counted(apart, 'announced change')}")
                    if not least or apart < least:
                        least, moved_s = apart, time.monotonic()
                    if not apart or time.monotonic() - moved_s > ALIGNING_S:
                        return
                await asyncio.sleep(LOOK_S)
        finally:
            await client.aclose()

    async def _until_reconciled(self, live: Generation, working: asyncio.Task[None]) -> None:
        """Watches what the own work, or workers that have it by now, do with the shards. Raises what broke the own work
        off; who is asked to stop does not wait for the end."""
        watching = asyncio.create_task(watch(self._settings, live, self._report))
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({watching, working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                await asyncio.wait({watching, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not watching.done():
                raise ProfilestreamError(f"interrupted: {live.name} is live, and workers reconcile what is left")
            watching.result()
        finally:
            await end_tasks(watching, stopped)

    async def _until_level(self, made: Generation, replay: Replay, working: asyncio.Task[None]) -> None:
        """Returns when all has been taken over and nothing is left to fold, or for a while as little as a promotion
        lets pass: a busy live generation is always a little ahead."""
        client = connect(str(self._settings.redis))
        near_s: float | None = None
        try:
            while True:
                _check_work(working, made)
                with suppress(ServerUnavailable):  # a lost server is waited for; the shards say so
                    carrying, records = await _behind(self._settings, client, made, self._plan.live, replay.bounds)
                    near = not carrying and records <= self._settings.promote_lag_records_max
                    near_s = None if not near else near_s or time.monotonic()
                    if not carrying and (records == 0 or (near_s and time.monotonic() - near_s > NEAR_S)):
                        return
                if replay.live_name not in (None, made.base, made.name):
                    raise became_live(str(replay.live_name), made.base)
                if self._stopped.is_set():
                    raise ProfilestreamError(f"interrupted: nothing has changed; {left_behind(made)}")
                await asyncio.sleep(LOOK_S)
        finally:
            await client.aclose()


def _check_work(working: asyncio.Task[None], made: Generation) -> None:
    """Raises what broke the own work off, and ProfilestreamError where it has ended otherwise."""
    if working.done():
        working.result()
        raise ProfilestreamError(f"the work on {made.name} has ended; {left_behind(made)}")


async def _behind(
    settings: Settings, client: AsyncClient, made: Generation, live: Generation, bounds: Bounds
) -> tuple[int, int]:
    """How many shards have yet to take profiles over, and by how many records all are behind: behind the live ones,
    and in topics that these do not read behind where the log ended (`bounds`)."""
    own = await read_heads(client, settings.namespace, made)
    carrying = records = 0
    for shard, positions in (await read_positions(client, settings.namespace, live)).items():
        head = own[shard]
        carrying += head.carried is None or not head.carried.done
        for topic, at in positions.items():
            # A topic that only the live one reads is nothing to catch up with.
            records += max(0, at - head.positions.get(topic, at if head.commit else 0))
    read = leader_of(live, settings).topics
    for (topic, shard), (begin, end) in bounds.items():
        if topic not in read:
            records += max(0, end - own[shard].positions.get(topic, begin))
    return carrying, records


def left_behind(made: Generation) -> str:
    """What is told of a generation that was made and is not live."""
    return (
        f"generation {made.name} is in the making; the same `profilestream apply` goes on with it, "
        f"`profilestream drop {made.name}` takes it away"
    )


def check_history(plan: Plan, choice: Choice) -> None:
    """Raises ProfilestreamError where the live generation knows what would be lost, and that was not allowed."""
    lost = [one.name for one in plan.incomplete if one.lost]
    if choice.from_now:
        lost = [c.name for c in plan.changes.traits if c.kind == "changed" and c.needs]
        lost += [c.name for c in plan.changes.segments if c.kind == "changed" and c.needs]
    if lost and not choice.allow_history_loss:
        why = "would begin empty now" if choice.from_now else "cannot be folded again: the topics do not have it all"
        raise ProfilestreamError(
            f"{', '.join(lost)}: {why}, and the live generation has more; give changed traits another name to keep the "
            "old ones, or accept it with --allow-history-loss"
        )


def wish_of(plan: Plan, choice: Choice) -> Wish:
    """The generation to be made: from where, and which of its traits do not know all of the past."""
    from_log = plan.changes.needs_log and not choice.from_now
    return Wish(
        start={"from": "beginning" if from_log else FROM_LIVE},
        only={},
        method="carry",
        complete_since=_complete_since(plan, choice),
        base=plan.live.name,
    )


def _complete_since(plan: Plan, choice: Choice) -> Mapping[str, str]:
    """From when on each trait that does not know all of the past knows it."""
    changes, now_ms = plan.changes, time.time_ns() // 1_000_000
    changed = {c.name: c for c in changes.traits if c.kind in ("added", "changed")}
    found = {
        name: since
        for name, since in plan.live.complete_since.items()
        if name in changes.after.by_trait and name not in changed
    }
    found |= {one.name: format_time(one.since) for one in plan.incomplete if one.inherited and one.since is not None}
    if choice.from_now:
        begun = dict.fromkeys((c.name for c in changed.values() if c.needs), now_ms)
    else:
        lacking = {one.name for one in plan.incomplete if one.is_trait}  # others are whole: what is gone is too old
        begun = {name: at for name, at in known_since(changes, plan.reaches, now_ms).items() if name in lacking}
    return found | {name: format_time(at) for name, at in begun.items() if name in changes.after.by_trait}


def effort(changes: Changes, choice: Choice) -> str:
    """What applying does, in a few words."""
    if changes.needs_log and not choice.from_now:
        return f"{counted(len(changes.missing), 'aggregate')} from the log, all else from the live profiles"
    return "everything from the live profiles" + (", what is new empty from now on" if changes.needs_log else "")
