"""What several files of tests ask questions of: profiles, an empty Redis, a topic of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import cdnow
from tests.integration.store_server import RedisProcess
from tests.integration.stored import BERLIN, BERLIN_ORDERS, store
from tests.integration.subscribing import PARTITIONS, Topic

from profilestream.settings import Settings
from profilestream.stream.topics import Admin


@pytest.fixture
def shop(own_settings: Settings) -> Settings:
    """All of CDNOW, folded, in four shards."""
    asyncio.run(store(own_settings, cdnow.DEFINITIONS, cdnow.in_order_of_time(cdnow.purchases())))
    return own_settings


@pytest.fixture
def berlin(own_settings: Settings) -> Settings:
    """Two customers in one shard; the second one's order has moved the clock on, and the first one waits."""
    asyncio.run(store(own_settings, BERLIN, BERLIN_ORDERS, shards=1))
    return own_settings


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    server = RedisProcess(Path(tmp_path_factory.mktemp("redis")))
    yield server
    server.kill()


@pytest.fixture
def url(module_server: RedisProcess) -> str:
    """An empty server."""
    module_server.client.flushall()
    return module_server.url


@pytest.fixture
async def topic(own_settings: Settings) -> Topic:
    kafka = str(own_settings.kafka)
    async with Admin(kafka) as admin:
        await admin.create(own_settings.changes_topic, PARTITIONS, {})
    return Topic(kafka, own_settings.changes_topic)
