"""The CDNOW sample: 6,919 real orders of 2,357 customers, in the order in which they happened."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from typing import Final, NamedTuple

from profilestream.core.errors import ProfilestreamError
from profilestream.wire.times import format_time

TOPIC: Final = "purchases"
ORDERS: Final = 6_919
CUSTOMERS: Final = 2_357
TOTAL_CENTS: Final = 24_409_194

_DATA = files("profilestream") / "demo_data"


class Order(NamedTuple):
    """A line of the file; there is no time of day in it, so an order is at noon UTC (`at_ms`)."""

    line: int
    customer: str
    at_ms: int
    cents: int
    cds: int


def definitions_text() -> str:
    """The demo's definitions file."""
    return (_DATA / "demo.toml").read_text("utf-8")


def read_orders() -> list[Order]:
    """Every order by time; those of one day in the file's order.

    Raises ProfilestreamError when the file is not the one whose numbers are known.
    """
    lines = (_DATA / "CDNOW_sample.txt").read_text("ascii").splitlines()
    orders = sorted((_order(number, line) for number, line in enumerate(lines, start=1)), key=lambda o: o.at_ms)
    found = len(orders), len({o.customer for o in orders}), sum(o.cents for o in orders)
    if found != (ORDERS, CUSTOMERS, TOTAL_CENTS):
        raise ProfilestreamError(
            "the demo's CDNOW_sample.txt is not the file it should be (orders, customers and cents are "
            f"{found}); install profilestream again"
        )
    return orders


def event(event_id: str, customer: str, at_ms: int, cents: int, cds: int) -> bytes:
    """An order as a purchase: the value of a Kafka record."""
    return json.dumps(
        {
            "event_id": event_id,
            "customer_id": customer,
            "occurred_at": format_time(at_ms),
            "amount_minor": cents,
            "currency": "USD",
            "items": [{"quantity": cds, "category": "cds"}],
        }
    ).encode()


def event_lines(orders: Iterable[Order]) -> bytes:
    """A file of events for `produce`."""
    return b"".join(event(f"cdnow-{o.line:05d}", o.customer, o.at_ms, o.cents, o.cds) + b"\n" for o in orders)


def _order(number: int, line: str) -> Order:
    _, customer, date, cds, dollars = line.split()
    noon = datetime.strptime(date + "12", "%Y%m%d%H").replace(tzinfo=UTC)
    return Order(number, str(int(customer)), int(noon.timestamp()) * 1000, int(Decimal(dollars) * 100), int(cds))
