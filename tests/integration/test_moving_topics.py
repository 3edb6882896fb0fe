"""A type of events moves to another topic: what only the former one has is not lost unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import redis
from tests.integration import shop

from profilestream.settings import Settings

MOVED = shop.DEFINITIONS + '[sources.orders]\ntopic = "orders"\ntype = "purchase"\n'
BESIDE = MOVED + '[sources.purchases]\ntopic = "purchases"\ntype = "purchase"\n'
TRAITS = {"orders", "spend", "dearest", "last_order_at"}


def test_a_type_that_moves_to_another_topic_does_not_lose_what_came_by_the_former_one_unasked(
    servers: Any, own_settings: Settings, cli: Any, workdir: Path, namespace: str
) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    shop.put(servers.kafka, shop.purchases(120))
    shop.catch_up(cli)
    cli("emitter", "--until-caught-up")
    (workdir / "moved.toml").write_text(MOVED)
    (workdir / "beside.toml").write_text(BESIDE)

    plan = json.loads(cli("plan", "moved.toml", "--json").stdout)
    assert [(one["topic"], one["gone"]) for one in plan["log"] if one["left"]] == [("purchases", 120)]
    assert {one["name"] for one in plan["incomplete"] if one["what"] == "trait" and one["lost"]} == TRAITS
    assert "purchases" in cli("plan", "moved.toml").stdout

    refused = cli("apply", "moved.toml", "--yes", "--clock", "event", expect=1)
    assert "cannot be folded again" in refused.stderr and all(name in refused.stderr for name in TRAITS)
    cli("replay", "moved.toml", "--clock", "event", "--until-caught-up")
    refused = cli("promote", "g2", "--yes", expect=1)
    assert "spend: topic purchases is not read any more" in refused.stderr
    cli("drop", "g2", "--yes")

    beside = json.loads(cli("plan", "beside.toml", "--json").stdout)
    assert not beside["incomplete"] and not any(one["left"] for one in beside["log"])
    cli("apply", "beside.toml", "--yes", "--clock", "event", timeout_s=120)
    shop.right(shop.purchases(120), servers.redis, namespace)

    cli("apply", "moved.toml", "--yes", "--allow-history-loss", "--clock", "event", timeout_s=120)
    with redis.Redis.from_url(str(own_settings.redis), decode_responses=True) as client:
        live = client.get(f"{namespace}:live")
        since: Any = client.hget(f"{namespace}:{live}:meta", "complete_since")
    assert json.loads(since).keys() == TRAITS
