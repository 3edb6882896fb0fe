"""`init` on real servers: topics, the first generation, and every way to run it twice."""

from __future__ import annotations

import dataclasses

import pytest
from tests.integration.isolation import fresh_sources

from profilestream.core.errors import ProfilestreamError, ServerUnavailable, UsageError
from profilestream.local import Servers
from profilestream.operations.initialise import InitResult, initialise
from profilestream.settings import Settings
from profilestream.store.connection import connect
from profilestream.store.metadata import read_generation, read_live
from profilestream.stream import generations
from profilestream.stream.topic_layout import event_topics
from profilestream.stream.topics import Admin
from profilestream.wire.definitions import parse_definitions

TEXT = '[traits]\norders = "count(purchase)"\n'


class Run:
    """Runs `init` and keeps what it said."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lines: list[str] = []

    async def __call__(self, shards: int | None = 2, fingerprint: str = "f1", text: str = TEXT) -> InitResult:
        self.lines.clear()
        topics = event_topics(parse_definitions(fresh_sources(self.settings)))
        return await initialise(self.settings, text, fingerprint, topics, shards, self.lines.append)


@pytest.fixture
def init(own_settings: Settings) -> Run:
    return Run(own_settings)


async def known(settings: Settings) -> generations.Generations:
    assert settings.kafka is not None
    return await generations.read_all(settings.kafka, settings.generations_topic, settings.namespace)


async def test_init_makes_topics_and_a_live_first_generation(
    init: Run, own_settings: Settings, servers: Servers
) -> None:
    result = await init(shards=3)
    assert result.made
    assert len(result.created_topics) >= 10
    async with Admin(servers.kafka) as admin:
        found = await admin.describe(result.created_topics)
        purchases = found[f"{own_settings.namespace}.purchases"]
        assert found[own_settings.changes_topic].partitions == 3
    assert purchases.partitions == 3
    assert purchases.config["message.timestamp.type"] == "LogAppendTime"
    assert not purchases.retention_is_limited

    live = (await known(own_settings)).live
    assert live == result.generation
    assert (live.name, live.shards, live.definitions, live.fingerprint) == ("g1", 3, TEXT, "f1")
    assert live.created_at.endswith("Z") and len(live.created_at) == 24
    client = connect(servers.redis)
    try:
        assert await read_live(client, own_settings.namespace) == "g1"
        assert await read_generation(client, own_settings.namespace, "g1") == live
    finally:
        await client.aclose()


async def test_a_second_init_has_nothing_to_do(init: Run) -> None:
    first = await init()
    second = await init()
    assert not second.made and second.created_topics == ()
    assert second.generation == first.generation
    assert init.lines == ["nothing to do: generation g1 is live with these definitions"]
    assert not (await init(shards=None)).made


async def test_a_changed_comment_is_the_same_file(init: Run) -> None:
    first = await init()
    second = await init(text="# a comment\n" + TEXT)
    assert second.generation == first.generation


async def test_another_file_is_refused_and_plan_is_named(init: Run, own_settings: Settings) -> None:
    await init()
    with pytest.raises(ProfilestreamError, match="init FILE --rebuild"):
        await init(fingerprint="f2")
    assert (await known(own_settings)).live.fingerprint == "f1"


async def test_another_number_of_shards_is_refused(init: Run) -> None:
    await init(shards=2)
    with pytest.raises(ProfilestreamError, match="has 2 shards"):
        await init(shards=4)


async def test_an_emptied_redis_gets_its_copy_again(init: Run, own_settings: Settings, servers: Servers) -> None:
    first = await init()
    client = connect(servers.redis)
    try:
        await client.delete(f"{own_settings.namespace}:live", f"{own_settings.namespace}:g1:meta")
        again = await init()
        assert not again.made
        assert init.lines == ["wrote generation g1 to Redis again"]
        assert await read_generation(client, own_settings.namespace, "g1") == first.generation
        assert await read_live(client, own_settings.namespace) == "g1"
    finally:
        await client.aclose()


async def test_a_crash_before_the_generation_was_live_is_made_good(
    init: Run, own_settings: Settings, servers: Servers
) -> None:
    first = await init()
    generation = dataclasses.replace(first.generation, definitions="half done", fingerprint="f0")
    await generations.publish(servers.kafka, own_settings.generations_topic, own_settings.namespace, generation)
    await generations.remove(servers.kafka, own_settings.generations_topic, own_settings.namespace, "live")
    again = await init(shards=None)
    assert again.made
    assert (await known(own_settings)).live.fingerprint == "f1"


async def test_a_redis_of_another_kafka_is_refused(init: Run, own_settings: Settings) -> None:
    await init()
    init.settings = own_settings.model_copy(update={"generations_topic": own_settings.generations_topic + "2"})
    with pytest.raises(ProfilestreamError, match="belong together"):
        await init()


async def test_existing_event_topics_decide_the_shards_and_are_kept(
    init: Run, own_settings: Settings, servers: Servers
) -> None:
    async with Admin(servers.kafka) as admin:
        await admin.create(f"{own_settings.namespace}.purchases", 5, {"retention.ms": "604800000"})
        await admin.create(f"{own_settings.namespace}.support", 5, {"retention.ms": "-1"})
    result = await init(shards=None)
    assert result.generation.shards == 5
    assert set(result.kept_topics) >= {f"{own_settings.namespace}.purchases", f"{own_settings.namespace}.support"}
    assert result.limited_topics == (f"{own_settings.namespace}.purchases",)
    warnings = [line for line in init.lines if line.startswith("warning")]
    assert len(warnings) == 1
    assert "purchases" in warnings[0] and "support" not in warnings[0]


async def test_event_topics_that_disagree_are_forwarded_and_named(
    init: Run, own_settings: Settings, servers: Servers
) -> None:
    async with Admin(servers.kafka) as admin:
        await admin.create(f"{own_settings.namespace}.purchases", 5, {"retention.ms": "-1"})
    result = await init(shards=2)
    assert result.generation.shards == 2
    assert f"{own_settings.namespace}.purchases" in result.forwarded_topics
    assert any("forwarded" in line and "purchases" in line for line in init.lines)


async def test_an_own_topic_with_other_partitions_is_refused_before_anything_is_made(
    init: Run, own_settings: Settings, servers: Servers
) -> None:
    async with Admin(servers.kafka) as admin:
        await admin.create(own_settings.changes_topic, 7, {})
        with pytest.raises(ProfilestreamError, match="has 7 partitions and needs 2"):
            await init(shards=2)
        assert (await admin.describe([own_settings.rekeyed_topic]))[own_settings.rekeyed_topic] is None


async def test_servers_that_are_away_or_unnamed_are_said_plainly(init: Run, own_settings: Settings) -> None:
    for change, error in (
        ({"kafka": "127.0.0.1:1"}, ServerUnavailable),
        ({"redis": "redis://127.0.0.1:1"}, ServerUnavailable),
        ({"kafka": None}, UsageError),
        ({"redis": None}, UsageError),
    ):
        init.settings = own_settings.model_copy(update=change)
        with pytest.raises(error):
            await init()
