"""`generations` and `drop` on real servers: what is not live can be taken away, at any second attempt, and no more."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from jsonschema import Draft202012Validator
from tests.integration import shop

from profilestream.core.errors import NotFound, UsageError
from profilestream.operations import drop as dropping
from profilestream.operations.drop import drop
from profilestream.settings import Settings
from profilestream.store.connection import connect
from profilestream.store.metadata import read_generation, write_generation
from profilestream.store.reader import ProfileReader
from profilestream.stream import generations
from profilestream.stream.topics import Admin
from profilestream.wire.schemas.verifications import GENERATIONS


class Broken(Exception):
    """Stands for a crash behind a step."""


def keys_of(url: str, namespace: str, name: str) -> list[str]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        found: Any = client.scan_iter(match=f"{namespace}:{name}:*", count=1_000)
        return sorted(found)


def states(settings: Settings) -> dict[str, str]:
    """The state of each generation, as topic `generations` has it."""
    known = asyncio.run(generations.read_all(str(settings.kafka), settings.generations_topic, settings.namespace))
    return {name: generation.state for name, generation in known.by_name.items()}


async def another(settings: Settings, name: str) -> None:
    """A generation beside the live one, with a copy of all its keys."""
    client: Any = connect(str(settings.redis))
    try:
        live = await read_generation(client, settings.namespace, "g1")
        made = replace(live, name=name, state="kept", base="g1")
        await generations.publish(str(settings.kafka), settings.generations_topic, settings.namespace, made)
        for key in keys_of(str(settings.redis), settings.namespace, "g1"):
            await client.copy(key, key.replace(":g1:", f":{name}:", 1))
        await write_generation(client, settings.namespace, made)
    finally:
        await client.aclose()


def test_a_generation_that_is_not_live_is_dropped_and_the_live_one_never(
    servers: Any, cli: Any, own_settings: Settings, workdir: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    shop.put(servers.kafka, shop.purchases(500))
    shop.catch_up(cli)
    asyncio.run(another(own_settings, "g2"))
    listed = json.loads(cli("generations", "--json").stdout)
    Draft202012Validator(GENERATIONS).validate(listed)
    assert [(g["name"], g["state"], g["customers"], g["lag"]) for g in listed] == [
        ("g1", "live", 40, 0),
        ("g2", "kept", 40, 0),
    ]
    with pytest.raises(UsageError, match="g1 is live"):
        asyncio.run(drop(own_settings, "g1"))
    with pytest.raises(NotFound, match="there are: g1, g2"):
        asyncio.run(drop(own_settings, "g3"))
    assert "give --yes" in cli("drop", "g2", expect=2).stderr
    live_keys = keys_of(servers.redis, namespace, "g1")

    monkeypatch.setattr(dropping, "READERS_REMEMBER_S", 0.01)
    for step in (1, 2, 3, 4):

        def crash(done: int, step: int = step) -> None:
            if done == step:
                raise Broken

        with pytest.raises(Broken):
            asyncio.run(drop(own_settings, "g2", after=crash))
        assert states(own_settings) == {"g1": "live", "g2": "dropping"}
    assert asyncio.run(drop(own_settings, "g2")).keys == 0
    assert keys_of(servers.redis, namespace, "g2") == []
    assert keys_of(servers.redis, namespace, "g1") == live_keys
    assert states(own_settings) == {"g1": "live"}
    with ProfileReader(servers.redis, namespace) as reader:
        assert reader.generation().name == "g1"
        assert reader.get("c1") is not None

    asyncio.run(another(own_settings, "g2"))
    said = cli("drop", "g2", "--yes").stdout
    assert f"dropped generation g2: {len(live_keys)} keys removed" in said


def test_a_generation_that_somebody_folds_into_is_not_dropped(
    servers: Any, cli: Any, own_settings: Settings, workdir: Path, namespace: str
) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    shop.put(servers.kafka, shop.purchases(50))
    shop.catch_up(cli)
    asyncio.run(another(own_settings, "g2"))
    before = keys_of(servers.redis, namespace, "g2")

    async def with_a_member() -> None:
        from aiokafka import AIOKafkaConsumer

        consumer = AIOKafkaConsumer(
            "purchases", bootstrap_servers=servers.kafka, group_id=f"{namespace}-g2", session_timeout_ms=6_000
        )
        await consumer.start()
        try:
            impatient = own_settings.model_copy(update={"session_timeout_ms": 500})
            with pytest.raises(UsageError, match="still fold into it"):
                await drop(impatient, "g2")
            assert keys_of(servers.redis, namespace, "g2") == before
        finally:
            await consumer.stop()
        await drop(own_settings, "g2")
        async with Admin(servers.kafka) as admin:
            assert await admin.committed(f"{namespace}-g2") == {}

    asyncio.run(with_a_member())
    assert keys_of(servers.redis, namespace, "g2") == []
