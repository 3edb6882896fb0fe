"""What tests against real servers share: the servers, a namespace of one's own, the command line.

Servers are, in this order: those named by PROFILESTREAM_TEST_KAFKA and PROFILESTREAM_TEST_REDIS; containers,
where a Docker engine runs; a Kafka and a Redis of `profilestream.local` in a temporary folder. They are
started when the first test asks for them and ended after the last.
"""

from __future__ import annotations

import importlib
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from profilestream import local
from profilestream.settings import Settings

_KAFKA_IMAGE = "confluentinc/cp-kafka:7.9.0"
_REDIS_IMAGE = "redis:7-alpine"
_CLI_TIMEOUT_S = 120


class Cli(Protocol):
    """Runs `profilestream` with these words; an exit status other than `expect` fails the test."""

    def __call__(
        self, *words: str, expect: int | None = 0, stdin: str | None = None, timeout_s: float = _CLI_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Servers]:
    """Addresses of a real Kafka and a real Redis, shared by the whole run."""
    kafka, redis = os.environ.get("PROFILESTREAM_TEST_KAFKA"), os.environ.get("PROFILESTREAM_TEST_REDIS")
    if bool(kafka) != bool(redis):
        pytest.fail("set both PROFILESTREAM_TEST_KAFKA and PROFILESTREAM_TEST_REDIS, or neither")
    if kafka and redis:
        yield local.Servers(kafka, redis)
    elif _docker_runs():
        with ExitStack() as stack:
            yield _containers(stack)
    else:
        directory = tmp_path_factory.mktemp("servers")
        try:
            yield local.up(directory)
        finally:
            local.down(directory, wipe=True)


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"t-{secrets.token_hex(4)}"


@pytest.fixture
def topic_name(namespace: str) -> Callable[[str], str]:
    """Gives a topic's name of one's own: `topic_name("purchases")` is `<namespace>-purchases`."""
    return lambda name: f"{namespace}-{name}"


@pytest.fixture
def own_settings(
    servers: local.Servers, namespace: str, topic_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings for these servers and this namespace; what profilestream writes has topics of its own."""
    for variable in [name for name in os.environ if name.startswith("PROFILESTREAM_")]:
        monkeypatch.delenv(variable)
    return Settings(kafka=servers.kafka, redis=servers.redis, namespace=namespace, **_own_topics(topic_name))


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one during the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli_environment(own_settings: Settings, topic_name: Callable[[str], str]) -> dict[str, str]:
    """The environment in which `profilestream` finds this test's servers, namespace and topics."""
    return {
        **_clean_environment(),
        "PROFILESTREAM_KAFKA": str(own_settings.kafka),
        "PROFILESTREAM_REDIS": str(own_settings.redis),
        "PROFILESTREAM_NAMESPACE": own_settings.namespace,
        # The least that every broker allows: a killed process is noticed sooner.
        "PROFILESTREAM_SESSION_TIMEOUT_MS": "6000",
        **{f"PROFILESTREAM_{name.upper()}": topic for name, topic in _own_topics(topic_name).items()},
    }


@pytest.fixture
def cli(cli_environment: dict[str, str], workdir: Path) -> Cli:
    """The command line on this test's servers, in `workdir`."""
    return _runner(cli_environment, workdir)


@pytest.fixture
def bare_cli(workdir: Path) -> Cli:
    """The command line in `workdir`, told of no servers."""
    return _runner(_clean_environment(), workdir)


def _runner(environment: Mapping[str, str], cwd: Path) -> Cli:
    def run(
        *words: str, expect: int | None = 0, stdin: str | None = None, timeout_s: float = _CLI_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "profilestream.cli.app", *words],
                cwd=cwd,
                env=dict(environment),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            for said in (late.stdout, late.stderr):  # bytes, whatever was asked for
                print(said.decode(errors="replace") if isinstance(said, bytes) else said)
            raise
        if expect is not None and done.returncode != expect:
            raise AssertionError(
                f"`profilestream {' '.join(words)}` ended with {done.returncode}, not {expect}\n"
                f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
            )
        return done

    return run


def _clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PROFILESTREAM_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "COLUMNS": "120"}


def _own_topics(topic_name: Callable[[str], str]) -> dict[str, Any]:
    fields = [name for name in Settings.model_fields if name.endswith("_topic")]
    return {name: topic_name(str(Settings.model_fields[name].default)) for name in fields}


def _docker_runs() -> bool:
    try:
        docker = importlib.import_module("docker")
        with ExitStack() as stack:
            client = docker.from_env(timeout=5)
            stack.callback(client.close)
            return bool(client.ping())
    except Exception:
        return False  # no package, no socket, no permission: whatever it is, there is no engine to use


def _containers(stack: ExitStack) -> local.Servers:
    kafka = _container("kafka").KafkaContainer(_KAFKA_IMAGE).with_kraft()
    for name, value in {
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_MESSAGE_MAX_BYTES": "2097152",
    }.items():
        kafka.with_env(name, value)
    redis = _container("redis").RedisContainer(_REDIS_IMAGE)
    redis.with_command("redis-server --appendonly yes --save '' --maxmemory-policy noeviction")
    stack.enter_context(kafka)
    stack.enter_context(redis)
    address = f"{redis.get_container_host_ip()}:{redis.get_exposed_port(6379)}"
    return local.Servers(kafka.get_bootstrap_server(), f"redis://{address}")


def _container(name: str) -> Any:
    try:
        return importlib.import_module(f"testcontainers.community.{name}")
    except ImportError:  # before testcontainers 4.15
        return importlib.import_module(f"testcontainers.{name}")
