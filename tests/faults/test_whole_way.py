"""`hub run` on real services: ELM to Moodle and back, undisturbed and under `kill -9`."""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.simulators.elm import ElmServer, ElmState
from infra.simulators.elm import serve as serve_elm
from infra.simulators.moodle import AutoCompletion, MoodleState, Seed, SeedCourse, auto_complete, seed
from infra.simulators.moodle import serve as serve_moodle
from infra.simulators.seed import SeedPlan, courses, records
from infra.simulators.seed_oracle import expected

pytestmark = [pytest.mark.integration, pytest.mark.faults]

TOKEN = "a token of the test"
PLAN = SeedPlan(seed=7, records=600, courses=8, broken=0.02)
ACTIVE = 0
HUB = (sys.executable, "-m", "infra.cli.main", "run")
COMMAND = (*HUB, "--until-idle", "--json", "--timeout", "240")
SHARED = ("people", "courses", "completions", "moodle-sink", "elm-sink", "relay", "elm-poll")
SECOND = (*HUB, *SHARED, "--slot", "b")
QUICK = {"ELM_POLL_INTERVAL": "1", "MOODLE_CATALOGUE_INTERVAL": "1", "MOODLE_COMPLETION_INTERVAL": "1"}


@dataclass
class World:
    """The systems around the hub, and how the hub is run on them."""

    moodle: MoodleState
    elm: ElmState
    env: dict[str, str]
    log: Path

    async def run(self, *command: str, **env: str) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(command or COMMAND),
                env={**os.environ, **self.env, **env},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )

    @asynccontextmanager
    async def second_hub(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a second hub with its own folder, as on another machine; it ends in order with the block."""
        process = await self.run(*SECOND, DATA_DIR=self.env["DATA_DIR"] + "-b")
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()

    async def until_idle(self) -> dict[str, Any]:
        process = await self.run()
        output, _ = await process.communicate()
        assert process.returncode == 0, self.log.read_text()[-4000:]
        return dict(json.loads(output))

    def open_courses(self, count: int) -> None:
        there = {course.idnumber for course in self.moodle.courses}
        rows = [
            SeedCourse(
                shortname=course.shortname,
                fullname=course.long_name,
                idnumber=str(course.identifier),
                completion_opt_in=course.completion_opt_in,
            )
            for course in courses(PLAN.seed, count)
            if str(course.identifier) not in there
        ]
        seed(self.moodle, Seed(courses=rows))

    def active(self) -> set[tuple[str, int]]:
        people = {user.id: user.idnumber for user in self.moodle.users}
        places = {course.id: course.idnumber for course in self.moodle.courses}
        rows = [row for row in self.moodle.enrolments if row.status == ACTIVE]
        return {(people[row.userid], int(places[row.courseid])) for row in rows}

    def accounts(self) -> Counter[str]:
        return Counter(user.idnumber for user in self.moodle.users if user.idnumber and not user.deleted)

    def told(self) -> Counter[tuple[str, str]]:
        return Counter((str(row["GUID"]), str(row["COURSE_IDENTIFIER"])) for row in self.elm.completed())

    def finished(self) -> set[tuple[str, str]]:
        people = {user.id: user.idnumber for user in self.moodle.users}
        places = {course.id: course.idnumber for course in self.moodle.courses}
        rows = [row for row in self.moodle.completions if row.timecompleted]
        return {(people[row.userid], places[row.courseid]) for row in rows}

    def finish(self) -> set[tuple[str, str]]:
        people = {user.id: user.idnumber for user in self.moodle.users}
        places = {course.id: course.idnumber for course in self.moodle.courses}
        made = auto_complete(self.moodle, AutoCompletion(share=0.4))
        return {(people[row.userid], places[row.courseid]) for row in made}


@pytest.fixture
async def world(
    kafka: str, registry_url: str, fresh_database: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[World]:
    moodle, elm = MoodleState(), ElmState(TOKEN, seed=records(PLAN))
    async with serve_moodle(moodle, 0) as moodle_url, _elm(elm) as server:
        env = QUICK | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry_url,
            "DATABASE_URL": fresh_database,
            "TOPIC_PREFIX": topic_prefix,
            "DATA_DIR": str(tmp_path / "data"),
            "MOODLE_URL": moodle_url,
            "MOODLE_API_TOKEN": moodle.settings.token,
            "ELM_API_URL": server.feed_url,
            "ELM_API_TOKEN": TOKEN,
            "ELM_COMPLETION_API_URL": server.completion_url,
            "ELM_COMPLETION_API_TOKEN": TOKEN,
            "LOG_FORMAT": "json",
        }
        yield World(moodle, elm, env, tmp_path / "hub.log")


@asynccontextmanager
async def _elm(state: ElmState) -> AsyncIterator[ElmServer]:
    async with serve_elm(state, 0) as server:
        yield server


async def test_enrolments_reach_moodle_and_completions_elm(world: World) -> None:
    wanted = expected(records(PLAN))
    last = courses(PLAN.seed, PLAN.courses)[-1].identifier

    world.open_courses(PLAN.courses - 1)
    first = await world.until_idle()
    assert world.active() == {pair for pair in wanted.active if pair[1] != last}
    assert first["parked"] == len([pair for pair in wanted.active | wanted.suspended if pair[1] == last]) > 0
    assert first["records_new"] > 0
    assert first["records_invalid"] >= len(wanted.invalid) > 0
    assert first["users_created"] == len(world.accounts())

    world.open_courses(PLAN.courses)
    finished = world.finish()
    assert finished
    second = await world.until_idle()
    assert second["parked"] == 0
    assert second["users_created"] == second["records_new"] == 0
    assert world.active() == wanted.active
    assert second["enrolments_active"] == len(wanted.active)
    assert world.told() == Counter(finished)
    assert second["completions_delivered"] == len(finished)

    before = {name: counter.calls for name, counter in world.moodle.calls.counters.items()}
    third = await world.until_idle()
    assert (third["records_new"], third["records_updated"], third["completions_delivered"]) == (0, 0, 0)
    called = {
        name for name, counter in world.moodle.calls.counters.items() if counter.calls > before.get(name, 0)
    }
    assert called <= {
        "core_course_get_courses",
        "core_reportbuilder_list_reports",
        "core_reportbuilder_retrieve_report",
    }
    log = world.log.read_text()
    assert "@" not in "".join(line for line in log.splitlines() if line.startswith("{")), (
        "an address in a log"
    )


async def test_killed_processes_of_two_hubs_lose_nothing_and_do_nothing_twice(world: World) -> None:
    world.open_courses(PLAN.courses)
    wanted = expected(records(PLAN))
    chaos = Chaos(random.Random(number := random.randrange(1_000_000)), number)
    first = await world.run()
    async with world.second_hub() as second:
        await chaos.kill([first, second], 12)
        async with asyncio.timeout(120):
            while len(world.active()) < len(wanted.active) // 2:
                await chaos.kill([first, second], 1)
                await asyncio.sleep(2)  # time to do some work between two deaths
        assert world.finish()
        await chaos.kill([first, second], 12)
        assert chaos.killed.total() >= 24, chaos
        output, _ = await first.communicate()
        assert first.returncode == 0, (chaos, world.log.read_text()[-4000:])
    assert second.returncode == 0, (chaos, world.log.read_text()[-4000:])

    assert world.active() == wanted.active, chaos
    assert set(world.accounts().values()) == {1}, chaos
    assert wanted.accounts <= set(world.accounts()), chaos
    assert world.told() == Counter(world.finished()), chaos
    assert json.loads(output)["parked"] == 0, chaos


@dataclass
class Chaos:
    """Kills role processes of hubs at random moments; shown when the test fails.

    Attributes:
        dice: decides who dies and when.
        seed: of the dice.
        killed: how often which role of which hub was killed.
    """

    dice: random.Random = field(repr=False)
    seed: int
    killed: Counter[str] = field(default_factory=Counter)

    async def kill(self, hubs: Sequence[asyncio.subprocess.Process], times: int) -> None:
        """Kill so many times, or until all hubs have ended."""
        goal = self.killed.total() + times
        while self.killed.total() < goal and any(hub.returncode is None for hub in hubs):
            await asyncio.sleep(self.dice.uniform(0.2, 0.8))
            victims = {f"{name} of hub {n}": pid for n, hub in enumerate(hubs) for name, pid in roles(hub)}
            if victims:
                name = self.dice.choice(sorted(victims))
                with suppress(ProcessLookupError):
                    os.kill(victims[name], signal.SIGKILL)
                    self.killed[name] += 1


def roles(hub: asyncio.subprocess.Process) -> Iterator[tuple[str, int]]:
    """Give name and pid of each running role process of the hub."""
    if hub.returncode is not None:
        return
    for child in psutil.Process(hub.pid).children():
        with suppress(psutil.Error):
            command = child.cmdline()
            if "infra.cli.role" in command:
                yield command[command.index("infra.cli.role") + 1], child.pid
