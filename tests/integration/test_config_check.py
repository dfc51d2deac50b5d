"""`hub config check` on real services and simulators: what answers, what does not, and what Moodle lacks."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from infra.simulators.elm import ElmState
from infra.simulators.elm import serve as serve_elm
from infra.simulators.moodle import Fault, MoodleState
from infra.simulators.moodle import serve as serve_moodle

pytestmark = pytest.mark.integration


async def check(env: dict[str, str]) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "infra.cli.main",
        "config",
        "check",
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_every_service_is_reached_and_what_is_missing_is_named(
    kafka: str, registry_url: str, fresh_database: str, tmp_path: Path
) -> None:
    moodle = MoodleState()
    async with serve_moodle(moodle, 0) as moodle_url, serve_elm(ElmState("right"), 0) as elm:
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry_url,
            "DATABASE_URL": fresh_database,
            "DATA_DIR": str(tmp_path),
            "MOODLE_URL": moodle_url,
            "MOODLE_API_TOKEN": moodle.settings.token,
            "ELM_API_URL": elm.feed_url,
            "ELM_API_TOKEN": "right",
            "ELM_COMPLETION_API_URL": elm.completion_url,
        }
        code, output = await check(env)
        assert code == 0, output
        assert [line.split("  ")[0] for line in output.splitlines()] == [
            "settings",
            "Kafka",
            "Schema registry",
            "PostgreSQL",
            "Moodle",
            "ELM feed",
        ]

        code, output = await check(
            env | {"ELM_API_TOKEN": "wrong", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}
        )
        assert code == 4
        assert "ELM feed         FAILS" in output
        assert "Schema registry  FAILS" in output
        assert "Moodle           answers" in output

        moodle.faults.add(Fault("maintenance_cli"))
        code, output = await check(env | {"MOODLE_RATE_LIMIT_MAX_RETRIES": "0"})
        assert code == 4
        assert "Moodle           FAILS" in output
