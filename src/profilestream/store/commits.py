"""What a commit says, and how it is laid out for `commit.lua`.

Never does any I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import orjson

from ..core.errors import StoreRefused
from .crossings import MINUTE_MS
from .keys import ShardKeys

ORIGIN_PREFIX: Final = "o:"

Text = str | bytes

Stage = Literal["", "begin", "announce", "end"]
"""What a commit does in a repair; see commit.lua."""


@dataclass(slots=True)
class Head:
    """Where a shard stands.

    `commit` is the unique id of the last commit ("" before the first), `sequence` its number, `clock` the
    shard's event time in ms (None before the first event), `positions` the next offset of each topic,
    `origins` the greatest offset folded of strays by "type:topic:partition", `fingerprint` that of the
    definitions in force, `repair` whether a repair is under way. `starts` has the offset at which a topic's log
    began when it was first read, where that was not 0; `announced` is the mark that the emitter leaves. `carried` is
    there once profiles of another generation are being carried here.
    """

    commit: str = ""
    sequence: int = 0
    clock: int | None = None
    positions: dict[str, int] = field(default_factory=dict)
    origins: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    repair: bool = False
    starts: dict[str, int] = field(default_factory=dict)
    announced: Mark | None = None
    carried: Carriage | None = None


class Mark(NamedTuple):
    """What a shard's history is known to hold of what was announced: the last commit announced, and where the
    shard's partition of topic `announced` ended then."""

    sequence: int
    commit: str
    offset: int

    def __str__(self) -> str:
        return f"{self.sequence} {self.commit} {self.offset}"

    @classmethod
    def parse(cls, text: bytes | None) -> Mark | None:
        """Reads a head's field `announced`; raises ValueError."""
        if text is None:
            return None
        sequence, commit, offset = text.decode().split(" ")
        return cls(int(sequence), commit, int(offset))


class Carriage(NamedTuple):
    """How far a shard has come with carrying the profiles of another generation: the customer who was carried last, in
    order of the ids ("" before the first), and whether all were."""

    after: str = ""
    done: bool = False

    def __str__(self) -> str:
        return "done" if self.done else f"after {self.after}"

    @classmethod
    def parse(cls, text: bytes | None) -> Carriage | None:
        """Reads a head's field `carried`; raises ValueError."""
        if text is None:
            return None
        word, _, after = text.decode().partition(" ")
        if word not in ("done", "after"):
            raise ValueError
        return cls(after, word == "done")


@dataclass(slots=True)
class ProfileWrite:
    """One customer's new profile; at most one of each customer in a commit.

    `fields` is flat (field, value, field, value ...), `removed` names fields that become absent. With
    `rewrite` the readable hash is deleted first. `due` is the next instant in ms at which time alone
    changes something, None when there is none: the former timer is replaced or removed, unless `due_changed`
    is false. `urgent` is the instant at which a membership is expected to change, where that is near `due`: so does its
    timer, which is read before all others. `is_new`: there was no state of this customer, who is named in `customers`
    from now on.
    """

    customer_id: str
    state: bytes
    fields: Sequence[Text] = ()
    removed: Sequence[str] = ()
    rewrite: bool = False
    due: int | None = None
    due_changed: bool = True
    urgent: int | None = None
    urgent_changed: bool = True
    is_new: bool = False


@dataclass(slots=True)
class Membership:
    """A customer entered a segment at `at` (ms), or left it; of a pair the last stands, and each is counted, but for
    those that only bring a set in line."""

    segment: str
    customer_id: str
    at: int
    entered: bool
    counted: bool = True


@dataclass(slots=True)
class Change:
    """A segment change to announce; `value` are the bytes of the record's value, ready to send. In a repair only the
    number before is kept, of the first change of each customer and segment, in `repairs`."""

    customer_id: str
    segment: str
    crossing: int
    change: Literal["entered", "exited"]
    value: bytes


class Note(NamedTuple):
    """For `repairs`, where a shard is silent: of a customer and segment `number` was announced last.

    "untold" says that more has happened, "differs" that the shard itself says otherwise, whatever was kept before;
    "told" that it agrees, and nothing is to be kept.
    """

    customer_id: str
    segment: str
    number: int
    why: Literal["untold", "differs", "told"]


@dataclass(slots=True)
class Commit:
    """All that changes in a shard at once, provided that its last commit is `expected`.

    `commit` is a new unique id in hexadecimal, `sequence` the former one + 1. `clock` None and empty
    `positions` leave the head's as they are (a commit of timers alone); otherwise `positions` has all
    topics. `origins` has only what changed. With `due_before` (ms) the reply names customers whose timers,
    after this commit's own writes, are due at or before it. `fingerprint` is given when definitions change, `starts`
    when topics are read for the first time, `mark` when a repair ends or numbers were aligned, `carried` with profiles
    that were carried. `noted` comes before the changes.
    """

    expected: str
    commit: str
    sequence: int
    clock: int | None = None
    positions: Mapping[str, int] = field(default_factory=dict)
    origins: Mapping[str, int] = field(default_factory=dict)
    profiles: Sequence[ProfileWrite] = ()
    memberships: Sequence[Membership] = ()
    changes: Sequence[Change] = ()
    noted: Sequence[Note] = ()
    due_before: int | None = None
    fingerprint: str | None = None
    starts: Mapping[str, int] | None = None
    stage: Stage = ""
    mark: Mark | None = None
    carried: Carriage | None = None


@dataclass(slots=True)
class CommitReply:
    """What became of a commit.

    "conflict": nothing was written, the head's commit is `head_commit`. `outbox_changes` is how many
    changes wait for the emitter, `due` (customer ids, urgent timers first, then the oldest) what was asked by
    `due_before`.
    """

    status: Literal["done", "conflict"]
    head_commit: str
    outbox_changes: int
    due: list[str]


