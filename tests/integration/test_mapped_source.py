"""A topic in a shop system's own words, folded without a line of Python."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.integration.isolation import fresh_sources

from profilestream.settings import Settings
from profilestream.stream.reading import read_to_end
from profilestream.stream.topics import Admin

DOCS = (Path(__file__).parent.parent.parent / "docs" / "definitions.md").read_text("utf-8")
TRAITS = """
[traits]
orders = "count(purchase[kind == 'order'])"
net_spend = "sum(purchase[kind == 'order'].amount_minor) - sum(purchase[kind == 'refund'].amount_minor)"
categories = "top(item.category, 3)"
prices = "sum(item.unit_price_minor)"
[segments.web_customer]
enter = "orders >= 1"
"""


def order(number: int, customer: int, total: str, currency: str = "EUR") -> dict[str, Any]:
    """An order as the webhook sends it: what is needed, and some of the hundred other fields."""
    return {
        "id": 820_982_911_946_154_500 + number,
        "admin_graphql_api_id": f"gid://shopify/Order/{number}",
        "name": f"#{number}",
        "created_at": f"2026-01-{number:02d}T11:00:00-05:00",
        "currency": currency,
        "total_price": total,
        "financial_status": "paid",
        "note_attributes": [],
        "customer": {"id": 115_310_627_314_723_000 + customer, "email": "x@example.com", "default_address": None},
        "line_items": [
            {"id": 1, "sku": None, "quantity": 1, "price": "199.00", "product_type": "Snowboards", "tax_lines": []},
            {"id": 2, "sku": "IPOD-342-N", "quantity": 2, "price": "5.47", "product_type": "Wax"},
        ],
    }


@pytest.fixture
def definitions(own_settings: Settings) -> str:
    """The documentation's own example, on topics of this test."""
    snippet = next(text for text in re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL) if "shopify.orders" in text)
    text = snippet.replace('"shopify.', f'"{own_settings.namespace}.shopify.')
    return text + TRAITS + fresh_sources(own_settings)


async def test_a_webhooks_orders_are_folded_as_they_come(
    cli: Any, workdir: Path, own_settings: Settings, definitions: str
) -> None:
    orders_topic, refunds_topic = (f"{own_settings.namespace}.shopify.{name}" for name in ("orders", "refunds"))
    async with Admin(str(own_settings.kafka)) as admin:
        # Another number of partitions than the shards: its records go through the topic of forwarded ones.
        await admin.create(orders_topic, 3, {"message.timestamp.type": "LogAppendTime"})
    (workdir / "shop.toml").write_text(definitions)
    good = [order(1, 1, "409.94"), order(2, 1, "100.00", "USD"), order(3, 2, "0.995")]
    refund = {
        "id": 99, "created_at": "2026-01-05T10:00:00Z", "total_refunded": "9.94",
        "order": {"customer": good[0]["customer"]},
    }  # fmt: skip
    (workdir / "orders.jsonl").write_text("".join(json.dumps(o) + "\n" for o in good))
    (workdir / "refunds.jsonl").write_text(json.dumps(refund) + "\n")
    bad = order(4, 3, "free")
    (workdir / "bad.jsonl").write_text(json.dumps(bad) + "\n")

    def steps() -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
        cli("init", "shop.toml", "--shards", "4")
        cli("produce", orders_topic, "orders.jsonl")
        cli("produce", refunds_topic, "refunds.jsonl")
        refused = cli("produce", orders_topic, "bad.jsonl", expect=1).stderr
        assert "total_price (amount_minor): expected" in refused
        cli("produce", orders_topic, "bad.jsonl", "--no-validate")
        cli("worker", "--until-caught-up")
        profiles = [json.loads(cli("profile", str(good[n]["customer"]["id"]), "--json").stdout) for n in (0, 2)]
        return profiles[0], profiles[1], json.loads(cli("dead-letters", "list", "--json").stdout)

    first, second, letters = await asyncio.to_thread(steps)
    assert first["traits"] == {
        "orders": 2,
        "net_spend": 40_994 + 9_200 - 994,
        "categories": ["Snowboards", "Wax"],
        "prices": 19_900 + 547 + 18_308 + 503,
    }
    assert second["traits"]["net_spend"] == 100  # half to even
    assert [(x["reason"], x["topic"]) for x in letters] == [("wrong_type", orders_topic)]
    assert letters[0]["detail"].startswith("total_price (amount_minor): expected")
    forwarded = [record async for record in read_to_end(str(own_settings.kafka), own_settings.rekeyed_topic)]
    assert len(forwarded) >= 1
