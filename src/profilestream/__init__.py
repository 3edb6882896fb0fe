"""profilestream: living customer profiles in Redis, folded from Kafka, with every segment change announced once.

What programs use is here; everything else is reached through the command `profilestream`.
"""

from profilestream.core.errors import (
    LogMismatch,
    NotFound,
    ProfilestreamError,
    ServerUnavailable,
    StateMismatch,
    StoreRefused,
    UsageError,
)
from profilestream.core.problems import DefinitionsError, Problem
from profilestream.settings import Settings
from profilestream.store.questions import Member, MembersPage, Profile
from profilestream.store.reader import AsyncProfileReader, ProfileReader
from profilestream.stream.changes import ReceivedChange
from profilestream.stream.subscriber import ChangeSubscriber
from profilestream.wire.changes import EventReference

__version__ = "0.1.0"

__all__ = [
    "AsyncProfileReader",
    "ChangeSubscriber",
    "DefinitionsError",
    "EventReference",
    "LogMismatch",
    "Member",
    "MembersPage",
    "NotFound",
    "Problem",
    "Profile",
    "ProfileReader",
    "ProfilestreamError",
    "ReceivedChange",
    "ServerUnavailable",
    "Settings",
    "StateMismatch",
    "StoreRefused",
    "UsageError",
]
