"""`promote` and `rollback`: another generation becomes the live one, in one step for readers.

The steps, each with the crash that it survives:

1. Look whether it may: it is no trial, it is level with the live one, and no history is lost that the live one has.
   Nothing is changed.
2. One transaction in topic `generations`: who is live, in the next turn; the new one's and the former one's records. A
   crash before its end changes nothing. From its end on the promotion has happened; whatever comes later is found out
   by workers and emitters, and by the same command run again.
3. Redis: what both are, then `ps:live`, by which readers switch within the second for which they remember it. A crash
   before this: every worker writes it again within a second (stream/live.py).
4. Workers follow topic `generations`: each shard of the new one opens its turn and reconciles what was announced
   (repair.py); each of the former one becomes silent and is kept in step. Nothing is removed. The command only watches.

A rollback is the promotion of the generation that was live before; since that was kept in step and knows what was
announced in its time, only what was announced since is reconciled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from profilestream.core.counting import counted
from profilestream.core.errors import NotFound, ProfilestreamError, UsageError
from profilestream.operations.archives import check_folded
from profilestream.operations.initialise import server_addresses
from profilestream.operations.lost_history import HistoryLost, Lost, find_lost
from profilestream.roles import leader_of
from profilestream.settings import Settings
from profilestream.store.connection import AsyncClient, check_server, connect
from profilestream.store.metadata import Generation, set_live, write_generation
from profilestream.store.places import count_in_repair, read_heads, read_positions
from profilestream.stream import generations
from profilestream.stream.generations import Changed, Generations, Live, group_of
from profilestream.stream.topics import Admin, Report
from profilestream.wire.times import format_time

LOOK_S: Final = 0.1
QUIET_S: Final = 10.0
"""After so long without a step the command says how far it is, and whether anybody works on it."""

Announce = Literal["net", "none"]
Cause = Literal["backfill", "definition"]


@dataclass(frozen=True, slots=True)
class Promoted:
    """What a promotion did: who is live, in which turn, who was before, and how long until Redis said so (seconds)."""

    live: Generation
    former: Generation | None
    readers_s: float


async def promote(
    settings: Settings,
    name: str,
    report: Report,
    *,
    announce: Announce = "net",
    cause: Cause = "backfill",
    allow_history_loss: bool = False,
    base: str | None = None,
) -> Promoted:
    """Steps 1 to 3. For one that is live already only Redis is written, where a crash came before that.

    With `base` nothing is done where another generation than that is live by now: what is to be promoted was planned
    against it, and would undo what somebody else has promoted since.

    Raises NotFound for an unknown generation, UsageError for one that can never be promoted, HistoryLost, and
    ProfilestreamError for one that is not level, or where another command changes generations at the same moment.
    """
    kafka, redis = server_addresses(settings)
    client = connect(redis)
    began_s = time.monotonic()
    try:
        await check_server(client)
        known = await generations.read_all(kafka, settings.generations_topic, settings.namespace)
        former, lost = known.live, Lost()
        if base is not None and known.live_name not in (base, name):
            raise became_live(str(known.live_name), base)
        if known.live_name != name:
            wanted = _promotable(known, name)
            behind = await _check_level(settings, client, wanted, former)
            if behind:
                report(f"{name} is {counted(behind, 'record')} behind; they are folded once it is live")
            if former is not None and (wanted.state == "building" or not allow_history_loss):
                lost = await find_lost(settings, client, wanted, former)
                if lost.why and not allow_history_loss:
                    raise HistoryLost(name, lost.why)
            if apart := await unaligned(settings, client, wanted):
                changes = counted(apart, "announced change")
                report(f"{name} has yet to compare {changes}; its shards fold nothing meanwhile")

        def decide(now: Generations) -> Changed:
            if now.live_name == name:
                return {}, None
            if now.live_now != known.live_now:
                raise ProfilestreamError(
                    f"generation {now.live_name} has become live meanwhile; look again, and then promote"
                )
            now_ms = time.time_ns() // 1_000_000
            written = changed_by(now, name, now_ms, settings.keep_former_ms, lost.left)
            return written, Live(name, now.turn + 1, cause, announce)

        after = await generations.change(kafka, settings.generations_topic, settings.namespace, decide)  # 2
        live = after.live
        assert live is not None
        for generation in after.by_name.values():
            if generation.name != name and generation.state == "kept":
                await write_generation(client, settings.namespace, generation)  # 3
        await write_generation(client, settings.namespace, live)
        await set_live(client, settings.namespace, name)
    finally:
        await client.aclose()
    promoted = Promoted(
        live, former if former is not None and former.name != name else None, time.monotonic() - began_s
    )
    report(f"generation {name} is live, in turn {live.turn}{_kept(after, promoted.former)}")
    return promoted


async def unaligned(settings: Settings, client: AsyncClient, generation: Generation) -> int:
    """How many announced changes its shards have yet to compare, where that is worth doing ahead (see aligning.py).
    Raises ServerUnavailable."""
    async with Admin(str(settings.kafka)) as admin:
        ends = await admin.end_offsets(settings.announced_topic)
    heads = await read_heads(client, settings.namespace, generation)
    apart = [ends.get(n, 0) - (head.announced.offset if head.announced is not None else 0) for n, head in heads.items()]
    return sum(records for records in apart if records >= settings.align_records_min)


def changed_by(
    now: Generations, name: str, now_ms: int, keep_ms: int, left: Iterable[str] = ()
) -> dict[str, Generation]:
    """The records that a promotion writes, by name. The former live generation is kept in step; the time of those that
    were kept before it is over, for each is folded beside the live one, and going back goes to the last. Traits of
    which a topic is `left` know all from this moment on."""
    over = {
        kept.name: replace(kept, kept_until=format_time(now_ms))
        for kept in now.by_name.values()
        if kept.state == "kept" and not kept.is_over(now_ms)
    }
    wanted = _promotable(now, name)
    since = {**wanted.complete_since, **dict.fromkeys(left, format_time(now_ms))}
    written = over | {name: replace(wanted, state="live", kept_until="", turn=now.turn + 1, complete_since=since)}
    if now.live is not None:
        written[now.live.name] = replace(now.live, state="kept", kept_until=format_time(now_ms + keep_ms))
    return written


def became_live(name: str, base: str) -> ProfilestreamError:
    """The error where something was planned against a generation that is not live any more."""
    return ProfilestreamError(
        f"generation {name} has become live meanwhile, and this was planned against {base}; nothing has changed. Look "
        "at what is live now, and plan anew"
    )


async def rollback(settings: Settings, report: Report, *, announce: Announce = "net") -> Promoted:
    """Promotes the generation that was live last before this one. Raises NotFound where none is kept."""
    kafka, _ = server_addresses(settings)
    known = await generations.read_all(kafka, settings.generations_topic, settings.namespace)
    kept = [g for g in known.by_name.values() if g.state == "kept" and g.name != known.live_name]
    if not kept:
        raise NotFound("no former generation is kept, so there is nothing to go back to")
    last = max(kept, key=lambda g: g.turn)
    return await promote(settings, last.name, report, announce=announce, cause="definition", allow_history_loss=True)


async def watch(settings: Settings, live: Generation, report: Report) -> float:
    """Step 4: returns when every shard has opened its turn and is reconciled; gives how long that took (seconds).

    Raises ServerUnavailable for a lost Redis; the promotion goes on without anybody who watches.
    """
    kafka, redis = server_addresses(settings)
    client = connect(redis)
    began_s = moved_s = time.monotonic()
    told, left = False, live.shards + 1
    try:
        while True:
            now = await count_in_repair(client, settings.namespace, live)
            if now < left:
                left, moved_s, told = now, time.monotonic(), False
            if not left:
                took_s = time.monotonic() - began_s
                report(f"{counted(live.shards, 'shard')} reconciled in {took_s:.1f} s")
                return took_s
            if not told and time.monotonic() - moved_s > QUIET_S:
                told = True
                nobody = await _is_nobodys(kafka, group_of(settings.namespace, live.name))
                hint = ", and nobody works on them; start `profilestream worker`" if nobody else ""
                report(f"{counted(left, 'shard')} yet to be reconciled{hint}")
            await asyncio.sleep(LOOK_S)
    finally:
        await client.aclose()


async def _is_nobodys(kafka: str, group: str) -> bool:
    """Whether no process is there that would reconcile; False where Kafka does not tell."""
    try:
        async with Admin(kafka) as admin:
            return not await admin.group_members(group)
    except ProfilestreamError:
        return False


def _kept(known: Generations, former: Generation | None) -> str:
    """What is told of the generation that was live before."""
    if former is None:
        return ""
    until = known.by_name[former.name].kept_until
    return f"; {former.name} is kept until {until}, and `profilestream rollback` goes back to it"


def _promotable(known: Generations, name: str) -> Generation:
    """The generation; raises NotFound and UsageError where it can never be promoted."""
    found = known.by_name.get(name)
    if found is None:
        there = ", ".join(sorted(known.by_name)) or "none"
        raise NotFound(f"there is no generation `{name}` (there are: {there})")
    if found.only:
        raise UsageError(f"generation {name} is a trial of a part of the customers; make one of all of them")
    if found.state not in ("building", "kept", "live"):
        raise UsageError(f"generation {name} is {found.state}; only one that is building or kept can be promoted")
    return found


async def _check_level(settings: Settings, client: AsyncClient, wanted: Generation, live: Generation | None) -> int:
    """How many records it is behind; raises ProfilestreamError where readers would go far back in time."""
    own = await read_heads(client, settings.namespace, wanted)
    if not any(head.commit for head in own.values()):
        raise ProfilestreamError(
            f"generation {wanted.name} has folded nothing yet; run `profilestream replay {wanted.name}`"
        )
    await check_folded(settings, wanted, own)
    if live is None:
        return 0
    left = [n for n, head in own.items() if head.carried is None or not head.carried.done]
    if wanted.method == "carry" and left:
        raise ProfilestreamError(
            f"generation {wanted.name} has yet to take over profiles of {wanted.base} in "
            f"{counted(len(left), 'shard')}; let `profilestream replay {wanted.name}` come to its end, then "
            "promote it"
        )
    asked, read, behind = wanted.start.get("offsets", {}), leader_of(wanted, settings).topics, 0
    for shard, positions in (await read_positions(client, settings.namespace, live)).items():
        head = own[shard]
        for topic, at in positions.items():
            if topic not in read:
                continue
            began = max(head.starts.get(topic, 0), asked.get(topic, {}).get(str(shard), 0))
            behind += max(0, at - head.positions.get(topic, began))
    if behind > settings.promote_lag_records_max:
        raise ProfilestreamError(
            f"generation {wanted.name} is {counted(behind, 'record')} behind {live.name}; let it catch up "
            f"(`profilestream replay {wanted.name}`, or a worker where it is kept), then promote it"
        )
    return behind
