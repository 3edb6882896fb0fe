"""SIGTERM: what is in hand is finished within ten seconds, whatever the servers do; a second signal ends it at once."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration import shop
from tests.integration.proxy import Proxy
from tests.integration.store_server import free_port
from tests.integration.test_worker import profiles, running, total, wait_until

from profilestream.store.shard_store import SCRIPT_SHA

STOPPED_S_MAX = 10.0
COMMIT = SCRIPT_SHA.encode()


def stop(process: subprocess.Popen[str]) -> float:
    """Sends SIGTERM; how long it took to end with status 0."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    return time.monotonic() - began


@pytest.fixture
def proxy(servers: Any, cli_environment: dict[str, str]) -> Iterator[Proxy]:
    """What stands between the commands and Redis."""
    proxy = Proxy(int(servers.redis.rpartition(":")[2].partition("/")[0]))
    cli_environment["PROFILESTREAM_REDIS"] = f"redis://127.0.0.1:{proxy.port}/0"
    yield proxy
    proxy.close()


def said(workdir: Path, name: str = "*") -> str:
    return "".join(file.read_text() for file in sorted(workdir.glob(f"{name}-*.log")))


@pytest.mark.parametrize("delay_s", [0.05, 0.5], ids=["quick", "slow"])
def test_a_loaded_worker_and_emitter_end_in_time_and_nothing_is_lost_or_doubled(
    delay_s: float,
    servers: Any,
    proxy: Proxy,
    cli: Any,
    cli_environment: dict[str, str],
    namespace: str,
    workdir: Path,
) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    events = shop.purchases(20_000, customers=3_000)
    shop.put(servers.kafka, events)
    limits = {"PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "25"}
    proxy.delay_s = delay_s  # from the beginning, or all would be folded before it is stopped
    with (
        running({**cli_environment, **limits}, workdir, "worker", "--clock", "event") as worker,
        running(cli_environment, workdir, "emitter") as emitter,
    ):
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") > 0, "the first orders")
        time.sleep(0.2)
        took = stop(worker), stop(emitter)
        proxy.delay_s = 0.0
    print(f"worker and emitter ended after {took[0]:.1f} and {took[1]:.1f} s")
    assert max(took) < STOPPED_S_MAX
    folded = total(profiles(servers.redis, namespace), "orders")
    assert f"done: {folded:,} events" in said(workdir, "worker"), "what was in flight was waited for"
    assert folded < 20_000, "it was stopped in the middle"
    assert "Traceback" not in said(workdir)
    shop.catch_up(cli)
    cli("emitter", "--until-caught-up")
    shop.right(events, servers.redis, namespace)
    found = shop.crossings(servers.kafka, cli_environment["PROFILESTREAM_CHANGES_TOPIC"])
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", ["worker", "emitter"])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_second_signal_ends_it_at_once(
    name: str,
    second: signal.Signals,
    servers: Any,
    proxy: Proxy,
    cli: Any,
    cli_environment: dict[str, str],
    namespace: str,
    workdir: Path,
) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    shop.put(servers.kafka, shop.purchases(2_000))
    if name == "emitter":
        shop.catch_up(cli)
    with running(cli_environment, workdir, name) as process:
        if name == "worker":
            wait_until(lambda: total(profiles(servers.redis, namespace), "orders") > 0, "the first orders")
        else:
            wait_until(lambda: "announced" in said(workdir), "the first changes")
        proxy.hold(b"\r\n")
        shop.put(servers.kafka, shop.purchases(2_000, 2_000))
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in said(workdir), "the line that it stops")
        began = time.monotonic()
        process.send_signal(second)
        status = process.wait(30)
        took = time.monotonic() - began
    assert status in (0, -second), "it may have ended by itself just before"
    assert took < 5, took


def test_while_servers_are_awaited_it_ends_at_once(
    servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    shop.open_shop(servers.kafka, cli, workdir)
    nowhere = free_port()
    for variable, address in (
        ("PROFILESTREAM_REDIS", f"redis://127.0.0.1:{nowhere}/0"),
        ("PROFILESTREAM_KAFKA", f"127.0.0.1:{nowhere}"),
    ):
        for name in ("worker", "emitter"):
            with running({**cli_environment, variable: address}, workdir, name) as process:
                log = max(workdir.glob(f"{name}-*.log"))
                wait_until(lambda log=log: f"127.0.0.1:{nowhere}" in log.read_text(), "the line that it waits")
                time.sleep(0.5)
                assert stop(process) < STOPPED_S_MAX
    for line in said(workdir).splitlines():
        assert "Traceback" not in line
