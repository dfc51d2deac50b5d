"""`hub run` on real services: ELM to Moodle and back, undisturbed and under `kill -9`."""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
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
LATER = "2026-11-20T08:06:43.000-08:00"
GROWN_UP = 1.0
"""Seconds after which a process may be killed: about what it needs to start, so that some die at that too."""
COMMAND = (sys.executable, "-m", "infra.cli.main", "run")
SHARED = ("people", "courses", "completions", "moodle-sink", "elm-sink", "relay", "elm-poll")
WAY = (*SHARED, "references", "clock", "moodle-source")
"""The roles on the way from ELM to Moodle and back, and those that a hub has to have to be idle."""
QUICK = {
    "ELM_POLL_INTERVAL": "1",
    "MOODLE_CATALOGUE_INTERVAL": "1",
    "MOODLE_COMPLETION_INTERVAL": "1",
    "API_PORT": "0",
}


@dataclass
class World:
    """The systems around the hub, and how the hub is run on them."""

    moodle: MoodleState
    elm: ElmState
    env: dict[str, str]
    log: Path

    async def run(self, *options: str) -> asyncio.subprocess.Process:
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *COMMAND,
                *options,
                env={**os.environ, **self.env},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )

    @asynccontextmanager
    async def hub(self, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a hub that is stopped in order at the end of the block."""
        process = await self.run(*options)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()

    async def until_idle(self, *roles: str) -> dict[str, Any]:
        """Run a hub, all roles or some, until it is idle; return its summary."""
        process = await self.run(*roles, "--until-idle", "--json", "--timeout", "240")
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

    def finish(self, share: float = 0.4) -> set[tuple[str, str]]:
        people = {user.id: user.idnumber for user in self.moodle.users}
        places = {course.id: course.idnumber for course in self.moodle.courses}
        made = auto_complete(self.moodle, AutoCompletion(share=share))
        return {(people[row.userid], places[row.courseid]) for row in made}


@pytest.fixture
async def world(
    kafka: str, registry_url: str, empty_database: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[World]:
    moodle, elm = MoodleState(), ElmState(TOKEN)
    async with serve_moodle(moodle, 0) as moodle_url, _elm(elm) as server:
        env = QUICK | {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "SCHEMA_REGISTRY_URL": registry_url,
            "DATABASE_URL": empty_database,
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

    world.elm.append(records(PLAN))
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
    suspended = world.elm.append(suspends(world.active(), 20))
    wanted = expected([*records(PLAN), *suspended])
    second = await world.until_idle(*WAY)
    assert second["parked"] == 0
    assert second["users_created"] == second["records_new"] == 0
    assert second["records_updated"] == len(suspended)
    assert world.active() == wanted.active
    assert sum(row.status != ACTIVE for row in world.moodle.enrolments) == len(suspended)
    assert second["enrolments_active"] == len(wanted.active)
    assert second["enrolments_suspended"] == len(suspended)
    assert world.told() == Counter(finished)
    assert second["completions_delivered"] == len(finished)

    before = {name: counter.calls for name, counter in world.moodle.calls.counters.items()}
    third = await world.until_idle(*WAY)
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


def suspends(active: set[tuple[str, int]], count: int) -> list[dict[str, Any]]:
    """Return later records that suspend ``count`` of the ``active`` enrolments."""
    newest = {(record.get("GUID"), str(record.get("COURSE_IDENTIFIER"))): record for record in records(PLAN)}
    later = {"COURSE_STATE": "Suspend", "COURSE_STATE_DATE": LATER, "date_created": LATER}
    chosen = [newest[person, str(course)] | later for person, course in sorted(active)[:count]]
    for record in chosen:
        del record["record_enrol_id"]
    return chosen


async def test_killed_processes_of_two_hubs_lose_nothing_and_do_nothing_twice(world: World) -> None:
    """The feed and the completions come bit by bit, so that every death is amid work."""
    world.open_courses(PLAN.courses)
    wanted = expected(records(PLAN))
    feed = list(records(PLAN))
    chaos = Chaos(random.Random(number := random.randrange(1_000_000)), number)
    async with world.hub(*WAY) as first, world.hub(*SHARED, "--slot", "b") as second:
        world.elm.append(feed[:40])
        await until(lambda: bool(world.active()))
        for start in range(40, len(feed), 40):
            world.elm.append(feed[start : start + 40])
            await chaos.kill([first, second], 1)
        await until(lambda: len(world.active()) > len(wanted.active) * 2 // 3)
        for share in (0.1, 0.2, 0.3, 0.4, 0.5):
            assert world.finish(share), chaos
            await chaos.kill([first, second], 2)
        assert chaos.killed.total() >= 20, chaos
    assert (first.returncode, second.returncode) == (0, 0), (chaos, world.log.read_text()[-4000:])
    summary = await world.until_idle(*WAY)

    assert world.active() == wanted.active, chaos
    assert set(world.accounts().values()) == {1}, chaos
    assert wanted.accounts <= set(world.accounts()), chaos
    assert world.told() == Counter(world.finished()), chaos
    assert summary["parked"] == 0, chaos
    assert changed_hands(world.log), chaos


async def until(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    """Wait for a condition on the systems around the hub."""
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.1)


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
            await asyncio.sleep(self.dice.uniform(0.3, 1.3))
            victims = {f"{name} of hub {n}": pid for n, hub in enumerate(hubs) for name, pid in roles(hub)}
            if victims:
                name = self.dice.choice(sorted(victims))
                with suppress(ProcessLookupError):
                    os.kill(victims[name], signal.SIGKILL)
                    self.killed[name] += 1


def changed_hands(log: Path) -> set[str]:
    """Return the roles of which both hubs had partitions, by their log."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    had = {
        (line["role"], line["slot"])
        for line in lines
        if line["event"] == "partitions_changed" and line["kind"] == "assigned" and line["partitions"]
    }
    return {role for role, slot in had if slot == "0"} & {role for role, slot in had if slot == "b"}


def roles(hub: asyncio.subprocess.Process) -> Iterator[tuple[str, int]]:
    """Give name and pid of each role process of the hub that has had time to begin its work."""
    if hub.returncode is not None:
        return
    for child in psutil.Process(hub.pid).children():
        with suppress(psutil.Error):
            command = child.cmdline()
            if "infra.cli.role" in command and time.time() - child.create_time() > GROWN_UP:
                yield command[command.index("infra.cli.role") + 1], child.pid
