"""Services for the whole session. Each is started when a test first asks for it, so unit tests start none."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import hypothesis
import psycopg
import pytest
import structlog

from infra.embedded.cluster import Cluster
from tests import services

# How long an example takes says something of the machine, not of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


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
    """URL of a PostgreSQL server that lets us make databases; see `fresh_database`."""
    with services.service("postgres", request) as address:
        yield address


@pytest.fixture
def fresh_database(database_url: str) -> Iterator[str]:
    """URL of an empty database of this test alone, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(database_url)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def three_brokers() -> Iterator[Cluster]:
    """A fresh cluster of three brokers (replication 3, min.insync 2) whose brokers may be killed."""
    with services.three_broker_cluster() as cluster:
        yield cluster


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for the names of topics, groups and transactional ids of this test alone."""
    return f"t{uuid.uuid4().hex[:8]}."
