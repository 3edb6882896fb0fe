"""The programs of docs/subscribing.md are run as they stand there."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.integration.subscribing import announce, change

from profilestream.settings import Settings
from profilestream.stream.changes import ReceivedChange
from profilestream.stream.topics import Admin

PAGE = (Path(__file__).parent.parent.parent / "docs" / "subscribing.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python ([\w.]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "text"), PROGRAMS, ids=[name for name, _ in PROGRAMS])
async def test_a_program_prints_changes_ends_at_sigterm_and_goes_on_behind_them(
    name: str, text: str, own_settings: Settings, cli_environment: Mapping[str, str], workdir: Path
) -> None:
    (workdir / name).write_text(text, "utf-8")
    kafka, topic = str(own_settings.kafka), own_settings.changes_topic
    async with Admin(kafka) as admin:
        await admin.create(topic, 2, {})
    for crossing in (1, 2):
        await announce(kafka, topic, 2, [change("c1", crossing)])
        printed, status = await asyncio.to_thread(first_line, [sys.executable, name], cli_environment, workdir)
        entered = "entered" if crossing == 1 else "exited"
        assert printed == f"2026-01-31T09:30:00.00{crossing}Z c1 {entered} big_spender {{'orders': {crossing}}}\n"
        assert status == 0


def first_line(words: list[str], environment: Mapping[str, str], workdir: Path) -> tuple[str, int]:
    with subprocess.Popen(words, cwd=workdir, env=dict(environment), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        printed = child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        return printed + child.stdout.read(), child.wait(timeout=60)


def test_there_is_a_program() -> None:
    assert len(PROGRAMS) >= 1


def test_the_table_of_a_change_has_every_attribute() -> None:
    table = PAGE.split("\n## A change\n", 1)[1].split("\n## ", 1)[0]
    first_cells = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    shown = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert shown == {*ReceivedChange.__struct_fields__, "id", "time"}
