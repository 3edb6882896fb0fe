"""One shard's commits: each builds on the one before, some are in flight, and what they answer is taken in.

The head says which commit was the last. Whoever finds another there than its own has lost the shard: `Conflict`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from secrets import token_hex

from profilestream.carrying import Carry
from profilestream.carrying import Part as Carried
from profilestream.core.engine import Crossing
from profilestream.core.profile import Profile
from profilestream.due import Due
from profilestream.store.commits import Commit, CommitReply, Head, Mark, Membership, Note, Stage
from profilestream.store.profile_writes import ProfileWriter
from profilestream.store.shard_store import ShardStore
from profilestream.stream.heralds import Herald, membership
from profilestream.stream.slices import Inbox
from profilestream.tools import Tools
from profilestream.wire.changes import Cause

CLOCK_START_MS = -(1 << 62)
"""The clock of a shard that has folded nothing; Redis is told none."""


class Conflict(Exception):
    """The head is another writer's, or an older one: this view of the shard is void."""


class Commits:
    """Sends one commit after the other. `positions` are those that are safely past, `last` is the id of the last
    commit sent, `done` whether any was answered, `answered_s` when the last one was (monotonic), `outbox_changes` how
    many changes waited for the emitter then."""

    def __init__(
        self,
        shard: int,
        head: Head,
        inbox: Inbox,
        store: ShardStore,
        tools: Tools,
        writer: ProfileWriter,
        due: Due,
        starts: Mapping[str, int] | None,
        carry: Carry | None,
    ) -> None:
        """`starts` are for the head, where they differ from what it says; `carry` is told who came of themselves."""
        self.positions = dict(head.positions)
        self.last = head.commit
        self.sequence = head.sequence
        self.outbox_changes = 0
        self.done = False
        self.answered_s = time.monotonic()
        self._shard = shard
        self._inbox = inbox
        self._store = store
        self._tools = tools
        self._due = due
        self._starts = starts
        self._carry = carry
        self._segments = tools.engine.definitions.by_segment
        self._writer = writer
        self._herald = Herald(tools.generation.name, tools.engine.definitions.fingerprint, tools.settings.source)
        self._in_flight: deque[tuple[asyncio.Future[CommitReply], Commit, int]] = deque()

    def __bool__(self) -> bool:
        """Whether any is in flight."""
        return bool(self._in_flight)

    def send(
        self,
        clock: int,
        profiles: Mapping[str, Profile],
        crossings: Sequence[tuple[str, Crossing]],
        *,
        origins: Mapping[str, int] | None = None,
        events: int = 0,
        positions: Mapping[str, int] | None = None,
        stage: Stage = "",
        cause: Cause | None = None,
        told: bool = True,
        mark: Mark | None = None,
        carried: Carried | None = None,
        noted: Sequence[Note] = (),
    ) -> asyncio.Future[CommitReply]:
        """Everything that changed, and the positions that were reached (None: the inbox's), in one commit.

        `events` are counted once it is answered. With a `cause`, or not `told`, each crossing is worded so.
        """
        crossed = profiles if stage or noted else {customer_id for customer_id, _ in crossings}
        write, has_begun = self._writer.write, clock != CLOCK_START_MS
        commit = Commit(
            expected=self.last,
            commit=token_hex(8),
            sequence=self.sequence + 1,
            clock=clock if has_begun else None,
            positions=dict(self._inbox.positions if positions is None else positions),
            origins=origins or {},
            profiles=[write(p, c in crossed) for c, p in profiles.items()],
            memberships=self._memberships(crossings, carried),
            changes=[self._herald.change(customer_id, c, cause, told) for customer_id, c in crossings],
            noted=noted,
            due_before=clock if has_begun else None,
            starts=self._starts if carried is None or carried.starts is None else carried.starts,
            stage=stage,
            mark=mark,
            carried=carried.carriage if carried is not None else None,
        )
        self._starts = None
        self.last, self.sequence = commit.commit, commit.sequence
        answer = self._store.send_commit(commit)
        self._in_flight.append((answer, commit, events))
        return answer

    def _memberships(self, crossings: Sequence[tuple[str, Crossing]], carried: Carried | None) -> list[Membership]:
        found = [membership(customer_id, c) for customer_id, c in crossings if c.segment in self._segments]
        if carried is not None:
            found += carried.memberships
        elif self._carry is not None:
            self._carry.discount(found)
        return found

    async def settle(self, in_flight_max: int = 0) -> None:
        """Waits until no more commits than that are in flight, and takes in what they answer. Raises Conflict."""
        while self._in_flight and (len(self._in_flight) > in_flight_max or self._in_flight[0][0].done()):
            future, commit, events = self._in_flight[0]
            reply = await future
            self._in_flight.popleft()
            if reply.status != "done":
                raise Conflict
            self.positions = dict(commit.positions)
            self.done = True
            self._tools.troubles.over(self._shard)
            self._tools.counters.add(events, len(commit.profiles), len(commit.changes))
            self.outbox_changes = reply.outbox_changes
            self._due.answered(commit, reply)
            self.answered_s = time.monotonic()

    async def look_at_outbox(self) -> None:
        """Counts what waits for the emitter, where no answer of a commit says so."""
        self.outbox_changes = await self._store.outbox_changes()

    async def look(self) -> None:
        """Looks whether the head is still the last commit's, with none in flight. Raises Conflict."""
        if (await self._store.read_head()).commit != self.last:
            raise Conflict
        self.answered_s = time.monotonic()
