"""`hub config check` on real services and simulators: what answers, what does not, and what Moodle lacks."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, chdir
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli.main import app
from infra.settings import reference
from infra.simulators.elm import ElmState
from infra.simulators.elm import serve as serve_elm
from infra.simulators.moodle import Fault, MoodleState
from infra.simulators.moodle import Settings as MoodleSettings
from infra.simulators.moodle import serve as serve_moodle
from infra.simulators.sis import SisPlan, SisState, seeded
from infra.simulators.sis import serve as serve_sis
from infra.simulators.zoho.app import serve as serve_zoho
from infra.simulators.zoho.state import ZohoState

pytestmark = pytest.mark.integration
BAD_MAPPING = '[sources.sis.user]\nauth = "oauth2"\nusername = "{student_id|padd:5}"\n'
AWAY = "http://127.0.0.1:1"


@dataclass
class World:
    """All systems around the hub, and the settings that lead there."""

    moodle: MoodleState
    zoho: ZohoState
    sis: SisState
    env: dict[str, str]


async def check(env: dict[str, str], folder: Path, *options: str) -> tuple[int, dict[str, str]]:
    """Give the exit status, and what is told of each service; the command runs beside the simulators."""
    known = dict.fromkeys(name for name, _, _ in reference())
    with chdir(folder):
        run = partial(CliRunner().invoke, app, ["config", "check", *options], env=known | env)
        result = await asyncio.to_thread(run, catch_exceptions=False)
    lines = [line for line in result.output.splitlines() if not line.startswith("{")]
    return result.exit_code, {line[:16].strip(): line[16:].strip() for line in lines}


@pytest.fixture
async def world(kafka: str, registry_url: str, empty_database: str, tmp_path: Path) -> AsyncIterator[World]:
    # The sort of site that Moodle's own recordings show: it lacks two functions of groups.
    moodle, zoho = MoodleState(MoodleSettings(recorded_service=True)), ZohoState()
    sis, elm = seeded(SisPlan(students=3)), ElmState("right")
    async with AsyncExitStack() as stack:
        moodle_url = await stack.enter_async_context(serve_moodle(moodle, 0))
        feed = await stack.enter_async_context(serve_elm(elm, 0))
        crm = await stack.enter_async_context(serve_zoho(zoho))
        roster = await stack.enter_async_context(serve_sis(sis))
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry_url,
            "DATABASE_URL": empty_database,
            "DATA_DIR": str(tmp_path),
            "MOODLE_URL": moodle_url,
            "MOODLE_API_TOKEN": moodle.settings.token,
            "MOODLE_RATE_LIMIT_MAX_RETRIES": "0",
            "ELM_API_URL": feed.feed_url,
            "ELM_API_TOKEN": "right",
            "ELM_COMPLETION_API_URL": feed.completion_url,
            "ZOHO_ACCOUNTS_URL": crm.base_url,
            "ZOHO_API_URL": crm.base_url,
            "ZOHO_CLIENT_ID": zoho.client_id,
            "ZOHO_CLIENT_SECRET": zoho.client_secret,
            "ZOHO_REFRESH_TOKEN": zoho.refresh_token,
            "SIS_URL": roster.base_url,
            "SIS_TOKEN_URL": roster.token_url,
            "SIS_CLIENT_ID": sis.credentials.client_id,
            "SIS_CLIENT_SECRET": sis.credentials.client_secret,
        }
        yield World(moodle, zoho, sis, env)


def without(env: dict[str, str], *prefixes: str) -> dict[str, str]:
    return {name: value for name, value in env.items() if not name.startswith(prefixes)}


async def test_every_service_is_reached(world: World, tmp_path: Path) -> None:
    world.moodle.settings.recorded_service = False
    code, told = await check(world.env, tmp_path)
    assert code == 0, told
    assert told == {
        "settings": "right",
        "mapping file": "not set, the built-in rules hold",
        "Kafka": "answers, 1 broker(s)",
        "Schema registry": "answers",
        "PostgreSQL": told["PostgreSQL"],
        "Moodle": "answers, all functions are allowed (for elm, sis, zoho)",
        "ELM feed": "answers",
        "ELM completions": "answers",
        "Zoho": "answers",
        "SIS": "answers",
    }
    assert told["PostgreSQL"].startswith("answers, PostgreSQL ")


async def test_what_is_not_set_is_said_and_harms_nothing(world: World, tmp_path: Path) -> None:
    code, told = await check(without(world.env, "ZOHO", "SIS", "ELM_COMPLETION"), tmp_path)
    assert code == 0, told
    assert (told["Zoho"], told["SIS"]) == ("not set", "not set")
    assert told["ELM completions"] == "not set: completions wait"
    # The functions of groups are not allowed, but nobody wishes for groups now.
    assert told["Moodle"] == "answers, all functions are allowed (for elm)"


async def test_each_service_that_fails_is_named_with_the_reason(world: World, tmp_path: Path) -> None:
    wrong = {
        "SCHEMA_REGISTRY_URL": AWAY,
        "ELM_API_TOKEN": "wrong",
        "ZOHO_CLIENT_SECRET": "wrong",
        "SIS_CLIENT_SECRET": "wrong",
    }
    code, told = await check(world.env | wrong, tmp_path)
    assert code == 4
    assert {name for name, words in told.items() if words.startswith("FAILS")} == {
        "Schema registry",
        "Moodle",
        "ELM feed",
        "ELM completions",
        "Zoho",
        "SIS",
    }
    assert told["Kafka"] == "answers, 1 broker(s)"
    assert "(unauthorised)" in told["ELM feed"]
    assert "HTTP 401" in told["ELM completions"]
    assert "ZOHO_CLIENT_SECRET" in told["Zoho"]
    assert "(token_refused)" in told["SIS"]
    assert told["Moodle"] == (
        "FAILS: the service lacks the functions core_group_get_group_members, core_group_update_groups "
        "(for elm, sis, zoho; in use: categories, course_updates, groups, unenrolment)"
    )
    assert "wrong" not in " ".join(told.values())


@pytest.mark.parametrize(
    ("given", "name", "words"),
    [
        ({"ZOHO_REFRESH_TOKEN": ""}, "Zoho", "FAILS: ZOHO_REFRESH_TOKEN not set"),
        ({"ZOHO_API_URL": AWAY}, "Zoho", "FAILS: Zoho's CRM gives no answer (unreachable)"),
        ({"SIS_URL": AWAY}, "SIS", "FAILS: the SIS gave no page (unreachable)"),
        ({"SIS_URL": "", "SIS_CLIENT_ID": ""}, "SIS", "FAILS: set SIS_URL and SIS_TOKEN_URL, "),
        (
            {"ELM_FIELD_NAMES": '{"USER_STATE": "STATE"}'},
            "ELM feed",
            "FAILS: the ELM feed gave no page (http_400)",
        ),
    ],
)
async def test_half_of_the_settings_or_a_wrong_address_fail(
    world: World, tmp_path: Path, given: dict[str, str], name: str, words: str
) -> None:
    world.moodle.settings.recorded_service = False
    code, told = await check(world.env | given, tmp_path)
    assert code == 4
    assert told[name].startswith(words)
    assert [one for one, words in told.items() if words.startswith("FAILS")] == [name]


async def test_a_record_of_the_feed_that_cannot_be_used_is_told(world: World, tmp_path: Path) -> None:
    env = without(world.env, "ZOHO", "SIS")
    elm = ElmState("right")
    elm.append([{"record_enrol_id": 1, "USER_STATE": "ACTIVE", "ENROLMENT_ID": 7, "COURSE_IDENTIFIER": "x"}])
    async with serve_elm(elm, 0) as feed:
        code, told = await check(env | {"ELM_API_URL": feed.feed_url}, tmp_path)
    assert code == 0
    assert told["ELM feed"].startswith("answers, but its first record cannot be used: COURSE_IDENTIFIER ")


async def test_each_moodle_site_is_asked_for_what_it_needs(world: World, tmp_path: Path) -> None:
    """The first site needs groups and lacks their functions, `north` does not; `south` is in maintenance."""
    south = MoodleState()
    south.faults.add(Fault("maintenance_cli"))
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        '[tenants.acme]\ntarget = "north"\n[tenants.acme.sources.sis.enrolment]\ngroups = false\n'
        '[tenants.other]\ntarget = "south"\n',
        "utf-8",
    )
    async with serve_moodle(south, 0) as south_url:
        token = world.moodle.settings.token
        sites = {
            "north": {"url": world.env["MOODLE_URL"], "api_token": token},
            "south": {"url": south_url, "api_token": south.settings.token},
        }
        more = {"MAPPING_FILE": str(mapping), "MOODLE_SITES": json.dumps(sites)}
        code, told = await check(world.env | more, tmp_path)
    assert code == 4
    assert told["mapping file"] == "right, rules for 2 tenant(s)"
    assert "core_group_get_group_members" in told["Moodle"]
    assert told["Moodle north"] == "answers, all functions are allowed (for elm, sis, zoho)"
    assert told["Moodle south"].startswith("FAILS: Moodle cannot answer now")


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        (BAD_MAPPING, "WRONG: mapping.toml, line 3: sources.sis.user.username: "),
        ("[sources.sis\n", "WRONG: mapping.toml: "),
        ('[tenants.acme]\ntarget = "north"\n', "WRONG: the mapping file names the Moodle site north; "),
        (None, "WRONG: "),
    ],
)
async def test_a_wrong_mapping_file_is_a_wrong_setting_offline_too(
    tmp_path: Path, mapping: str | None, reason: str
) -> None:
    file = tmp_path / "mapping.toml"
    if mapping is not None:
        file.write_text(mapping, "utf-8")
    for options in (["--offline"], []):
        code, told = await check({"MAPPING_FILE": str(file)}, tmp_path, *options)
        assert code == 2
        assert told["mapping file"].startswith(reason)
        assert list(told) == ["settings", "mapping file"]


async def test_offline_reaches_nothing(tmp_path: Path) -> None:
    code, told = await check(
        {"MOODLE_URL": AWAY, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, tmp_path, "--offline"
    )
    assert (code, list(told)) == (0, ["settings", "mapping file"])
    assert not (tmp_path / ".rosterhub").exists()
