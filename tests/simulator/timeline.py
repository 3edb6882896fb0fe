"""One world's time, chance and trace."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulator.loop import PROCESS, Loop

SLOW_S = (0.05, 0.6)


class Chaos:
    """What goes wrong by chance, a request at a time; all of it ends with `calm`."""

    def __init__(self, random: Random, loop: Loop) -> None:
        self.random = random
        self._loop = loop
        self._draw = random.random
        self.slow = random.choice((0.0, 0.01, 0.05))
        self.lost = random.choice((0.0, 0.0, 0.003, 0.02))
        self.refused = random.choice((0.0, 0.05))
        self.kafka_errors = random.choice((0.0, 0.0, 0.01, 0.05))
        self.redis_stalled_until_s = 0.0
        self.kafka_stalled_until_s = 0.0
        self.out_of_memory_until_s = 0.0

    def calm(self) -> None:
        self.slow = self.lost = self.refused = self.kafka_errors = 0.0

    def latency_s(self) -> float:
        """How long a message is on its way."""
        if self.slow and self._draw() < self.slow:
            return self.random.uniform(*SLOW_S)
        return 0.0003 + 0.004 * self._draw() ** 3

    def chance(self, probability: float) -> bool:
        return probability > 0.0 and self._draw() < probability

    def loses_request(self) -> bool:
        return self.chance(self.lost)

    def loses_reply(self) -> bool:
        return self.chance(self.lost)

    def cuts_what_follows(self) -> bool:
        return self._draw() < 0.5

    def refuses_connection(self) -> bool:
        return self.chance(self.refused)

    def is_out_of_memory(self) -> bool:
        return self._loop.time() < self.out_of_memory_until_s

    def kafka_fails(self) -> bool:
        return self.chance(self.kafka_errors)


class Timeline:
    """The loop, the wall clock, chance, and what is told of it all."""

    def __init__(self, seed: int, wall_start_ms: int, traces: bool = False) -> None:
        self.loop = Loop()
        self.random = Random(seed)
        self.chaos = Chaos(Random(self.random.random()), self.loop)
        self.traces = traces
        self.told: list[str] = []
        self._wall_start_ms = wall_start_ms
        self.leapt_ms = 0

    def wall_ms(self) -> int:
        """The wall clock of every process; it may leap, never back."""
        return self._wall_start_ms + self.leapt_ms + int(self.loop.time() * 1000)

    def leap_to(self, wall_ms: int) -> None:
        self.leapt_ms += max(0, wall_ms - self.wall_ms())

    def at(self, when_s: float, callback: Callable[..., Any], *args: Any) -> None:
        """Calls back at a time, whoever asks and whatever becomes of them."""
        self.loop.outside_at(when_s, callback, *args)

    def later(self, delay_s: float, callback: Callable[..., Any], *args: Any) -> None:
        self.loop.outside_later(delay_s, callback, *args)

    def tell(self, what: str) -> None:
        if self.traces:
            process = PROCESS.get()
            who = process.name if process is not None else ""
            self.told.append(f"{self.loop.time():10.4f} {who:<10} {what}")

    # What stands in for the module `time`.

    def monotonic(self) -> float:
        return self.loop.time()

    def time_ns(self) -> int:
        return self.wall_ms() * 1_000_000

    def token(self, size: int) -> str:
        return f"{self.random.getrandbits(size * 8):0{size * 2}x}"
