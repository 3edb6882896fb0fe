"""`dead-letters redrive --all --yes` in small transactions, told one by one, so that a test can kill it within one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from profilestream.cli.app import main
from profilestream.operations import redrive
from profilestream.stream.redriven import Outgoing, Redriver


class ToldRedriver(Redriver):
    """Prints a line before and after each transaction."""

    async def send(self, letters: Sequence[Outgoing]) -> None:
        print("begins", flush=True)
        await super().send(letters)
        print("done", flush=True)


if __name__ == "__main__":
    redrive.TRANSACTION_LETTERS_MAX = 40  # type: ignore[misc]
    redrive.Redriver = ToldRedriver  # type: ignore[misc]
    sys.argv = ["profilestream", "dead-letters", "redrive", "--all", "--yes"]
    main()
