"""`hub run` while an administrator unplugs what is around it: services, Moodle, ELM. Nothing may be lost."""

import asyncio
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.embedded import process, services
from infra.embedded.process import Place
from infra.simulators.elm import ElmState
from infra.simulators.elm import serve as serve_elm
from infra.simulators.elm.faults import Fault as ElmFault
from infra.simulators.moodle import MoodleState
from infra.simulators.moodle import serve as serve_moodle
from infra.simulators.moodle.faults import Fault
from infra.simulators.seed import SeedPlan, records
from infra.simulators.seed_oracle import expected
from tests.faults.test_whole_way import TOKEN, WAY, World, roles
from tests.services import START_SECONDS, guarded, temporary_folder

pytestmark = [pytest.mark.integration, pytest.mark.faults]

FIRST = 100
"""Records that the feed has from the beginning."""
FEED = list(records(SeedPlan(seed=7, records=300, courses=8, broken=0.02)))
COMMAND = (sys.executable, "-m", "infra.cli.main", "run", "--until-idle", "--json", "--timeout", "300")
PATIENCE = 120.0
"""Seconds in which the hub has to notice an outage, or to get over it; a busy machine is slow, not broken."""
QUICK = {
    "ELM_POLL_INTERVAL": "1",
    "MOODLE_CATALOGUE_INTERVAL": "1",
    "MOODLE_COMPLETION_INTERVAL": "1",
    "MOODLE_TIMEOUT": "2",
    "MOODLE_RATE_LIMIT_BASE_DELAY_MS": "50",
    "MOODLE_RATE_LIMIT_MAX_RETRIES": "1",
    "STOP_RETRY_INTERVAL": "1",
    "WATCHDOG_SECONDS": "11",  # a call to a broker that has just died may never return
    "API_PORT": "0",
    "LOG_FORMAT": "json",
}


@dataclass
class Trial:
    """A hub under way in its world, fed portion by portion.

    Attributes:
        hub: its supervisor.
        fed: number of records that ELM's feed has had so far.
    """

    world: World
    hub: asyncio.subprocess.Process
    fed: int

    def feed(self, count: int) -> None:
        """Let ``count`` more records appear in ELM's feed."""
        self.world.elm.append(FEED[self.fed : self.fed + count])
        self.fed += count

    async def caught_up(self) -> None:
        """Wait until Moodle is as the feed so far says."""
        wanted = expected(FEED[: self.fed]).active
        await self.until(lambda: self.world.active() == wanted, f"{self.fed} records in Moodle")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.hub.returncode is None, f"the hub ended before: {what}\n{self.tail()}"
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.tail()}"
            await asyncio.sleep(0.1)

    async def logged(self, role: str, event: str, text: str = "", since: int = 0) -> None:
        """Wait until ``role`` (or any, if empty) has logged ``event`` with ``text`` in it since ``since``."""

        def found() -> bool:
            return any(
                line.get("event") == event and role in line["role"] and text in json.dumps(line)
                for line in self.lines(since)
            )

        await self.until(found, f"{role} logs {event} {text}")

    def lines(self, since: int = 0) -> list[dict[str, Any]]:
        with self.world.log.open("rb") as log:
            log.seek(since)
            return [json.loads(line) for line in log if line.startswith(b'{"') and line.endswith(b"}\n")]

    def tail(self) -> str:
        return self.world.log.read_text()[-3000:]

    async def ask(self, role: str, path: str, method: str = "GET") -> tuple[int, str]:
        """Return status and text of the answer of the role's status port; its newest process counts."""

        def started() -> list[dict[str, Any]]:
            return [line for line in self.lines() if line["event"] == "role_started" and line["role"] == role]

        await self.until(lambda: bool(started()), f"{role} has started")
        port = started()[-1]["status_port"]
        return await asyncio.to_thread(_answer, f"http://127.0.0.1:{port}{path}", method)

    async def ended(self) -> dict[str, Any]:
        """Wait until the hub is idle and has ended; return its summary."""
        output, _ = await asyncio.wait_for(self.hub.communicate(), PATIENCE)
        assert self.hub.returncode == 0, self.tail()
        return dict(json.loads(output))

    def kill(self, *names: str) -> None:
        """End processes of the hub as `kill -9` does, so that new ones have to begin in the outage."""
        found = dict(roles(self.hub))
        for name in names:
            os.kill(found[name], signal.SIGKILL)

    def check(self, summary: dict[str, Any]) -> None:
        """Assert that everything is in its place, once."""
        wanted = expected(FEED)
        enrolled = Counter((row.userid, row.courseid) for row in self.world.moodle.enrolments)
        assert self.fed == len(FEED)
        assert self.world.active() == wanted.active
        assert set(self.world.accounts().values()) == {1}
        assert wanted.accounts <= set(self.world.accounts())
        assert set(enrolled.values()) == {1}
        assert self.world.finished()
        assert self.world.told() == Counter(self.world.finished())
        assert (summary["parked"], summary["conflicts"], summary["rejected"]) == (0, 0, 0)


