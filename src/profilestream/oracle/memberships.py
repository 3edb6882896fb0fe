"""What a segment's conditions say about being in it at one instant, whatever the way there was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from fractions import Fraction

from profilestream.oracle.aggregates import ProfileScope
from profilestream.oracle.definitions import Segment
from profilestream.oracle.expressions import evaluate


def in_sample(segment: str, customer_id: str, share: Fraction) -> bool:
    """Whether the customer's place among all, by hash, lies below the share."""
    digest = hashlib.blake2b(segment.encode() + b"\0" + customer_id.encode(), digest_size=8).hexdigest()
    return Fraction(int(digest, 16), 2**64) < share


def must_be_in(
    scope: ProfileScope,
    customer_id: str,
    members: Collection[str],
    doubtful: Callable[[Segment], bool] = lambda segment: False,
) -> dict[str, bool | None]:
    """For each segment whether the customer must be in it (True), must not (False), or may be either (None).

    Either is right between `enter` and `exit`, while a dwell or a cooldown may hold a crossing back, for a member whom
    the sample would not let in, and where the conditions are `doubtful`. Segments that conditions name are taken as
    they must be, or else as `members` has them.
    """
    found: dict[str, bool | None] = {}
    inside = set(members)
    scope.members = inside
    for segment in scope.definitions.segments_by_need:
        said = found[segment.name] = None if doubtful(segment) else _said(segment, scope, customer_id)
        if said is True:
            inside.add(segment.name)
        elif said is False:
            inside.discard(segment.name)
    return {segment.name: found[segment.name] for segment in scope.definitions.segments}


def _said(segment: Segment, scope: ProfileScope, customer_id: str) -> bool | None:
    enters = evaluate(segment.enter, scope) is True
    leaves = not enters if segment.exit is None else evaluate(segment.exit, scope) is True
    if leaves:
        return None if segment.exit_dwell_ms else False
    if not enters or segment.dwell_ms or segment.cooldown_ms:
        return None
    return True if in_sample(segment.name, customer_id, segment.sample) else None
