"""The embedded services themselves, each test with its own, never those of the session."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.embedded import process, services
from infra.embedded.cluster import Cluster
from infra.embedded.errors import EmbeddedError
from infra.embedded.process import Place, State
from infra.embedded.services import KAFKA, POSTGRES, REGISTRY
from tests.services import START_SECONDS, guarded, temporary_folder

pytestmark = [pytest.mark.integration, pytest.mark.faults]

ONLY_POSTGRES = frozenset({POSTGRES})
ONLY_KAFKA = frozenset({KAFKA})


@pytest.fixture
def data() -> Iterator[Path]:
    with temporary_folder() as folder, guarded(folder, services.down):
        yield folder


def up(data: Path, only: frozenset[str] = services.ALL) -> services.Services:
    return services.up(data, only=only, deadline_seconds=START_SECONDS)


def pid_of(data: Path, name: str) -> int | None:
    return next(entry.pid for entry in services.status(data) if entry.name == name)


def states(data: Path) -> dict[str, State]:
    return {entry.name: entry.state for entry in services.status(data)}


def registry_call(url: str, method: str, path: str, body: object = None) -> object:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        headers = {"content-type": "application/json"}
        connection.request(method, parts.path + path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status == 200, content
        return content
    finally:
        connection.close()


def make_topic(bootstrap: str, topic: str, replication: int = 1) -> None:
    with AdminClient({"bootstrap.servers": bootstrap}) as admin:
        admin.create_topics([NewTopic(topic, 1, replication)])[topic].result(30)


def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error:
            failed.append(error)

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value, on_delivery=delivered)
    assert producer.flush(60) == 0
    assert failed == []


def consume(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        messages = consumer.consume(count, timeout=60)
        assert [message.error() for message in messages] == [None] * len(messages)
        return [message.value() for message in messages]
    finally:
        consumer.close()


def test_data_ids_and_ports_survive_a_restart(data: Path) -> None:
    schema = {"schema": '{"type": "record", "name": "Person", "fields": []}'}
    first = up(data)
    assert states(data) == {KAFKA: State.RUNNING, REGISTRY: State.RUNNING, POSTGRES: State.RUNNING}
    make_topic(first.kafka_bootstrap_servers, "people")
    produce(first.kafka_bootstrap_servers, "people", [b"one", b"two"])
    registry_call(first.schema_registry_url, "POST", "/subjects/other-value/versions", {"schema": '"int"'})
    made = registry_call(first.schema_registry_url, "POST", "/subjects/people-value/versions", schema)
    with psycopg.connect(first.database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")

    services.down(data)
    assert states(data) == {KAFKA: State.STOPPED, REGISTRY: State.STOPPED, POSTGRES: State.STOPPED}
    assert services.load(data) is None

    assert up(data) == services.load(data) == first
    assert consume(first.kafka_bootstrap_servers, "people", 2) == [b"one", b"two"]
    kept = registry_call(first.schema_registry_url, "GET", "/subjects/people-value/versions/latest")
    assert isinstance(kept, dict)
    assert isinstance(made, dict)
    assert kept["id"] == made["id"]
    with psycopg.connect(first.database_url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_up_again_starts_nothing_twice(data: Path) -> None:
    first = up(data, ONLY_POSTGRES)
    pid = pid_of(data, POSTGRES)
    assert up(data, ONLY_POSTGRES) == first
    assert pid_of(data, POSTGRES) == pid


def test_a_killed_broker_recovers_with_its_data(data: Path) -> None:
    bootstrap = up(data, ONLY_KAFKA).kafka_bootstrap_servers
    make_topic(bootstrap, "people")
    produce(bootstrap, "people", [b"acknowledged"])
    process.kill(Place(KAFKA, data))
    assert states(data)[KAFKA] is State.STALE
    assert services.load(data) is None

    assert up(data, ONLY_KAFKA).kafka_bootstrap_servers == bootstrap
    assert consume(bootstrap, "people", 1) == [b"acknowledged"]


def test_a_killed_postgres_recovers_though_its_pid_went_to_another_program(data: Path) -> None:
    url = up(data, ONLY_POSTGRES).database_url
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    pid = pid_of(data, POSTGRES)
    assert pid is not None
    server = psutil.Process(pid)
    helpers = server.children()
    server.kill()
    for ended in (server, *helpers):
        wait_for_the_end_of(ended.pid)
    lock = data / POSTGRES / "postmaster.pid"
    lock.write_text(lock.read_text().replace(str(pid), str(os.getppid()), 1))

    with psycopg.connect(up(data, ONLY_POSTGRES).database_url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_a_postgres_without_its_pid_file_is_replaced(data: Path) -> None:
    up(data, ONLY_POSTGRES)
    leftover = pid_of(data, POSTGRES)
    assert leftover is not None
    (data / "run" / "postgres.pid").unlink()
    with psycopg.connect(up(data, ONLY_POSTGRES).database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    wait_for_the_end_of(leftover)


def test_a_service_that_fails_names_its_log_and_takes_the_others_with_it(data: Path) -> None:
    storage = data / KAFKA / "log"
    storage.mkdir(parents=True)
    (storage / "meta.properties").write_text("version=1\nnode.id=99\ncluster.id=other\n")
    with pytest.raises(
        EmbeddedError, match=r"^kafka ended while it was starting; read .*logs/kafka\.log.*node"
    ) as caught:
        up(data)
    assert "\n" not in caught.value.message
    assert states(data) == {KAFKA: State.STOPPED, REGISTRY: State.STOPPED, POSTGRES: State.STOPPED}


def test_postgres_with_a_broken_data_folder_names_its_log(data: Path) -> None:
    (data / POSTGRES).mkdir(parents=True)
    (data / POSTGRES / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match=r"^postgres did not start; read .*logs/postgres\.log"):
        up(data, ONLY_POSTGRES)


def test_the_log_of_postgres_holds_no_values_of_rows(data: Path) -> None:
    with psycopg.connect(up(data, ONLY_POSTGRES).database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE people (email text UNIQUE)")
        connection.execute("INSERT INTO people VALUES ('someone@example.org')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO people VALUES ('someone@example.org')")
    log = (data / "logs" / "postgres.log").read_text()
    assert "duplicate key" in log
    assert "someone" not in log


def test_services_end_with_a_test_run_that_is_killed(data: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from infra.embedded import services;"
        "from tests.services import guarded\n"
        "data = Path(sys.argv[1])\n"
        "with guarded(data, services.down):\n"
        "    services.up(data, only=frozenset({'postgres'}), deadline_seconds=120)\n"
        "    print('up', flush=True)\n"
        "    time.sleep(120)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(data)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"up\n"
        pid = pid_of(data, POSTGRES)
        assert pid is not None
        run.send_signal(signal.SIGKILL)
    wait_for_the_end_of(pid)


def test_a_cluster_goes_on_without_one_broker(three_brokers: Cluster) -> None:
    bootstrap = three_brokers.bootstrap_servers
    make_topic(bootstrap, "people", replication=3)
    produce(bootstrap, "people", [b"before"])
    three_brokers.kill(1)
    produce(bootstrap, "people", [b"without"])
    three_brokers.restart(1, deadline_seconds=START_SECONDS)
    three_brokers.stop(2)
    produce(bootstrap, "people", [b"after"])
    assert consume(bootstrap, "people", 3) == [b"before", b"without", b"after"]


def wait_for_the_end_of(pid: int) -> None:
    deadline = time.monotonic() + 30
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"process {pid} goes on"
            time.sleep(0.05)
