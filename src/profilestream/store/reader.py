"""Reads profiles and segments: for personalization services, the command line and tests.

    reader = ProfileReader("redis://localhost:6379")
    reader.traits("c42", ["spend_30d", "top_categories"])
    reader.is_member("c42", "big_spender")

It follows the live generation: after a promotion it reads the new one within a second. One call never
mixes two generations.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from ..core.errors import UsageError
from ..wire.times import parse_time
from .connection import AsyncClient, SyncClient, connect, connect_sync, reaching
from .metadata import Generation
from .paging import Order
from .questions import Member, MembersPage, Profile, Questions
from .steps import Command, Steps

T = TypeVar("T")
Moment = str | int | None
"""A time as RFC 3339 or in milliseconds since 1970; None where there is no bound."""

NAMESPACE: Final = "ps"
PAGE_MEMBERS: Final = 1_000

__all__ = ["AsyncProfileReader", "Member", "MembersPage", "Profile", "ProfileReader"]


class ProfileReader:
    """Reads from any thread. Takes an address (and closes what it opened) or a redis-py client.

    Every method raises ServerUnavailable when Redis cannot be reached, and NotFound when the namespace
    has no live generation.
    """

    def __init__(self, redis: str | SyncClient, namespace: str = NAMESPACE) -> None:
        """Raises UsageError for an address or a namespace that cannot be meant."""
        self._questions = Questions(namespace)
        self._owns = isinstance(redis, str)
        self._client = connect_sync(redis) if isinstance(redis, str) else redis

    def generation(self) -> Generation:
        """The live generation, as known for at most a second."""
        return self._ask(self._questions.generation())

    def get(self, customer_id: str) -> Profile | None:
        """A customer's profile, None when there is none."""
        return self._ask(self._questions.profiles([customer_id]))[0]

    def get_many(self, customer_ids: Sequence[str]) -> list[Profile | None]:
        """Profiles in the order of the ids, in few round trips."""
        return self._ask(self._questions.profiles(customer_ids))

    def traits(self, customer_id: str, names: Iterable[str]) -> dict[str, Any]:
        """The named traits that are present, in one round trip; {} for an unknown customer."""
        return self._ask(self._questions.traits(customer_id, names))

    def segments(self, customer_id: str) -> dict[str, dict[str, Any]]:
        """name -> {"since", "crossing"} of the customer's segments; {} for an unknown customer."""
        return self._ask(self._questions.segments(customer_id))

    def is_member(self, customer_id: str, segment: str) -> bool:
        """Whether the customer is in the segment; raises NotFound for an unknown segment."""
        return self._ask(self._questions.is_member(customer_id, segment))

    def count(self, segment: str, *, since: Moment = None, until: Moment = None) -> int:
        """How many members a segment has, of those who entered at `since` or later and before `until`.

        Raises NotFound for an unknown segment.
        """
        return self._ask(self._questions.count(segment, _order(False, since, until)))

    def members(
        self,
        segment: str,
        count_max: int | None = None,
        cursor: str | None = None,
        *,
        newest_first: bool = False,
        since: Moment = None,
        until: Moment = None,
    ) -> Iterator[Member]:
        """Members in order of entering, over all shards, at most `count_max`; read page by page.

        `since` and `until` (RFC 3339, or milliseconds since 1970) take those who entered then or later, and before.
        Keeps to the generation that it began with. Who enters or leaves meanwhile may be in it or not; whoever was a
        member all the while is in it once. Raises NotFound for an unknown segment.
        """
        left = count_max
        while left is None or left > 0:
            page = self.members_page(
                segment, _page_size(left), cursor, newest_first=newest_first, since=since, until=until
            )
            yield from page.members
            cursor = page.cursor
            if cursor is None:
                return
            left = None if left is None else left - len(page.members)

    def members_page(
        self,
        segment: str,
        count_max: int = PAGE_MEMBERS,
        cursor: str | None = None,
        *,
        newest_first: bool = False,
        since: Moment = None,
        until: Moment = None,
    ) -> MembersPage:
        """One page and the cursor of the next (None: the end); it may be shorter than `count_max`.

        The next page is asked for with the same order and times.
        """
        order = _order(newest_first, since, until)
        return self._ask(self._questions.members_page(segment, count_max, cursor, order))

    def close(self) -> None:
        """Closes the connections that the reader opened itself."""
        if self._owns:
            self._client.close()

    def __enter__(self) -> ProfileReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, steps: Steps[T]) -> T:
        with reaching(self._client):
            try:
                commands = next(steps)
                while True:
                    commands = steps.send(self._run(commands))
            except StopIteration as done:
                answer: T = done.value
                return answer

    def _run(self, commands: list[Command]) -> list[Any]:
        if len(commands) == 1:
            one = commands[0]
            return [getattr(self._client, one.method)(*one.args, **one.options)]
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            getattr(pipeline, command.method)(*command.args, **command.options)
        return pipeline.execute()


