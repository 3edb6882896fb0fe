"""Event topics of a test's own, so that tests on one Kafka do not meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from profilestream.core.events import BUILT_IN, EventType
from profilestream.settings import Settings


def fresh_types(settings: Settings) -> Mapping[str, EventType]:
    """The built-in event types on topics of this namespace."""
    return {name: replace(t, topic=f"{settings.namespace}.{t.topic}") for name, t in BUILT_IN.items()}
