"""One Kafka node in KRaft mode, broker and controller in one JVM."""

from __future__ import annotations

import os
import socket
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.embedded import jars, process
from infra.embedded.ports import HOST
from infra.embedded.process import Place
from infra.settings import KafkaConfig

_HEAP = "-Xmx512m"
_LOG4J = """\
status = error
# Otherwise the log would end before the broker has.
shutdownHook = disable
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1.} %m%n
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
logger.config.name = org.apache.kafka.common.config
logger.config.level = WARN
logger.server.name = kafka.server.KafkaConfig
logger.server.level = WARN
logger.log.name = kafka.log
logger.log.level = WARN
logger.storage.name = org.apache.kafka.storage.internals
logger.storage.level = WARN
"""


@dataclass(frozen=True)
class Node:
    """One node of a cluster.

    Args:
        place: Its folder, log and pid file.
        id: Its number in the cluster, from 1.
        port: Where clients connect.
        controllers: Controller port by node id, of all nodes.
        cluster_id: The same in all nodes; 22 characters of URL-safe base64.
    """

    place: Place
    id: int
    port: int
    controllers: Mapping[int, int]
    cluster_id: str

    @property
    def address(self) -> str:
        """Host and port for clients."""
        return f"{HOST}:{self.port}"


def new_cluster_id() -> str:
    """Make a cluster id in the form that Kafka writes."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def single(place: Place, port: int, controller_port: int) -> Node:
    """Describe the only node of a cluster; its id is kept from the first start."""
    known = place.folder / "cluster_id"
    if not known.exists():
        place.folder.mkdir(parents=True, exist_ok=True)
        known.write_text(new_cluster_id())
    return Node(place, 1, port, {1: controller_port}, known.read_text().strip())


def start(node: Node, jar_folder: Path, deadline: float) -> None:
    """Format the storage the first time, start the node, and return with the JVM running, not yet ready.

    Raises:
        EmbeddedError: Java is missing or the storage could not be formatted; the message names the log.
    """
    place = node.place
    place.prepare()
    (place.folder / "log4j2.properties").write_text(_LOG4J)
    settings = place.folder / "server.properties"
    settings.write_text("".join(f"{name}={value}\n" for name, value in properties(node).items()))
    java = [
        jars.program_path("java"),
        f"-Dlog4j2.configurationFile={place.folder.resolve() / 'log4j2.properties'}",
        "-cp",
        f"{jar_folder / 'kafka'}/*",
    ]
    if not (place.folder / "log" / "meta.properties").exists():
        _format(node, java, settings, deadline)
    process.spawn(place, [*java[:1], _HEAP, *java[1:], "kafka.Kafka", str(settings.resolve())], os.environ)


def _format(node: Node, java: list[str], settings: Path, deadline: float) -> None:
    command = [*java[:1], "-XX:TieredStopAtLevel=1", *java[1:], "kafka.tools.StorageTool", "format"]
    command += [f"--cluster-id={node.cluster_id}", "--config", str(settings.resolve()), "--ignore-formatted"]
    left = max(1.0, deadline - time.monotonic())
    if not process.run_logged(command, node.place.log, seconds=left):
        raise process.failure(node.place, "could not format its storage")


def properties(node: Node) -> dict[str, str]:
    """Give the broker's settings: safe ones where data is at stake, quick ones where only waiting is."""
    count = len(node.controllers)
    replication, min_in_sync = ("3", "2") if count >= 3 else ("1", "1")
    voters = ",".join(f"{number}@{HOST}:{port}" for number, port in node.controllers.items())
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.id),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{node.address},CONTROLLER://{HOST}:{node.controllers[node.id]}",
        "advertised.listeners": f"PLAINTEXT://{node.address}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(node.place.folder.resolve() / "log"),
        "auto.create.topics.enable": "false",
        "default.replication.factor": replication,
        "min.insync.replicas": min_in_sync,
        "offsets.topic.replication.factor": replication,
        "offsets.topic.num.partitions": "6",
        "transaction.state.log.replication.factor": replication,
        "transaction.state.log.min.isr": min_in_sync,
        "transaction.state.log.num.partitions": "6",
        "share.coordinator.state.topic.replication.factor": replication,
        "share.coordinator.state.topic.min.isr": min_in_sync,
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        # A dead member or broker is missed in seconds, not in the default 45 or 9.
        "group.min.session.timeout.ms": "1000",
        "group.consumer.min.session.timeout.ms": "6000",
        "group.consumer.session.timeout.ms": "10000",
        "group.consumer.min.heartbeat.interval.ms": "500",
        "group.consumer.heartbeat.interval.ms": "1000",
        "broker.session.timeout.ms": "5000",
        "broker.heartbeat.interval.ms": "1000",
        # Expired transactions, compaction and deletion are seen by a test that waits a little.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "log.cleaner.backoff.ms": "1000",
        "log.retention.check.interval.ms": "5000",
        "log.segment.delete.delay.ms": "1000",
    }


def is_ready(address: str, expected: frozenset[int] = frozenset({1})) -> bool:
    """Ask a broker for metadata; ready is one that names all the nodes that are expected to live."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1.0):
            pass
        # No log of its own: that a starting broker refuses is no news.
        quiet: KafkaConfig = {
            "bootstrap.servers": address,
            "log_level": 0,
            "reconnect.backoff.max.ms": 200,
        }
        with AdminClient(quiet) as client:
            return expected <= client.list_topics(timeout=2.0).brokers.keys()
    except (OSError, KafkaException):
        return False
