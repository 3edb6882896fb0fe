"""A namespace with topics of its own on the servers that are given, so that tests do not meet."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import replace

import pytest

from profilestream.core.events import BUILT_IN, EventType
from profilestream.settings import Settings

KAFKA = os.environ.get("PROFILESTREAM_KAFKA", "")
REDIS = os.environ.get("PROFILESTREAM_REDIS", "")

needs_servers = pytest.mark.skipif(
    not (KAFKA and REDIS), reason="set PROFILESTREAM_KAFKA and PROFILESTREAM_REDIS, or start the local servers"
)


def fresh_settings() -> Settings:
    """Settings whose namespace and topics no other test has."""
    name = "t" + secrets.token_hex(5)
    return Settings(
        kafka=KAFKA,
        redis=REDIS,
        namespace=name,
        changes_topic=f"{name}.segment-changes",
        dead_letters_topic=f"{name}.dead-letters",
        rekeyed_topic=f"{name}.rekeyed",
        generations_topic=f"{name}.generations",
        announced_topic=f"{name}.announced",
    )


def fresh_types(settings: Settings) -> Mapping[str, EventType]:
    """The built-in event types on topics of this namespace."""
    return {name: replace(t, topic=f"{settings.namespace}.{t.topic}") for name, t in BUILT_IN.items()}
