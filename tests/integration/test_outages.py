"""Servers that are away or slow for a while: one line, bounded work meanwhile, and work resumes by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration import shop
from tests.integration.proxy import Proxy
from tests.integration.test_worker import profiles, running, total, wait_until

from profilestream.local import Kafka

AWAY_S = 8.0
STOPPED_S_MAX = 10.0


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A Kafka of these tests' own, to be frozen and killed."""
    kafka = Kafka(tmp_path_factory.mktemp("kafka"))
    kafka.start()
    yield kafka
    kafka.kill()


@pytest.fixture
def kafka(own_kafka: Kafka, cli_environment: dict[str, str]) -> Kafka:
    cli_environment["PROFILESTREAM_KAFKA"] = str(own_kafka.address)
    return own_kafka


@pytest.fixture
def proxy(servers: Any, cli_environment: dict[str, str]) -> Iterator[Proxy]:
    """What stands between the commands and Redis."""
    proxy = Proxy(int(servers.redis.rpartition(":")[2].partition("/")[0]))
    cli_environment["PROFILESTREAM_REDIS"] = f"redis://127.0.0.1:{proxy.port}/0"
    yield proxy
    proxy.close()


def said(workdir: Path, name: str = "*") -> str:
    return "".join(file.read_text() for file in sorted(workdir.glob(f"{name}-*.log")))


def lines(workdir: Path, name: str) -> list[str]:
    """What a command says besides its counters."""
    quiet = ("folding generation", "announced ", "done: ", "stopping")
    return [x for x in said(workdir, name).splitlines() if not x.startswith(quiet) and " events, " not in x]


def test_a_kafka_that_is_away_is_said_once_by_each_and_work_resumes(
    kafka: Kafka,
    servers: Any,
    cli: Any,
    cli_environment: dict[str, str],
    namespace: str,
    workdir: Path,
) -> None:
    address = str(kafka.address)
    shop.open_shop(address, cli, workdir)
    events = shop.purchases(3_000)
    shop.put(address, events[:1_000])
    changes = cli_environment["PROFILESTREAM_CHANGES_TOPIC"]
    with (
        running(cli_environment, workdir, "worker", "--clock", "event") as worker,
        running(cli_environment, workdir, "emitter") as emitter,
    ):
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 1_000, "1,000 orders")
        wait_until(lambda: "announced" in said(workdir, "emitter"), "changes")
        pid = kafka.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        wait_until(lambda: f"Kafka at {address}" in said(workdir, "worker"), "the worker's line")
        wait_until(lambda: f"Kafka at {address}" in said(workdir, "emitter"), "the emitter's line")
        print(f"noticed after {time.monotonic() - began:.1f} s")
        time.sleep(max(0.0, AWAY_S - (time.monotonic() - began)))
        os.kill(pid, signal.SIGCONT)
        shop.put(address, events[1_000:])
        wait_until(lambda: total(profiles(servers.redis, namespace), "orders") == 3_000, "3,000 orders")
        wait_until(lambda: len(lines(workdir, "worker")) >= 2, "the worker's line that it is over")
        wait_until(lambda: len(lines(workdir, "emitter")) >= 2, "the emitter's line that it is over")
        time.sleep(2)
        assert (worker.poll(), emitter.poll()) == (None, None)
        for name in ("worker", "emitter"):
            heard = lines(workdir, name)
            assert len(heard) == 2 and heard[0].startswith(f"Kafka at {address}"), heard
    cli("emitter", "--until-caught-up")
    shop.right(events, servers.redis, namespace)
    found = shop.crossings(address, changes)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", ["worker", "emitter"])
def test_with_kafka_frozen_sigterm_still_ends_it_in_time(
    name: str, kafka: Kafka, servers: Any, cli: Any, cli_environment: dict[str, str], namespace: str, workdir: Path
) -> None:
    address = str(kafka.address)
    shop.open_shop(address, cli, workdir)
    shop.put(address, shop.purchases(20_000, customers=3_000))
    if name == "emitter":
        shop.catch_up(cli)
    limits = {"PROFILESTREAM_COMMIT_CUSTOMERS_MAX": "25"}
    with running({**cli_environment, **limits}, workdir, name) as process:
        if name == "worker":
            wait_until(lambda: total(profiles(servers.redis, namespace), "orders") > 0, "the first orders")
        else:
            wait_until(lambda: "announced" in said(workdir, name), "the first changes")
        pid = kafka.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(1)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            took = time.monotonic() - began
        finally:
            os.kill(pid, signal.SIGCONT)
    print(f"{name} ended after {took:.1f} s")
    assert took < STOPPED_S_MAX
    assert "Traceback" not in said(workdir)
