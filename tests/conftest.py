"""Services for the whole session. Each is started when a test first asks for it, so unit tests start none."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import hypothesis
import pytest
import structlog

from infra.db.migrate import migrate
from infra.embedded.cluster import Cluster
from tests import services
from tests.databases import new_database

# How long an example takes says something of the machine, not of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_configure() -> None:
    """Let every JVM begin quickly: a broker of a few minutes has no time to gain by thorough compiling."""
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


@pytest.fixture(autouse=True)
def logging_as_at_first() -> Iterator[None]:
    """Take back how a command that ran in this process set up its log lines."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def embedded() -> Iterator[services.Embedded]:
    """Embedded services; a service is started at its first use and stopped with the session."""
    with services.embedded_services() as running:
        yield running


@pytest.fixture(scope="session")
def has_docker() -> bool:
    """Whether a Docker engine answers here."""
    return services.docker_answers()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """Bootstrap servers of one broker for the session; see `topic_prefix`."""
    with services.service("kafka", request) as address:
        yield address


@pytest.fixture(scope="session")
def registry_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a schema registry with the Confluent API."""
    with services.service("registry", request) as address:
        yield address


@pytest.fixture(scope="session")
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a PostgreSQL server that lets us make databases; see `fresh_database`, `empty_database`."""
    with services.service("postgres", request) as address:
        yield address


@pytest.fixture
def empty_database(database_url: str) -> Iterator[str]:
    """URL of an empty database of this test alone, dropped afterwards."""
    with new_database(database_url) as url:
        yield url


@pytest.fixture(scope="session")
def template(database_url: str) -> Iterator[str]:
    """Name of a database with all tables, to be copied: sooner done than to migrate each one."""
    with new_database(database_url) as url:
        migrate(url)
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def fresh_database(database_url: str, template: str) -> Iterator[str]:
    """URL of a database of this test alone that has all tables, dropped afterwards."""
    with new_database(database_url, template) as url:
        yield url


@pytest.fixture
def three_brokers() -> Iterator[Cluster]:
    """A fresh cluster of three brokers (replication 3, min.insync 2) whose brokers may be killed."""
    with services.three_broker_cluster() as cluster:
        yield cluster


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for the names of topics, groups and transactional ids of this test alone."""
    return f"t{uuid.uuid4().hex[:8]}."
