"""A Kafka of one node in KRaft mode, from its jars."""

from __future__ import annotations

import base64
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping

from profilestream.core.errors import ServerUnavailable
from profilestream.local import java, packages
from profilestream.local.server import Report, Server

_JVM = (
    "-Xms128m",
    "-Xmx512m",
    # As Kafka's own scripts have it. On one core Java would choose a collector that stops everybody for 0.2 s.
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExitOnOutOfMemoryError",  # else it would stay, and serve nobody
    "-Dlog4j2.configurationFile=log4j2.properties",
)
_FORMAT_TIMEOUT_S = 60
_ANSWER_TIMEOUT_S = 2

# Relative paths: the server runs in its folder, whose name may hold anything, and which may be moved.
_SETTINGS = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs=data

# One node: every internal topic has one copy, and few partitions.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# Topics are made by `profilestream init`; a mistyped name is an error.
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
# After a crash the node is let in again when the session of its predecessor has passed.
broker.session.timeout.ms=3000
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
message.max.bytes=2097152
replica.fetch.max.bytes=2097152
# Progress of a project that was laid aside for months is still there.
offsets.retention.minutes=525600

# Small.
num.network.threads=2
num.io.threads=4
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
"""

_LOGGING = """\
status=error
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName=kafka.log
appender.file.filePattern=kafka.log.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=[%d] %p %m (%c)%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=2
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
"""


class Kafka(Server):
    """The local Kafka of a folder; its address is a bootstrap server, `127.0.0.1:port`."""

    name = "kafka"
    port_names = ("client", "controller")
    start_timeout_s = 90.0  # after a crash it reads its log again
    stop_timeout_s = 30.0

    def _prepare(self, ports: Mapping[str, int], report: Report) -> list[str]:
        program = java.find()
        jars = packages.kafka_jars(report)
        (self.folder / "server.properties").write_text(_SETTINGS.format_map(ports))
        (self.folder / "log4j2.properties").write_text(_LOGGING)
        base = [program, *_JVM, "-cp", ":".join(str(jar) for jar in jars)]
        self._format(base, report)
        return [*base, "kafka.Kafka", "server.properties"]

    def _format(self, java_command: list[str], report: Report) -> None:
        """Give an empty data folder its cluster id; what an interrupted attempt left is cleared first."""
        mark = self.folder / "cluster-id"
        if mark.exists():
            return
        report("Preparing kafka's data folder")
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        cluster_id = _cluster_id()
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", "server.properties"]
        with self.log.open("ab") as output:
            try:
                done = subprocess.run(
                    [*java_command, *tool],
                    cwd=self.folder,
                    stdout=output,
                    stderr=output,
                    timeout=_FORMAT_TIMEOUT_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ServerUnavailable(f"kafka's data folder cannot be prepared: {error}") from None
        if done.returncode != 0:
            raise ServerUnavailable(f"kafka's data folder cannot be prepared. {self._log_end()}")
        mark.write_text(cluster_id + "\n")

    def _answers(self, port: int) -> bool:
        return _brokers(port) > 0


def _cluster_id() -> str:
    while True:
        # Kafka's own form of a UUID; one that begins like a flag would be taken for one.
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not cluster_id.startswith("-"):
            return cluster_id


def _brokers(port: int) -> int:
    """How many brokers a metadata response lists (Metadata v1, of no topic).

    The port is open a while before the controller lets the broker serve; only then is it listed. Asked here
    in plain sockets, since a client library would log every refused attempt.
    """
    request = struct.pack(">hhihi", 3, 1, 1, -1, 0)
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = b""
        while len(answer) < 12:  # size, correlation id, number of brokers
            chunk = connection.recv(4096)
            if not chunk:
                return 0
            answer += chunk
    return int(struct.unpack_from(">i", answer, 8)[0])
