"""The relay of one shard: from its outbox in Redis to Kafka, each change exactly once and in order.

The durability steps, each with the crash that it survives:

1. Open the shard's transactional id. Survives: a crash inside a transaction (Kafka settles it before the
   call returns), and a holder that only seemed dead (it is fenced from here on).
2. Read the announced position. Nobody can change it after step 1. Survives: losing everything in memory.
3. Remove from the outbox what the position covers, and mark it in the head. Survives: a crash between
   steps 5 and 6.
4. Read whole commits from the outbox. Survives: a crash that would leave half a commit announced, with
   a position that can name only whole ones.
5. Announce them in one transaction together with the new position. Survives: a crash at any instant; to a
   reader of committed records all of it happened, or nothing.
6. Remove them from the outbox, and mark it in the head. A crash before this is settled by step 3 of
   whoever comes next.

It never announces while the shard is in repair, and never when the shard's history does not hold what was announced:
Redis was set back, and the worker repairs the shard (repair.py).

A relay announces for one generation in one turn. What it reads in step 2 tells whose turn it is: a later one than its
own means that another generation is live by now, an earlier one that its own has not begun for this shard; only a
worker opens a turn. In both it announces nothing. A relay of an earlier turn that was stopped for a while is fenced by
the worker that opens the turn; opening the id anew it reads the later turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from profilestream.core.errors import LogMismatch, ServerUnavailable
from profilestream.settings import Settings
from profilestream.store.outbox import Outbox, OutboxCommit, ShardHead
from profilestream.stream.announcer import Announced, AnnouncedPosition, Announcer, Fenced

_TRANSACTION_CHANGES_MAX = 2_000
_TRANSACTION_BYTES_MAX = 1024 * 1024
_IDLE_WAIT_MS = 1_000
_BACKOFF_S = (0.1, 5.0)
_HEAD_POLL_S = 0.1
_STANDING_S_MAX = 5.0
_FENCED_S = 0.4


class _NotMine(Exception):
    """The shard is in another turn than the relay's."""


@dataclass(frozen=True)
class RelayEvents:
    """What a relay tells its emitter: each is called in the event loop and must not block."""

    announced: Callable[[int], None]  # a transaction with so many changes was committed
    ready: Callable[[], None]  # both servers answered and the shard is this relay's
    lost: Callable[[Exception], None]  # Kafka or Redis failed; the relay tries again by itself
    note: Callable[[str], None]  # a line for a person


