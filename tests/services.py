"""The services behind the session fixtures: named by the environment, else by Docker, else embedded."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.embedded import cluster, services

# A busy machine is slow, not broken.
START_SECONDS = 120
KAFKA_IMAGE = "apache/kafka:4.3.1"
REGISTRY_IMAGE = "apicurio/apicurio-registry-mem:2.6.13.Final"
POSTGRES_IMAGE = "postgres:18"

# Takes the services down when the test run ends in a way that runs no fixture, such as kill -9: the
# pipe then closes, whatever happened to its other end.
_GUARD = """
import importlib, shutil, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_IGN)
module = importlib.import_module(sys.argv[1])
sys.stdin.read()
module.down(Path(sys.argv[2]))
shutil.rmtree(sys.argv[2], ignore_errors=True)
"""


class Embedded:
    """Embedded services of one test session, started one by one as they are asked for."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def address(self, name: str) -> str:
        """Start the service if it does not run yet and give its address."""
        services.up(self._data, only=frozenset({name}), deadline_seconds=START_SECONDS)
        return next(entry.address for entry in services.status(self._data) if entry.name == name)


@contextmanager
def embedded_services() -> Iterator[Embedded]:
    """Give embedded services in a temporary folder that end with the block, however that is left."""
    # Not pytest's own temporary folder: that one is closed to the account PostgreSQL runs as.
    with temporary_folder() as data, guarded(data, services.down):
        yield Embedded(data)


@contextmanager
def three_broker_cluster() -> Iterator[cluster.Cluster]:
    """Give a cluster of three brokers that ends with the block, however that is left."""
    with temporary_folder() as data, guarded(data, cluster.down):
        yield cluster.up(data, deadline_seconds=START_SECONDS)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder for data."""
    with tempfile.TemporaryDirectory(prefix="rosterhub-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def guarded(data: Path, down: Callable[[Path], None]) -> Iterator[None]:
    """Call `down` with the data folder and remove it at the end, even when this process is killed."""
    command = [sys.executable, "-c", _GUARD, down.__module__, str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            yield
        finally:
            guard.communicate()


def docker_answers() -> bool:
    """Ask whether a Docker engine answers, without its client, which leaves sockets open on a failure."""
    try:
        with _docker_socket() as engine:
            engine.settimeout(3)
            engine.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in engine.recv(64)
    except OSError:
        return False


def _docker_socket() -> socket.socket:
    where = urlsplit(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    if where.scheme != "unix":
        return socket.create_connection((where.hostname or "localhost", where.port or 2375), timeout=3)
    engine = socket.socket(socket.AF_UNIX)
    try:
        engine.connect(where.path)
    except OSError:
        engine.close()
        raise
    return engine


@contextmanager
def docker_kafka() -> Iterator[str]:
    """Run Kafka in a container and give its bootstrap servers."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    from infra.embedded.ports import free_port

    # The project's own Kafka version, for which the library's KafkaContainer has no start script. A
    # broker tells clients its address, so the port outside has to be known before it starts.
    port = free_port()
    container = (
        DockerContainer(KAFKA_IMAGE)
        .with_bind_ports(9092, port)
        .with_env("KAFKA_NODE_ID", "1")
        .with_env("KAFKA_PROCESS_ROLES", "broker,controller")
        .with_env("KAFKA_LISTENERS", "PLAINTEXT://:9092,CONTROLLER://:9093")
        .with_env("KAFKA_ADVERTISED_LISTENERS", f"PLAINTEXT://127.0.0.1:{port}")
        .with_env("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER")
        .with_env("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT")
        .with_env("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093")
        .with_env("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1")
        .with_env("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1")
        .with_env("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1")
        .with_env("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
        .with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        .waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    )
    with container:
        yield f"127.0.0.1:{port}"


@contextmanager
def docker_registry() -> Iterator[str]:
    """Run the schema registry in a container and give the URL of its Confluent API."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    container = DockerContainer(REGISTRY_IMAGE).with_exposed_ports(8080)
    container.waiting_for(HttpWaitStrategy(8080, "/apis/ccompat/v7/subjects"))
    with container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(8080)
        yield f"http://{host}:{port}/apis/ccompat/v7"


@contextmanager
def docker_postgres() -> Iterator[str]:
    """Run PostgreSQL in a container and give the URL of its database."""
    from testcontainers.community.postgres import PostgresContainer

    with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
        yield container.get_connection_url()


DOCKER = {"kafka": docker_kafka, "registry": docker_registry, "postgres": docker_postgres}
VARIABLES = {
    "kafka": "KAFKA_BOOTSTRAP_SERVERS",
    "registry": "SCHEMA_REGISTRY_URL",
    "postgres": "DATABASE_URL",
}


@contextmanager
def service(name: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the address of a service: from the environment, else from Docker, else embedded."""
    if address := os.environ.get(VARIABLES[name]):
        yield address
    elif request.getfixturevalue("has_docker"):
        with DOCKER[name]() as address:
            yield address
    else:
        embedded: Embedded = request.getfixturevalue("embedded")
        yield embedded.address(name)
