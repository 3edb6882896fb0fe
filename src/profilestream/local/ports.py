"""Ports on 127.0.0.1 that are free now and that nobody is handed by chance."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence

# Below the range from which the kernel takes outgoing ports. A port inside that range could be somebody's
# connection when the server comes back, or a client that retries a dead server could connect to itself.
_FIRST, _LAST = 20_000, 31_999
_TRIES_MAX = 1_000


def choose(wished: Sequence[int | None]) -> list[int]:
    """A free port for each entry: the one wished for, where it is free, else another.

    Raises OSError when no free port is found.
    """
    chosen: list[int] = []
    for wish in wished:
        if wish is not None and wish not in chosen and free(wish):
            chosen.append(wish)
        else:
            chosen.append(_another(chosen))
    return chosen


def free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As the servers do: connections of the last run that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _another(taken: Sequence[int]) -> int:
    for _ in range(_TRIES_MAX):
        port = random.randint(_FIRST, _LAST)
        if port not in taken and free(port):
            return port
    raise OSError(f"no free port between {_FIRST} and {_LAST} on 127.0.0.1")
