"""For whom time is to pass: what the timers of one shard name, and whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from profilestream.store.commits import Commit, CommitReply
from profilestream.stream.turns import Turn, Turns


class Due:
    """Customers for whom something fell due at the shard's clock, as Redis last named them, the most urgent first.

    Time passes for them in turns, which the shards of a worker share: `turns`. `wake` is set when the turn comes.
    """

    def __init__(self, turns: Turns, wake: asyncio.Event) -> None:
        self._turns = turns
        self._wake = wake
        self._turn: Turn | None = None
        self._customers: list[str] = []
        self._passing: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._customers)

    def name(self, customers: Iterable[str]) -> None:
        """Redis has named these, asked for them with nothing in flight."""
        self._customers = list(customers)

    def answered(self, commit: Commit, reply: CommitReply) -> None:
        """Redis has named those who are due after a commit. It is older than the commits in flight behind it."""
        for write in commit.profiles:
            if self._passing.get(write.customer_id) == commit.sequence:
                del self._passing[write.customer_id]
        self._customers = [c for c in reply.due if c not in self._passing]

    def is_our_turn(self) -> bool:
        """Whether somebody is due and time may pass for them now; a shard whose turn it is not asks for it."""
        if not self._customers:
            self.end_turn()
            return False
        if self._turn is None:
            self._turn = self._turns.ask()
            self._turn.add_done_callback(lambda _: self._wake.set())
        return self._turn.done()

    def take(self) -> list[str]:
        """Those who are due; they are named again for as long as they stay so."""
        customers, self._customers = self._customers, []
        return customers

    def passes(self, customers: Iterable[str], sequence: int, answer: asyncio.Future[CommitReply]) -> None:
        """The commit in which time passes for these is under way; the turn ends when it is answered."""
        self._passing.update(dict.fromkeys(customers, sequence))
        if (turn := self._turn) is not None:
            self._turn = None
            answer.add_done_callback(lambda _: self._turns.give_back(turn))

    def end_turn(self) -> None:
        """Gives back the turn, or the place in the line for it."""
        if self._turn is not None:
            self._turns.give_back(self._turn)
            self._turn = None
