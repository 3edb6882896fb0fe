"""What a Redis server holds, and the commands that profilestream uses on it, one at a time.

Held to a real server by tests/integration/test_simulated_redis.py.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Any

from redis.exceptions import ResponseError

from tests.simulator import lua

Reply = Any
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
_END = (1 << 64) - 1


class Status(bytes):
    """A reply such as OK, which is no string of data."""


class SortedSet(dict[bytes, float]):
    """Members and their scores."""

    def in_order(self) -> list[tuple[float, bytes]]:
        return sorted((score, member) for member, score in self.items())


class Stream:
    """Entries by id; the last id given stays when entries go."""

    __slots__ = ("entries", "last")

    def __init__(self) -> None:
        self.entries: list[tuple[tuple[int, int], list[bytes]]] = []
        self.last = (0, 0)

    def copy(self) -> Stream:
        other = Stream()
        other.entries, other.last = list(self.entries), self.last
        return other


KINDS: dict[type, bytes] = {bytes: b"string", dict: b"hash", SortedSet: b"zset", Stream: b"stream", set: b"set"}


class RedisData:
    """All keys, and the scripts known. `execute` is one command of a client; replies are those of RESP 2."""

    def __init__(self, keys: dict[bytes, Any] | None = None) -> None:
        self.keys = keys or {}
        self.scripts: dict[bytes, bytes] = {}
        self.written: set[bytes] = set()

    def copy(self) -> dict[bytes, Any]:
        """The keys as a dump would have them."""
        found: dict[bytes, Any] = {}
        for key, value in self.keys.items():
            if isinstance(value, SortedSet):
                found[key] = SortedSet(value)
            else:
                found[key] = value if isinstance(value, bytes) else value.copy()
        return found

    def execute(self, args: list[bytes]) -> Reply:
        """Runs a command; an error is raised as ResponseError."""
        command = COMMANDS.get(args[0].upper())
        if command is None:
            raise ResponseError(f"ERR unknown command '{args[0].decode()}'")
        return command(self, args[1:])

    def of_kind(self, key: bytes, kind: type) -> Any:
        value = self.keys.get(key)
        if value is not None and type(value) is not kind:
            raise ResponseError(WRONG_TYPE)
        return value

    def made(self, key: bytes, kind: type) -> Any:
        value = self.of_kind(key, kind)
        if value is None:
            value = self.keys[key] = kind()
        return value

    def _drop_if_empty(self, key: bytes) -> None:
        if not self.keys[key]:
            del self.keys[key]

    # Keys and strings

    def type(self, args: list[bytes]) -> Reply:
        value = self.keys.get(args[0])
        return Status(b"none" if value is None else KINDS[type(value)])

    def exists(self, args: list[bytes]) -> Reply:
        return sum(key in self.keys for key in args)

    def delete(self, args: list[bytes]) -> Reply:
        return sum(self.keys.pop(key, None) is not None for key in args)

    def set(self, args: list[bytes]) -> Reply:
        self.keys[args[0]] = args[1]
        return Status(b"OK")

    def get(self, args: list[bytes]) -> Reply:
        return self.of_kind(args[0], bytes)

    def mget(self, args: list[bytes]) -> Reply:
        values = [self.keys.get(key) for key in args]
        return [value if isinstance(value, bytes) else None for value in values]

    # Hashes

    def hset(self, args: list[bytes]) -> Reply:
        if len(args) % 2 == 0:
            raise ResponseError("ERR wrong number of arguments for 'hset' command")
        fields = self.made(args[0], dict)
        before = len(fields)
        for i in range(1, len(args), 2):
            fields[args[i]] = args[i + 1]
        return len(fields) - before

    def hsetnx(self, args: list[bytes]) -> Reply:
        fields = self.made(args[0], dict)
        if args[1] in fields:
            return 0
        fields[args[1]] = args[2]
        return 1

    def hget(self, args: list[bytes]) -> Reply:
        return (self.of_kind(args[0], dict) or {}).get(args[1])

    def hmget(self, args: list[bytes]) -> Reply:
        fields = self.of_kind(args[0], dict) or {}
        return [fields.get(name) for name in args[1:]]

    def hgetall(self, args: list[bytes]) -> Reply:
        return [x for pair in (self.of_kind(args[0], dict) or {}).items() for x in pair]

    def hdel(self, args: list[bytes]) -> Reply:
        fields = self.of_kind(args[0], dict)
        if fields is None:
            return 0
        gone = sum(fields.pop(name, None) is not None for name in args[1:])
        self._drop_if_empty(args[0])
        return gone

    def hscan(self, args: list[bytes]) -> Reply:
        """All at once, as Redis does for a small hash."""
        return [b"0", self.hgetall(args[:1])]

    # Sets

    def sadd(self, args: list[bytes]) -> Reply:
        members = self.made(args[0], set)
        before = len(members)
        members.update(args[1:])
        return len(members) - before

    def scard(self, args: list[bytes]) -> Reply:
        return len(self.of_kind(args[0], set) or ())

    def sscan(self, args: list[bytes]) -> Reply:
        """All at once, as Redis does for a small set."""
        return [b"0", sorted(self.of_kind(args[0], set) or ())]

    # Sorted sets

    def zadd(self, args: list[bytes]) -> Reply:
        members = self.made(args[0], SortedSet)
        before = len(members)
        for i in range(1, len(args), 2):
            members[args[i + 1]] = float(args[i])
        return len(members) - before

    def zrem(self, args: list[bytes]) -> Reply:
        members = self.of_kind(args[0], SortedSet)
        if members is None:
            return 0
        gone = sum(members.pop(member, None) is not None for member in args[1:])
        self._drop_if_empty(args[0])
        return gone

    def zcard(self, args: list[bytes]) -> Reply:
        return len(self.of_kind(args[0], SortedSet) or ())

    def zrange(self, args: list[bytes]) -> Reply:
        ordered = (self.of_kind(args[0], SortedSet) or SortedSet()).in_order()
        first, last = int(args[1]), int(args[2])
        return _scored(ordered[first : None if last == -1 else last + 1], b"WITHSCORES" in args[3:])

    def zrangebyscore(self, args: list[bytes]) -> Reply:
        ordered = (self.of_kind(args[0], SortedSet) or SortedSet()).in_order()
        low, high = float(args[1]), float(args[2])
        found = [pair for pair in ordered if low <= pair[0] <= high]
        options = [a.upper() for a in args[3:]]
        if b"LIMIT" in options:
            place = options.index(b"LIMIT")
            skip, count = int(options[place + 1]), int(options[place + 2])
            found = found[skip:] if count < 0 else found[skip : skip + count]
        return _scored(found, b"WITHSCORES" in options)

    # Streams

    def xadd(self, args: list[bytes]) -> Reply:
        entry = _id(args[1], 0)
        known = self.of_kind(args[0], Stream)
        if known is not None and entry <= known.last:
            raise ResponseError("ERR The ID specified in XADD is equal or smaller than the target stream top item")
        stream = self.made(args[0], Stream)
        insort(stream.entries, (entry, args[2:]))
        stream.last = entry
        self.written.add(args[0])
        return args[1]

    def xlen(self, args: list[bytes]) -> Reply:
        stream = self.of_kind(args[0], Stream)
        return len(stream.entries) if stream else 0

    def xrange(self, args: list[bytes]) -> Reply:
        return self._range(args[0], args[1], args[2], args[3:])

    def xrevrange(self, args: list[bytes]) -> Reply:
        return self._range(args[0], args[2], args[1], args[3:], backwards=True)

    def _range(
        self, key: bytes, low: bytes, high: bytes, options: list[bytes], backwards: bool = False
    ) -> list[list[Any]]:
        stream = self.of_kind(key, Stream)
        if stream is None:
            return []
        above = low[:1] == b"("
        start = (0, 0) if low == b"-" else _id(low.removeprefix(b"("), 0)
        stop = (_END, _END) if high == b"+" else _id(high, _END)
        found = [e for e in stream.entries if (e[0] > start if above else e[0] >= start) and e[0] <= stop]
        if backwards:
            found.reverse()
        if options:
            found = found[: int(options[1])]
        return [[b"%d-%d" % entry, list(fields)] for entry, fields in found]

    def xdel(self, args: list[bytes]) -> Reply:
        stream = self.of_kind(args[0], Stream)
        if stream is None:
            return 0
        gone = {_id(entry, 0) for entry in args[1:]}
        before = len(stream.entries)
        stream.entries = [e for e in stream.entries if e[0] not in gone]
        return before - len(stream.entries)

    def xtrim(self, args: list[bytes]) -> Reply:
        stream = self.of_kind(args[0], Stream)
        if stream is None:
            return 0
        lowest = _id(args[2], 0)
        before = len(stream.entries)
        stream.entries = [e for e in stream.entries if e[0] >= lowest]
        return before - len(stream.entries)

    def xinfo(self, args: list[bytes]) -> Reply:
        stream = self.of_kind(args[1], Stream)
        if stream is None:
            raise ResponseError("ERR no such key")
        return [b"length", len(stream.entries), b"last-generated-id", b"%d-%d" % stream.last]

    # Scripts

    def script(self, args: list[bytes]) -> Reply:
        if args[0].upper() == b"FLUSH":
            self.scripts.clear()
            return Status(b"OK")
        sha = lua.sha_of(args[1])
        self.scripts[sha] = args[1]
        return sha

    def eval(self, args: list[bytes]) -> Reply:
        self.scripts[lua.sha_of(args[0])] = args[0]
        return lua.run(args[0], self, args[1:])

    def evalsha(self, args: list[bytes]) -> Reply:
        text = self.scripts.get(args[0])
        if text is None:
            raise lua.no_script()
        return lua.run(text, self, args[1:])


COMMANDS: dict[bytes, Callable[[RedisData, list[bytes]], Reply]] = {
    b"TYPE": RedisData.type, b"EXISTS": RedisData.exists, b"DEL": RedisData.delete, b"UNLINK": RedisData.delete,
    b"SET": RedisData.set, b"MGET": RedisData.mget, b"HSET": RedisData.hset, b"HSETNX": RedisData.hsetnx,
    b"HGET": RedisData.hget, b"HMGET": RedisData.hmget, b"HGETALL": RedisData.hgetall, b"HDEL": RedisData.hdel,
    b"HSCAN": RedisData.hscan, b"ZADD": RedisData.zadd, b"ZREM": RedisData.zrem, b"ZCARD": RedisData.zcard,
    b"ZRANGE": RedisData.zrange, b"ZRANGEBYSCORE": RedisData.zrangebyscore, b"XADD": RedisData.xadd,
    b"XLEN": RedisData.xlen, b"XRANGE": RedisData.xrange, b"XREVRANGE": RedisData.xrevrange, b"XDEL": RedisData.xdel,
    b"XTRIM": RedisData.xtrim, b"XINFO": RedisData.xinfo, b"SCRIPT": RedisData.script, b"EVAL": RedisData.eval,
    b"EVALSHA": RedisData.evalsha, b"GET": RedisData.get, b"SADD": RedisData.sadd, b"SCARD": RedisData.scard,
    b"SSCAN": RedisData.sscan,
}  # fmt: skip


def _id(text: bytes, missing: int) -> tuple[int, int]:
    first, _, second = text.partition(b"-")
    return int(first), int(second) if second else missing


def _scored(pairs: list[tuple[float, bytes]], with_scores: bool) -> list[bytes]:
    if not with_scores:
        return [member for _, member in pairs]
    return [x for score, member in pairs for x in (member, b"%.17g" % score)]
