"""Explanations in the public form, as `--json` prints them."""

from __future__ import annotations

from typing import Any

from profilestream.core.conditions import Condition
from profilestream.core.explanation import Explanation
from profilestream.wire.times import format_time


def explanation_object(customer_id: str, explanation: Explanation) -> dict[str, Any]:
    """The explanation in the public form, ready for JSON; `pacing` is there only where the segment has one."""
    found: dict[str, Any] = {
        "customer_id": customer_id,
        "segment": explanation.segment,
        "member": explanation.member,
        "crossing": explanation.crossing,
        "since": time_text(explanation.since),
        "conditions": [_condition_object(c) for c in explanation.conditions],
        "changes_at": time_text(explanation.changes_at),
        "changes_by": list(explanation.because),
        "looked_until": time_text(explanation.looked_until),
    }
    if explanation.pacing is not None:
        found["pacing"] = {
            "held_since": time_text(explanation.held_since),
            "crosses_at": time_text(explanation.crosses_at),
            "cools_until": time_text(explanation.cools_until),
            "sampled": explanation.sampled,
        }
    return found


def _condition_object(condition: Condition) -> dict[str, Any]:
    """`distance`, `step`, `currency` and `given_by` are there only where they say something."""
    found: dict[str, Any] = {
        "text": condition.text,
        "holds": condition.holds,
        "value": condition.value,
        "threshold": condition.threshold,
        "part": condition.part,
        "negated": condition.negated,
        "decides": condition.decides,
        "changes_at": time_text(condition.turns_at),
    }
    if condition.distance is not None:
        found["distance"] = condition.distance
    if condition.step is not None:
        found["step"] = {"by": condition.step.by, "beyond": condition.step.beyond}
    if condition.currency is not None:
        found["currency"] = condition.currency
    if condition.given_by:
        found["given_by"] = list(condition.given_by)
    return found


def time_text(at_ms: int | None) -> str | None:
    """RFC 3339; None for no time."""
    return None if at_ms is None else format_time(at_ms)
