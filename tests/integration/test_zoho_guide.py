"""The guide of Zoho: its commands run and print what it says, its tables are those of the code."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra.cli.pull_zoho import pull_zoho, since_of
from infra.simulators.zoho.app import serve
from infra.simulators.zoho.seed import ZohoPlan
from infra.simulators.zoho.seed import records as seeded
from infra.simulators.zoho.state import ZohoState
from producers.zoho import records
from tests.integration.intake_support import rows
from tests.integration.zoho_support import crm_settings, identity_of, parked, serving

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "zoho.md").read_text("utf-8")


def table(kind: records.Kind) -> list[str]:
    """Give the lines that the guide must have for a kind."""
    lines = [f"### {kind.name} (module `{kind.module}`)"]
    for field in kind.fields:
        names = ", ".join(f"`{name}`" for name in field.names)
        lines.append(f"| {field.name} | {names} |{' required ' if field.required else ' '}|")
    return lines


@pytest.mark.parametrize("kind", records.KINDS.values(), ids=records.KINDS)
def test_the_tables_of_the_guide_are_those_of_the_code(kind: records.Kind) -> None:
    section = GUIDE[GUIDE.index(f"### {kind.name} ") :].split("\n### ", 2)
    own = f"### {section[1]}" if section[0] == "" else section[0]
    assert [line for line in table(kind) if line not in own.splitlines()] == []


@pytest.mark.integration
async def test_the_commands_of_the_guide_print_what_it_says(empty_database: str) -> None:
    blocks = re.findall(r"```sh\n(.*?)```(?:\n\n```json\n(.*?)```)?", GUIDE, re.DOTALL)
    assert len(blocks) == 4
    async with serving(empty_database) as client:
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HUB_URL": str(client.make_url("")).rstrip("/"),
            "HUB_KEY": client.session.headers["X-API-Key"],
            "ZOHO_WEBHOOK_SECRET": "hush",
        }
        for command, expected in blocks:
            process = await asyncio.create_subprocess_exec(
                "sh",
                "-euc",
                command,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await asyncio.wait_for(process.communicate(), 60)
            assert (process.returncode, err) == (0, b"")
            told: Any = json.loads(out)
            if expected:
                assert without_hash(told) == without_hash(json.loads(expected))
            else:
                assert told["status"] == "healthy"
        deadline = asyncio.get_running_loop().time() + 20
        while parked(empty_database):  # the class of the webhook was what the enrolment waited for
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.02)
    assert rows(empty_database, "SELECT count(*) FROM outbox WHERE topic = 'hub.enrolments'") == [(1,)]


def without_hash(told: Any) -> Any:
    return {name: value for name, value in told.items() if name != "idempotency_key"}


@pytest.mark.integration
async def test_the_pulls_of_the_guide_run(empty_database: str, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [line.split()[4:] for line in GUIDE.splitlines() if line.startswith("$ hub pull zoho")]
    assert len(commands) == 2
    async with serve(ZohoState(seeded(ZohoPlan(students=5)))) as crm:
        for words in commands:
            options = dict(zip(words[::2], words[1::2], strict=True))
            modules = [options["--module"]] if "--module" in options else []
            code = await asyncio.to_thread(
                pull_zoho,
                crm_settings(crm),
                empty_database,
                identity_of,
                modules=modules,
                since=options.get("--since"),
            )
            assert code == 0
    assert "success" in capsys.readouterr().out
    assert rows(empty_database, "SELECT count(*) FROM source_runs WHERE state = 'SUCCESS'") == [(2,)]


def test_a_time_without_zone_is_utc() -> None:
    found = since_of("2026-01-31T08:00:00")
    assert found is not None
    assert found.isoformat() == "2026-01-31T08:00:00+00:00"
