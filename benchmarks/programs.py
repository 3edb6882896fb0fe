"""The commands that a benchmark starts, and waiting for what they do."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import pinned
from profilestream import Settings

LOOK_S = 0.02
STALLED_S = 300.0
SETTLE_S = 5.0


class Programs:
    """Starts commands as processes; what is left of them ends with it."""

    def __init__(self, settings: Settings, folder: Path, cores: set[int]) -> None:
        self.folder = folder
        self.cores = cores
        self._stack = ExitStack()
        self._environment = {
            "PROFILESTREAM_KAFKA": str(settings.kafka),
            "PROFILESTREAM_REDIS": str(settings.redis),
            "PROFILESTREAM_NAMESPACE": settings.namespace,
        }

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        process = pinned.start("profilestream.cli.app", list(words), self.cores, self._environment, self.log(words[0]))
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    async def ended(self, process: subprocess.Popen[bytes], name: str) -> str:
        """What it said, once it has ended well."""
        await asyncio.to_thread(process.wait, STALLED_S)
        said = self.log(name).read_text("utf-8", "replace")
        assert process.returncode == 0, f"{name} ended with {process.returncode}:\n{said[-2_000:]}"
        return said

    def file(self, name: str, text: str) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text(text, "utf-8")
        return path


async def until(what: str, holds: Callable[[], Awaitable[bool]], look_s: float = LOOK_S) -> None:
    began_s = time.monotonic()
    while not await holds():
        assert time.monotonic() - began_s < STALLED_S, f"waited in vain for {what}"
        await asyncio.sleep(look_s)
