"""`init --rebuild`: everything folded again under edited definitions, whatever interrupts it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.integration.isolation import fresh_sources
from tests.integration.test_worker import running

from profilestream.core.errors import UsageError
from profilestream.operations.rebuild import rebuild
from profilestream.settings import Settings
from profilestream.stream.topics import Admin
from profilestream.wire.definitions import parse_definitions

DAY = 86_400_000
FIRST = '[traits]\norders = "count(purchase)"\n[segments.two]\nenter = "orders >= 2"\n'
SECOND = '[traits]\nspend = "sum(purchase.amount_minor)"\n[segments.rich]\nenter = "spend >= 300"\n'


class Shop:
    """An installation with some orders, folded and announced under the first definitions."""

    def __init__(self, cli: Any, workdir: Path, settings: Settings) -> None:
        self.cli, self.workdir, self.settings = cli, workdir, settings
        self.sources = fresh_sources(settings)
        self.file = workdir / "shop.toml"

    def write(self, text: str) -> None:
        self.file.write_text(text + self.sources)

    def run(self) -> None:
        self.cli("worker", "--clock", "event", "--until-caught-up")
        self.cli("emitter", "--until-caught-up")

    def begin(self) -> None:
        self.write(FIRST)
        self.cli("init", "shop.toml", "--shards", "2")
        orders = [
            {"event_id": f"e{n}", "customer_id": f"c{n % 5}", "occurred_at": n * DAY, "amount_minor": n * 10}
            for n in range(1, 21)
        ]
        (self.workdir / "orders.jsonl").write_text("".join(json.dumps(o) + "\n" for o in orders))
        self.cli("produce", f"{self.settings.namespace}.purchases", "orders.jsonl")
        self.run()

    def keys(self) -> set[str]:
        client: Any = redis.Redis.from_url(str(self.settings.redis), decode_responses=True)
        with client:
            return set(client.scan_iter(match=f"{self.settings.namespace}:*", count=1_000))

    def generations(self) -> set[str]:
        return {key.split(":")[1] for key in self.keys()} - {"live"}

    def changes(self) -> set[tuple[str, str, str, int]]:
        lines = self.cli("changes", "--json").stdout.splitlines()
        data = [json.loads(line)["data"] for line in lines]
        found = [(d["customer_id"], d["segment"], d["change"], d["crossing"]) for d in data]
        assert len(found) == len(set(found))
        return set(found)

    def check_second(self, generation: str) -> None:
        """Everything is as it would be had the second definitions been the first ones."""
        self.run()
        spend = {f"c{c}": sum(n * 10 for n in range(1, 21) if n % 5 == c) for c in range(5)}
        for customer, amount in spend.items():
            profile = json.loads(self.cli("profile", customer, "--json").stdout)
            assert profile["traits"] == {"spend": amount}
        assert self.generations() == {generation}
        assert self.changes() == {(c, "rich", "entered", 1) for c, amount in spend.items() if amount >= 300}


@pytest.fixture
def shop(cli: Any, workdir: Path, own_settings: Settings) -> Shop:
    shop = Shop(cli, workdir, own_settings)
    shop.begin()
    return shop


def test_edited_definitions_fold_everything_again(shop: Shop) -> None:
    assert {segment for _, segment, _, _ in shop.changes()} == {"two"}
    shop.write(SECOND)
    refused = shop.cli("init", "shop.toml", expect=1)
    assert "--rebuild" in refused.stderr
    said = shop.cli("init", "shop.toml", "--rebuild", "--yes").stdout
    assert "generation g2 is live, in 2 shards" in said
    shop.check_second("g2")
    shop.cli("init", "shop.toml", "--rebuild", "--yes")  # the same definitions once more
    shop.check_second("g3")


class Stop(Exception):
    """Where a test ends a rebuild."""


@pytest.mark.parametrize("step", [1, 2, 3, 4])
async def test_an_interrupted_rebuild_goes_on_when_it_is_run_again(shop: Shop, step: int) -> None:
    shop.write(SECOND)
    definitions = parse_definitions(shop.file.read_text())

    def stop(done: int) -> None:
        if done == step:
            raise Stop

    with pytest.raises(Stop):
        await rebuild(shop.settings, definitions, lambda line: None, stop)
    found = await rebuild(shop.settings, definitions, lambda line: None)
    assert found.generation.name == "g2"
    await asyncio.to_thread(shop.check_second, "g2")


async def test_a_running_worker_must_be_stopped_first(shop: Shop, cli_environment: dict[str, str]) -> None:
    before = shop.keys()
    with running(cli_environment, shop.workdir, "worker", "--clock", "event") as worker:
        async with Admin(str(shop.settings.kafka)) as admin:
            while not await admin.group_members(f"{shop.settings.namespace}-g1"):
                assert worker.poll() is None
                await asyncio.sleep(0.1)
        with pytest.raises(UsageError, match="a running worker would fold and announce meanwhile; stop it"):
            await rebuild(shop.settings, parse_definitions(SECOND + shop.sources), lambda line: None)
    assert shop.keys() >= before


async def test_servers_elsewhere_are_left_alone(own_settings: Settings) -> None:
    elsewhere = own_settings.model_copy(update={"redis": "redis://redis.example.com:6379"})
    with pytest.raises(UsageError, match="on this machine only"):
        await rebuild(elsewhere, parse_definitions(FIRST), lambda line: None)


def test_it_asks_before_it_deletes(shop: Shop) -> None:
    before = shop.keys()
    shop.write(SECOND)
    shop.cli("init", "shop.toml", "--rebuild", expect=1, stdin="n\n")
    assert shop.keys() == before


def test_without_a_generation_it_is_an_init(cli: Any, workdir: Path, own_settings: Settings) -> None:
    shop = Shop(cli, workdir, own_settings)
    shop.write(FIRST)
    assert "made generation g1" in cli("init", "shop.toml", "--rebuild", "--yes").stdout
