"""Carrying: how a shard in the making takes over the live shard's profiles, so that only new aggregates need the log.

The shard folds the log as any silent one does. A page of customers after another, in order of their ids, it also does
this:

1. It reads their states from the live shard, together with that shard's positions and clock: all of one instant.
2. It folds up to exactly those positions, and no further.
3. In one commit each customer's profile takes over from the live state what both definitions fold alike, and what is
   known of memberships (`core/carrying.py`). The head says up to which customer the shard has come. What subscribers
   had not been told of these memberships at that instant is kept in `repairs`, for they may never be.

A customer who has not had a turn yet is folded meanwhile like all others, from wherever the log begins, and replaced in
its turn. Listed are all whom the former shard or this one knows; when they have had their turn, they are listed anew,
until nobody's id lies behind the last one's. One who came since, with an id before that, is in no page: then all events
of that customer lie behind the positions at which this shard began, and nothing is missing. So whoever has an id up to
the last one's has had a turn or needs none, and it takes no list to tell.

What breaks it off is found at the last commit: the customers are listed anew, and those who had their turn left out.
That is so even if the generation is live by then, where Redis was set back to before the end: it folds silently until
all have had their turn, and then makes good what was announced as after any set-back. A shard that needs nothing of
the log begins where the live one stands.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Final

from profilestream.core.carrying import Carrier, moved_memberships
from profilestream.core.engine import Crossing, Engine
from profilestream.core.profile import Profile
from profilestream.repair import SetBack
from profilestream.settings import Settings
from profilestream.store.commits import Carriage, Commit, Head, Membership, Note
from profilestream.store.crossings import DAY_MS
from profilestream.store.profile_cache import ProfileCache
from profilestream.store.shard_store import ShardStore
from profilestream.store.walk import Page, ShardWalk, Untold
from profilestream.stream.slices import Inbox
from profilestream.wire.states import decode_state

FROM_LIVE: Final = "live"
"""As a generation's start, {"from": "live"}: each shard begins where the live one stands."""
CHANGES_A_CALL: Final = 1_000


@dataclass(frozen=True, slots=True)
class Former:
    """The generation that is carried from: the topics that it reads, its engine, and the way from there."""

    name: str
    topics: Set[str]
    engine: Engine
    carrier: Carrier


@dataclass(slots=True)
class Part:
    """What one commit carries: profiles, the crossings made on the way, what was untold before these, and what readers
    see of memberships; up to `carriage`, at a clock (ms; None leaves it). The last one has `starts`, those of the head
    from then on."""

    carriage: Carriage
    clock: int | None = None
    profiles: dict[str, Profile] = field(default_factory=dict)
    crossings: list[tuple[str, Crossing]] = field(default_factory=list)
    untold: list[Note] = field(default_factory=list)
    memberships: list[Membership] = field(default_factory=list)
    starts: Mapping[str, int] | None = None


