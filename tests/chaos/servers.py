"""A Kafka and a Redis of a chaos run's own, to be killed, started again and set back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Any, Literal

import redis
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from profilestream.local.kafka import Kafka
from profilestream.local.ports import choose
from tests.integration.store_server import program, wait_for

BACKUPS_MAX = 12
Begin = Literal["its log", "a dump", "nothing"]


class Broker:
    """One node in KRaft mode on the same data from start to start."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._server = Kafka(folder)

    def start(self) -> str:
        """Its address, once it serves."""
        return self._server.start()

    def kill(self) -> None:
        self._server.kill()

    def freeze(self) -> None:
        """It holds its connections and answers nothing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, what: signal.Signals) -> None:
        if (pid := self._server.pid) is not None:
            os.kill(pid, what)


class Store:
    """A Redis that appends to a log, flushed once a second, and of which dumps are taken now and then."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        (self._port,) = choose([None])
        self._process: subprocess.Popen[bytes] | None = None
        self._backups: deque[Path] = deque()
        self._count = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    @property
    def backups(self) -> int:
        return len(self._backups)

    def client(self) -> Any:
        return redis.Redis(port=self._port, protocol=2, decode_responses=True, socket_timeout=5)

    def start(self, begin: Begin = "nothing", age: int = 0) -> None:
        """Begins with the log, with the dump that is `age` dumps older than the newest, or empty."""
        if begin != "its log":
            (self._folder / "appendonly.aof").unlink(missing_ok=True)
            shutil.rmtree(self._folder / "appendonlydir", ignore_errors=True)
            (self._folder / "dump.rdb").unlink(missing_ok=True)
        if begin == "a dump":
            shutil.copy(self._backups[-1 - min(age, len(self._backups) - 1)], self._folder / "dump.rdb")
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program(),
                    *("--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""),
                    *("--appendonly", "no" if begin == "a dump" else "yes", "--appendfsync", "everysec"),
                    *("--maxmemory-policy", "noeviction"),
                ],
                stdout=log,
                start_new_session=True,
            )
        wait_for(self._answers, seconds_max=60)
        if begin == "a dump":
            with self.client() as client:
                client.config_set("appendonly", "yes")
                wait_for(lambda: not _rewriting(client), seconds_max=60)

    def kill(self) -> None:
        """As a crash would: what was not flushed to the log is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It holds its connections and answers nothing."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def back_up(self) -> None:
        """Takes a dump and keeps it; of old ones the last dozen."""
        with self.client() as client:
            client.save()
        self._count += 1
        kept = self._folder / f"backup-{self._count}.rdb"
        shutil.copy(self._folder / "dump.rdb", kept)
        self._backups.append(kept)
        if len(self._backups) > BACKUPS_MAX:
            self._backups.popleft().unlink()

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, "Redis ended while it was starting"
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            time.sleep(0.05)
            return False


def _rewriting(client: Any) -> bool:
    info = client.info("persistence")
    return bool(info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])


async def make_topic(kafka: str, name: str, partitions: int) -> None:
    """An event topic that is there before `init`, with a number of partitions of its own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        config = {"retention.ms": "-1", "message.timestamp.type": "LogAppendTime"}
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config)])
    finally:
        await admin.close()
