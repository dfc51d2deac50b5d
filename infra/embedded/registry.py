"""The schema registry (Apicurio) on a database file of its own, with the Confluent API."""

from __future__ import annotations

import os
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from infra.embedded import jars, process
from infra.embedded.ports import HOST
from infra.embedded.process import Place

API = "/apis/ccompat/v7"


def start(place: Place, port: int, jar_folder: Path) -> None:
    """Start the registry and return with the JVM running, not yet ready.

    The build that is published on its own calls its storage in-memory; it is an H2 database, and H2 on a
    file, written through at every commit, keeps schemas and their ids over a restart and over a crash.

    Raises:
        EmbeddedError: Java is missing.
    """
    place.prepare()
    runner = next((jar_folder / "registry").glob("*-runner.jar"))
    database = f"jdbc:h2:file:{place.folder.resolve() / 'registry'};DB_CLOSE_ON_EXIT=FALSE;WRITE_DELAY=0"
    settings = {
        "quarkus.http.host": HOST,
        "quarkus.http.port": str(port),
        "quarkus.datasource.jdbc.url": database,
        "quarkus.datasource.jdbc.initial-size": "2",
        "quarkus.datasource.jdbc.min-size": "2",
        "quarkus.datasource.jdbc.max-size": "20",
    }
    flags = [f"-D{name}={value}" for name, value in settings.items()]
    java = [jars.program_path("java"), "-Xmx256m", "-XX:TieredStopAtLevel=1"]
    process.spawn(place, [*java, *flags, "-jar", str(runner)], os.environ)


def is_ready(port: int) -> bool:
    """Ask for the subjects, which reaches through to the storage."""
    connection = HTTPConnection(HOST, port, timeout=2.0)
    try:
        connection.request("GET", f"{API}/subjects")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
