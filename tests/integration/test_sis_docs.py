"""What the guide tells others to run does run, and prints what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from infra.db.connect import engine
from infra.embedded.ports import free_port
from infra.simulators.sis import seeded, write_csv
from producers.sis.routes import sis_routes
from producers.sis.rules import Rules
from producers.web import keys
from producers.web.routes import Scope
from producers.web.serve import Served, run_api
from producers.web.settings import WebSettings
from schemas.ids import TenantId

pytestmark = pytest.mark.integration

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "sis.md"
TENANT = TenantId("default")
SECONDS = 60


def blocks() -> list[tuple[str, str]]:
    """Give the code blocks of the guide: language and text."""
    return re.findall(r"```(\w+)\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)


def block(language: str, holding: str) -> str:
    (found,) = [text for kind, text in blocks() if kind == language and holding in text]
    return found


def run(script: str, folder: Path, environment: dict[str, str]) -> tuple[str, str]:
    """Run a block as a shell would; give standard output and error."""
    tools = str(Path(sys.executable).parent)
    given = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "LOG_LEVEL": "ERROR", **environment}
    command = ["bash", "-euc", script]
    done = subprocess.run(
        command, cwd=folder, env=given, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@contextmanager
def simulator() -> Iterator[dict[str, str]]:
    """Run the stand-in as the guide says; give the settings that lead to it."""
    command = [sys.executable, "-m", "infra.simulators.sis", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())
        try:
            yield {
                "https://sis.example.edu/oauth2/token": addresses["token"],
                "https://sis.example.edu": addresses["root"].partition("/ims")[0],
                "SIS_CLIENT_SECRET=...": "SIS_CLIENT_SECRET=sis-secret",
            }
        finally:
            process.terminate()


def flat(text: str) -> str:
    """Give the last line of what was printed, whatever the width it was wrapped to."""
    return " ".join(text.split())


def test_pull_and_import_print_what_the_guide_says(fresh_database: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": fresh_database, "COLUMNS": "200", "DATA_DIR": str(tmp_path / "data")}
    pull = block("sh", "hub pull sis")
    with simulator() as real:
        for written, actual in real.items():
            pull = pull.replace(written, actual)
        _, told = run(pull, tmp_path, environment)
    assert flat(block("text", "Run 1")) in flat(told)
    write_csv(seeded(), tmp_path / "export", "delta")
    _, told = run(block("sh", "hub import export"), tmp_path, environment)
    for line in block("text", "Checked").splitlines():
        assert line in flat(told)


def test_the_mapping_of_the_guide_reads_a_file(fresh_database: str, tmp_path: Path) -> None:
    (tmp_path / "columns.toml").write_text(block("toml", "model"), "utf-8")
    header = "No;Last name;First name;State;Born;Programs;Shift\n"
    rows = "1;KEÖ;SOPHEA;A;3.2.2004;BA/MBA;EVE\n2;LIM;DARA;X;;;\n"
    (tmp_path / "students.csv").write_text(header + rows, "cp1252")
    environment = {"DATABASE_URL": fresh_database, "COLUMNS": "200", "DATA_DIR": str(tmp_path / "data")}
    _, told = run(block("sh", "--mapping"), tmp_path, environment)
    assert flat(block("text", "Read 2 rows")) in flat(told)
    query = "SELECT content FROM source_records WHERE kind = 'person' ORDER BY record_id"
    with psycopg.connect(fresh_database) as connection:
        first, second = (row[0] for row in connection.execute(query).fetchall())
    assert (first["status"], first["majors"], first["shift"]) == ("ACTIVE", "BA,MBA", "EVE")
    assert (first["date_of_birth"], second["status"], second["role"]) == ("2004-02-03", "INACTIVE", "student")


def test_the_pushes_of_the_guide_are_answered_as_it_says(fresh_database: str, tmp_path: Path) -> None:
    pool = engine(fresh_database)
    plain, _ = keys.create(pool, "sis", [TENANT], [Scope.EVENTS])
    pool.dispose()
    settings = WebSettings(port=free_port())
    stop = threading.Event()
    server = threading.Thread(
        target=run_api, args=(settings, fresh_database, lambda _services: Served(sis_routes(Rules)), stop)
    )
    server.start()
    try:
        address = f"http://127.0.0.1:{settings.port}"
        answers_at(f"{address}/v1/health", tmp_path)
        environment = {"HUB_URL": address, "HUB_KEY": plain}
        printed, _ = run(block("sh", "curl"), tmp_path, environment)
    finally:
        stop.set()
        server.join(30)
    assert documents(printed) == documents(block("json", "results"))


def answers_at(address: str, folder: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while subprocess.run(["curl", "-sf", address], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.05)


def documents(text: str) -> list[object]:
    """Give the JSON documents that stand in ``text`` one after the other."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def test_the_stand_in_writes_its_export(tmp_path: Path) -> None:
    (line,) = [line for line in block("sh", "--write-csv").splitlines() if "--write-csv" in line]
    run(line, tmp_path, {"PYTHONPATH": str(GUIDE.parents[2])})
    assert (tmp_path / "export" / "manifest.csv").exists()
