"""The guide of ELM: its commands run against the stand-ins, one after the other, and print what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.embedded.ports import free_port
from infra.settings import Settings, reference
from tests.integration.intake_support import until

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guides" / "elm.md").read_text("utf-8")
FIRST_POLL = "hub run --until-idle --json\n"
SECONDS = 300
"""A limit for one command, not a measure: the hub may start on a busy machine."""


def block(language: str, holding: str) -> str:
    """Give the one block of the guide in ``language`` that holds the text."""
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    (chosen,) = [str(text) for text in found if holding in text]
    return chosen


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the guide, with the stand-ins' addresses in place of the made-up ones."""

    folder: Path
    environment: dict[str, str]
    elm: str
    moodle: str

    def actual(self, text: str) -> str:
        text = text.replace("https://elm.example.org", self.elm).replace("=...", "=T")
        return text.replace("https://moodle.example.org", self.moodle)

    def run(self, script: str, status: int = 0, **more: str) -> tuple[str, str]:
        """Run a block after the guide's settings; give standard output and error."""
        command = ["bash", "-euc", self.actual(block("sh", "ELM_API_URL=") + script)]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr[-4000:]
        return done.stdout, done.stderr

    def query(self, statement: str) -> str:
        """Run a statement of SQL; give its rows as the guide writes them."""
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else [(cursor.rowcount,)]
        lines = [" | ".join("" if value is None else str(value) for value in row) for row in rows]
        return "".join(re.sub(r" +", " ", line) + "\n" for line in lines)


@contextmanager
def stand_in(name: str, ready: str) -> Iterator[str]:
    """Start a stand-in as the guide says, on a free port; give its address once it answers."""
    words = block("sh", f"infra.simulators.{name}").split()
    assert words[:2] == ["python", "-m"]
    port = str(free_port())
    words[words.index("--port") + 1] = port
    with subprocess.Popen([sys.executable, *words[1:]], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            until(lambda: answers(address + ready))
            yield address
        finally:
            process.terminate()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture
def reader(
    kafka: str, registry_url: str, empty_database: str, topic_prefix: str, tmp_path: Path
) -> Iterator[Reader]:
    known = {name for name, _, _ in reference()}
    clean = {name: value for name, value in os.environ.items() if name not in known}
    environment = clean | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "200",
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "SCHEMA_REGISTRY_URL": registry_url,
        "DATABASE_URL": empty_database,
        "TOPIC_PREFIX": topic_prefix,
        "TOPIC_PARTITIONS": "2",
        "DATA_DIR": str(tmp_path / "data"),
        "API_PORT": "0",
    }
    with ExitStack() as stack:
        elm = stack.enter_context(stand_in("elm", "/control/status"))
        moodle = stack.enter_context(stand_in("moodle", "/control/state"))
        yield Reader(tmp_path, environment, elm, moodle)


def holds(told: Any, expected: Any) -> bool:
    """Tell whether ``told`` has everything that ``expected`` names, and perhaps more."""
    if isinstance(expected, dict):
        return all(name in told and holds(told[name], value) for name, value in expected.items())
    if isinstance(expected, list):
        return len(told) == len(expected) and all(map(holds, told, expected))
    return bool(told == expected)


def assert_told(printed: str, expected: str) -> None:
    assert holds(json.loads(printed), json.loads(expected)), printed


@pytest.mark.integration
def test_the_commands_of_the_guide_print_what_it_says(reader: Reader) -> None:
    reader.run(block("sh", '"completion_opt_in"'))
    told, _ = reader.run(block("sh", "hub config check"))
    for line in block("text", "ELM feed").splitlines():
        assert line in told.splitlines()

    assert f"```sh\n{FIRST_POLL}```" in GUIDE
    told, tables = reader.run(FIRST_POLL)
    assert_told(told, block("json", '"completions_delivered": 0'))
    assert "32091" in tables
    assert reader.query(block("sql", "LIMIT 1")) == block("text", "SUCCESS")
    assert reader.query(block("sql", "invalid_records")) == block("text", "EMAIL")

    reader.run(block("sh", "control/faults"))
    assert reader.query(block("sql", "UPDATE")) == "1\n"
    told, tables = reader.run(block("sh", "ELM_IGNORED_COURSES='[]'"))
    assert_told(told, block("json", '"completions_delivered": 2'))
    assert "32099" in tables
    assert reader.query(block("sql", "DISTINCT")) == block("text", "FAILED")
    told, _ = reader.run(block("sh", "--data-urlencode"))
    assert_told(told, block("json", '"Complete"'))


@pytest.mark.integration
def test_a_wrong_release_or_field_name_shows_as_the_guide_says(reader: Reader) -> None:
    check = block("sh", "hub config check")
    (refused,) = re.findall(r"`(FAILS: the ELM feed .*?)`", GUIDE)
    (unusable,) = re.findall(r"`(answers, but .*?)`", GUIDE)
    (names,) = re.findall(r"`(\{.*?WORK_EMAIL.*?\})`", GUIDE)
    reader.run(block("sh", '"completion_opt_in"'))
    assert unusable in reader.run(check, ELM_FIELD_NAMES=names)[0]
    of_the_query = '{"USER_STATE": "STATE_OF_USER"}'
    assert refused in reader.run(check, status=4, ELM_FIELD_NAMES=of_the_query)[1]
    to_1_4 = f'curl -sS -X PATCH {reader.elm}/control/settings -d \'{{"feed": "1.4"}}\'\n'
    assert refused in reader.run(to_1_4 + check, status=4)[1]
    assert "ELM feed         answers\n" in reader.run("export ELM_FEED=1.4\n" + check)[0]


def test_the_guide_tells_of_every_setting_of_elm() -> None:
    settings = {name.upper() for name in Settings.model_fields if name.startswith("elm_")}
    told = set(re.findall(r"`(ELM_[A-Z_]+)`", GUIDE))
    assert settings == told
