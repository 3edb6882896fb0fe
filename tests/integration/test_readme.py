"""README.md is run as it stands: its files are saved, its commands are typed in order, its outputs compared.

docs/generations.md goes on where it ends, and is run there.

Blocks of `console` hold commands (`$ `) and what they print, where `...` stands for anything. Blocks with a file's
name behind their language are that file. Blocks of `sh` are for a fresh clone and are not run here.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from profilestream import local

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text("utf-8")
GENERATIONS = (ROOT / "docs" / "generations.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(\w*)(?: ([\w.-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND_S_MAX = 120


class Block(NamedTuple):
    language: str
    file: str
    text: str


class Typed(NamedTuple):
    command: str
    output: str


def blocks() -> list[Block]:
    """README's, and before the last, which stops the servers, those of the page that goes on from there."""
    *readme, last = [Block(*found) for found in _BLOCK.findall(README)]
    return [*readme, *(Block(*found) for found in _BLOCK.findall(GENERATIONS)), last]


def typed(console: str) -> list[Typed]:
    """The commands of a console block, each with the output shown below it."""
    found: list[Typed] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            found.append(Typed(line[2:], ""))
        else:
            found[-1] = found[-1]._replace(output=f"{found[-1].output}{line}\n")
    return found


def matches(shown: str, printed: str) -> bool:
    """Whether the output is what is shown; `...` is any text, on a line of its own any lines."""
    pattern = re.escape(shown).replace(r"\.\.\.", ".*")
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    if (tmp_path / "worker.pid").exists():  # what is typed ends it, if it comes so far
        with suppress(ProcessLookupError):
            os.kill(int((tmp_path / "worker.pid").read_text()), signal.SIGKILL)
    local.down(tmp_path / local.DEFAULT_DIRECTORY, wipe=True)


def test_what_readme_says_is_what_happens(folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROFILESTREAM_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    ran = 0
    for block in blocks():
        if block.file:
            (folder / block.file).write_text(block.text, "utf-8")
        for command, shown in typed(block.text) if block.language == "console" else ():
            done = subprocess.run(
                command,
                shell=True,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_COMMAND_S_MAX,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            assert matches(shown, done.stdout), f"{command}\n--- shown\n{shown}\n--- printed\n{done.stdout}"
            ran += 1
    assert ran == len(re.findall(r"^\$ ", README + GENERATIONS, re.MULTILINE)) > 20
    assert local.status(folder / local.DEFAULT_DIRECTORY) is None


def test_an_output_that_differs_from_the_shown_one_is_noticed() -> None:
    assert matches("a ...\n", "a b c\n")
    assert matches("first\n...\nlast\n", "first\n2\n3\nlast\n")
    assert not matches("a ...\n", "b\n")
    assert not matches("first\nlast\n", "first\n2\nlast\n")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_in_readme_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists(), f"README.md links to {target}, which is not there"
