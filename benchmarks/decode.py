"""What a mapped topic costs beside one in our own words, in one run.

    python benchmarks/decode.py

Each shape holds the same order. The rounds of all shapes take turns, so that a busy machine slows all of them; the
best round counts. `native` is the type's own words, against which every other one is a ratio.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final

from profilestream.wire.definitions import parse_definitions
from profilestream.wire.events import EventDecoder

ROUNDS: Final = 25
EVENTS: Final = 20_000

DEFINITIONS: Final = """
[sources.flat]
topic = "flat"
type  = "purchase"
map   = { event_id = "id", customer_id = "user", occurred_at = "created", amount_minor = "cents", order_id = "no" }

[sources.nested]
topic = "nested"
type  = "purchase"
map   = { event_id = "id", customer_id = "user.id", occurred_at = "created", amount_minor = "total.cents" }

[sources.webhook]
topic = "webhook"
type  = "purchase"

[sources.webhook.map]
event_id     = "id"
customer_id  = "customer.id"
occurred_at  = "created_at"
order_id     = "name"
amount_minor = { path = "total_price", decimals = 2 }
channel      = { value = "online" }

[sources.webhook.map.items]
path = "line_items"
each = { sku = "sku", unit_price_minor = { path = "price", decimals = 2 } }

[sources.cloud]
topic    = "cloud"
type     = "purchase"
envelope = "cloudevents"
"""

AT: Final = "2026-01-31T09:30:00Z"
OWN: Final = {"event_id": "e-1", "customer_id": "c-1", "occurred_at": AT, "amount_minor": 4099, "order_id": "n-1"}
LINES: Final = [{"sku": "a-1", "quantity": 1, "price": "30.99"}, {"sku": "b-2", "quantity": 2, "price": "5.00"}]
ITEMS: Final = [
    {"sku": "a-1", "quantity": 1, "unit_price_minor": 3099},
    {"sku": "b-2", "quantity": 2, "unit_price_minor": 500},
]
SHAPES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "native": ("purchases", OWN),
    "flat map": ("flat", {"id": "e-1", "user": "c-1", "created": AT, "cents": 4099, "no": "n-1"}),
    "nested map": ("nested", {"id": "e-1", "user": {"id": "c-1"}, "created": AT, "total": {"cents": 4099}}),
    "cloudevent": (
        "cloud",
        {"specversion": "1.0", "id": "e-1", "source": "shop", "subject": "c-1", "time": AT,
         "data": {"amount_minor": 4099, "order_id": "n-1"}},
    ),
    "native, items": ("purchases", OWN | {"items": ITEMS}),
    "webhook, items": (
        "webhook",
        {"id": 820982911946154508, "name": "n-1", "created_at": AT, "total_price": "40.99", "currency": "EUR",
         "customer": {"id": 115310627314723954, "email": "x"}, "line_items": LINES},
    ),
}  # fmt: skip


def main() -> None:
    """Measures and prints a table."""
    decoder = EventDecoder.of(parse_definitions(DEFINITIONS))
    work = {
        name: (decoder.decoder_for_topic(topic), json.dumps(record).encode())
        for name, (topic, record) in SHAPES.items()
    }
    best = dict.fromkeys(work, float("inf"))
    for _ in range(ROUNDS):
        for name, (decode, value) in work.items():
            best[name] = min(best[name], _seconds(decode, value))
    print(f"{'shape':<16}{'bytes':>7}{'us/event':>10}{'events/s':>12}{'to native':>11}")
    for name, (_, value) in work.items():
        base = best["native, items" if name.endswith("items") else "native"]
        each = best[name] / EVENTS
        print(f"{name:<16}{len(value):>7}{each * 1e6:>10.2f}{1 / each:>12,.0f}{best[name] / base:>10.2f}x")


def _seconds(decode: Callable[[bytes | None], Any], value: bytes) -> float:
    began = time.perf_counter()
    for _ in range(EVENTS):
        decode(value)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
