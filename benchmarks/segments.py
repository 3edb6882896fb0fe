"""How long segments and members take to read, and what counting them costs a commit, on a real Redis.

    python -m benchmarks.segments [--members 1_000_000] [--segments 10_000] [--shards 16]

Starts a Redis of its own. Everybody enters one segment, a fifth of them at one instant; all other segments have counts
of a day in every shard. A commit has 250 profiles and `--crossings` crossings, of ten segments, then each of
another segment; with counts and, by a copy of the script without them, without.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha1
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Any

import redis

from profilestream.local import ports
from profilestream.local.redis_server import find
from profilestream.operations.segments import list_segments
from profilestream.store.commits import Change, Commit, Membership, ProfileWrite, commit_command
from profilestream.store.connection import connect
from profilestream.store.keys import Keys, shard_of
from profilestream.store.metadata import Generation, set_live, write_generation
from profilestream.store.reader import ProfileReader
from profilestream.store.shard_store import SCRIPT

NAMESPACE = "bench"
T0 = 1_767_225_600_000
ROUNDS = 7
BATCH = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segments", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--crossings", type=int, default=50)
    given = parser.parse_args()
    with _server() as (url, client):
        asyncio.run(_generation(url, given))
        _fill(client, given)
        print(f"{given.members:,} members of one segment, {given.segments:,} segments, {given.shards} shards")
        _reading(url, given)
        _committing(client, given)


@contextmanager
def _server() -> Iterator[tuple[str, redis.Redis]]:
    (port,) = ports.choose([None])
    with tempfile.TemporaryDirectory() as folder:
        words = [find(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(Path(folder))]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        client = redis.Redis(port=port, protocol=2)
        try:
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            yield f"redis://127.0.0.1:{port}/0", client
        finally:
            client.close()
            process.kill()
            process.wait()


async def _generation(url: str, given: argparse.Namespace) -> None:
    text = "".join(f'[segments.s{n}]\nenter = "count(purchase) > {n}"\n' for n in range(given.segments))
    client = connect(url)
    await write_generation(
        client, NAMESPACE, Generation("g1", given.shards, text, "f", "2026-01-01T00:00:00.000Z", "live")
    )
    await set_live(client, NAMESPACE, "g1")
    await client.aclose()


def _fill(client: redis.Redis, given: argparse.Namespace) -> None:
    """A million members of `s0`; of every other segment two crossings a minute tile and hour in every shard."""
    keys = Keys(NAMESPACE, "g1")
    shards = [keys.shard(number) for number in range(given.shards)]
    entered = ((f"customer-{n}", T0 - n if n % 5 else T0 - 500) for n in range(given.members))
    while some := list(islice(entered, BATCH)):
        pipeline = client.pipeline(transaction=False)
        for customer_id, at in some:
            pipeline.zadd(shards[shard_of(customer_id, given.shards)].segment("s0"), {customer_id: at})
        pipeline.execute()
    minutes = " ".join(f"{T0 // 60_000 - n} 1 1" for n in range(0, 60, 20))
    hours = " ".join(f"{T0 // 3_600_000 - n} 2 1" for n in range(24))
    counts = f"123|3 3 {minutes}|48 24 {hours}"
    for shard in shards:
        client.hset(shard.head, "clock", T0)
        for start in range(0, given.segments, BATCH):
            names = range(start, min(start + BATCH, given.segments))
            client.hset(shard.crossings, mapping={f"s{n}": counts for n in names})
    used = client.memory_usage(shards[0].crossings, samples=100)
    print(f"counts of a shard: {used / 1e6:.1f} MB, {used / given.segments:,.0f} bytes a segment")


def _best(work: Callable[[], Any]) -> float:
    """Milliseconds, the best of some rounds."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found) * 1000


