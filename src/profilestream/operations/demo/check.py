"""Holds what came out against what was expected. Every difference is a line of counts, without customers."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from profilestream.core.errors import ProfilestreamError
from profilestream.operations.demo.bulk import Found
from profilestream.operations.demo.expected import SEGMENTS, Crossing, Expected
from profilestream.wire.times import format_time


class DemoDiffers(ProfilestreamError):
    """What came out is not what the data says; `differences` are lines for a person."""

    def __init__(self, differences: list[str]) -> None:
        lines = "\n".join(f"  {line}" for line in differences)
        super().__init__(f"what came out is not what the data says:\n{lines}")
        self.differences = differences


def check(expected: Expected, found: Found) -> None:
    """Raises DemoDiffers unless profiles, members and changes are exactly those expected."""
    differences = [*_profiles(expected, found), *_memberships(expected, found), *_changes(expected, found)]
    if differences:
        raise DemoDiffers(differences)


def _profiles(expected: Expected, found: Found) -> list[str]:
    present = {customer: profile for customer, profile in found.profiles.items() if profile is not None}
    traits = [profile.traits for profile in present.values()]
    his = expected.orders.values()
    lines = [
        *_unequal("customers with a profile", len(expected.orders), len(present)),
        *_unequal("orders", sum(map(len, his)), sum(t.get("orders", 0) for t in traits)),
        *_unequal("cents spent", sum(o.cents for os in his for o in os), sum(t.get("total_spend", 0) for t in traits)),
    ]
    wrong = 0
    for customer, orders in expected.orders.items():
        profile = present.get(customer)
        wanted = {
            "orders": len(orders),
            "total_spend": sum(order.cents for order in orders),
            "first_order_at": format_time(orders[0].at_ms),
            "last_order_at": format_time(orders[-1].at_ms),
        }
        wrong += profile is None or any(profile.traits.get(name) != value for name, value in wanted.items())
    return lines + _unequal("customers whose traits differ", 0, wrong)


def _memberships(expected: Expected, found: Found) -> list[str]:
    members = expected.members()
    count = Counter(segment for _, segment in members)
    lines = []
    for segment in SEGMENTS:
        lines += _unequal(f"{segment}: members", count[segment], found.members.get(segment, 0))
    shown = {(c, name) for c, profile in found.profiles.items() if profile is not None for name in profile.segments}
    return lines + _unequal("memberships in profiles that differ", 0, len(members ^ shown))


def _changes(expected: Expected, found: Found) -> list[str]:
    lines = []
    for segment in SEGMENTS:
        for change, count in (("entered", expected.entered(segment)), ("exited", expected.exited(segment))):
            announced = sum(c.segment == segment and c.change == change for c in found.changes)
            lines += _unequal(f"{segment}: {change}", count, announced)
    wanted = Counter(expected.crossings)
    told = Counter(Crossing(c.customer_id, c.segment, c.crossing, c.time_ms) for c in found.changes)
    lines += _unequal("changes that were not announced", 0, (wanted - told).total())
    lines += _unequal("changes announced at a wrong time, or too often", 0, (told - wanted).total())
    return lines + _unequal("changes out of order", 0, _out_of_order(found))


def _out_of_order(found: Found) -> int:
    """Changes whose number is not one more than that of the customer's last change of the segment."""
    last: dict[tuple[str, str], int] = defaultdict(int)
    wrong = 0
    for change in found.changes:
        pair = change.customer_id, change.segment
        wrong += change.crossing != last[pair] + 1 or (change.change == "entered") != (change.crossing % 2 == 1)
        last[pair] = change.crossing
    return wrong


def _unequal(what: str, expected: Any, found: Any) -> list[str]:
    return [] if expected == found else [f"{what}: expected {expected:,}, found {found:,}"]