class Carry:
    """One shard's way through the customers of the live one; it ends with the updater that goes it."""

    def __init__(
        self,
        former: Former,
        walk: ShardWalk,
        own: ShardWalk,
        carriage: Carriage,
        topics: Iterable[str],
        settings: Settings,
        starts: Callable[[], Mapping[str, int]],
        customers_max: Callable[[], int],
    ) -> None:
        """`walk` is over the former shard, `own` over this one. `topics` are those that are read here, `starts` says
        from where on each was read here that was not read from its beginning, `customers_max` how many a commit may
        have."""
        self.carriage = carriage
        self.carried = 0
        self._former = former
        self._walk = walk
        self._own = own
        self._topics = [topic for topic in topics if topic in former.topics]
        self._settings = settings
        self._starts = starts
        self._customers_max = customers_max
        self._former_starts: Mapping[str, int] = {}
        self._waiting: list[bytes] = []
        self._newcomers: set[bytes] = set()
        self._all_listed = False
        self._page: Page | None = None
        self._turns: Sequence[bytes] = ()
        self._segments = [segment.name for segment in former.engine.definitions.segments]
        self._untold: dict[bytes, dict[str, Untold]] = {}
        self._known = "0-0"
        self._told = 0

    @property
    def is_done(self) -> bool:
        return self.carriage.done

    async def limits(self) -> dict[str, int]:
        """How far each topic may be folded: to where the page at hand is of, else to where the former shard is."""
        if self._page is None:
            await self._turn_page()
        head = self._page.head if self._page is not None else (await self._walk.page((), 0)).head
        self._former_starts = head.starts
        return {topic: head.positions.get(topic, 0) for topic in self._topics}

    def is_level(self, inbox: Inbox) -> bool:
        """Whether the shard stands where the page is of, or all have had their turn; the inbox keeps to `limits`."""
        if self.is_done:
            return False
        if self._page is None:
            return self._all_listed
        return inbox.is_level()

    async def part(self, cache: ProfileCache, clock: int) -> Part:
        """What the next commit carries; no more customers or crossings than a commit may have."""
        if self._page is None:
            # Of what was taken over all is known that the former shard knew, wherever the log began here: what knows
            # less is in the generation's `complete_since`. A log that lacks it must not pass for a whole one later.
            starts = {t: start for t, start in self._starts().items() if t not in self._topics}
            starts |= {t: start for t, start in self._former_starts.items() if t in self._topics}
            return Part(Carriage(done=True), starts=starts)
        now = max(clock, clock if self._page.head.clock is None else self._page.head.clock)
        part = Part(self.carriage, now)
        mine = await cache.look_up(customer.decode() for customer in self._turns)
        for done, (customer_id, own) in enumerate(mine.items(), 1):
            part.carriage = Carriage(customer_id)
            if (state := self._page.states[done - 1]) is not None:
                part.untold += self._untold_of(customer_id)
                self._take_over(part, state, own, now)
            else:
                part.memberships += _lately(own, now, ())
            if len(part.crossings) >= self._settings.commit_changes_max:
                break
        cache.replace(part.profiles)
        for own in (await cache.look_up(name.decode() for name in self._passed_over(part))).values():
            part.memberships += _lately(own, now, ())
        return part

    def discount(self, memberships: Iterable[Membership]) -> None:
        """Crossings of those who have not had their turn are not counted: in their turn comes what is known of them, or
        when they are passed over."""
        after = self.carriage.after.encode()
        for membership in () if self._all_listed else memberships:
            if (customer := membership.customer_id.encode()) <= after:
                continue
            membership.counted = False
            at = bisect_left(self._waiting, customer)
            if at == len(self._waiting) or self._waiting[at] != customer:
                self._newcomers.add(customer)

    def passed(self, part: Part) -> None:
        """The part is written: the next customers have their turn."""
        self.carriage = part.carriage
        self.carried += len(part.profiles)
        self._newcomers = {name for name in self._newcomers if name > part.carriage.after.encode()}
        if self._page is None:
            return
        left = bisect_right(self._turns, part.carriage.after.encode())
        del self._waiting[:left]
        self._turns = self._turns[left:]
        self._page = self._page._replace(states=self._page.states[left:]) if self._turns else None

    def _take_over(self, part: Part, state: bytes, own: Profile, now: int) -> None:
        customer_id = own.customer_id
        before = {name: list(membership) for name, membership in own.members.items()}
        former = decode_state(state, customer_id, self._former.engine)
        carried = self._former.carrier.carry(former, own, now)
        part.profiles[customer_id] = carried.profile
        part.crossings += [(customer_id, crossing) for crossing in (*carried.due, *carried.anew)]
        part.memberships += [
            Membership(segment, customer_id, since, inside, counted=False)
            for segment, since, inside in moved_memberships(before, carried.profile.members)
        ]
        crossed = {crossing.segment for crossing in (*carried.due, *carried.anew)}
        part.memberships += _lately(carried.profile, now, crossed)

    def _passed_over(self, part: Part) -> list[bytes]:
        """Those whom a part leaves behind without a turn: they came since the list was read."""
        last = part.carriage.after.encode()
        return [name for name in self._newcomers.difference(self._turns) if name <= last]

    async def _turn_page(self) -> None:
        """Reads the next page, if there is one."""
        if self._all_listed:
            return
        if not self._waiting:
            after = self.carriage.after
            self._waiting = sorted({*await self._walk.customers(after), *await self._own.customers(after)})
            self._all_listed = not self._waiting
        turns = self._waiting[: self._customers_max()]
        if not turns:
            return
        bytes_max = self._settings.commit_bytes_max
        while True:
            page = await self._walk.page(turns, bytes_max, CHANGES_A_CALL, self._known, self._segments)
            self._note(page)
            if sum(untold.place != "" for untold in page.untold) < CHANGES_A_CALL:
                break  # else the page is of an instant at which more waited than is known
        self._page, self._turns = page, turns[: len(page.states)]

    def _note(self, page: Page) -> None:
        """Keeps what waits in the outbox; what was announced since then is in topic `announced`, and is let go."""
        told = page.head.announced.sequence if page.head.announced is not None else 0
        for customer, own in list(self._untold.items()) if told != self._told else ():
            self._untold[customer] = {s: u for s, u in own.items() if not u.place or _sequence(u.place) > told}
            if not self._untold[customer]:
                del self._untold[customer]
        self._told = told
        for untold in page.untold:
            self._untold.setdefault(untold.customer, {}).setdefault(untold.segment, untold)
            self._known = untold.place or self._known

    def _untold_of(self, customer_id: str) -> list[Note]:
        """What waited of a customer, the first of each segment."""
        own = self._untold.pop(customer_id.encode(), None)
        if own is None:
            return []  # mostly: and segments may be thousands
        found = [own[segment] for segment in self._segments if segment in own]
        return [Note(customer_id, u.segment, u.before, "untold") for u in found]


def _lately(profile: Profile, now: int, crossed: Container[str]) -> list[Membership]:
    """The memberships that have changed within a day, to be counted; not those that `crossed` now, which are."""
    return [
        Membership(segment, profile.customer_id, since, crossing % 2 == 1)
        for segment, (crossing, since) in profile.members.items()
        if since > now - DAY_MS and segment not in crossed
    ]


def _sequence(place: str) -> int:
    """The number of the commit that brought a change to a place in the outbox."""
    return int(place.partition("-")[0])


async def begin_carrying(store: ShardStore, head: Head, walk: ShardWalk, from_live: bool) -> Head:
    """The first commit of a shard that is to carry, silent as all that follow; gives the head as it is then.

    With `from_live` it begins where the live shard stands, and knows which strays were folded up to there. Raises
    SetBack when another writer comes first.
    """
    if head.commit:
        return head
    live = (await walk.page((), 0)).head if from_live else Head()
    commit = Commit(
        "",
        token_hex(8),
        1,
        clock=live.clock,
        positions=live.positions,
        origins=live.origins,
        starts=live.starts or None,
        stage="begin",
        carried=Carriage(),
    )
    if (await store.send_commit(commit)).status != "done":
        raise SetBack
    return await store.read_head()
