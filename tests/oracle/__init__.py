"""A second, naive reading of the public contract, to hold the engine against.

It imports nothing of the engine. Every answer is computed from all of a customer's events, by brute force,
with exact numbers: slow, and simple enough to be checked by eye.
"""

from tests.oracle.definitions import Definitions, UnsupportedError
from tests.oracle.replay import Change, CustomerOutcome, Membership, Oracle, Outcome
from tests.oracle.shards import murmur2, shard_of
from tests.oracle.values import Duration, Time, format_time, parse_time, readable

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
