"""Every error that profilestream raises on purpose.

    ProfilestreamError
    ├── DefinitionsError          a definitions file that does not stand (all problems at once)
    ├── UsageError                a call or command that cannot be meant
    ├── NotFound                  an unknown customer, segment or generation
    ├── ServerUnavailable         Kafka or Redis cannot be reached
    ├── StoreRefused              Redis is there, but not as it must be
    ├── LogMismatch               positions and log do not fit together
    └── StateMismatch             a state was written under other definitions

A message says what, where, and what next, and holds no customer's data.
"""


class ProfilestreamError(Exception):
    """Root of all errors raised on purpose; its text is one or more lines for a person."""


class UsageError(ProfilestreamError):
    """A call or command that cannot be meant; the command line exits with 2."""


class NotFound(ProfilestreamError):
    """An unknown customer, segment or generation; the command line exits with 1."""


class ServerUnavailable(ProfilestreamError):
    """Kafka or Redis cannot be reached; names the address and what to check."""


class StoreRefused(ProfilestreamError):
    """Redis answers but cannot be used: an eviction policy, an old version, an unknown layout."""


class LogMismatch(ProfilestreamError):
    """A recorded position lies outside its topic's log; names both numbers."""


class StateMismatch(ProfilestreamError):
    """A stored state belongs to other definitions than those that read it."""
