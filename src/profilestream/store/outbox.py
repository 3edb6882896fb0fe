"""The outbox of one shard as its emitter sees it: whole commits in, nothing but whole commits out.

A commit with sequence number S leaves its n changes in a Redis stream with ids `S-1 … S-n`; its last entry
carries `head`, which says where the shard then was. Private to profilestream.
"""

from __future__ import annotations

from hashlib import sha1
from importlib import resources
from secrets import token_hex
from typing import Any, Final, NamedTuple

import msgspec
from redis.exceptions import NoScriptError

from profilestream.core.errors import LogMismatch
from profilestream.store.commits import Mark


def script(name: str) -> str:
    """The text of one of the scripts beside this file."""
    return resources.files(__package__).joinpath(f"{name}.lua").read_text("utf-8")


ANNOUNCED: Final = script("announced")
UNSETTLE: Final = script("unsettle")
ANNOUNCED_SHA: Final = sha1(ANNOUNCED.encode(), usedforsecurity=False).hexdigest()

_PAGE_ENTRIES = 500


class CommitHead(msgspec.Struct, frozen=True):
    """Where a shard was at one commit: its id (hex), number, clock (ms, absent before the first event), the next
    offset of each topic, and where a topic's log began when it was first read, if not at 0."""

    commit: str
    sequence: int
    clock: int | None = None
    positions: dict[str, int] = {}
    starts: dict[str, int] = {}


class OutboxChange(NamedTuple):
    """One segment change that waits to be announced; `value` is the record's value as it will be sent."""

    customer: bytes
    segment: bytes
    crossing: int
    change: str
    value: bytes


class OutboxCommit(NamedTuple):
    """All changes of one commit, in their order, and the commit's head."""

    head: CommitHead
    changes: tuple[OutboxChange, ...]


class ShardHead(NamedTuple):
    """What the emitter looks at in a shard's head; a shard that was never written has sequence 0."""

    commit: str
    sequence: int
    repair: bool
    announced: Mark | None


class Outbox:
    """Reads and empties the outbox of one shard.

    `redis` is a redis-py asyncio client that answers in bytes; `outbox` and `head` are the names of the
    shard's keys. Every method may raise what redis-py raises for a lost server.
    """

    def __init__(self, redis: Any, outbox: str | bytes, head: str | bytes) -> None:
        self._redis = redis
        self._outbox = outbox
        self._head = head
        self._seen: str | bytes = "0-0"

    async def head(self) -> ShardHead:
        """The shard's head now."""
        commit, sequence, repair, mark = await self._redis.hmget(
            self._head, "commit", "sequence", "repair", "announced"
        )
        return ShardHead((commit or b"").decode(), int(sequence or 0), repair is not None, Mark.parse(mark))

    async def read(self, after: int, *, changes_max: int, bytes_max: int) -> list[OutboxCommit]:
        """Whole commits with a sequence number above `after`, oldest first, none of them cut.

        Stops at the end of the first commit with which `changes_max` or `bytes_max` (of values) is reached,
        so one commit larger than either comes whole. A commit whose end is not there yet is left.
        """
        commits: list[OutboxCommit] = []
        changes: list[OutboxChange] = []
        count = size = 0
        start = f"{after + 1}-0"
        while True:
            page = await self._redis.xrange(self._outbox, min=start, count=_PAGE_ENTRIES)
            for entry, fields in page:
                self._seen = entry
                change = _change_of(fields)
                changes.append(change)
                count += 1
                size += len(change.value)
                if (end := fields.get(b"head")) is None:
                    continue
                commits.append(OutboxCommit(_head_of(entry, end), tuple(changes)))
                changes = []
                if count >= changes_max or size >= bytes_max:
                    return commits
            if len(page) < _PAGE_ENTRIES:
                return commits
            start = f"({self._seen.decode() if isinstance(self._seen, bytes) else self._seen}"

    async def wait(self, after: int, timeout_ms: int) -> None:
        """Return when an entry comes that no `read` has seen, or after `timeout_ms`."""
        seen = self._seen if _sequence_of(self._seen) > after else f"{after}-{2**64 - 1}"
        await self._redis.xread({self._outbox: seen}, count=1, block=timeout_ms)

    async def remove(self, announced: Mark) -> bool:
        """Remove every commit up to and with the last one announced, and mark in the head that it was.

        False, and nothing is removed, when this Redis has never had that commit: it was set back.
        """
        arguments = (2, self._head, self._outbox, announced.sequence, announced.commit, announced.offset)
        try:
            return bool(await self._redis.evalsha(ANNOUNCED_SHA, *arguments))
        except NoScriptError:
            return bool(await self._redis.eval(ANNOUNCED, *arguments))

    async def unsettle(self, head: ShardHead) -> None:
        """Make the shard's worker look at the head, and at what was announced, anew.

        Nothing if a repair has begun or ended since; that the worker commits meanwhile does not matter.
        """
        if head.commit:
            mark = str(head.announced) if head.announced is not None else ""
            await self._redis.eval(UNSETTLE, 1, self._head, mark, token_hex(8))

    async def waiting(self) -> int:
        """How many changes wait to be announced."""
        return int(await self._redis.xlen(self._outbox))


def _change_of(fields: dict[bytes, bytes]) -> OutboxChange:
    return OutboxChange(
        fields[b"customer"],
        fields[b"segment"],
        int(fields[b"crossing"]),
        fields[b"change"].decode(),
        fields[b"value"],
    )


def _head_of(entry: str | bytes, encoded: bytes) -> CommitHead:
    head = msgspec.json.decode(encoded, type=CommitHead)
    if head.sequence != _sequence_of(entry):
        raise LogMismatch(
            f"an outbox entry of commit {_sequence_of(entry)} ends commit {head.sequence}: "
            "something else than a worker wrote it; run `profilestream verify`"
        )
    return head


def _sequence_of(entry: str | bytes) -> int:
    text = entry.decode() if isinstance(entry, bytes) else entry
    return int(text.split("-", 1)[0])
