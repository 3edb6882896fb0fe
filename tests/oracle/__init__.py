"""The oracle played through time: one shard's events in order, every crossing on the way.

What it stands on is `profilestream.oracle`, the naive reading of the contract that `verify` uses too; like that it
imports nothing of the engine. Every answer is computed from all of a customer's events, by brute force, with exact
numbers: slow, and simple enough to be checked by eye.
"""

from profilestream.oracle import (
    Definitions,
    Duration,
    Time,
    UnsupportedError,
    format_time,
    murmur2,
    parse_time,
    readable,
    shard_of,
)
from tests.oracle.replay import Change, CustomerOutcome, Membership, Oracle, Outcome

__all__ = [
    "Change",
    "CustomerOutcome",
    "Definitions",
    "Duration",
    "Membership",
    "Oracle",
    "Outcome",
    "Time",
    "UnsupportedError",
    "format_time",
    "murmur2",
    "parse_time",
    "readable",
    "shard_of",
]
