"""Random samples of a generation's profiles: of a segment's members, and of everybody.

Members are taken by rank, from each shard in proportion. No key lists everybody, so they are found by walking over
Redis's keys: SCAN goes by a hash of the key, under a secret that the server draws when it starts, so where it has
come to after a while is a random sample. Of a cluster whose nodes keep each slot apart (Redis 7.4, Valkey 8) that is
whole shards, which a hash of the customer's id has chosen. Until profiles or the server change, the same question
gives the same customers; just after many writes Redis may still be moving keys about, which counts as a change.

Nothing is written, and no command is long: SCAN goes in steps, and the walk has an end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

import redis
import redis.cluster

from .connection import SyncClient, reaching
from .keys import Keys
from .metadata import Generation
from .steps import Command

COMMANDS_A_BATCH_MAX: Final = 1_000
VALUES_A_BATCH_MAX: Final = 100_000
KEYS_A_STEP: Final = 1_000
RANKS_A_STEP: Final = 1_000
KEYS_LOOKED_AT_MIN: Final = 20_000
"""A walk goes on at least so far: a small store is known whole, and of a large one the size to a percent or so."""
KEYS_LOOKED_AT_MAX: Final = 200_000
KEYS_LOOKED_AT_A_CUSTOMER: Final = 20
"""A walk ends at KEYS_LOOKED_AT_MAX, and so many more for each customer wanted: other generations, other programs."""


PROGRESS_EVERY: Final = 1_000
"""So many profiles are read between two words of progress."""

Progress = Callable[[int, int], None]
"""Told how many profiles have been read, and of how many."""


class ProfileKey(NamedTuple):
    """Where a customer's profile is."""

    shard: int
    key: str | bytes


@dataclass(frozen=True, slots=True)
class Members:
    """Of all `total` members of a segment a sample: the profile and the time of entering (ms) of each."""

    total: int
    entered: list[tuple[ProfileKey, int]]


@dataclass(frozen=True, slots=True)
class Everybody:
    """A sample of all customers; `total` is how many there are, estimated unless `exact`."""

    total: int
    exact: bool
    profiles: list[ProfileKey]


