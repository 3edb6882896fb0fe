"""The walk over all states on real servers, alone and as a cluster: everybody once, in pages, and what they weigh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.store_server import RedisProcess, make_cluster
from tests.property.shard import T0, Shard

from profilestream.core.changes_between import changes_between
from profilestream.core.engine import Engine
from profilestream.core.errors import ServerUnavailable
from profilestream.operations import costs
from profilestream.operations.sweep import sweep
from profilestream.settings import Settings
from profilestream.store import states
from profilestream.store.connection import connect_sync
from profilestream.store.keys import Keys, shard_of
from profilestream.store.metadata import Generation
from profilestream.store.states import StateWalk
from profilestream.wire.definitions import parse_definitions
from profilestream.wire.states import encode_state

SHARDS, CUSTOMERS = 4, 600
TEXT = '[traits]\norders = "count(purchase)"\n[segments.two]\nenter = "orders >= 2"\n'
GENERATION = Generation("g1", SHARDS, TEXT, "f", "2026-01-01T00:00:00.000Z", "live")


def name(number: int) -> str:
    return f"größe {number}"


def put(url: str) -> None:
    """Customers with one to three orders each; one more is named and has gone."""
    shard = Shard(Engine(parse_definitions(TEXT)))
    shard.take_all(
        {"type": "purchase", "event_id": f"e{n}/{k}", "customer_id": name(n), "occurred_at": T0 + n, "amount_minor": 5}
        for n in range(CUSTOMERS)
        for k in range(1 + n % 3)
    )
    client = connect_sync(url)
    for customer, profile in shard.profiles.items():
        keys = Keys("ps", "g1").shard(shard_of(customer, SHARDS))
        client.set(keys.state(customer), encode_state(profile, shard.engine))
        client.hset(keys.profile(customer), mapping={"orders": profile.revision})
        client.sadd(keys.customers, customer)
        client.hset(keys.head, mapping={"commit": "1", "sequence": 1, "clock": T0 + CUSTOMERS, "positions": "{}"})
    gone = name(CUSTOMERS)
    client.sadd(Keys("ps", "g1").shard(shard_of(gone, SHARDS)).customers, gone)
    client.set("ps:g10:{0}:state:somebody", "else's")
    client.close()


@pytest.fixture(params=["alone", "cluster"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    nodes = [RedisProcess(tmp_path)] if request.param == "alone" else make_cluster(tmp_path)
    found = nodes[0].url if request.param == "alone" else f"redis+cluster://127.0.0.1:{nodes[0].port}"
    put(found)
    yield found
    for node in nodes:
        node.kill()


def test_everybody_is_looked_at_once_whatever_the_size_of_a_page(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for page, weight in ((7, 1 << 20), (250, 100)):
        monkeypatch.setattr(states, "STATES_A_PAGE", page)
        monkeypatch.setattr(states, "PAGE_BYTES_MAX", weight)
        client = connect_sync(url)
        walk = StateWalk(client, "ps", GENERATION)
        pages = list(walk.pages())
        assert walk.count() == CUSTOMERS + 1
        client.close()
        found = [customer for one in pages for customer, _ in one.states]
        assert sorted(found) == sorted(name(n) for n in range(CUSTOMERS))
        assert {one.clock for one in pages} == {T0 + CUSTOMERS}
        assert all(shard_of(customer, SHARDS) == one.shard for one in pages for customer, _ in one.states)
        assert max(len(one.states) for one in pages) <= page
        if weight == 100:
            assert max(sum(len(state) for _, state in one.states) for one in pages) < 400

    after = TEXT.replace("orders >= 2", "orders >= 3")
    changes = changes_between(parse_definitions(TEXT), parse_definitions(after))
    told: list[tuple[int, int]] = []
    swept = sweep(Settings(redis=url), GENERATION, changes, progress=lambda *done: told.append(done))
    outcome = swept.outcomes["two"]
    assert (swept.customers, outcome.members, outcome.entering, outcome.leaving) == (CUSTOMERS, 400, 0, 200)
    assert told[-1] == (CUSTOMERS, CUSTOMERS + 1)
    assert swept.clocks == dict.fromkeys(range(SHARDS), T0 + CUSTOMERS)


def test_memory_is_that_of_all_customers_where_the_server_tells(url: str) -> None:
    found = costs._memory(Settings(redis=url), GENERATION)
    assert found.customers == CUSTOMERS + 1
    if "cluster" in url:
        assert found.bytes is None
    else:
        assert found.bytes is not None and 100 * CUSTOMERS < found.bytes < 1_000 * CUSTOMERS
    assert found.free is None


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    server = RedisProcess(tmp_path)
    put(server.url)
    client = connect_sync(server.url)
    pages = StateWalk(client, "ps", GENERATION).pages()
    next(pages)
    server.kill()
    with pytest.raises(ServerUnavailable, match=str(server.port)):
        list(pages)
    client.close()
