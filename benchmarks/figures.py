"""What a benchmark finds, and what it tells on the way."""

from __future__ import annotations

import statistics
import sys
import time


class Figures(dict[str, float]):
    """By name, in the order in which they were found; each is told at once."""

    def __setitem__(self, name: str, value: float) -> None:
        super().__setitem__(name, value)
        tell(f"{name}: {shown(value)}")


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.2f}"


def quantile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else 0.0


def tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
