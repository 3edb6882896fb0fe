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
from profilestream.wire.declared_values import value_problems

BYTES_MAX = 4 * 1024 * 1024

Text = Annotated[str, StringConstraints(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SettingsTable(_Table):
    timezone: Text = "UTC"
    currency: Text | None = None
    rates: dict[str, Text | int | float] = {}


class SegmentTable(_Table):
    description: str = ""
    enter: Text
    exit: Text | None = None
    dwell: Text | None = None
    exit_dwell: Text | None = None
    cooldown: Text | None = None
    sample: float | None = None


class TypeTable(_Table):
    topic: Text | None = None
    fields: dict[str, Text | list[dict[str, Text]]]


class SourceTable(_Table):
    topic: Text
    type: Text
    map: dict[str, Any] | None = None
    envelope: Text | None = None


class Document(_Table):
    """A definitions file's tables; an unknown one is refused by name, never ignored."""

    settings: SettingsTable | None = None
    sources: dict[str, SourceTable] = {}
    types: dict[str, TypeTable] = {}
    attributes: dict[str, Text] = {}
    streams: dict[str, Text] = {}
    traits: dict[str, Text] = {}
    segments: dict[str, SegmentTable] = {}
    tests: list[dict[str, Any]] = []


def read_definitions(path: Path) -> Definitions:
    """The definitions in a file.

    Raises UsageError when it cannot be read, DefinitionsError with every problem in it.
    """
    return parse_definitions(text_of(path), str(path))


def text_of(path: Path) -> str:
    """A definitions file's text. Raises UsageError when it cannot be read, or is too large."""
    try:
        if path.stat().st_size > BYTES_MAX:
            raise UsageError(f"{path}: larger than {BYTES_MAX // 1024 // 1024} MiB; is it a definitions file?")
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark of the encoding
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text; is it a definitions file?") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None


def parse_definitions(text: str, file: str = "definitions") -> Definitions:
    """The definitions in a text; `file` names it in problems. Raises DefinitionsError."""
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise DefinitionsError(file, [Problem(0, 0, "not TOML: lists or tables are nested too deeply")]) from None
    except ValueError as error:  # also a number of too many digits
        raise DefinitionsError(file, [_toml_problem(str(error))]) from None
    place = places(text)
    try:
        Document.model_validate(tables)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        shapes = [_shape_problem(e, place) for e in errors]
        # What has the right shape is read all the same, so that one run names every mistake.
        others = _other_problems(_sound_part(tables, errors), text, file, place)
        raise DefinitionsError(file, [*shapes, *others]) from None
    return _defined(tables, text, file, place)


def _defined(tables: dict[str, Any], text: str, file: str, place: Place) -> Definitions:
    found = define(tables, text, file, place)
    problems = [Problem(*place(path), message) for path, message in value_problems(found)]
    if problems:
        raise DefinitionsError(file, problems)
    return found


def _other_problems(tables: dict[str, Any], text: str, file: str, place: Place) -> list[Problem]:
    try:
        _defined(tables, text, file, place)
    except DefinitionsError as error:
        return error.problems
    return []


def _sound_part(tables: dict[str, Any], errors: list[Any]) -> dict[str, Any]:
    """The tables without whatever has a wrong shape: of a wrong key its value, else the table around it."""
    sound: dict[str, Any] = _copied(tables, levels=_LEVELS)
    for error in errors:
        path = [part for part in error["loc"] if part not in _ALTERNATIVES]
        whole = {"sources": 2, "types": 2}.get(path[0], len(path))
        if error["type"] == "extra_forbidden":
            whole = len(path)
        _take_out(sound, path[:whole])
    return sound


def _copied(table: Any, levels: int) -> Any:
    """A table of its own, with its tables to so many levels: no problem's path is longer."""
    if not levels or not isinstance(table, dict):
        return table
    return {key: _copied(value, levels - 1) for key, value in table.items()}


def _take_out(table: Any, path: list[Any]) -> None:
    for key in path[:-1]:
        if not isinstance(table, dict) or key not in table:
            return
        table = table[key]
    if isinstance(table, dict):
        table.pop(path[-1], None)


def _toml_problem(message: str) -> Problem:
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    what = re.sub(r"\s*\(at .*\)", "", message)
    line, column = (int(found[1]), int(found[2])) if found else (0, 0)
    return Problem(line, column, f"not TOML: {what}; strings stand in quotes, tables in [brackets]")


_LEVELS = 4
_TABLES: dict[str, type[BaseModel]] = {
    "settings": SettingsTable,
    "segments": SegmentTable,
    "sources": SourceTable,
    "types": TypeTable,
}
_ALTERNATIVES = {"constrained-str", "str", "int", "float", "list[dict[str,constrained-str]]"}
"""What pydantic puts into an error's path for the members of a union."""
_FIELD = 'is declared by a text such as "int 1..5?", records by [{ name = "string" }]'
_EXPECTED = {
    "string_type": "must be a text in quotes",
    "float_type": "must be a number",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "string_too_short": "must not be empty",
    "list_type": "must be a list of tables, each begun with [[tests]]",
}


def _shape_problem(error: Any, place: Place) -> Problem:
    path = tuple(str(part) for part in error["loc"] if part not in _ALTERNATIVES)
    line, column = place(path)
    name = path[-1]
    if error["type"] == "extra_forbidden":
        known = Document.model_fields if len(path) == 1 else _TABLES[path[0]].model_fields
        return Problem(line, column, f"unknown key `{name}`{suggestion(name, known)}")
    if error["type"] == "missing":
        example = '{ stars = "int 1..5" }' if name == "fields" else '"..."'
        return Problem(line, column, f"[{'.'.join(path[:-1])}] needs `{name} = {example}`")
    if path[0] == "types" and len(path) > 3:
        return Problem(*place(path[:4]), f"`{path[3]}` {_FIELD}")
    return Problem(line, column, f"`{name}` {_EXPECTED.get(error['type'], error['msg'])}")


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
            for length in range(len(table), 0, -1):  # a table also stands for those that it lies in
                found.setdefault(table[:length], (number, line.index("[") + 1))
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
