"""What customers do during a chaos run: events of three topics, and the definitions that fold them.

Everything is drawn from a seed. Event time runs faster than the clock on the wall, so that windows pass, carts are
abandoned and customers lapse within minutes; it stays behind the present, or events would be refused as being ahead.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.oracle import format_time

# Values of traits do not depend on the order in which topics come together; the way in and out of segments may.
DEFINITIONS = """
[settings]
timezone = "Europe/Berlin"

[streams]
order = "purchase[kind == 'order']"
cart  = "browsing[kind == 'add_to_cart']"

[traits]
orders         = "count(order)"
refunds        = "count(purchase[kind == 'refund'])"
total_spend    = "sum(order.amount_minor)"
spend_1d       = "sum(order.amount_minor, over='1d')"
spend_trend    = "spend_1d / sum(order.amount_minor, over='1d', ago='1d')"
largest_3d     = "max(order.amount_minor, over='3d')"
last_order_at  = "last(order.occurred_at)"
first_channel  = "first(purchase.channel)"
order_gap      = "mean_gap(order)"
open_tickets   = "count(support[kind == 'opened']) - count(support[kind == 'closed'])"
mood_2d        = "mean(support.sentiment, over='2d')"
messages       = "count(support[kind == 'message'])"
views          = "count(browsing)"
views_6h       = "count(browsing, over='6h')"
devices        = "count(browsing, by=device)"
top_categories = "top(browsing.category, 3, over='7d')"
last_cart_at   = "last(cart.occurred_at)"
active_days    = "distinct(date(event.occurred_at), over='30d')"
balance        = "count(browsing[kind == 'app_open']) - count(browsing[kind == 'search'])"

[segments.content]
description = "Bought again and has no open ticket: depends on the order of two topics"
enter = "orders >= 2 and open_tickets == 0"

[segments.lively]
description = "Opens the app more than it searches: with hysteresis, of one topic"
enter = "balance >= 2"
exit  = "balance <= -1"

[segments.big_spender]
description = "With hysteresis, over a window and two conditions"
enter = "spend_1d >= 40_000 and orders >= 2"
exit  = "spend_1d < 20_000"

[segments.keen]
description = "With hysteresis, over two topics: a refold that interleaves them differently may end elsewhere"
enter = "balance >= 2 and open_tickets == 0"
exit  = "balance <= 0 or open_tickets >= 2"

[segments.lapsing]
description = "By time alone"
enter = "orders >= 2 and since(last_order_at) > hours(8)"

[segments.abandoned_cart]
description = "By time, over two topics"
enter = "after(last_cart_at, last_order_at) and since(last_cart_at) > hours(2)"

[segments.busy]
enter = "views_6h >= 3"

[segments.cross]
enter = "mood_2d < 0 and open_tickets >= 1"
"""

TOPIC_OF_TYPE = {"purchase": "purchases", "support": "support", "browsing": "browsing"}
MINUTES_A_SECOND = 60
HOUR_MS = 3_600_000
VALUE_BYTES_MAX = 900 * 1024
LATE, POISONED, TOO_LARGE = 0.1, 0.012, 0.02
FEW, OF_FEW = 0.05, 0.15


@dataclass(frozen=True)
class Told:
    """One event or one poison record of a topic; `customer_id` is None where it is no event."""

    topic: str
    value: bytes | None
    customer_id: str | None


class Story:
    """Tells events for `seconds` of a run, one after the other."""

    def __init__(self, seed: int, customers: int, seconds: float) -> None:
        self._chance = random.Random(f"story {seed}")
        self._customers = [_name(n) for n in range(customers)]
        self._open = dict.fromkeys(self._customers, 0)
        self._began_s = time.time()
        # Half again as long as planned fits before the present.
        self._origin_ms = int(self._began_s * 1000 - 1.5 * seconds * MINUTES_A_SECOND * 60_000 - 60 * HOUR_MS)
        self._count = 0

    def next(self, prefix: str = "e") -> Told:
        """The next event or poison record; ids begin with `prefix`."""
        self._count += 1
        chance = self._chance
        few = max(1, int(len(self._customers) * FEW))
        among = self._customers[:few] if chance.random() < OF_FEW else self._customers
        customer_id = chance.choice(among)
        type_name = chance.choices(list(TOPIC_OF_TYPE), [35, 25, 40])[0]
        event = {
            "event_id": f"{prefix}{self._count}",
            "customer_id": customer_id,
            "occurred_at": self._occurred_at(),
            **getattr(self, f"_{type_name}")(customer_id),
        }
        topic = TOPIC_OF_TYPE[type_name]
        if chance.random() < POISONED:
            return Told(topic, self._poison(event), None)
        return Told(topic, _bytes(event), customer_id)

    def _occurred_at(self) -> int | str:
        passed_s = time.time() - self._began_s
        at_ms = self._origin_ms + int(passed_s * MINUTES_A_SECOND * 60_000) + self._chance.randrange(60_000)
        at_ms = min(at_ms, time.time_ns() // 1_000_000)
        if self._chance.random() < LATE:
            at_ms -= int(self._chance.expovariate(1 / (6 * HOUR_MS)))
        return at_ms if self._chance.random() < 0.5 else format_time(at_ms)

    def _purchase(self, customer_id: str) -> dict[str, Any]:
        chance = self._chance
        fields: dict[str, Any] = {"amount_minor": chance.randrange(20_000)}
        if chance.random() < 0.1:
            fields["kind"] = "refund"
        if chance.random() < 0.7:
            fields["channel"] = chance.choice(["web", "app", "Filiale Köln", "phone"])
        return fields

    def _support(self, customer_id: str) -> dict[str, Any]:
        chance, waiting = self._chance, self._open[customer_id]
        kind = chance.choices(["opened", "closed", "message"], [1, 3 if waiting else 0.1, 2 if waiting else 0])[0]
        self._open[customer_id] += {"opened": 1, "closed": -1}.get(kind, 0)
        fields: dict[str, Any] = {"kind": kind}
        if chance.random() < 0.6:
            fields["sentiment"] = round(chance.uniform(-1, 1), 3)
        return fields

    def _browsing(self, customer_id: str) -> dict[str, Any]:
        chance = self._chance
        # By turns customers open the app more, or search more.
        swing = "app_open" if (int(time.time() - self._began_s) // 12 + self._open[customer_id]) % 2 else "search"
        kind = chance.choices([swing, "product_view", "add_to_cart", "page_view"], [4, 3, 1, 1])[0]
        fields: dict[str, Any] = {"kind": kind, "device": chance.choice(["phone", "tablet", "laptop"])}
        if kind == "product_view":
            fields["category"] = chance.choice(["shoes", "hats", "bags", "coats", "socks", "Tücher"])
        return fields

    def _poison(self, event: dict[str, Any]) -> bytes | None:
        if self._chance.random() < TOO_LARGE:
            return _bytes({**event, "note": "x" * VALUE_BYTES_MAX})
        ahead_ms = time.time_ns() // 1_000_000 + HOUR_MS
        kinds: list[bytes | None] = [
            _bytes(event)[:-7],
            _bytes({**event, "customer_id": 7}),
            _bytes({k: v for k, v in event.items() if k != "occurred_at"}),
            _bytes({**event, "event_id": ""}),
            _bytes({**event, "occurred_at": "yesterday"}),
            _bytes({**event, "occurred_at": ahead_ms}),
            _bytes({**event, "customer_id": "y" * 201}),
            b"",
            None,
        ]
        return self._chance.choice(kinds)


def _bytes(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()


def _name(number: int) -> str:
    return f"c{number}" if number % 5 else f"Kundin {number} ☂"
