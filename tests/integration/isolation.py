"""Event topics of a test's own, so that tests on one Kafka do not meet."""

from __future__ import annotations

from profilestream.core.events import BUILT_IN
from profilestream.settings import Settings


def fresh_sources(settings: Settings) -> str:
    """Tables of a definitions file that read the built-in types from topics of this namespace."""
    topics = {name: t.topic for name, t in BUILT_IN.items()} | {"command": "commands"}
    return "".join(
        f'[sources.{name}]\ntype = "{name}"\ntopic = "{settings.namespace}.{topic}"\n' for name, topic in topics.items()
    )
