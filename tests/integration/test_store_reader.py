"""Readers on a real Redis: the same answers sync and async, page by page, across a promotion."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
import redis.asyncio
from tests.integration.store_server import RedisProcess

from profilestream.core.errors import NotFound, UsageError
from profilestream.store.keys import Keys, shard_of
from profilestream.store.metadata import (
    Generation,
    read_generation,
    read_generation_sync,
    read_live,
    read_live_sync,
    set_live,
    write_generation,
)
from profilestream.store.reader import AsyncProfileReader, Member, Profile, ProfileReader

TEXT = "[segments.big]\nenter = 'x > 1'\n[segments.quiet]\nenter = 'x > 2'\n"
GENERATION = Generation("g1", 4, TEXT, "f", "2026-01-31T09:30:00.000Z", "live")


@pytest.fixture
def server(module_server: RedisProcess) -> RedisProcess:
    """A server with generation g1 live."""
    module_server.client.flushall()

    async def prepare() -> None:
        async with redis.asyncio.Redis(port=module_server.port, protocol=2) as client:
            await write_generation(client, "ps", GENERATION)
            await set_live(client, "ps", "g1")

    asyncio.run(prepare())
    return module_server


def put(server: RedisProcess, customer_id: str, fields: dict[str, str], generation: Generation = GENERATION) -> None:
    shard = Keys("ps", generation.name).shard(shard_of(customer_id, generation.shards))
    server.client.hset(shard.profile(customer_id), mapping=fields)  # type: ignore[arg-type]


def enter(server: RedisProcess, segment: str, members: dict[str, int], generation: Generation = GENERATION) -> None:
    pipeline = server.client.pipeline(transaction=False)
    for customer_id, at in members.items():
        shard = Keys("ps", generation.name).shard(shard_of(customer_id, generation.shards))
        pipeline.zadd(shard.segment(segment), {customer_id: at})
    pipeline.execute()


class Ask:
    """Asks the sync and the async reader, finds their answers equal and gives them."""

    def __init__(self, server: RedisProcess) -> None:
        self._server = server

    def __call__(self, question: Callable[[Any], Any]) -> Any:
        with ProfileReader(self._server.url) as reader:
            answer = question(reader)
            answer = list(answer) if inspect.isgenerator(answer) else answer

        async def ask() -> Any:
            async with AsyncProfileReader(self._server.url) as reader:
                answer = question(reader)
                return [one async for one in answer] if inspect.isasyncgen(answer) else await answer

        assert asyncio.run(ask()) == answer
        return answer


@pytest.fixture
def ask(server: RedisProcess) -> Ask:
    return Ask(server)


FIELDS = {
    "orders": "2",
    "name": '"Zo\\u00eb"',
    "by": '{"a":1.5}',
    "_segments": '{"big":{"since":"2026-01-31T09:30:00.000Z","crossing":3}}',
    "_revision": "7",
    "_as_of": "2026-01-31T09:30:00.000Z",
    "_event_time": "2026-01-31T09:29:00.000Z",
}


def test_a_profile_is_read_with_its_traits_and_segments(server: RedisProcess, ask: Ask) -> None:
    put(server, "c😀", FIELDS)
    assert ask(lambda reader: reader.get("c😀")) == Profile(
        customer_id="c😀",
        generation="g1",
        shard=shard_of("c😀", 4),
        revision=7,
        as_of="2026-01-31T09:30:00.000Z",
        event_time="2026-01-31T09:29:00.000Z",
        valid_until=None,
        traits={"orders": 2, "name": "Zoë", "by": {"a": 1.5}},
        segments={"big": {"since": "2026-01-31T09:30:00.000Z", "crossing": 3}},
    )
    assert ask(lambda reader: reader.get("c😀")).missed == {}
    assert ask(lambda reader: reader.traits("c😀", ["orders", "absent"])) == {"orders": 2}
    assert ask(lambda reader: reader.segments("c😀"))["big"]["crossing"] == 3


def test_a_profile_tells_how_many_values_did_not_fit(server: RedisProcess, ask: Ask) -> None:
    put(server, "full", FIELDS | {"_missed": '{"by":3}'})
    found = ask(lambda reader: reader.get("full"))
    assert found.missed == {"by": 3}
    assert found.traits == {"orders": 2, "name": "Zoë", "by": {"a": 1.5}}


def test_an_unknown_customer_has_nothing(ask: Ask) -> None:
    assert ask(lambda reader: reader.get("nobody")) is None
    assert ask(lambda reader: reader.traits("nobody", ["orders"])) == {}
    assert ask(lambda reader: reader.segments("nobody")) == {}
    assert ask(lambda reader: reader.is_member("nobody", "big")) is False


def test_many_profiles_come_in_the_order_asked(server: RedisProcess, ask: Ask) -> None:
    for i in range(0, 1200, 2):
        put(server, f"c{i}", {"orders": str(i)})
    found = ask(lambda reader: reader.get_many([f"c{i}" for i in range(1200)]))
    assert [p and p.traits["orders"] for p in found] == [None if i % 2 else i for i in range(1200)]
    assert ask(lambda reader: reader.get_many([])) == []


def test_members_come_in_order_of_entering_over_all_shards(server: RedisProcess, ask: Ask) -> None:
    at = {f"c{i}": 1_700_000_000_000 + (i * 7919) % 5_000 // 10 for i in range(5_000)}
    enter(server, "big", at)
    expected = sorted(at, key=lambda c: (at[c], c.encode()))
    found = ask(lambda reader: reader.members("big"))
    assert [member.customer_id for member in found] == expected
    assert found[0] == Member(expected[0], "2023-11-14T22:13:20.000Z")
    assert ask(lambda reader: reader.count("big")) == 5_000
    assert ask(lambda reader: reader.is_member("c17", "big")) is True
    assert [m.customer_id for m in ask(lambda reader: reader.members("big", 1_234))] == expected[:1_234]


@pytest.mark.parametrize("page", [1, 3, 17, 100])
def test_pages_of_any_size_among_members_of_one_instant_miss_and_repeat_nobody(server: RedisProcess, page: int) -> None:
    at = {f"größe{i}": 5 if i % 3 else i for i in range(200)}
    enter(server, "big", at)
    seen: list[str] = []
    cursor = None
    with ProfileReader(server.url) as reader:
        while True:
            found = reader.members_page("big", page, cursor)
            assert len(found.members) <= page
            seen += [member.customer_id for member in found.members]
            cursor = found.cursor
            if cursor is None:
                break
    assert seen == sorted(at, key=lambda c: (at[c], c.encode()))


def test_a_cursor_goes_on_although_its_member_has_left(server: RedisProcess) -> None:
    enter(server, "big", {f"c{i}": i for i in range(10)})
    with ProfileReader(server.url) as reader:
        cursor = reader.members_page("big", 4).cursor
        for i in range(5):
            for shard in range(4):
                server.client.zrem(Keys("ps", "g1").shard(shard).segment("big"), f"c{i}")
        assert [m.customer_id for m in reader.members("big", cursor=cursor)] == [f"c{i}" for i in range(5, 10)]


def test_an_empty_segment_has_no_members_and_an_unknown_one_is_not_found(ask: Ask) -> None:
    assert ask(lambda reader: reader.members("quiet")) == []
    assert ask(lambda reader: reader.count("quiet")) == 0
    for question in (lambda r: r.count("bog"), lambda r: r.members("bog"), lambda r: r.is_member("c", "bog")):
        with pytest.raises(NotFound, match="bog"):
            ask(question)


def test_a_promotion_shows_within_a_second_and_a_listing_ends_in_the_generation_it_began_with(
    server: RedisProcess,
) -> None:
    enter(server, "big", {f"c{i}": i for i in range(3_000)})
    second = replace(GENERATION, name="g2", shards=7)
    enter(server, "big", {"only": 1}, second)

    async def promote() -> None:
        async with redis.asyncio.Redis(port=server.port) as client:
            await write_generation(client, "ps", second)
            await set_live(client, "ps", "g2")
            assert await read_live(client, "ps") == "g2"
            assert await read_generation(client, "ps", "g2") == second

    with ProfileReader(server.url) as reader:
        members = reader.members("big")
        first = next(members)
        asyncio.run(promote())
        reader._questions._live_until_s = 0
        assert reader.count("big") == 1
        assert [first, *members][-1].customer_id == "c2999"
        assert read_live_sync(server.client, "ps") == "g2"
        assert read_generation_sync(server.client, "ps", "g1") == GENERATION


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_reader_takes_a_client_of_ones_own_and_leaves_it_open(
    server: RedisProcess, decode: bool, protocol: int
) -> None:
    put(server, "c1", FIELDS)
    enter(server, "big", {"c1": 5, "c2": 4})
    client = redis.Redis(port=server.port, decode_responses=decode, protocol=protocol)
    with ProfileReader(client) as reader:
        profile = reader.get("c1")
        assert profile is not None and profile.revision == 7 and profile.traits["by"] == {"a": 1.5}
        assert [m.customer_id for m in reader.members("big")] == ["c2", "c1"]
        cursor = reader.members_page("big", 1).cursor
        assert [m.customer_id for m in reader.members("big", cursor=cursor)] == ["c1"]
    assert client.ping()
    client.close()


def test_a_namespace_without_init_says_to_run_it(server: RedisProcess) -> None:
    with ProfileReader(server.url, "other") as reader, pytest.raises(NotFound, match="profilestream init"):
        reader.get("c")
    with pytest.raises(UsageError):
        ProfileReader(server.url, "No Name")
