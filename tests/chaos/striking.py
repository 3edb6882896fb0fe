"""Strikes one fault after the other at programs and servers; returns when the harm itself is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import redis

from tests.chaos.faults import Fault
from tests.chaos.programs import Fleet, Program, Role
from tests.chaos.servers import Broker, Store

NUMBERS: dict[Role, tuple[int, int]] = {"worker": (2, 3), "emitter": (1, 3)}
"""At least and at most so many of each run."""


class Striker:
    """Knows how each kind of fault is done. A killed program has a successor, as a supervisor would see to."""

    def __init__(self, fleet: Fleet, broker: Broker, store: Store) -> None:
        self._fleet = fleet
        self._broker = broker
        self._store = store
        self.store_lock = asyncio.Lock()
        self._thawing: list[asyncio.Task[float]] = []
        self._deeds: dict[str, Callable[[Fault], Awaitable[float]]] = {
            "worker killed": lambda fault: self._kill("worker", fault),
            "emitter killed": lambda fault: self._kill("emitter", fault),
            "worker ended by SIGTERM": lambda fault: self._terminate("worker", fault),
            "emitter ended by SIGTERM": lambda fault: self._terminate("emitter", fault),
            "worker frozen past its session": lambda fault: self._freeze("worker", fault),
            "emitter frozen past its session": lambda fault: self._freeze("emitter", fault),
            "all workers and emitters killed": self._kill_all,
            "worker added or removed": lambda fault: self._add_or_remove("worker", fault),
            "emitter added or removed": lambda fault: self._add_or_remove("emitter", fault),
            "broker killed and restarted": self._restart_broker,
            "broker frozen": self._still_broker,
            "Redis frozen": self._still_store,
            "Redis killed and restarted": self._restart_store,
            "Redis set back to an older dump": self._set_back,
            "Redis emptied": self._empty,
            "Redis cuts all connections": self._cut,
            "Redis forgets its scripts": self._forget_scripts,
        }

    async def strike(self, fault: Fault) -> float:
        """Does it, and gives the moment (monotonic seconds) from which the time to repair counts: when a program was
        killed or frozen, or when a server was back. What was frozen goes on later, see `thawed`."""
        return await self._deeds[fault.kind](fault)

    async def thawed(self) -> float | None:
        """Waits until nothing is frozen any more; gives the moment at which the last of it went on."""
        return max(await asyncio.gather(*self._thawing), default=None)

    async def back_up(self) -> None:
        """Takes a dump of Redis, unless it is away."""
        async with self.store_lock:
            with suppress(redis.RedisError):
                await asyncio.to_thread(self._store.back_up)

    def _pick(self, role: Role, fault: Fault) -> Program:
        self._fleet.replace_ended()
        running = [program for program in self._fleet.of(role) if not program.frozen] or self._fleet.of(role)
        return running[int(fault.which * len(running))]

    async def _kill(self, role: Role, fault: Fault) -> float:
        self._fleet.kill(self._pick(role, fault))
        since = time.monotonic()
        await asyncio.sleep(fault.seconds)
        self._fleet.start(role)
        return since

    async def _kill_all(self, fault: Fault) -> float:
        roles = [program.role for program in self._fleet.programs]
        self._fleet.kill_all()
        since = time.monotonic()
        await asyncio.sleep(fault.seconds)
        for role in roles:
            self._fleet.start(role)
        return since

    async def _terminate(self, role: Role, fault: Fault) -> float:
        since = time.monotonic()
        await self._fleet.terminate(self._pick(role, fault))
        self._fleet.start(role)
        return since

    async def _freeze(self, role: Role, fault: Fault) -> float:
        """A zombie: others take its shards over, and after that it goes on where it stopped."""
        program = self._pick(role, fault)
        self._fleet.freeze(program)
        self._thawing = [task for task in self._thawing if not task.done()]
        self._thawing.append(asyncio.create_task(self._thaw(program, fault.seconds)))
        return time.monotonic()

    async def _thaw(self, program: Program, after_s: float) -> float:
        await asyncio.sleep(after_s)
        self._fleet.thaw(program)
        return time.monotonic()

    async def _add_or_remove(self, role: Role, fault: Fault) -> float:
        least, most = NUMBERS[role]
        running = len(self._fleet.of(role))
        since = time.monotonic()
        if running >= most or (running > least and fault.which < 0.5):
            await self._fleet.terminate(self._pick(role, fault))
        else:
            self._fleet.start(role)
        return since

    async def _restart_broker(self, fault: Fault) -> float:
        await asyncio.to_thread(self._broker.kill)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(self._broker.start)
        return time.monotonic()

    async def _still_broker(self, fault: Fault) -> float:
        self._broker.freeze()
        await asyncio.sleep(fault.seconds)
        self._broker.thaw()
        return time.monotonic()

    async def _still_store(self, fault: Fault) -> float:
        async with self.store_lock:
            self._store.freeze()
            await asyncio.sleep(fault.seconds)
            self._store.thaw()
        return time.monotonic()

    async def _restart_store(self, fault: Fault) -> float:
        async with self.store_lock:
            await asyncio.to_thread(self._store.kill)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(self._store.start, "its log")
        return time.monotonic()

    async def _set_back(self, fault: Fault) -> float:
        async with self.store_lock:
            await asyncio.to_thread(self._store.kill)
            await asyncio.sleep(fault.seconds)
            await asyncio.to_thread(self._store.start, "a dump", fault.age)
        return time.monotonic()

    async def _empty(self, fault: Fault) -> float:
        await asyncio.to_thread(self._ask, "FLUSHALL")
        return time.monotonic()

    async def _cut(self, fault: Fault) -> float:
        await asyncio.to_thread(self._ask, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return time.monotonic()

    async def _forget_scripts(self, fault: Fault) -> float:
        await asyncio.to_thread(self._ask, "SCRIPT", "FLUSH")
        return time.monotonic()

    def _ask(self, *words: str) -> None:
        with self._store.client() as client:
            client.execute_command(*words)
