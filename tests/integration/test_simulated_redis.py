"""The simulator's Redis answers as a real one does: the same commands and the same scripts, at random, on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError
from tests.integration.store_server import RedisProcess
from tests.simulator.redis_data import RedisData

from profilestream.store.commits import Change, Commit, Mark, Membership, ProfileWrite, commit_command
from profilestream.store.keys import Keys
from profilestream.store.outbox import ANNOUNCED, UNSETTLE
from profilestream.store.shard_store import ABSORB, SCRIPT, SCRIPT_SHA
from profilestream.store.walk import STATES

KEYS = Keys("ps", "g1").shard(3)
STEPS = 250
SEEDS = range(24)
CUSTOMERS = ("c1", "größe 😀", "c3")
SEGMENTS = ("big", "lapsing")
HASHES = (KEYS.head, KEYS.repairs, KEYS.crossings, KEYS.profile("c1"))
SORTED = (KEYS.timers, KEYS.urgent, KEYS.segment("big"))
NOW = 1_767_225_600_000
TIMES = (-7, 990, *(NOW - ago for ago in (0, 59_000, 240_000, 3_540_000, 3_660_000, 80_000_000, 90_000_000)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A client that leaves replies as they are."""
    process = RedisProcess(Path(tmp_path_factory.mktemp("redis")))
    client = process.client
    client.response_callbacks.clear()
    yield client
    client.close()
    process.kill()