class AsyncProfileReader:
    """As `ProfileReader`, for asyncio; one reader belongs to one event loop."""

    def __init__(self, redis: str | AsyncClient, namespace: str = NAMESPACE) -> None:
        """Raises UsageError for an address or a namespace that cannot be meant."""
        self._questions = Questions(namespace)
        self._owns = isinstance(redis, str)
        self._client = connect(redis) if isinstance(redis, str) else redis

    async def generation(self) -> Generation:
        """The live generation, as known for at most a second."""
        return await self._ask(self._questions.generation())

    async def get(self, customer_id: str) -> Profile | None:
        """A customer's profile, None when there is none."""
        return (await self._ask(self._questions.profiles([customer_id])))[0]

    async def get_many(self, customer_ids: Sequence[str]) -> list[Profile | None]:
        """Profiles in the order of the ids, in few round trips."""
        return await self._ask(self._questions.profiles(customer_ids))

    async def traits(self, customer_id: str, names: Iterable[str]) -> dict[str, Any]:
        """The named traits that are present, in one round trip; {} for an unknown customer."""
        return await self._ask(self._questions.traits(customer_id, names))

    async def segments(self, customer_id: str) -> dict[str, dict[str, Any]]:
        """name -> {"since", "crossing"} of the customer's segments; {} for an unknown customer."""
        return await self._ask(self._questions.segments(customer_id))

    async def is_member(self, customer_id: str, segment: str) -> bool:
        """Whether the customer is in the segment; raises NotFound for an unknown segment."""
        return await self._ask(self._questions.is_member(customer_id, segment))

    async def count(self, segment: str, *, since: Moment = None, until: Moment = None) -> int:
        """As `ProfileReader.count`."""
        return await self._ask(self._questions.count(segment, _order(False, since, until)))

    async def members(
        self,
        segment: str,
        count_max: int | None = None,
        cursor: str | None = None,
        *,
        newest_first: bool = False,
        since: Moment = None,
        until: Moment = None,
    ) -> AsyncIterator[Member]:
        """As `ProfileReader.members`."""
        left = count_max
        while left is None or left > 0:
            page = await self.members_page(
                segment, _page_size(left), cursor, newest_first=newest_first, since=since, until=until
            )
            for member in page.members:
                yield member
            cursor = page.cursor
            if cursor is None:
                return
            left = None if left is None else left - len(page.members)

    async def members_page(
        self,
        segment: str,
        count_max: int = PAGE_MEMBERS,
        cursor: str | None = None,
        *,
        newest_first: bool = False,
        since: Moment = None,
        until: Moment = None,
    ) -> MembersPage:
        """As `ProfileReader.members_page`."""
        order = _order(newest_first, since, until)
        return await self._ask(self._questions.members_page(segment, count_max, cursor, order))

    async def close(self) -> None:
        """Closes the connections that the reader opened itself."""
        if self._owns:
            await self._client.aclose()

    async def __aenter__(self) -> AsyncProfileReader:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, steps: Steps[T]) -> T:
        with reaching(self._client):
            try:
                commands = next(steps)
                while True:
                    commands = steps.send(await self._run(commands))
            except StopIteration as done:
                answer: T = done.value
                return answer

    async def _run(self, commands: list[Command]) -> list[Any]:
        if len(commands) == 1:
            one = commands[0]
            return [await getattr(self._client, one.method)(*one.args, **one.options)]
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            getattr(pipeline, command.method)(*command.args, **command.options)
        replies: list[Any] = await pipeline.execute()
        return replies


def _page_size(left: int | None) -> int:
    if left is not None and left < 0:
        raise UsageError("count_max must not be negative")
    return PAGE_MEMBERS if left is None else min(PAGE_MEMBERS, left)


def _order(newest_first: bool, since: Moment, until: Moment) -> Order:
    return Order(newest_first, _ms("since", since), _ms("until", until))


def _ms(name: str, moment: Moment) -> int | None:
    try:
        return None if moment is None else parse_time(moment)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
