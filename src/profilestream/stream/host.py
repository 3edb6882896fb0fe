"""The Faust application that hosts a worker: group membership, assignment, and slices handed on."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import faust
from faust.types import TP

from profilestream.settings import Settings
from profilestream.stream.transport import FETCH_BYTES, Assignee, SliceScheduler, SliceTransport, Untouched

SLICES_WAITING_MAX = 4


class Host(faust.App):  # type: ignore[misc]
    """A Faust app that keeps nothing on disk, and so makes no folder that a killed worker would leave behind."""

    def _create_directories(self) -> None:
        """Only tables have files, and there are none."""


def host(
    settings: Settings,
    group: str,
    topics: Iterable[str],
    assignee: Assignee,
    waiting_bytes_max: int,
    client_id: str = "profilestream-worker",
) -> Any:
    """A Faust app of consumer group `group` over the topics, which `assignee` works on.

    `waiting_bytes_max` is what may wait of a partition (bytes): so much is fetched at once, within bounds.
    Not started. Faust's own topics, web server and tables are off, and it leaves logging alone.
    """
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    assert settings.kafka is not None
    app = Host(
        group,
        broker=[f"kafka://{address.strip()}" for address in settings.kafka.split(",")],
        ConsumerScheduler=SliceScheduler,
        broker_client_id=client_id,
        stream_buffer_maxsize=SLICES_WAITING_MAX,
        stream_wait_empty=False,
        broker_session_timeout=settings.session_timeout_ms / 1000,
        broker_heartbeat_interval=settings.heartbeat_ms / 1000,
        broker_commit_interval=3.0,
        producer_acks=1,
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
    )
    app.assignee = assignee
    app.fetch_bytes_max = min(max(waiting_bytes_max // 2, FETCH_BYTES[0]), FETCH_BYTES[1])
    app.transport = SliceTransport(app.conf.broker_consumer, app)
    channel = app.topic(*topics, schema=Untouched(), value_serializer="raw", key_serializer="raw")

    @app.agent(channel, name="slices")  # type: ignore[untyped-decorator]
    async def slices(stream: Any) -> None:
        async for piece in stream:
            await assignee.take(piece)

    @app.on_partitions_revoked.connect  # type: ignore[untyped-decorator]
    async def on_partitions_revoked(_app: Any, partitions: set[TP], **_: Any) -> None:
        await assignee.revoked(partitions)

    return app