class Writer:
    """Thinks up commands: mostly what a worker and an emitter would send, sometimes what nobody should."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.commit = ""
        self.sequence = 0
        self.known: list[tuple[int, str]] = [(1, "aa")]

    def next(self) -> list[Any]:
        kinds = (self._commit, self._commit, self._commit, self._announced, self._absorb, self._plain, self._plain)
        return self.random.choice(kinds)()

    def _commit(self) -> list[Any]:
        random = self.random
        right, follows = random.random() < 0.9, random.random() < 0.95
        stage = random.choice(("", "", "", "", "begin", "announce", "end"))
        commit = Commit(
            self.commit if right else "bad",
            f"{random.getrandbits(32):08x}" if random.random() < 0.97 else "no hex",
            self.sequence + (1 if follows else random.choice((0, 2))),
            clock=random.choice((None, -5, NOW, NOW + random.randrange(10_000_000))),
            positions=random.choice(({}, {"purchases": 17, "browsing": random.randrange(99)})),
            origins=random.choice(({}, {"purchase:purchases:9": random.randrange(99)})),
            profiles=[self._profile(c) for c in CUSTOMERS if random.random() < 0.4],
            memberships=[
                Membership(random.choice(SEGMENTS), "c1", random.choice(TIMES), random.random() < 0.6)
                for _ in range(random.choice((0, 0, 1, 4)))
            ],
            changes=[
                Change(random.choice(CUSTOMERS), random.choice(SEGMENTS), random.randrange(1, 9), "entered", b"\x00{}")
                for _ in range(random.choice((0, 0, 1, 3)))
            ],
            due_before=random.choice((None, 500, 10**13)),
            fingerprint=random.choice((None, "f1")),
            starts=random.choice((None, {"purchases": 3})),
            stage=stage,  # type: ignore[arg-type]
            mark=Mark(3, "abc", 4) if stage == "end" else None,
        )
        command = commit_command(SCRIPT_SHA, KEYS, commit, random.choice((1, 5)))
        if random.random() < 0.05:
            del command[random.randrange(7, len(command))]
        return command

    def _profile(self, customer_id: str) -> ProfileWrite:
        random = self.random
        fields = [b"orders", b"%d" % random.randrange(9)] * random.choice((0, 1, 2))
        removed = random.choice(((), ("orders",), ("orders", "never")))
        return ProfileWrite(
            customer_id, b"\x00\xff\r\n", fields, removed, random.random() < 0.3,
            random.choice((None, 400, 2_000)), random.random() < 0.8, is_new=random.random() < 0.3,
        )  # fmt: skip

    def _announced(self) -> list[Any]:
        sequence, commit = self.random.choice(self.known)
        return ["EVAL", ANNOUNCED, 2, KEYS.head, KEYS.outbox, sequence, commit, self.random.randrange(50)]

    def _absorb(self) -> list[Any]:
        if self.random.random() < 0.5:
            return ["EVAL", UNSETTLE, 1, KEYS.head, self.random.choice((self.commit, "other")), "c0ffee"]
        keys = (KEYS.head, KEYS.outbox, KEYS.repairs)
        return ["EVAL", ABSORB, 3, *keys, self.commit, "abba", self.random.choice((1, 500))]

    def _plain(self) -> list[Any]:
        random = self.random
        low, high = random.choice(("-inf", "-7", 400)), random.choice((500, 10**14))
        entry = f"{random.randrange(12)}-{random.randrange(4)}"
        found: list[list[Any]] = [
            ["HGETALL", random.choice(HASHES)],
            ["HMGET", KEYS.head, "commit", "sequence", "repair", "announced", "nothing"],
            ["HSCAN", KEYS.repairs, "0", "COUNT", 1000],
            ["HGET", random.choice(HASHES), "orders"],
            ["HDEL", random.choice(HASHES[1:]), "orders", f"c1\0{random.choice(SEGMENTS)}"],
            ["HSETNX", KEYS.repairs, f"c1\0{random.choice(SEGMENTS)}", random.randrange(9)],
            ["SADD", KEYS.customers, *random.sample(CUSTOMERS, 2)],
            ["SCARD", random.choice((KEYS.customers, KEYS.timers, KEYS.repairs))],
            ["SSCAN", KEYS.customers, "0", "COUNT", 1000],
            ["EVAL", STATES, 4, KEYS.head, *(KEYS.state(c) for c in CUSTOMERS), random.choice((0, 4, 9, 999))],
            ["GET", random.choice((KEYS.state("c1"), KEYS.state("nobody"), KEYS.head))],
            ["MGET", *(KEYS.state(c) for c in CUSTOMERS), KEYS.head, "nothing"],
            ["SET", KEYS.state("c1"), b"\xff"],
            ["TYPE", random.choice((*HASHES, *SORTED, KEYS.outbox, KEYS.customers, KEYS.state("c1")))],
            ["EXISTS", random.choice((*HASHES, KEYS.outbox)), KEYS.head],
            ["ZADD", random.choice((*SORTED, KEYS.head)), random.choice((1, -3, 2_000)), random.choice(CUSTOMERS)],
            ["ZREM", random.choice(SORTED), random.choice(CUSTOMERS)],
            ["ZCARD", random.choice((*SORTED, KEYS.head, KEYS.segment("lapsing")))],
            ["ZRANGE", KEYS.timers, 0, random.choice((0, -1)), "WITHSCORES"],
            ["ZRANGEBYSCORE", random.choice(SORTED), low, high],
            ["ZRANGEBYSCORE", random.choice(SORTED), low, high, "WITHSCORES", "LIMIT", 0, random.choice((1, 5, -1))],
            ["XLEN", KEYS.outbox],
            ["XRANGE", KEYS.outbox, random.choice(("-", entry, f"({entry}")), "+", "COUNT", random.choice((1, 500))],
            ["XREVRANGE", KEYS.outbox, random.choice(("+", entry)), "-", "COUNT", 1],
            ["XTRIM", KEYS.outbox, "MINID", entry],
            ["XDEL", KEYS.outbox, entry],
            ["XADD", KEYS.outbox, entry, "customer", "c1", "segment", "big", "crossing", 3],
            ["SCRIPT", "FLUSH"] if random.random() < 0.2 else ["XLEN", KEYS.head],
            ["EVALSHA", "0" * 40, 0],
            ["UNLINK", random.choice((KEYS.repairs, KEYS.outbox))] if random.random() < 0.1 else ["XLEN", "nothing"],
        ]
        return random.choice(found)

    def learn(self, head: list[bytes | None]) -> None:
        """Follows the head, so that most commits fit it."""
        self.commit = (head[0] or b"").decode()
        self.sequence = int(head[1] or 0)
        if self.commit:
            self.known = [*self.known[-3:], (self.sequence, self.commit)]


def answer(execute: Any, command: list[Any]) -> Any:
    """A reply, or of an error what our code looks at."""
    try:
        return execute(command)
    except ResponseError as error:
        text = str(error)
        return ("error", text if text.startswith("PROFILESTREAM") else type(error).__name__)


def contents(execute: Any) -> dict[str, Any]:
    """Everything that is in our keys."""
    found: dict[str, Any] = {}
    for key in (*HASHES, *(KEYS.profile(c) for c in CUSTOMERS)):
        flat = execute(["HGETALL", key])
        found[key] = dict(zip(flat[::2], flat[1::2], strict=True))
    for key in (*SORTED, KEYS.segment("lapsing")):
        found[key] = execute(["ZRANGE", key, 0, -1, "WITHSCORES"])
    found[KEYS.customers] = sorted(execute(["SSCAN", KEYS.customers, "0", "COUNT", 1000])[1])
    found[KEYS.outbox] = execute(["XRANGE", KEYS.outbox, "-", "+"])
    found["states"] = execute(["MGET", *(KEYS.state(c) for c in CUSTOMERS)])
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_commands_have_the_same_replies_and_the_same_effects(server: redis.Redis, seed: int) -> None:
    server.execute_command("FLUSHALL")
    server.execute_command("SCRIPT", "FLUSH")
    data, writer = RedisData(), Writer(Random(seed))

    def real(command: list[Any]) -> Any:
        return server.execute_command(*command)

    def simulated(command: list[Any]) -> Any:
        return data.execute([a if isinstance(a, bytes) else str(a).encode() for a in command])

    done = 0
    for step in range(STEPS):
        if step % 40 == 0:
            assert real(["SCRIPT", "LOAD", SCRIPT]) == simulated(["SCRIPT", "LOAD", SCRIPT])
        command = writer.next()
        expected, actual = answer(real, command), answer(simulated, command)
        expected, actual = _unordered(command, expected), _unordered(command, actual)
        assert actual == expected, f"step {step} of seed {seed}: {command}"
        done += isinstance(expected, list) and expected[:1] == [1]
        writer.learn(real(["HMGET", KEYS.head, "commit", "sequence"]))
    assert contents(simulated) == contents(real)
    assert done > 20, "too few commits were written to show anything"


def _unordered(command: list[Any], reply: Any) -> Any:
    """The fields of a hash and the members of a set come in no order that anybody may rely on."""
    if not isinstance(reply, list):
        return reply
    if command[0] == "SSCAN":
        return sorted(reply[1])
    if command[:2] == ["EVAL", STATES]:
        return [_pairs(reply[0]), *reply[1:]]
    return _pairs(reply[1] if command[0] == "HSCAN" else reply) if command[0] in ("HGETALL", "HSCAN") else reply


def _pairs(flat: list[Any]) -> list[tuple[Any, Any]]:
    return sorted(zip(flat[::2], flat[1::2], strict=True))
