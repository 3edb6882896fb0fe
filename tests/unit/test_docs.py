"""The documentation says what the code does: its snippets compile, its tables are the code's own."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import typer

from profilestream.cli.app import COMMANDS, build
from profilestream.core import aggregates, definitions, slots, vocabulary
from profilestream.core.aggregates import AGGREGATES
from profilestream.core.problems import DefinitionsError
from profilestream.settings import Settings
from profilestream.wire.dead_letters import REASONS
from profilestream.wire.definitions import parse_definitions

ROOT = Path(__file__).parent.parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [page for page in (ROOT / "README.md", *DOCS) if page.exists()]
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| *`([^`]+)` *\|(.*)\|$", re.MULTILINE)


def _fences(page: Path, kind: str) -> list[str]:
    """The bodies of fenced blocks of a kind; what is meant to be wrong says `mistake` behind it."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [body for said, body in found if said.split()[:1] == [kind] and "mistake" not in said]


def _section(page: str, title: str) -> str:
    """The text below a heading, up to the next heading of the same level."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def _rows(page: str, title: str) -> dict[str, str]:
    """First cell (in code quotes) to the rest of a table's rows in a section."""
    return {name: rest.strip() for name, rest in ROW.findall(_section(page, title))}


SNIPPETS = [(page, n, text) for page in PAGES for n, text in enumerate(_fences(page, "toml"))]
MISTAKES = re.findall(
    r"^```toml mistake\n(.*?)^```\n+^```text\n(.*?)^```$",
    (ROOT / "docs" / "definitions.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize(("page", "number", "text"), SNIPPETS, ids=[f"{p.name}-{n}" for p, n, _ in SNIPPETS])
def test_every_toml_snippet_compiles(page: Path, number: int, text: str) -> None:
    parse_definitions(text, page.name)


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_every_common_mistake_is_reported_as_the_reference_shows(text: str, said: str) -> None:
    with pytest.raises(DefinitionsError) as error:
        parse_definitions(text, "definitions.toml")
    assert str(error.value) == said.strip()


def test_the_reference_has_snippets_and_mistakes() -> None:
    assert len(SNIPPETS) >= 6
    assert len(MISTAKES) >= 6


def test_the_table_of_aggregates_is_the_code_s() -> None:
    rows = _rows("definitions.md", "Aggregates")
    assert {usage.split("(")[0]: summary for usage, summary in rows.items()} == {
        name: aggregate.summary for name, aggregate in AGGREGATES.items()
    }


def test_the_table_of_functions_has_each_function_as_it_is_written() -> None:
    assert set(_rows("definitions.md", "Functions")) == {usage for usage, _, _ in vocabulary.USAGE.values()}


def test_the_table_of_tiles_is_what_windows_have() -> None:
    for window, tile in _rows("definitions.md", "Windows and tiles").items():
        length = vocabulary.span_ms(window.strip("'"))
        assert length is not None
        assert vocabulary.span_ms(tile) == vocabulary.tile_ms(length), window


def test_the_limits_are_the_code_s() -> None:
    found = re.findall(r"^\| .* \| ([0-9,]+) \|$", _section("definitions.md", "Limits"), re.MULTILINE)
    assert [int(number.replace(",", "")) for number in found] == [
        definitions.TRAITS_MAX,
        definitions.SEGMENTS_MAX,
        vocabulary.TEXT_CHARACTERS_MAX,
        vocabulary.NODES_MAX,
        vocabulary.TOP_SIZE_MAX,
        aggregates.KEYS_MAX,
        slots.PENDING_MAX,
        aggregates.SPANS_MAX,
        aggregates.STREAK_DAYS_MAX,
    ]


def test_the_table_of_settings_has_every_setting_with_its_default() -> None:
    def shown(value: object) -> str:
        return "none" if value is None else f"{value:,}" if isinstance(value, int) else f"`{value}`"

    rows = _rows("operations.md", "Settings")
    defaults = {name: rest.split("|")[0].strip() for name, rest in rows.items()}
    assert defaults == {
        f"PROFILESTREAM_{name.upper()}": shown(field.default) for name, field in Settings.model_fields.items()
    }


def test_the_table_of_dead_letters_has_every_reason() -> None:
    assert set(_rows("operations.md", "Dead letters")) == set(REASONS)


def _commands(app: typer.Typer) -> set[str]:
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback is not None}
    return commands | {group.name for group in app.registered_groups if group.name}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_command_that_a_shell_snippet_runs_is_there(page: Path) -> None:
    known = _commands(build())
    for body in _fences(page, "sh"):
        for command in re.findall(r"\bprofilestream ([a-z][a-z-]*)", body):
            assert command in known, f"{page.name}: profilestream {command}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_path_on_the_map_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in re.findall(r"\b((?:[a-z_]+/)*[a-z_]+\.(?:py|lua))\b", text):
        places = (ROOT / "src" / "profilestream" / path, ROOT / path)
        assert any(place.exists() for place in places), path


def test_each_module_of_commands_adds_those_that_stand_beside_its_name() -> None:
    for name, commands in COMMANDS.items():
        app = typer.Typer()
        importlib.import_module(f"profilestream.cli.{name}").register(app)
        assert _commands(app) == set(commands)
        assert _commands(build(commands[0])) == set(commands)