class ShardRelay:
    """Announces one shard's changes of one generation until told to stop.

    `mismatch` is set while the shard stands still because Redis and what was announced contradict each other.
    """

    def __init__(
        self, settings: Settings, outbox: Outbox, *, generation: str, shard: int, events: RelayEvents, turn: int = 1
    ) -> None:
        self._turn = turn
        self._outbox = outbox
        self._announcer = Announcer(settings, shard)
        self._generation = generation
        self._shard = shard
        self._events = events
        self._stopping = asyncio.Event()
        self._retries = self._fences = 0
        self._doubted = ""
        self.mismatch: LogMismatch | None = None

    def stop(self) -> None:
        """Ask `run` to return after the transaction in hand."""
        self._stopping.set()

    async def run(self) -> None:
        """Relay until `stop`. Lost servers and fences are waited out; a bug raises."""
        settle: Callable[[], Awaitable[None]] | None = None
        while not self._stopping.is_set():
            try:
                if settle is not None:
                    await settle()
                    settle = None
                await self._relay()
            except _NotMine:
                settle = self._let_go
            except Fenced:
                settle = partial(self._let_go, min(_FENCED_S * 2**self._fences, _STANDING_S_MAX))
                self._fences = min(self._fences + 1, 10)
            except LogMismatch as error:
                if self.mismatch is None:
                    self._events.note(str(error))
                self.mismatch = error
                settle = self._await_repair
            except (KafkaError, RedisError, OSError, ServerUnavailable) as error:
                self._events.lost(error)
                await self._pause(min(_BACKOFF_S[0] * 2**self._retries, _BACKOFF_S[1]))
                self._retries = min(self._retries + 1, 10)

    async def _relay(self) -> None:
        """The six steps; returns on `stop`, or when a repair begins and has ended."""
        while (await self._outbox.head()).repair:
            if await self._pause(_HEAD_POLL_S):
                return
        try:
            position = await self._announcer.open()  # 1, 2
            if not self._is_my_turn(position):
                self._retries = 0
                self._events.ready()
                raise _NotMine
            if position is not None:
                await self._remove(position)  # 3
            self.mismatch = None
            self._retries = 0
            self._events.ready()
            await self._announce_all(position)
        finally:
            await self._announcer.close()

    def _is_my_turn(self, position: AnnouncedPosition | None) -> bool:
        if position is None:
            return self._turn == 1  # every later one begins with a marker
        return (position.turn, position.generation) == (self._turn, self._generation)

    async def _announce_all(self, position: AnnouncedPosition | None) -> None:
        while not self._stopping.is_set():
            after = position.sequence if position else 0
            commits = await self._outbox.read(  # 4
                after, changes_max=_TRANSACTION_CHANGES_MAX, bytes_max=_TRANSACTION_BYTES_MAX
            )
            # The head is looked at after the outbox: what was read is then known not to be from before a
            # rollback that the head already shows.
            head = await self._outbox.head()
            if head.repair:
                return
            self._check(head, position)
            if not commits:
                await self._wait_for_changes(after)
                continue
            position, changes = await self._announce(commits)  # 5
            self._fences = 0
            self._events.announced(changes)
            await self._remove(position)  # 6

    async def _announce(self, commits: Sequence[OutboxCommit]) -> Announced:
        return await self._announcer.announce(self._generation, commits, self._turn)

    async def _remove(self, position: AnnouncedPosition) -> None:
        if not await self._outbox.remove(position.mark):
            raise self._contradiction(await self._outbox.head(), position)

    def _check(self, head: ShardHead, position: AnnouncedPosition | None) -> None:
        """Hold the shard's history to what was announced; `LogMismatch` when Redis was set back."""
        if position is not None and (head.announced is None or head.announced.commit != position.commit):
            raise self._contradiction(head, position)

    def _contradiction(self, head: ShardHead, position: AnnouncedPosition) -> Fenced | LogMismatch:
        is_behind = head.announced is not None and head.announced.sequence > position.sequence
        if is_behind and self._doubted != position.commit:
            # Marks follow what is announced, so it is this relay's position that is old: it was stopped for a while.
            # Unless Kafka gives it a second time.
            self._doubted = position.commit
            return Fenced("another emitter has announced more of this shard")
        return LogMismatch(
            f"shard {self._shard}: commit {position.sequence} was announced, but Redis, at commit {head.sequence}, "
            "does not have it: Redis has lost its last writes. A worker repairs the shard; until then nothing of it "
            "is announced"
        )

    async def _wait_for_changes(self, after: int) -> None:
        waiting = asyncio.ensure_future(self._outbox.wait(after, _IDLE_WAIT_MS))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            waiting.cancel()
            stopping.cancel()
            await asyncio.wait({waiting, stopping})

    async def _let_go(self, seconds: float = _STANDING_S_MAX) -> None:
        """In another turn, or after a fence: the shard is another's until a worker commits. Not for good, because a
        worker that only looked at the position fences too, and an idle shard would keep its last changes for ever.
        After fences in a row it is waited twice as long each time: two emitters may hold the shard."""
        seen = await self._outbox.head()
        for _ in range(round(seconds / _HEAD_POLL_S)):
            if await self._pause(_HEAD_POLL_S) or await self._outbox.head() != seen:
                return

    async def _await_repair(self) -> None:
        """After a mismatch: only a repair makes this shard's outbox good again. Not for good, because it may have come
        and gone before the first look here.

        A worker that loaded its head before this was announced has no reason of its own to look again: an emitter may
        have read the outbox of a Redis that was no longer the master."""
        seen = await self._outbox.head()
        if not seen.repair:
            await self._outbox.unsettle(seen)
            seen = await self._outbox.head()
        for _ in range(round(_STANDING_S_MAX / _HEAD_POLL_S)):
            head = await self._outbox.head()
            if head.repair or head.announced != seen.announced or await self._pause(_HEAD_POLL_S):
                return

    async def _pause(self, seconds: float) -> bool:
        """Sleep, or wake at once on `stop`; whether it was `stop`."""
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False
