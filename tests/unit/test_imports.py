"""Imports point one way, and each part knows only what it may. Every file is read, none is run."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import profilestream

ROOT = Path(profilestream.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

LAYERS = {
    "core": 0, "simulation": 0, "oracle": 0, "wire": 1, "store": 2, "stream": 2, "roles": 3, "pace": 3, "tools": 3,
    "due": 3, "archived": 3, "intake": 3, "aligning": 3, "repair": 3, "carrying": 3, "committing": 3, "beginning": 3,
    "updater": 3, "shard": 3, "assigned": 3, "generation_work": 3, "worker": 3, "emitter": 3, "operations": 4, "cli": 5,
}  # fmt: skip
"""cli -> operations -> (updater, worker, work, emitter) -> stream, store -> wire -> core."""


def part_of(file: Path) -> str:
    """The package or single module of the library that a file belongs to: `core`, `updater`."""
    first = file.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(file: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, by its absolute name."""
    return imports_in(file.read_text(encoding="utf-8"), ["profilestream", *file.relative_to(ROOT).parts[:-1]])


def imports_in(source: str, package: list[str]) -> set[str]:
    """The same for a module's source and the package that it is in."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from package import name`: the name may be a module, and it is the module that counts.
            found |= {f"{module}.{alias.name}" if _is_package(module) else module for alias in node.names}
    return found


def _is_package(module: str) -> bool:
    head, *rest = module.split(".")
    return head == "profilestream" and ROOT.joinpath(*rest).is_dir()


def own_parts(file: Path) -> set[str]:
    """The parts of the library that a file imports, its own among them."""
    return {name.split(".")[1] for name in imports(file) if name.startswith("profilestream.")}


def test_imports_are_found_in_every_form() -> None:
    source = """
import json, profilestream.stream.lanes
from profilestream.core import engine
from ..core.parser import Parser
from .. import local
from .values import encode_value
if TYPE_CHECKING:
    from profilestream.updater import Updater
def later():
    from ..store import keys
"""
    assert imports_in(source, ["profilestream", "wire"]) == {
        "json", "profilestream.stream.lanes", "profilestream.core.engine", "profilestream.core.parser",
        "profilestream.local", "profilestream.wire.values", "profilestream.updater", "profilestream.store.keys",
    }  # fmt: skip
    assert len(FILES) > 50


@pytest.mark.parametrize("file", [f for f in FILES if part_of(f) in LAYERS], ids=lambda f: str(f.relative_to(ROOT)))
def test_a_file_imports_only_from_its_own_layer_or_below(file: Path) -> None:
    part = part_of(file)
    above = {p for p in own_parts(file) if LAYERS.get(p, -1) > LAYERS[part]}
    assert not above, f"{part} reaches up to {', '.join(sorted(above))}"


def test_every_part_of_the_library_has_a_layer_or_stands_beside_them() -> None:
    assert {part_of(f) for f in FILES} - LAYERS.keys() <= {"__init__", "settings", "local"}


def test_the_core_imports_only_the_standard_library_and_msgspec() -> None:
    for file in FILES:
        if part_of(file) == "core":
            roots = {name.split(".")[0] for name in imports(file)}
            assert roots <= {*sys.stdlib_module_names, "msgspec", "profilestream"}, file.name
            assert own_parts(file) <= {"core"}, file.name


def test_the_oracle_shares_no_code_with_anything_it_is_held_against() -> None:
    for file in FILES:
        if part_of(file) == "oracle":
            roots = {name.split(".")[0] for name in imports(file)}
            assert roots <= {*sys.stdlib_module_names, "profilestream"}, file.name
            assert own_parts(file) <= {"oracle"}, file.name
        elif part_of(file) not in ("operations", "cli"):
            assert "oracle" not in own_parts(file), file.name


def test_the_core_reads_no_clock_and_does_no_input_or_output() -> None:
    outside = {"time", "asyncio", "socket", "logging", "os", "io", "pathlib", "random", "secrets", "threading"}
    for file in FILES:
        if part_of(file) == "core":
            assert not outside & imports(file), file.name


def test_no_files_import_one_another_in_a_circle_not_even_for_types() -> None:
    names = {".".join(["profilestream", *f.relative_to(ROOT).with_suffix("").parts]): f for f in FILES}
    modules = {name.removesuffix(".__init__"): file for name, file in names.items()}
    graph: dict[str, set[str]] = {}
    for name, file in modules.items():
        # What a package gives out under a name of its own comes from the package.
        graph[name] = {m if m in modules else m.rpartition(".")[0] for m in imports(file)} - {name}
    TopologicalSorter(graph).prepare()


def test_neither_of_store_and_stream_goes_round_in_a_circle_through_the_other() -> None:
    reached = {part: {p for f in FILES if part_of(f) == part for p in own_parts(f)} for part in ("store", "stream")}
    assert "stream" not in reached["store"]


def test_only_the_command_line_imports_local_servers_and_these_know_the_errors_alone() -> None:
    for file in FILES:
        if part_of(file) not in ("cli", "local"):
            assert "local" not in own_parts(file), file.name
        if part_of(file) == "local":
            own = {name for name in imports(file) if name.startswith("profilestream.")}
            assert {n for n in own if not n.startswith("profilestream.local")} <= {"profilestream.core.errors"}


def test_settings_are_known_from_store_and_stream_upwards_only() -> None:
    for file in FILES:
        if part_of(file) in ("core", "wire", "local"):
            assert "settings" not in own_parts(file), file.name
        if part_of(file) == "settings":
            assert own_parts(file) <= {"core"}


def test_every_file_of_tests_has_a_name_of_its_own() -> None:
    """In folders that are no packages pytest knows a file by its name alone: of two it collects one, and stops."""
    names = [file.name for file in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
