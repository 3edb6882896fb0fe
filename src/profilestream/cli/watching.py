"""`--watch`: runs again whenever one of the files was saved, until Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from profilestream.core.errors import ProfilestreamError, UsageError

LOOK_MS: Final = 500


def run(files: Sequence[Path], watch: bool, once: Callable[[], None]) -> None:
    """Calls `once`, and with `watch` again after every change. A mistake in a file is shown, and waited on."""
    if not watch:
        once()
        return
    import watchfiles  # starts slowly, and only this needs it

    for file in files:
        if not file.exists():
            raise UsageError(f"{file}: not there, so it cannot be watched")
    seen = _signatures(files)
    _attempt(once)
    # The folders are watched, not the files: an editor may put a new file in the old one's place. What was saved
    # before the watching began shows by a look at the files.
    folders = {file.resolve().parent for file in files}
    options = {"raise_interrupt": False, "recursive": False, "yield_on_timeout": True, "rust_timeout": LOOK_MS}
    for _ in watchfiles.watch(*folders, **options):  # type: ignore[arg-type]
        now = _signatures(files)
        if now != seen:
            seen = now
            print(f"\n--- {datetime.now():%H:%M:%S} ---\n", file=sys.stderr)
            _attempt(once)


def _signatures(files: Sequence[Path]) -> list[tuple[int, int] | None]:
    """What differs once a file was saved; None for one that is gone for a moment."""
    found: list[tuple[int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size))
    return found


def _attempt(once: Callable[[], None]) -> None:
    try:
        once()
    except ProfilestreamError as error:
        print(error, file=sys.stderr)
    sys.stdout.flush()
    print("watching for changes; Ctrl-C ends", file=sys.stderr, flush=True)
