"""The worker and the emitter as processes of their own, started as a person would start them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Self

from profilestream.core.errors import ProfilestreamError
from profilestream.settings import Settings

COMMANDS: Final = (("worker", "--clock", "event"), ("emitter",))
LOG_LINES_SHOWN: Final = 10
STOP_S_MAX: Final = 10.0


def environment(settings: Settings) -> dict[str, str]:
    """The variables with which every command finds this installation: all that differs from the defaults."""
    found = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if value is not None and value != field.default:
            found[f"PROFILESTREAM_{name.upper()}"] = str(value)
    return found


class Programs:
    """Both programs; `with` starts them and ends them again. What they say goes to `<directory>/<name>.log`."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PROFILESTREAM_")}
        self._environment = {**kept, **environment(settings)}
        self._directory = directory
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        try:
            # Faust wants a folder, though nothing is kept there.
            self._scratch = tempfile.TemporaryDirectory(prefix="scratch-", dir=self._directory)
            self._environment["TMPDIR"] = self._scratch.name
            for words in COMMANDS:
                self._start(words)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()
        if self._scratch is not None:
            self._scratch.cleanup()

    def check(self) -> None:
        """Raises ProfilestreamError, with the end of its log, when one of them has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                lines = self._log(name).read_text("utf-8", "replace").splitlines()[-LOG_LINES_SHOWN:]
                shown = "\n".join(f"  {line[:300]}" for line in lines or ["(it said nothing)"])
                raise ProfilestreamError(f"the {name} ended with status {process.returncode}; it said:\n{shown}")

    def _start(self, words: tuple[str, ...]) -> None:
        with self._log(words[0]).open("wb") as log:
            self._running[words[0]] = subprocess.Popen(
                [sys.executable, "-m", "profilestream.cli.app", *words],
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is the demo's: it ends them when it has no more use for them.
                start_new_session=True,
            )

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"
