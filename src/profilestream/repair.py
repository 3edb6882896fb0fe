"""Repair: a shard that is not where subscribers were told it is catches up in silence, and says only what differs.

Whoever takes a shard over compares the head with what was announced (`begin`). If the shard's history does not hold it,
the head is marked `repair`: the emitter waits, and folding goes on silently, each topic up to where it was then, the
clock too. Refolding may find other crossings than before, since time and topics interleave differently. So at the end
(`differing`) crossing numbers follow what subscribers were told: a membership that is what was announced takes
the announced number, every other is announced once as the next number, with the cause `repair`.

All of it can be broken off anywhere, and set back itself: what the end needs lies in Redis (`repairs`) and in topic
`announced`, and is asked for again.

A silent generation is in repair all the time (`quiet`), without an end. When it becomes live, each of its shards opens
the turn; the steps, each with the crash that it survives:

1. Topic `generations` says in one transaction who is live in which turn; Redis names it to readers after that. A crash
   in between: workers write Redis again (stream/live.py).
2. Open the shard's transactional id and read what was announced, in an earlier turn by another generation. Its emitter
   is fenced; what it announces all the same, having opened the id again, it does before step 3, which then fails, and
   this step finds it.
3. Take back what waits in the own outbox (`quiet`): the marker's commit must not be found there and be taken for one
   that was announced. Then write the marker, in a transaction of the same holder: where the shard stands in the new
   turn, with nothing changed, and where it was when last announced. From here on no emitter of an earlier turn
   announces, whenever it wakes up: opening the id it reads the later turn. A worker that wakes up late, of the earlier
   turn, reads it too; had it come first, its marker is what step 2 finds.
4. What was announced last is now the marker, and the head does not have it. So an ordinary repair leads up to it: folds
   in silence up to where the former generation was announced (mostly the shard is past that already), and ends by
   reconciling all that the head's mark does not cover, with the cause of the turn. A crash anywhere after step 3 begins
   here again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from secrets import token_hex

from profilestream.core.engine import Crossing, Engine
from profilestream.core.errors import LogMismatch
from profilestream.core.profile import Profile
from profilestream.settings import Settings
from profilestream.store.commits import Commit, Head, Mark
from profilestream.store.profile_cache import ProfileCache
from profilestream.store.shard_store import ShardStore
from profilestream.stream.announced import AnnouncedLog
from profilestream.stream.announcer import AnnouncedPosition
from profilestream.wire.changes import Cause


class SetBack(Exception):
    """The head is another writer's by now: begin anew from the head."""


class Superseded(Exception):
    """Another generation is live in a later turn; this process has not heard of it yet."""


@dataclass(frozen=True, slots=True)
class Repair:
    """One shard's way back to what was announced (`target`); `since` is where topic `announced` tells more than the
    head knows. `cause` is that of what differs at the end; without `told` that counts as announced, but subscribers are
    not told. Until its end the inbox gives nothing beyond the target's positions."""

    shard: int
    target: AnnouncedPosition
    since: int
    store: ShardStore
    log: AnnouncedLog
    cause: Cause = "repair"
    told: bool = True

    async def numbers(self) -> tuple[dict[str, dict[str, int]], Mark]:
        """For each customer and segment that may differ the last number announced, and the mark for the head.

        Only what was announced up to the target: an emitter that still reads a Redis which is no longer the master may
        announce more, of records that are not folded here yet. It is the next repair's, and the mark must not hold it.
        """
        found = await self.log.numbers(self.shard, self.since, self.target.offset)
        by_customer: dict[str, dict[str, int]] = {}
        for (customer_id, segment), number in ((await self.store.repairs()) | found).items():
            by_customer.setdefault(customer_id, {})[segment] = number
        return by_customer, self.target.mark


