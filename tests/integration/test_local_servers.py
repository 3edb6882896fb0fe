"""A real Kafka and a real Redis from packages alone, as `profilestream local` runs them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from profilestream import local

START = """
import sys
from profilestream import local
local.up(__import__("pathlib").Path(sys.argv[1]), lambda line: print(line, flush=True))
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of local servers; its name holds what upsets careless programs."""
    folder = tmp_path_factory.mktemp("local") / "a folder, [with] 'signs'"
    yield folder
    local.down(folder, wipe=True)


@pytest.fixture
def up(directory: Path) -> local.Servers:
    return local.up(directory)


def pids(directory: Path) -> list[int | None]:
    return [local.Kafka(directory).pid, local.RedisServer(directory).pid]


def processes_in(directory: Path) -> list[int]:
    """Every process, of whomever, that works in the folder, by the kernel's own list."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(directory) in os.readlink(entry / "cwd"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


async def produce(kafka: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def values(kafka: str, topic: str) -> list[bytes]:
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        return [(await consumer.getone()).value for _ in range(end)]
    finally:
        await consumer.stop()


async def create(kafka: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()


async def test_what_was_written_is_there_after_a_crash_and_after_a_stop(directory: Path, up: local.Servers) -> None:
    client = redis.Redis.from_url(up.redis)
    client.set("kept", "1")
    client.close()
    await asyncio.sleep(1.5)  # the append-only log is flushed once a second
    await create(up.kafka, "kept")
    await produce(up.kafka, "kept", b"1")
    assert local.Kafka(directory).kill()
    assert local.RedisServer(directory).kill()
    assert local.status(directory) is None
    assert local.up(directory) == up
    await produce(up.kafka, "kept", b"2")
    assert local.down(directory)
    assert local.up(directory) == up
    assert await values(up.kafka, "kept") == [b"1", b"2"]
    client = redis.Redis.from_url(up.redis)
    assert client.get("kept") == b"1"
    client.close()


async def test_a_transaction_is_committed_on_one_node(up: local.Servers) -> None:
    await create(up.kafka, "transactions")
    producer: Any = AIOKafkaProducer(bootstrap_servers=up.kafka, transactional_id="one")
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send_and_wait("transactions", b"1", partition=0)
    finally:
        await producer.stop()


def test_a_second_up_finds_what_runs(directory: Path, up: local.Servers) -> None:
    before = pids(directory)
    assert local.up(directory) == up
    assert pids(directory) == before


@pytest.mark.parametrize("server", [local.Kafka, local.RedisServer])
def test_where_one_of_both_runs_the_other_is_started(
    directory: Path, up: local.Servers, server: type[local.Kafka | local.RedisServer]
) -> None:
    before = pids(directory)
    server(directory).stop()
    assert local.up(directory) == up
    after = pids(directory)
    assert [old == new for old, new in zip(before, after, strict=True)].count(True) == 1


def test_redis_keeps_all_it_was_told_and_refuses_rather_than_forgets(up: local.Servers) -> None:
    client = redis.Redis.from_url(up.redis, decode_responses=True)
    config: dict[str, str] = client.config_get("*")  # type: ignore[assignment]
    client.close()
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["bind"] == "127.0.0.1"


def test_the_servers_listen_on_this_machine_only(directory: Path, up: local.Servers) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("asks /proc")
    record = json.loads((directory / "kafka" / "server.json").read_text())
    ports = {*record["ports"].values(), int(up.redis.rpartition(":")[2])}
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if line.split()[3] == "0A" and int(port, 16) in ports:
                listening.add((int(port, 16), address))
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert {port for port, _ in listening} == ports
    assert {address for _, address in listening} <= loopback


def test_the_servers_outlive_the_command_that_started_them_and_nothing_outlives_down(
    tmp_path: Path, bare_cli: Any, up: local.Servers, directory: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / ".profilestream"
    request.addfinalizer(lambda: local.down(folder, wipe=True))
    assert json.loads(bare_cli("local", "up", "--json").stdout)["kafka"].startswith("127.0.0.1:")
    status = json.loads(bare_cli("local", "status", "--json").stdout)
    assert set(status) == {"kafka", "redis"}
    assert status["redis"].startswith("redis://127.0.0.1:")
    assert status["kafka"] != up.kafka, "two folders have servers side by side"
    assert (folder / ".gitignore").exists()
    assert len(processes_in(folder)) == 2

    bare_cli("local", "down")
    assert processes_in(folder) == []
    assert (folder / "kafka" / "data").exists()
    done = bare_cli("local", "status", expect=1)
    assert done.stdout == ""
    assert "No server runs in .profilestream" in done.stderr

    bare_cli("local", "down", "--wipe")
    assert not folder.exists()
    assert local.status(directory) == up


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="lists processes by /proc")
@pytest.mark.parametrize("moment", ["Preparing kafka", "Starting kafka", "Starting redis"])
def test_ctrl_c_while_starting_leaves_nothing_running(tmp_path: Path, moment: str) -> None:
    folder = tmp_path / "interrupted"
    command = subprocess.Popen([sys.executable, "-c", START, str(folder)], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    for line in command.stdout:
        if line.startswith(moment):
            break
    time.sleep(0.2 if moment != "Starting redis" else 0)
    command.send_signal(signal.SIGINT)
    command.wait(60)
    command.stdout.close()
    if moment != "Starting redis" or command.returncode != 0:  # Redis may have been faster than the signal
        assert processes_in(folder) == []
    local.down(folder, wipe=True)
    assert processes_in(folder) == []


def test_a_start_that_fails_names_the_log_and_shows_its_end(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(lambda: local.down(tmp_path, wipe=True))
    local.Kafka(tmp_path).start()
    local.Kafka(tmp_path).stop()
    properties = tmp_path / "kafka" / "data" / "meta.properties"
    properties.write_text(properties.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(Exception, match="ended while it was starting") as raised:
        local.up(tmp_path)
    assert str(tmp_path / "kafka" / "kafka.log") in str(raised.value)
    assert "node" in str(raised.value)
    assert processes_in(tmp_path) == []
