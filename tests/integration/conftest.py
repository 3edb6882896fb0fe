"""Profiles that several files of tests ask questions about."""

from __future__ import annotations

import asyncio

import pytest
from tests import cdnow
from tests.integration.stored import BERLIN, BERLIN_ORDERS, store

from profilestream.settings import Settings


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
