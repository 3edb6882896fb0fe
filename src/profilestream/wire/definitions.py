"""Definitions files: TOML text -> checked shapes (pydantic) -> the core's `Definitions`, with places in the text."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from profilestream.core.definitions import Definitions, Place, define
from profilestream.core.errors import UsageError
from profilestream.core.problems import DefinitionsError, Problem, suggestion

BYTES_MAX = 4 * 1024 * 1024

Text = Annotated[str, StringConstraints(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SettingsTable(_Table):
    timezone: Text = "UTC"


class SegmentTable(_Table):
    description: str = ""
    enter: Text
    exit: Text | None = None


class Document(_Table):
    """A definitions file's tables. The tables of later versions are refused by name, never ignored."""

    settings: SettingsTable | None = None
    streams: dict[str, Text] = {}
    traits: dict[str, Text] = {}
    segments: dict[str, SegmentTable] = {}
    tests: list[dict[str, Any]] = []


def read_definitions(path: Path) -> Definitions:
    """The definitions in a file.

    Raises UsageError when it cannot be read, DefinitionsError with every problem in it.
    """
    try:
        if path.stat().st_size > BYTES_MAX:
            raise UsageError(f"{path}: larger than {BYTES_MAX // 1024 // 1024} MiB; is it a definitions file?")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text; is it a definitions file?") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    return parse_definitions(text, str(path))


def parse_definitions(text: str, file: str = "definitions") -> Definitions:
    """The definitions in a text; `file` names it in problems. Raises DefinitionsError."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of too many digits
        raise DefinitionsError(file, [_toml_problem(str(error))]) from None
    place = places(text)
    try:
        Document.model_validate(tables)
    except ValidationError as error:
        shapes = [_shape_problem(e, place) for e in error.errors(include_url=False, include_input=False)]
        # What has the right shape is read all the same, so that one run names every mistake.
        others = _other_problems(_sound_part(tables), text, file, place)
        raise DefinitionsError(file, [*shapes, *others]) from None
    return define(tables, text, file, place)


def _other_problems(tables: dict[str, Any], text: str, file: str, place: Place) -> list[Problem]:
    try:
        define(tables, text, file, place)
    except DefinitionsError as error:
        return error.problems
    return []


def _sound_part(tables: dict[str, Any]) -> dict[str, Any]:
    """The tables with whatever has a wrong shape left out."""

    def texts(name: str) -> dict[str, str]:
        table = tables.get(name)
        return {k: v for k, v in table.items() if isinstance(v, str)} if isinstance(table, dict) else {}

    segments = tables.get("segments")
    sound = {}
    for name, table in segments.items() if isinstance(segments, dict) else ():
        if isinstance(table, dict) and isinstance(table.get("enter"), str):
            sound[name] = {k: v for k, v in table.items() if isinstance(v, str)}
    return {"settings": texts("settings"), "streams": texts("streams"), "traits": texts("traits"), "segments": sound}


def _toml_problem(message: str) -> Problem:
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    what = re.sub(r"\s*\(at .*\)", "", message)
    line, column = (int(found[1]), int(found[2])) if found else (0, 0)
    return Problem(line, column, f"not TOML: {what}; strings stand in quotes, tables in [brackets]")


_LATER = {"sources", "types", "attributes"}


def _shape_problem(error: Any, place: Place) -> Problem:
    path = tuple(str(part) for part in error["loc"])
    line, column = place(path)
    name = path[-1]
    if error["type"] == "extra_forbidden":
        if len(path) == 1 and name in _LATER:
            return Problem(line, column, f"[{name}] is not supported by this version; take the table out")
        known = SegmentTable.model_fields if path[0] == "segments" else Document.model_fields
        known = SettingsTable.model_fields if path[0] == "settings" and len(path) > 1 else known
        return Problem(line, column, f"unknown key `{name}`{suggestion(name, known)}")
    if error["type"] == "missing":
        return Problem(line, column, f'[{".".join(path[:-1])}] needs `{name} = "..."`')
    what = {"string_type": "must be a text in quotes", "dict_type": "must be a table"}.get(error["type"], error["msg"])
    return Problem(line, column, f"`{name}` {what}")


_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"""(\s*)((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=\s*"""
)
_QUOTES = re.compile(r'"""|\'\'\'|"|\'')


def places(text: str) -> Place:
    """Finds where in a TOML text the value of a key stands, by a scan of its lines.

    For a text value the place is that of its first character. Unusual layouts (inline tables, a key in a string)
    fall back to the nearest table above, or to (0, 0).
    """
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _path(header[1])
            found.setdefault(table, (number, line.index("[") + 1))
        elif key := _KEY.match(line):
            start = key.end()
            quote = _QUOTES.match(line, start)
            found.setdefault(table + _path(key[2]), (number, (quote.end() if quote else start) + 1))

    def place(path: tuple[str, ...]) -> tuple[int, int]:
        while path:
            if path in found:
                return found[path]
            path = path[:-1]
        return 0, 0

    return place


def _path(key: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.\s]+", key))
