"""What the benchmark folds: seeded purchases, and two sets of definitions over them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

BEGIN_MS = 1_735_689_600_000
"""2025-01-01: long past, so that no event lies ahead of anybody's clock, and the same at every run."""
SPAN_MS = 90 * 86_400_000
CATEGORIES = ("shoes", "shirts", "books", "toys", "garden", "music")
CHUNK = 10_000

PLAIN = """
[streams]
order = "purchase[kind == 'order']"

[traits]
orders        = "count(order)"
total_spend   = "sum(purchase.amount_minor)"
average_order = "mean(order.amount_minor)"
largest_order = "max(order.amount_minor)"
last_order_at = "last(order.occurred_at)"
"""
"""Five traits, no windows, no segments."""

FULL = """
[streams]
order = "purchase[kind == 'order']"

[traits]
orders         = "count(order)"
total_spend    = "sum(purchase.amount_minor)"
spend_30d      = "sum(order.amount_minor, over='30d')"
spend_trend    = "spend_30d / sum(order.amount_minor, over='30d', ago='30d')"
average_order  = "total_spend / orders"
last_order_at  = "last(order.occurred_at)"
order_gap_days = "mean_gap(order) / days(1)"
shoes_90d      = "count(item[category == 'shoes' and kind == 'order'], over='90d')"
best_hour      = "top(hour(order.occurred_at), 1)"
monetary       = "score(total_spend, 2_000, 5_000, 10_000, 25_000)"

[segments.big_spender]
enter = "spend_30d >= 50_000 and orders >= 2"
exit  = "spend_30d < 40_000"

[segments.lapsing]
enter = "orders >= 2 and since(last_order_at) > days(30)"

[segments.loyal]
enter = "orders >= 5 and monetary >= 4"
"""
"""Ten traits of the common kinds, four windows, three segments, one of which time alone crosses."""


class Purchase(NamedTuple):
    """An event as it goes into the topic, with what the checks add up."""

    customer_id: str
    value: bytes
    amount_minor: int


def purchases(events: int, customers: int, uniform: bool, seed: int = 1) -> Iterator[Purchase]:
    """Purchases in order of time, the same for the same arguments; about 230 bytes each.

    Customers are drawn with weights 1 / rank (few order much, most order little), or evenly.
    """
    chance = random.Random(seed)
    weights = None if uniform else list(accumulate(1 / rank for rank in range(1, customers + 1)))
    ranks = range(customers)
    step = SPAN_MS / events
    for first in range(0, events, CHUNK):
        size = min(CHUNK, events - first)
        for number, rank in enumerate(chance.choices(ranks, cum_weights=weights, k=size), first):
            customer_id = f"c{rank:07d}"
            price, quantity = chance.randrange(500, 15_000), chance.choice((1, 1, 1, 2))
            amount = price * quantity
            at_ms, category = BEGIN_MS + int(number * step), CATEGORIES[price % len(CATEGORIES)]
            value = (
                f'{{"event_id":"b{number:09d}","customer_id":"{customer_id}","occurred_at":{at_ms},'
                f'"amount_minor":{amount},"currency":"EUR","channel":"web","items":[{{"sku":"s{price % 997:03d}",'
                f'"category":"{category}","quantity":{quantity},"unit_price_minor":{price}}}]}}'
            )
            yield Purchase(customer_id, value.encode(), amount)