def _answer(url: str, method: str) -> tuple[int, str]:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@asynccontextmanager
async def trial(env: dict[str, str], folder: Path, *some_roles: str) -> AsyncIterator[Trial]:
    """Run a hub, all roles or some, with Moodle and ELM around it, served here; it ends with the block."""
    moodle, elm = MoodleState(), ElmState(TOKEN, seed=FEED[:FIRST])
    async with serve_moodle(moodle, 0) as moodle_url, serve_elm(elm, 0) as server:
        env = QUICK | env | {
            "DATA_DIR": str(folder / "hub"),
            "MOODLE_URL": moodle_url,
            "MOODLE_API_TOKEN": moodle.settings.token,
            "ELM_API_URL": server.feed_url,
            "ELM_API_TOKEN": TOKEN,
            "ELM_COMPLETION_API_URL": server.completion_url,
        }  # fmt: skip
        world = World(moodle, elm, env, folder / "hub.log")
        world.open_courses(8)
        with world.log.open("ab") as log:
            hub = await asyncio.create_subprocess_exec(
                *COMMAND, *some_roles, env={**os.environ, **env}, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        try:
            yield Trial(world, hub, FIRST)
        finally:
            if hub.returncode is None:
                hub.terminate()
                await hub.communicate()


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder whose Kafka, registry and PostgreSQL run and may be stopped."""
    with temporary_folder() as folder, guarded(folder, services.down):
        services.up(folder, deadline_seconds=START_SECONDS)
        yield folder


async def stop(data: Path, name: str, how: signal.Signals = signal.SIGTERM) -> None:
    """Stop one service, as its administrator does."""
    await asyncio.to_thread(process.stop, Place(name, data), how, 30.0)


async def start(data: Path, *names: str) -> None:
    """Start services again, at the same addresses."""
    await asyncio.to_thread(services.up, data, only=frozenset(names), deadline_seconds=START_SECONDS)


async def test_services_go_away_and_come_back(data: Path, tmp_path: Path) -> None:
    found = services.load(data)
    assert found is not None
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": found.kafka_bootstrap_servers,
        "SCHEMA_REGISTRY_URL": found.schema_registry_url,
        "DATABASE_URL": found.database_url,
    }
    async with trial(env, tmp_path) as hub:
        assert await hub.ask("moodle-source", "/pause", "POST") == (200, "ok\n")  # so it cannot become idle
        await hub.caught_up()

        await stop(data, services.POSTGRES, signal.SIGINT)
        hub.feed(60)
        await hub.logged("elm-poll", "elm_poll_waits", "the database is away")
        await hub.logged("relay", "relay_waits", "the database is away")
        await start(data, services.POSTGRES)
        await hub.caught_up()

        await stop(data, services.REGISTRY)
        hub.kill("people", "courses", "moodle-sink")  # what they knew of the schemas is gone with them
        hub.feed(60)
        await hub.logged("people", "waiting", "schema registry")
        await start(data, services.REGISTRY)
        await hub.caught_up()

        assert hub.world.finish()
        await hub.ask("elm-sink", "/pause", "POST")
        await hub.ask("moodle-source", "/resume", "POST")
        await hub.logged("moodle-source", "moodle_observed", "COMPLETION")
        since = hub.world.log.stat().st_size
        # Killed: a lone broker that shuts down in order may skip the marks of a transaction; see the runbook.
        await stop(data, services.KAFKA, signal.SIGKILL)
        await stop(data, services.POSTGRES, signal.SIGINT)
        hub.feed(80)
        hub.kill("courses", "moodle-source", "relay")
        await hub.logged("", "kafka_client_error", since=since)
        assert not hub.world.told()
        await hub.ask("elm-sink", "/resume", "POST")
        await start(data, services.KAFKA, services.POSTGRES)
        hub.check(await hub.ended())


async def test_moodle_and_elm_in_trouble(
    kafka: str, registry_url: str, empty_database: str, topic_prefix: str, tmp_path: Path
) -> None:
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "SCHEMA_REGISTRY_URL": registry_url,
        "DATABASE_URL": empty_database,
        "TOPIC_PREFIX": topic_prefix,
    }
    async with trial(env, tmp_path, *WAY) as hub:
        await feed_in_trouble(hub)
        await completions_in_trouble(hub)
        for fault in MOODLE_FAULTS:
            await moodle_in_trouble(hub, fault)
        await token_revoked(hub)
        hub.check(await hub.ended())


MOODLE_FAULTS = (
    Fault("maintenance_cli"),
    Fault("maintenance_ui"),
    Fault("database_down"),
    Fault("bad_gateway"),
    Fault("too_many_requests", retry_after=2),
    Fault("connection_reset"),
    Fault("timeout_after_commit", ["core_user_create_users", "enrol_manual_enrol_users"], count=2),
    Fault("reset_after_commit", ["core_user_create_users", "enrol_manual_enrol_users"], count=2),
)


async def feed_in_trouble(hub: Trial) -> None:
    """The first polls fail in three ways, the last until it is mended."""
    elm = hub.world.elm
    for kind in ("status", "truncated"):
        elm.faults.add(ElmFault(kind=kind, endpoint="feed", count=1))
    elm.faults.add(ElmFault(kind="unauthorized", endpoint="feed"))
    for reason in ("http_503", "not_json", "unauthorised"):
        await hub.logged("elm-poll", "elm_poll_failed", reason)
    assert not hub.world.active()
    elm.faults.clear()
    await hub.caught_up()


async def completions_in_trouble(hub: Trial) -> None:
    """ELM fails, then cuts a connection after it has stored the completion; it gets over it by itself."""
    elm = hub.world.elm
    elm.faults.add(ElmFault(kind="status", status=500, endpoint="completion", method="POST", count=2))
    elm.faults.add(ElmFault(kind="reset_after_commit", endpoint="completion", method="POST", count=1))
    assert hub.world.finish()
    await hub.until(lambda: bool(hub.world.told()), "a completion is stored")
    await hub.ask("moodle-source", "/pause", "POST")  # so that the hub cannot become idle


async def moodle_in_trouble(hub: Trial, fault: Fault) -> None:
    """Moodle fails while records come; what they want is there as soon as it is well again."""
    moodle, since = hub.world.moodle, hub.world.log.stat().st_size
    moodle.faults.add(fault)
    hub.feed(20)
    await hub.logged("moodle-sink", "breaker_open", since=since)
    moodle.faults.clear()
    await hub.caught_up()


async def token_revoked(hub: Trial) -> None:
    """Both that use the token raise the alarm, keep everything, and go on when it is mended."""
    moodle = hub.world.moodle
    moodle.faults.add(Fault("token_revoked"))
    hub.feed(len(FEED) - hub.fed)
    await hub.ask("moodle-source", "/resume", "POST")
    await hub.logged("moodle-sink", "sink_stopped", "invalidtoken")
    await hub.logged("moodle-source", "moodle_source_stopped", "invalidtoken")
    code, reason = await hub.ask("moodle-sink", "/readyz")
    assert (code, "invalidtoken" in reason) == (503, True)
    status = json.loads((await hub.ask("moodle-sink", "/status"))[1])
    assert status["breaker"]["state"] in ("open", "half-open")
    metrics = (await hub.ask("moodle-sink", "/metrics"))[1].splitlines()
    alarms = [line for line in metrics if line.startswith('hub_alarm{role="moodle-sink')]
    assert [line.split()[-1] for line in alarms] == ["1.0"]
    moodle.faults.clear()
    await hub.caught_up()
    assert (await hub.ask("moodle-sink", "/readyz"))[0] == 200
