"""A profile in memory: plain state, changed by folding alone."""

from __future__ import annotations

from typing import Any

from profilestream.core.words import NEVER

Membership = list[int]
"""[crossing, since]: the number of the last crossing (odd: a member) and its time in ms. 0 is a leaving that a repair
found never to have been announced, kept for the cooldown."""


class Profile:
    """One customer's state.

    `slots` holds the aggregates' states in the program's order, `tiles` a dict from tile to state for each
    windowed slot, `pending` the states that an `ago` window does not see yet, by time. `held` says since when (ms) the
    condition of a segment's next crossing holds, where its pacing lets the crossing wait. `ids` are remembered
    event ids, 16 bytes each: hash, arrival. `wake` is when time alone shows anything next, as was found when this was
    written last. What follows is derived and never stored: `due` is when time alone moves anything inside, `held_due`
    when the first of `held` crosses; `positions` and `flips` place the segment index's groups; `changed` says which
    traits may differ from what was written, `unsent` what has been found to differ and is in no commit yet, `known` has
    the hashes in `ids`, `packed_members` is `members` as it is stored, until one of them changes, `stored` says whether
    there is a stored state of the customer.
    """

    __slots__ = (
        "as_of",
        "changed",
        "customer_id",
        "due",
        "event_time",
        "flips",
        "held",
        "held_due",
        "ids",
        "known",
        "members",
        "packed_members",
        "pending",
        "positions",
        "revision",
        "slots",
        "stored",
        "tiles",
        "unsent",
        "wake",
        "window_due",
        "written",
        "written_due",
        "written_missed",
        "written_urgent",
    )  # fmt: skip

    def __init__(
        self, customer_id: str, slots: list[Any], tiles: list[dict[int, Any]], pending: list[dict[int, Any]]
    ) -> None:
        self.customer_id = customer_id
        self.revision = 0
        self.event_time = 0
        self.as_of = 0
        self.slots = slots
        self.tiles = tiles
        self.pending = pending
        self.members: dict[str, Membership] = {}
        self.packed_members: bytes | None = None
        self.held: dict[str, int] = {}
        self.ids = b""
        self.known: set[bytes] | None = None
        self.wake = NEVER
        self.due = NEVER
        self.window_due = NEVER
        self.held_due = NEVER
        self.positions: list[Any] = []
        self.flips: list[int] = []
        self.changed = 0
        self.stored = False
        self.unsent: Any = None
        self.written: list[Any] | None = None
        self.written_due: int | None = None
        self.written_urgent: int | None = None
        self.written_missed = False