def commit_command(sha: str, keys: ShardKeys, commit: Commit, due_count_max: int) -> list[Text | int]:
    """The EVALSHA of a commit; the layout is described at the top of `commit.lua`."""
    profile_keys: list[Text | int] = []
    body: list[Text | int] = []
    timers_set: list[Text | int] = []
    timers_gone: list[Text | int] = []
    urgent_set: list[Text | int] = []
    urgent_gone: list[Text | int] = []
    profile_prefix, state_prefix = keys.profile_prefix, keys.state_prefix
    for write in commit.profiles:
        customer_id, fields, removed = write.customer_id, write.fields, write.removed
        profile_keys.append(profile_prefix + customer_id)
        profile_keys.append(state_prefix + customer_id)
        body += (b"2" if write.is_new else b"1" if write.rewrite else b"0", len(removed), len(fields), write.state)
        if removed:
            body += removed
        body += fields
        if write.due_changed:
            if write.due is None:
                timers_gone.append(customer_id)
            else:
                timers_set += (write.due, customer_id)
        if write.urgent_changed:
            if write.urgent is None:
                urgent_gone.append(customer_id)
            else:
                urgent_set += (write.urgent, customer_id)
    segment_keys, memberships = _memberships(keys, commit)
    origins: list[Text | int] = []
    for origin, offset in commit.origins.items():
        origins += (ORIGIN_PREFIX + origin, offset)
    if commit.fingerprint is not None:
        origins += ("fingerprint", commit.fingerprint)
    if commit.starts is not None:
        origins += ("starts", orjson.dumps(dict(commit.starts)))
    if commit.mark is not None:
        origins += ("announced", str(commit.mark))
    if commit.carried is not None:
        origins += ("carried", str(commit.carried))
    changes: list[Text | int] = []
    for customer_id, segment, number, why in commit.noted:
        changes += (customer_id, segment, number + 1, why, b"")
    for change in commit.changes:
        changes += (change.customer_id, change.segment, change.crossing, change.change, change.value)
    return [
        "EVALSHA",
        sha,
        7 + len(profile_keys) + len(segment_keys),
        keys.head,
        keys.timers,
        keys.urgent,
        keys.outbox,
        keys.repairs,
        keys.crossings,
        keys.customers,
        *profile_keys,
        *segment_keys,
        commit.expected,
        commit.commit,
        commit.sequence,
        "" if commit.clock is None else commit.clock,
        orjson.dumps(dict(commit.positions)) if commit.positions else b"",
        "" if commit.due_before is None else commit.due_before,
        due_count_max,
        len(origins),
        len(commit.profiles),
        len(timers_set),
        len(timers_gone),
        len(urgent_set),
        len(urgent_gone),
        len(segment_keys),
        len(commit.noted) + len(commit.changes),
        commit.stage,
        *origins,
        *body,
        *timers_set,
        *timers_gone,
        *urgent_set,
        *urgent_gone,
        *memberships,
        *changes,
    ]


def _memberships(keys: ShardKeys, commit: Commit) -> tuple[list[str], list[Text | int]]:
    """The keys of the segments touched, and for each its arguments.

    What a repair announces is not counted: those crossings were, when refolding came to them.
    """
    segments: dict[str, dict[str, int | None]] = {}
    crossings: dict[str, dict[int, list[int]]] = {}
    counts = commit.stage != "announce"
    for membership in commit.memberships:
        segment, at, entered = membership.segment, membership.at, membership.entered
        segments.setdefault(segment, {})[membership.customer_id] = at if entered else None
        if counts and membership.counted:
            crossings.setdefault(segment, {}).setdefault(at // MINUTE_MS, [0, 0])[not entered] += 1
    arguments: list[Text | int] = []
    for segment, customers in segments.items():
        added: list[Text | int] = []
        removed: list[Text | int] = []
        for customer_id, entered_at in customers.items():
            if entered_at is None:
                removed.append(customer_id)
            else:
                added += (entered_at, customer_id)
        counted = [n for minute, (entered, left) in crossings.get(segment, {}).items() for n in (minute, entered, left)]
        arguments += (segment, len(added), len(removed), len(counted), *added, *removed, *counted)
    return [keys.segment(name) for name in segments], arguments


def read_commit_reply(reply: Any) -> CommitReply:
    """Reads what `commit.lua` gives."""
    return CommitReply(
        "done" if reply[0] == 1 else "conflict",
        reply[1].decode(),
        reply[2],
        [customer_id.decode() for customer_id in reply[3:]],
    )


def read_head(flat: Sequence[bytes]) -> Head:
    """Reads the reply to HGETALL of a head; an empty one is a fresh shard's.

    Raises StoreRefused when the head was not written by profilestream.
    """
    raw = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
    try:
        return Head(
            commit=raw.get("commit", b"").decode(),
            sequence=int(raw.get("sequence", 0)),
            clock=int(raw["clock"]) if "clock" in raw else None,
            positions=orjson.loads(raw.get("positions", b"{}")),
            origins={
                name.removeprefix(ORIGIN_PREFIX): int(value)
                for name, value in raw.items()
                if name.startswith(ORIGIN_PREFIX)
            },
            fingerprint=raw.get("fingerprint", b"").decode(),
            repair="repair" in raw,
            starts=orjson.loads(raw.get("starts", b"{}")),
            announced=Mark.parse(raw.get("announced")),
            carried=Carriage.parse(raw.get("carried")),
        )
    except ValueError:
        raise StoreRefused(
            "the head of a shard cannot be read; something other than profilestream writes these keys: "
            "use another namespace"
        ) from None
