"""A live generation in Redis that holds what some orders come to, without a Kafka: for whoever reads it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from secrets import token_hex
from typing import Any

from profilestream.core.aggregates import KEYS_MAX
from profilestream.core.engine import Crossing, Engine
from profilestream.core.profile import Profile
from profilestream.settings import Settings
from profilestream.store.commits import Change, Commit, Membership
from profilestream.store.connection import connect
from profilestream.store.keys import Keys, shard_of
from profilestream.store.metadata import Generation, set_live, write_generation
from profilestream.store.pipeline import open_pipeline
from profilestream.store.profile_writes import ProfileWriter
from profilestream.store.shard_store import ShardStore
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import EventDecoder

SHARDS = 4
BERLIN = """
[settings]
timezone = "Europe/Berlin"

[traits]
orders     = "count(purchase)"
spend      = "sum(purchase.amount_minor)"
last_at    = "last(purchase.occurred_at)"
gap        = "mean_gap(purchase)"
channels   = "top(purchase.channel, 3)"
by_channel = "sum(purchase.amount_minor, by=channel)"
refund_at  = "last(purchase[kind == 'refund'].occurred_at)"
vip        = "orders >= 2"
week       = "count(purchase[channel == 'web'], over='20d')"   # of orders from the web

[segments.regular]
description = "Came back"
enter = "vip and not has(refund_at) and 1 < orders <= 10"
exit  = "since(last_at) > days(30)"

[segments.big]
enter = "spend >= 1_000_000"
"""


class Shard:
    """Folds events as a worker does and commits them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = 0
        self.profiles: dict[str, Profile] = {}
        self.crossings: list[tuple[str, Crossing]] = []

    def fold(self, event: Any, handler: Any) -> None:
        customer_id = event.customer_id
        profile = self.profiles.setdefault(customer_id, self.engine.new_profile(customer_id))
        self.clock = max(self.clock, event.occurred_at)
        mine: list[Crossing] = []
        self.engine.fold(profile, event, handler, self.clock, self.clock, mine, None)
        self.crossings += [(customer_id, crossing) for crossing in mine]

    def commit(self) -> Commit:
        writer = ProfileWriter(self.engine)
        memberships = [Membership(x.segment, c, x.at, x.crossing % 2 == 1) for c, x in self.crossings]
        changes = [
            Change(c, x.segment, x.crossing, "entered" if x.crossing % 2 else "exited", b"{}")
            for c, x in self.crossings
        ]
        return Commit(
            expected="",
            commit=token_hex(8),
            sequence=1,
            clock=self.clock,
            positions={"purchases": 0},
            profiles=[writer.write(p, bool(p.members)) for p in self.profiles.values()],
            memberships=memberships,
            changes=changes,
        )


async def store(
    settings: Settings, text: str, events: Iterable[Mapping[str, Any]], shards: int = SHARDS, keys_max: int = KEYS_MAX
) -> None:
    """Makes a live generation that holds what these events come to; nobody's timer has fired since."""
    assert settings.redis is not None
    definitions = parse_definitions(text)
    engine = Engine(definitions, keys_max=keys_max)
    decoder = EventDecoder(definitions.types)
    found: dict[int, Shard] = defaultdict(lambda: Shard(engine))
    for raw in events:
        event: Any = decoder.decode("purchase", json.dumps(raw).encode())
        found[shard_of(event.customer_id, shards)].fold(event, engine.handlers["purchase"])
    client = connect(settings.redis)
    generation = Generation("g1", shards, text, definitions.fingerprint, "2026-01-31T09:30:00.000Z", "live")
    await write_generation(client, settings.namespace, generation)
    await set_live(client, settings.namespace, "g1")
    await client.aclose()
    for number, shard in found.items():
        keys = Keys(settings.namespace, "g1").shard(number)
        pipeline = await open_pipeline(settings.redis, keys.head)
        commits = ShardStore(pipeline, keys)
        await commits.load_script()
        assert (await commits.send_commit(shard.commit())).status == "done"
        await pipeline.close()


def order(customer_id: str, n: int, occurred_at: str, amount: int = 1_000, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"{customer_id}-{n}",
        "customer_id": customer_id,
        "occurred_at": occurred_at,
        "amount_minor": amount,
        **fields,
    }


BERLIN_ORDERS = [
    order("zoë 1", 1, "2026-01-01T10:00:00Z", 12_345, channel="web"),
    order("zoë 1", 2, "2026-01-02T12:00:00Z", 2_000, channel="store\x1b[31m"),
    order("other", 1, "2026-01-20T00:00:00Z"),
]
"""Two customers in one shard; the second one's order has moved the clock on, and the first one waits."""
