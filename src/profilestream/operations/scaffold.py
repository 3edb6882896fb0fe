"""`new`: files to begin with, from the package's own or from one of its examples."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from profilestream.core.errors import UsageError
from profilestream.core.problems import suggestion

DEFINITIONS: Final = "definitions.toml"
EVENTS: Final = "events.jsonl"
README: Final = "README.md"

_PACKAGE: Final = files("profilestream")


def examples() -> list[str]:
    """The names of the examples that come with the package."""
    folder = _PACKAGE / "examples"
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / DEFINITIONS).is_file())


def write(directory: Path, example: str | None = None) -> list[Path]:
    """Writes the files into a folder, which is made where it is not there; gives their paths.

    Raises UsageError for an unknown example, and before anything is written where a file is there already.
    """
    if example is not None and example not in examples():
        raise UsageError(f"no example `{example}`{suggestion(example, examples())}")
    source = _PACKAGE / "scaffold" if example is None else _PACKAGE / "examples" / example
    texts = {name: (source / name).read_text("utf-8") for name in (DEFINITIONS, EVENTS, README)}
    paths = [directory / name for name in texts]
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} is there already; nothing was written. Give another folder")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, texts.values(), strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{directory}: cannot write there ({error.strerror or error})") from None
    return paths
