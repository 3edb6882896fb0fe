"""How a question to Redis is put without asking it: a generator yields commands and is sent their replies."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Command:
    """One call of a redis-py client: method, positional and keyword arguments."""

    method: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]


Steps = Generator[list[Command], list[Any], T]


def command(method: str, *args: Any, **options: Any) -> Command:
    """A call as one writes it."""
    return Command(method, args, options)
