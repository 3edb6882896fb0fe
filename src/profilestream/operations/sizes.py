"""How many customers a generation has: no key counts them, so a walk over Redis's keys does."""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from profilestream.store.connection import connect_sync
from profilestream.store.metadata import Generation
from profilestream.store.samples import Sampler


class Size(NamedTuple):
    """`customers` is an estimate, of a percent or so, unless `exact`: it is exact where Redis has few keys."""

    customers: int
    exact: bool


def count_customers(redis: str, namespace: str, generation: Generation) -> Size:
    """How many customers a generation has; raises ServerUnavailable."""
    with closing(connect_sync(redis)) as client:
        found = Sampler(client, namespace, generation).everybody(0)
        return Size(found.total, found.exact)