async def differing(
    numbers: Mapping[str, Mapping[str, int]], cache: ProfileCache, engine: Engine, clock: int, settings: Settings
) -> AsyncIterator[tuple[dict[str, Profile], list[tuple[str, Crossing]]]]:
    """For a commit at a time: the profiles that take other numbers, and the crossings that have to be announced.

    `numbers` are the last announced, by customer and segment. No more customers or changes come at once than a commit
    may have; the next come once these were sent.
    """
    waiting = list(numbers)
    while waiting:
        customers = waiting[: settings.commit_customers_max]
        del waiting[: len(customers)]
        changed: dict[str, Profile] = {}
        crossings: list[tuple[str, Crossing]] = []
        for looked_at, (customer_id, profile) in enumerate((await cache.look_up(customers)).items(), 1):
            found = engine.reconcile(profile, numbers[customer_id], clock)
            if found is not None:
                changed[customer_id] = profile
                crossings += [(customer_id, crossing) for crossing in found]
            if len(crossings) >= settings.commit_changes_max:
                waiting[:0] = customers[looked_at:]
                break
        if changed:
            yield changed, crossings


async def begin(store: ShardStore, head: Head, announced: AnnouncedPosition | None, in_history: bool) -> Head:
    """Marks a head that lacks what was announced, and empties its outbox; gives the head as it is then.

    Sequence numbers leap above the announced one, since the outbox counts by them. Raises SetBack when another
    writer comes first.
    """
    if announced is None or not (head.repair or not in_history):
        return head
    if not head.repair or head.sequence <= announced.sequence:
        commit = Commit(head.commit, token_hex(8), max(head.sequence, announced.sequence) + 1, stage="begin")
        if (await store.send_commit(commit)).status != "done":
            raise SetBack
        head.commit, head.sequence, head.repair = commit.commit, commit.sequence, True
    if not await store.absorb_outbox(head):
        raise SetBack
    return head


def needs_turn(announced: AnnouncedPosition | None, generation: str, turn: int, shard: int) -> bool:
    """Whether a generation that is live since a turn has yet to open it for a shard.

    Raises Superseded in a later turn, LogMismatch where another generation has the same.
    """
    if announced is None:
        return turn > 1
    if announced.turn > turn:
        raise Superseded
    if announced.turn == turn and announced.generation != generation:
        raise LogMismatch(
            f"shard {shard}: generation {announced.generation} was announced in turn {turn}, and {generation} is live "
            "in it by topic `generations`; was that topic deleted? Give this installation another --namespace"
        )
    return announced.turn < turn


async def quiet(store: ShardStore, head: Head) -> Head:
    """Marks the head of a silent shard, from its first commit on, and takes back what it had not announced.

    What an emitter announces at this moment all the same counts: its number is asked of topic `announced` when it
    matters, which is before what is kept here. Raises SetBack when another writer comes first.
    """
    if not head.repair:
        commit = Commit(head.commit, token_hex(8), head.sequence + 1, stage="begin")
        if (await store.send_commit(commit)).status != "done":
            raise SetBack
        head.commit, head.sequence, head.repair = commit.commit, commit.sequence, True
    if not await store.absorb_outbox(head):
        raise SetBack
    return head


def first_positions(shard: int, head: Head, began: Mapping[str, int], begins: Mapping[str, int]) -> dict[str, int]:
    """Where each topic is read on: at the head's position, or else where it was read from once (`began`), or else at
    the beginning of its log (`begins`).

    Raises LogMismatch where records that were folded once would be needed again and are gone.
    """
    positions = {}
    for topic, begin in begins.items():
        position = head.positions.get(topic, began.get(topic, begin))
        if position < begin:
            raise LogMismatch(
                f"topic {topic}, partition {shard}: the next record to fold is {position}, but the log begins at "
                f"{begin}; records {position} to {begin - 1} were removed before they were folded, or Redis was set "
                "back to before them. Restore a newer dump of Redis, or the records; where an archive has them, let "
                "`profilestream replay` fold them with --archive; to go on without them, fold into another namespace. "
                "Raise the topic's retention"
            )
        positions[topic] = position
    return positions