def _reading(url: str, given: argparse.Namespace) -> None:
    print(f"segments                            {_best(lambda: list_segments(url, NAMESPACE)):9.1f} ms")
    with ProfileReader(url, NAMESPACE) as reader:
        reader.count("s0")
        middle = T0 - given.members // 2
        first = reader.members_page("s0", 100)
        equal = reader.members_page("s0", 100, since=T0 - 500, until=T0 - 499)
        deep = reader.members_page("s0", 10_000, since=T0 - 500, until=T0 - 499)
        for name, work in (
            ("members: how many", lambda: reader.count("s0")),
            ("first page of 100", lambda: reader.members_page("s0", 100)),
            ("the page behind it", lambda: reader.members_page("s0", 100, first.cursor)),
            ("newest 100", lambda: reader.members_page("s0", 100, newest_first=True)),
            ("100 from the middle on", lambda: reader.members_page("s0", 100, since=middle)),
            ("behind 100 of one instant", lambda: reader.members_page("s0", 100, equal.cursor)),
            ("behind 10,000 of one instant", lambda: reader.members_page("s0", 100, deep.cursor)),
        ):
            print(f"{name:35} {_best(work):9.1f} ms")
        began = time.perf_counter()
        total = sum(1 for _ in reader.members("s0"))
        assert total == given.members
        print(f"{'all of them, streamed':35} {time.perf_counter() - began:9.1f} s")


def _committing(client: redis.Redis, given: argparse.Namespace) -> None:
    begin = SCRIPT.index("  local known = call('HGET', crossings_key")
    after = SCRIPT.index("\n", SCRIPT.index("  call('HSET', crossings_key")) + 1
    without = SCRIPT[:begin] + "  at = at + crossed\n" + SCRIPT[after:]
    print(f"a commit of 250 profiles and {given.crossings} crossings, time in Redis:")
    for segments in (min(10, given.crossings), given.crossings):
        spent = {}
        for _ in range(ROUNDS):
            for name, script in (("without counts", without), ("with counts", SCRIPT)):
                ms = _commits(client, script, segments, given.crossings)
                spent[name] = min(ms, spent.get(name, ms))
        one, other = spent["without counts"], spent["with counts"]
        print(f"  of {segments:3} segments: {one:.3f} ms without counts, {other:.3f} ms with: {other / one:.3f}")


def _commits(client: redis.Redis, script: str, segments: int, crossings: int, count: int = 100) -> float:
    """Milliseconds in Redis a commit, of a shard that has crossings in each of the last 60 minutes and 24 hours."""
    keys = Keys(NAMESPACE, token_hex(4)).shard(0)
    client.script_load(script)
    sha = sha1(script.encode(), usedforsecurity=False).hexdigest()
    fields = [text for n in range(5) for text in (f"trait_{n}", str(n))]
    minutes = " ".join(f"{T0 // 60_000 - n} 1 1" for n in range(60))
    hours = " ".join(f"{T0 // 3_600_000 - n} 2 1" for n in range(24))
    client.hset(keys.crossings, mapping={f"s{n}": f"123|60 60 {minutes}|48 24 {hours}" for n in range(segments)})
    client.config_resetstat()
    for number in range(1, count + 1):
        at = T0 + number * 1_000
        commit = Commit(
            f"{number - 1:x}" if number > 1 else "", f"{number:x}", number, clock=at, positions={"purchases": number},
            profiles=[ProfileWrite(f"c{n}", b"s" * 300, fields, due=at + n) for n in range(250)],
            memberships=[Membership(f"s{n % segments}", f"c{n}", at, number % 2 == 1) for n in range(crossings)],
            changes=[
                Change(f"c{n}", f"s{n % segments}", number, "entered" if number % 2 else "exited", b"v" * 500)
                for n in range(crossings)
            ],
        )  # fmt: skip
        assert client.execute_command(*commit_command(sha, keys, commit, 250))[0] == 1
    spent: Any = client.info("commandstats")
    client.unlink(keys.outbox, keys.head)
    return float(spent["cmdstat_evalsha"]["usec_per_call"]) / 1000


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
