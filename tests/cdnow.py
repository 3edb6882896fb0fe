"""The CDNOW sample as `purchase` events: 6,919 real orders of 2,357 customers over 18 months."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).parent.parent / "src" / "profilestream" / "demo_data" / "CDNOW_sample.txt"
ORDERS = 6_919
CUSTOMERS = 2_357
TOTAL_CENTS = 24_409_194
TOTAL_CDS = 16_479

DEFINITIONS = """
[streams]
order = "purchase[kind == 'order']"
large = "order[amount_minor >= 5_000]"

[traits]
orders             = "count(order)"
total_spend        = "sum(order.amount_minor)"
average_order      = "mean(order.amount_minor)"
smallest_order     = "min(order.amount_minor)"
largest_order      = "max(order.amount_minor)"
first_amount       = "first(order.amount_minor)"
last_amount        = "last(order.amount_minor)"
first_order_at     = "first(order.occurred_at)"
last_order_at      = "last(order.occurred_at)"
last_large_at      = "last(large.occurred_at)"
last_small_at      = "last(order[amount_minor < 2_000].occurred_at)"
order_gap_days     = "mean_gap(order) / days(1)"
orders_30d         = "count(order, over='30d')"
orders_90d         = "count(order, over='90d')"
spend_30d          = "sum(order.amount_minor, over='30d')"
spend_90d          = "sum(order.amount_minor, over='90d')"
spend_30d_before   = "sum(order.amount_minor, over='30d', ago='30d')"
spend_trend        = "spend_30d / spend_30d_before"
largest_90d        = "max(order.amount_minor, over='90d')"
cds                = "sum(item.quantity)"
cds_per_order      = "cds / orders"
cds_90d            = "sum(item.quantity, over='90d')"
days_with_orders   = "distinct(date(order.occurred_at))"
favourite_weekdays = "top(weekday(order.occurred_at), 2)"
monetary           = "score(total_spend, 2_000, 5_000, 10_000, 25_000)"
repeats            = "orders >= 2"

[segments.big_spender]
description = "Spends a lot now; stays one until spending falls well below"
enter = "spend_90d >= 10_000 and orders >= 2"
exit  = "spend_90d < 5_000"

[segments.lapsing]
enter = "orders >= 2 and since(last_order_at) > days(30)"

[segments.active]
description = "Falls by time alone"
enter = "orders_30d >= 1"

[segments.splurged]
enter = "after(last_large_at, last_small_at)"

[segments.careful]
enter = "not has(last_large_at) and not (spend_trend > 1 or monetary in (4, 5))"

[segments.growing]
enter = "sum(order.amount_minor, over='90d') > sum(order.amount_minor, over='90d', ago='90d') and repeats"

[segments.lost]
description = "Comes back only by two orders in 90 days"
enter = "since(last_order_at) >= days(180)"
exit  = "orders_90d >= 2"

[segments.veteran]
enter = "days_since(first_order_at) >= 365 and orders >= 3"
"""
"""Traits of every common kind, and segments with hysteresis, `since`, windows, absence and `after`."""


def purchases(path: Path = SAMPLE) -> list[dict[str, Any]]:
    """Every order as an event, with its `type`, in the file's order (customer by customer).

    An order is at noon UTC; `event_id` is `cdnow-` and the line's number in five digits.
    """
    lines = path.read_text(encoding="ascii").splitlines()
    return [_purchase(number, line) for number, line in enumerate(lines, start=1)]


def in_order_of_time(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same events as they happened; those of one moment stay in the order of the file."""
    return sorted(events, key=lambda event: str(event["occurred_at"]))


def _purchase(number: int, line: str) -> dict[str, Any]:
    _, customer, date, cds, dollars = line.split()
    return {
        "type": "purchase",
        "event_id": f"cdnow-{number:05d}",
        "customer_id": str(int(customer)),
        "occurred_at": f"{date[:4]}-{date[4:6]}-{date[6:]}T12:00:00Z",
        "amount_minor": int(Decimal(dollars) * 100),
        "items": [{"quantity": int(cds)}],
    }
