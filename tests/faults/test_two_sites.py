"""Two tenants with a Moodle each, fed over HTTP: the trouble of one site delays nobody at the other."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.embedded.ports import free_port
from infra.simulators.moodle import Fault, MoodleState
from infra.simulators.moodle import serve as serve_moodle

pytestmark = [pytest.mark.integration, pytest.mark.faults]

HUB = (sys.executable, "-m", "infra.cli.main")
ROLES = ("api", "relay", "people", "references", "courses", "moodle-sink", "moodle-sink.north")
PATIENCE = 120.0
MAPPING = """
[tenants.acme]
target = "north"
[tenants.acme.sources.sis.user]
username = "acme{student_id}"
"""


async def until(condition: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}\n{tail(log)}"
        await asyncio.sleep(0.1)


def tail(log: Path) -> str:
    return log.read_text()[-3000:]


async def key_for(tenant: str, env: dict[str, str]) -> str:
    """Make an API key as an administrator does."""
    command = (*HUB, "keys", "create", f"sis of {tenant}", "--scope", "events", "--tenant", tenant)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=pipe)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().strip()


@asynccontextmanager
async def hub(env: dict[str, str], log: Path) -> AsyncIterator[None]:
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(*HUB, "run", *ROLES, env=env, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


class Sis:
    """A student system that pushes what changes."""

    def __init__(self, url: str, key: str, tenant: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}", "X-Tenant-ID": tenant}

    async def push(self, kind: str, *records: dict[str, Any]) -> list[str]:
        """Push and return the status of each record; waits until the hub listens."""
        deadline = time.monotonic() + PATIENCE
        async with aiohttp.ClientSession(headers=self._headers) as session:
            while True:
                try:
                    async with session.post(f"{self._url}/v1/events/sis/{kind}", json=records) as answer:
                        found = await answer.json()
                        assert answer.status == 200, found
                        return [one["status"] for one in found["results"]]
                except aiohttp.ClientConnectionError:
                    assert time.monotonic() < deadline, "the hub does not listen"
                    await asyncio.sleep(0.2)

    async def enrol(self, number: int) -> None:
        """Push a student, a term, a class, and the enrolment."""
        name = {"family_name": "SOK", "personal_name": f"DARA{number}"}
        student = {"id": number, "unique_id": f"u{number}", "student_id": number, **name}
        student["school_email"] = f"s{number}@example.test"
        await self.push("people", student)
        await self.push("terms", {"code": "T1"})
        course = {"id": 7, "course_code": "ACCT-301", "title": "Accounting", "section": "A"}
        await self.push("courses", course | {"time_of_day": "EVE", "term_code": "T1", "status": "ACTIVE"})
        enrolment = {"id": number, "person": number, "course": 7, "status": "ENROLLED"}
        await self.push("enrolments", enrolment)


def usernames(moodle: MoodleState) -> set[str]:
    return {user.username for user in moodle.users if user.idnumber}


async def test_a_broken_moodle_delays_only_its_own_tenant(
    kafka: str, registry_url: str, empty_database: str, topic_prefix: str, tmp_path: Path
) -> None:
    first, north, log, port = MoodleState(), MoodleState(), tmp_path / "hub.log", free_port()
    async with serve_moodle(first, 0) as first_url, serve_moodle(north, 0) as north_url:
        (tmp_path / "mapping.toml").write_text(MAPPING, "utf-8")
        site = {"url": north_url, "api_token": north.settings.token}
        env = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry_url,
            "DATABASE_URL": empty_database,
            "TOPIC_PREFIX": topic_prefix,
            "DATA_DIR": str(tmp_path / "data"),
            "MAPPING_FILE": str(tmp_path / "mapping.toml"),
            "MOODLE_URL": first_url,
            "MOODLE_API_TOKEN": first.settings.token,
            "MOODLE_SITES": json.dumps({"north": site}),
            "MOODLE_RATE_LIMIT_BASE_DELAY_MS": "50",
            "MOODLE_RATE_LIMIT_MAX_RETRIES": "1",
            "ELM_API_URL": "http://127.0.0.1:9/",
            "ELM_COMPLETION_API_URL": "http://127.0.0.1:9/",
            "API_PORT": str(port),
            "LOG_FORMAT": "json",
        }
        first.faults.add(Fault("database_down"))
        async with hub(env, log):
            url = f"http://127.0.0.1:{port}"
            here = Sis(url, await key_for("default", env), "default")
            there = Sis(url, await key_for("acme", env), "acme")
            await here.enrol(1)
            await there.enrol(2)
            await until(lambda: bool(north.enrolments), "the enrolment at the sound site", log)
            assert usernames(north) == {"acme2"}
            await until(lambda: "breaker_open" in log.read_text(), "the other site is known as broken", log)
            assert usernames(first) == set()
            await there.enrol(3)
            await until(lambda: len(north.enrolments) == 2, "one more while the other is broken", log)
            first.faults.clear()
            await until(lambda: bool(first.enrolments), "the enrolment at the mended site", log)
            assert usernames(first) == {"sis_00001"}
            assert {course.shortname for course in north.courses if course.idnumber} == {"ACCT-301-A-EVE-T1"}