class Sampler:
    """Samples of one generation. Every method raises ServerUnavailable when Redis cannot be reached."""

    def __init__(self, client: SyncClient, namespace: str, generation: Generation) -> None:
        """`client` is one that gives bytes (`connect_sync`)."""
        self._client = client
        keys = Keys(namespace, generation.name)
        self._shards = [keys.shard(number) for number in range(generation.shards)]
        self._profile = re.compile(rf"{namespace}:{generation.name}:\{{([0-9]+)\}}:profile:".encode())

    def count_members(self, segment: str) -> list[int]:
        """How many members a segment has in each shard."""
        return self._ask([Command("zcard", (shard.segment(segment),), {}) for shard in self._shards])

    def members(self, segment: str, counts: Sequence[int], count_max: int) -> Members:
        """A sample of at most `count_max` members, from each shard its part; `counts` are those of `count_members`."""
        commands: list[Command] = []
        shard_of_command: list[int] = []
        for number, (size, part) in enumerate(zip(counts, in_proportion(counts, count_max), strict=True)):
            key = self._shards[number].segment(segment)
            for first, last in _ranks(f"{segment}/{number}/{size}", size, part):
                commands.append(Command("zrange", (key, first, last), {"withscores": True}))
                shard_of_command.append(number)
        entered: dict[ProfileKey, int] = {}
        for number, reply in zip(shard_of_command, self._ask(commands), strict=True):
            prefix = self._shards[number].profile_prefix.encode()
            entered |= {ProfileKey(number, prefix + member): int(score) for member, score in reply}
        return Members(sum(counts), list(entered.items()))

    def everybody(self, count_max: int) -> Everybody:
        """A sample of at most `count_max` customers; fewer where Redis holds mostly other keys."""
        nodes = self._nodes()
        total, exact = 0, True
        profiles: list[ProfileKey] = []
        for node, part in zip(nodes, in_proportion(list(nodes.values()), count_max, grow=True), strict=True):
            walked = self._walk(node, part)
            total, exact = total + walked.total, exact and walked.exact
            profiles += walked.profiles
        return Everybody(total, exact, profiles)

    def clocks(self) -> list[int | None]:
        """Each shard's clock (ms), None before its first event."""
        found = self._ask([Command("hget", (shard.head, "clock"), {}) for shard in self._shards])
        return [None if clock is None else int(clock) for clock in found]

    def fields(self, profiles: Sequence[ProfileKey], names: Sequence[str]) -> Iterator[tuple[ProfileKey, list[Any]]]:
        """Each profile with the named fields' bytes, None for a field that it lacks; read batch by batch."""
        size = max(1, min(COMMANDS_A_BATCH_MAX, VALUES_A_BATCH_MAX // max(1, len(names))))
        for start in range(0, len(profiles), size):
            some = profiles[start : start + size]
            replies = self._ask([Command("hmget", (profile.key, list(names)), {}) for profile in some])
            yield from zip(some, replies, strict=True)

    def _ask(self, commands: Sequence[Command]) -> list[Any]:
        replies: list[Any] = []
        with reaching(self._client):
            for start in range(0, len(commands), COMMANDS_A_BATCH_MAX):
                pipeline = self._client.pipeline(transaction=False)
                for command in commands[start : start + COMMANDS_A_BATCH_MAX]:
                    getattr(pipeline, command.method)(*command.args, **command.options)
                replies += pipeline.execute()
        return replies

    def _nodes(self) -> dict[redis.Redis, int]:
        """Each server that has shards of ours, and how many."""
        client: Any = self._client
        if not isinstance(client, redis.cluster.RedisCluster):
            return {client: len(self._shards)}
        with reaching(self._client):
            cluster: Any = client  # parts of it are untyped
            names = Counter(cluster.get_node_from_key(shard.head).name for shard in self._shards)
            nodes = [(cluster.get_node(node_name=name), shards) for name, shards in names.items()]
            return {cluster.get_redis_connection(node): shards for node, shards in nodes}

    def _walk(self, node: redis.Redis, count_max: int) -> Everybody:
        """Walks over a server's keys until there are enough profiles, or enough keys have been looked at."""
        found: dict[ProfileKey, None] = {}
        looked_at, cursor = 0, 0
        looked_at_max = KEYS_LOOKED_AT_MAX + KEYS_LOOKED_AT_A_CUSTOMER * count_max
        with reaching(self._client):
            keys: Any = node.dbsize()
            while looked_at < (KEYS_LOOKED_AT_MIN if len(found) >= count_max else looked_at_max):
                reply: Any = node.scan(cursor, count=KEYS_A_STEP)
                cursor, page = reply
                looked_at += len(page)
                for key in page:
                    if match := self._profile.match(key):
                        found[ProfileKey(int(match[1]), key)] = None
                if cursor == 0:
                    break
        some = list(found)[:count_max]
        if cursor == 0:
            return Everybody(len(found), True, some)
        return Everybody(round(keys * len(found) / looked_at), False, some)


def in_proportion(sizes: Sequence[int], count_max: int, *, grow: bool = False) -> list[int]:
    """Divides `count_max` by the method of the greatest remainders; of no size more than it has, unless `grow`."""
    total = sum(sizes)
    if not total or (total <= count_max and not grow):
        return list(sizes)
    parts = [size * count_max // total for size in sizes]
    remainders = sorted(range(len(sizes)), key=lambda n: (-(sizes[n] * count_max % total), n))
    for n in remainders[: count_max - sum(parts)]:
        parts[n] += 1
    return parts


def _ranks(seed: str, size: int, count: int) -> Iterator[tuple[int, int]]:
    """Ranges of ranks, first and last, that hold `count` of `size`, the same for the same seed."""
    if count < size:
        yield from ((rank, rank) for rank in sorted(Random(seed).sample(range(size), count)))
        return
    yield from ((first, first + RANKS_A_STEP - 1) for first in range(0, size, RANKS_A_STEP))
