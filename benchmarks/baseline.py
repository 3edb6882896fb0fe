"""The yardstick: Faust as its documentation uses it, one event at a time into a table.

`python -m benchmarks.baseline --kafka HOST:PORT --events N --partitions P` reads topic `purchases` from its beginning
and prints one line of JSON. It does far less than a worker: it counts the orders of each customer, in memory with a
changelog; no other traits, no windows, no segments, nothing in Redis, and a crash may count twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from typing import Any

import faust

WARM_UP_EVENTS = 2_000


class Purchase(faust.Record, serializer="json"):  # type: ignore[misc, call-arg]
    customer_id: str
    amount_minor: int


def application(kafka: str, partitions: int, events: int) -> Any:
    """The app; it prints its result and ends the process after so many events."""
    name = f"baseline-{secrets.token_hex(4)}"
    app = faust.App(
        name,
        broker=f"kafka://{kafka}",
        datadir=tempfile.mkdtemp(),
        store="memory://",
        topic_partitions=partitions,
        topic_replication_factor=1,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    topic = app.topic("purchases", value_type=Purchase)
    orders = app.Table("orders", default=int, partitions=partitions)
    began: list[float] = []

    @app.agent(topic)  # type: ignore[untyped-decorator]
    async def fold(stream: Any) -> None:
        seen = 0
        async for purchase in stream:
            orders[purchase.customer_id] += 1
            seen += 1
            if seen == WARM_UP_EVENTS:
                began[:] = [time.perf_counter(), time.process_time()]
            elif seen == WARM_UP_EVENTS + events:
                seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
                print(json.dumps({"events": events, "seconds": seconds, "cpu_s": cpu}), flush=True)
                os._exit(0)

    return app


async def _run(app: Any) -> None:
    await app.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--partitions", type=int, default=16)
    given = parser.parse_args()
    try:
        asyncio.run(_run(application(given.kafka, given.partitions, given.events)))
    except KeyboardInterrupt:
        sys.exit(130)
