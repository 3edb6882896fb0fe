"""One shard in Redis: its head, its profiles' states, its timers, and the one way to change them.

Everything that folding a run of records changes is written by one Lua call (`commit.lua`), guarded by the
id of the commit it builds on. Whoever is not the last writer gets "conflict" and has changed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha1
from secrets import token_hex
from typing import Any, Final

import orjson
import redis.exceptions

from ..core.errors import StoreRefused
from .commits import Commit, CommitReply, Head, Mark, commit_command, read_commit_reply, read_head
from .keys import ShardKeys
from .outbox import ANNOUNCED, script
from .pipeline import PipelinedConnection
from .walk import ShardWalk

SCRIPT: Final = script("commit")
SCRIPT_SHA: Final = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
ABSORB: Final = script("absorb")
CHANGES_ABSORBED_A_CALL: Final = 500
REPAIRS_A_PAGE: Final = 1_000


class ScriptFailed(StoreRefused):
    """Redis refused a commit; nothing was written. Drop what is cached and in flight, read the head anew."""


class NoScript(ScriptFailed):
    """Redis does not know the script (it restarted, or SCRIPT FLUSH): `load_script`, then as ScriptFailed."""


class ShardStore:
    """A shard's keys, over a connection that several shards may share.

    All methods raise ServerUnavailable when the connection is lost; it does not come back by itself.
    """

    def __init__(self, pipeline: PipelinedConnection, keys: ShardKeys, *, timers_page_max: int = 250) -> None:
        """`timers_page_max` bounds how many due customers one commit's reply names."""
        self.keys = keys
        self._pipeline = pipeline
        self._timers_page_max = timers_page_max

    @property
    def closed(self) -> bool:
        """Whether the connection is lost."""
        return self._pipeline.closed

    async def load_script(self) -> None:
        """Makes the commit script known to the server; needed before the first commit and after NoScript."""
        await self._pipeline.send("SCRIPT", "LOAD", SCRIPT)

    async def read_head(self) -> Head:
        """Where the shard stands; a fresh one has `commit` "" and `sequence` 0."""
        return read_head(await self._pipeline.send("HGETALL", self.keys.head))

    async def positions_of(self, head: str) -> dict[str, int]:
        """The positions that another generation's head of the same shard has; {} for none."""
        found: dict[str, int] = orjson.loads(await self._pipeline.send("HGET", head, "positions") or b"{}")
        return found

    def walk(self, keys: ShardKeys) -> ShardWalk:
        """A walk over the same shard of another generation, on the same connection: both lie in one slot."""
        return ShardWalk(self._pipeline, keys)

    async def load(self, customer_ids: Sequence[str]) -> list[bytes | None]:
        """The states of customers, in their order, None for one without a profile; one round trip."""
        if not customer_ids:
            return []
        prefix = self.keys.state_prefix
        await self._pipeline.ready()
        states: list[bytes | None] = await self._pipeline.send_all(
            ("MGET", *[prefix + customer_id for customer_id in customer_ids])
        )
        return states

    def send_commit(self, commit: Commit) -> asyncio.Future[CommitReply]:
        """Sends a commit at once, behind those under way; the reply comes in the future.

        Bounding how many are under way is the caller's part. The future raises NoScript or ScriptFailed
        (nothing was written), or ServerUnavailable (it may have been written: read the head).
        """
        command = commit_command(SCRIPT_SHA, self.keys, commit, self._timers_page_max)
        return self._pipeline.send_all(command, _commit_reply)

    async def due(self, now_ms: int, count_max: int) -> list[tuple[str, int]]:
        """Customers whose timer is at or before `now_ms` and that instant (ms); urgent ones first, then the oldest."""
        found: dict[str, int] = {}
        for key in (self.keys.urgent, self.keys.timers):
            left = count_max - len(found)
            flat = await self._pipeline.send("ZRANGEBYSCORE", key, "-inf", now_ms, "WITHSCORES", "LIMIT", 0, left)
            for member, score in zip(flat[::2], flat[1::2], strict=True):
                found.setdefault(member.decode(), int(score))
        return list(found.items())

    async def outbox_changes(self) -> int:
        """How many changes wait for the emitter."""
        waiting: int = await self._pipeline.send("XLEN", self.keys.outbox)
        return waiting

    async def settle_announced(self, announced: Mark) -> bool:
        """Takes out of the outbox what was announced, and marks it in the head; False when this Redis never had it."""
        keys = self.keys
        return bool(await self._pipeline.send("EVAL", ANNOUNCED, 2, keys.head, keys.outbox, *announced))

    async def absorb_outbox(self, head: Head) -> bool:
        """At the beginning of a repair: takes all changes out of the outbox into what `repairs` tells.

        Where there were any the head has another commit id from then on, here too, and a writer that still holds the
        former one is refused. False when the shard's last commit is not the head's.
        """
        keys, left = self.keys, 1
        while left > 0:
            ids = head.commit, token_hex(8)
            left, commit = await self._pipeline.send(
                "EVAL", ABSORB, 3, keys.head, keys.outbox, keys.repairs, *ids, CHANGES_ABSORBED_A_CALL
            )
            head.commit = commit.decode() or head.commit
        return left == 0

    async def repairs(self) -> dict[tuple[str, str], int]:
        """In a repair: customers and segments that crossed without being announced, and the number before that."""
        found: dict[tuple[str, str], int] = {}
        cursor = b"0"
        while True:
            cursor, flat = await self._pipeline.send("HSCAN", self.keys.repairs, cursor, "COUNT", REPAIRS_A_PAGE)
            for name, number in zip(flat[::2], flat[1::2], strict=True):
                customer_id, _, segment = name.decode().partition("\0")
                found[customer_id, segment] = int(number)
            if cursor == b"0":
                return found

    async def next_due(self) -> int | None:
        """The earliest instant (ms) of any timer of the shard, None when there is none."""
        flat = await self._pipeline.send("ZRANGE", self.keys.timers, 0, 0, "WITHSCORES")
        return int(flat[1]) if flat else None


def _commit_reply(reply: Any) -> CommitReply:
    if isinstance(reply, redis.exceptions.NoScriptError):
        raise NoScript("Redis does not know the commit script; it is loaded again")
    if isinstance(reply, redis.exceptions.ResponseError):
        raise ScriptFailed(f"Redis refused a commit: {reason(str(reply))}")
    return read_commit_reply(reply)


def reason(text: str) -> str:
    """The part of an error reply that is safe to show: never one that may quote a key."""
    if text.startswith("PROFILESTREAM"):
        return text.removeprefix("PROFILESTREAM refused a commit: ")
    if "OOM" in text:
        return "its memory is used up (OOM); raise maxmemory"
    if "MISCONF" in text:
        return "it cannot save to disk (MISCONF); see its log"
    if text.startswith("NOPERM") or "permission" in text:
        return "the user lacks permissions (NOPERM); allow the namespace's keys and all that commit.lua calls"
    return f"it answers {text.split(maxsplit=1)[0]}" if text else "it does not say why"
