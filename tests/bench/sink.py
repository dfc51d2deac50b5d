"""The Moodle sink on a simulated site that takes its time as the recorded one did.

New people are created and enrolled in 20 courses, 1,000 at a time. ``BENCH_ROUNDS`` says how many times.
"""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
from pydantic import SecretStr

from connectors.moodle.settings import MoodleSettings
from connectors.moodle_sink.settings import SinkSettings
from connectors.moodle_sink.sink import MoodleSink
from infra.calls import Call
from schemas.events import EnrolmentStatus, Role
from schemas.ids import CommandId, CourseId, MoodleCourseId, MoodleUserId, PersonId, Target, TenantId
from schemas.moodle import (
    Action,
    CommandKind,
    CourseWish,
    EnrolmentWish,
    MoodleCommand,
    MoodleResult,
    UserWish,
)
from schemas.topics import COMMANDS, MOODLE_DEAD_LETTERS, RESULTS
from tests.bench.rows import Row

PEOPLE: Final = 1000
COURSES: Final = 20
READY_SECONDS: Final = 20.0
TOKEN: Final = "bench-token"
TARGET: Final = Target("bench")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@asynccontextmanager
async def site(latency: str) -> AsyncIterator[str]:
    """Run the simulated site, with ``recorded`` latencies or ``none``, in a process of its own."""
    port = _free_port()
    arguments = ["--port", str(port), "--token", TOKEN, "--latency", latency, "--max-input-vars", "1000"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.simulators.moodle", *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await _until_ready(url)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _until_ready(url: str) -> None:
    async with asyncio.timeout(READY_SECONDS), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url + "/control/state"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


async def control(method: str, url: str, body: object = None) -> Any:
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as response:
        response.raise_for_status()
        return await response.json()


def _command(number: int, kind: CommandKind, **body: Any) -> MoodleCommand:
    return MoodleCommand(
        command_id=CommandId(f"{kind}-{number}"),
        tenant=TenantId("bench"),
        target=TARGET,
        kind=kind,
        generation=1,
        issued_at=datetime.now(UTC),
        **body,
    )


def _person(number: int) -> MoodleCommand:
    wish = UserWish(
        person_id=PersonId(f"GUID{number:08}"),
        create=True,
        email=f"user{number}@example.test",
        first_name=f"First{number}",
        last_name=f"Last{number}",
        auth="oauth2",
    )
    return _command(number, CommandKind.USER, user=wish)


def _enrolment(number: int, user: MoodleUserId, course: MoodleCourseId) -> MoodleCommand:
    wish = EnrolmentWish(
        person_id=PersonId(f"GUID{number:08}"),
        course_id=CourseId(str(course)),
        moodle_user_id=user,
        moodle_course_id=course,
        status=EnrolmentStatus.ACTIVE,
        role=Role.STUDENT,
        state_is_known=True,
    )
    return _command(number, CommandKind.ENROLMENT, enrolment=wish)


async def _write(sink: MoodleSink, commands: list[MoodleCommand]) -> list[MoodleResult]:
    records = [output.record for output in (await sink.write(commands)).outputs]
    return [record for record in records if isinstance(record, MoodleResult)]


async def _resolve(sink: MoodleSink) -> list[MoodleCourseId]:
    wishes = [CourseWish(course_id=CourseId(str(n)), create=False) for n in range(COURSES)]
    commands = [_command(n, CommandKind.COURSE, course=wish) for n, wish in enumerate(wishes)]
    return [row.moodle_course_id for row in await _write(sink, commands) if row.moodle_course_id]


async def _round(sink: MoodleSink, first: int, courses: list[MoodleCourseId]) -> None:
    """Create and enrol `PEOPLE` new people; every one of them has to succeed."""
    people = await _write(sink, [_person(first + n) for n in range(PEOPLE)])
    users = [row.moodle_user_id for row in people if row.action is Action.CREATED and row.moodle_user_id]
    wishes = [_enrolment(first + n, user, courses[n % COURSES]) for n, user in enumerate(users)]
    enrolled = await _write(sink, wishes)
    done = sum(row.action is Action.ENROLLED for row in enrolled)
    if done != PEOPLE:
        msg = f"{done} of {PEOPLE} were enrolled"
        raise RuntimeError(msg)


async def _measure(rounds: int) -> list[Row]:
    calls: list[Call] = []
    async with site("recorded") as url:
        sink = MoodleSink(
            SinkSettings(),
            MoodleSettings(url=url, token=SecretStr(TOKEN), max_input_vars=1000),
            commands=COMMANDS.of(TARGET),
            results=RESULTS.of(TARGET),
            dead_letters=MOODLE_DEAD_LETTERS.of(TARGET),
            on_call=calls.append,
        )
        classes = [{"shortname": f"C{n}", "idnumber": str(n)} for n in range(COURSES)]
        await control("POST", url + "/control/seed", {"courses": classes})
        await sink.open()
        try:
            courses = await _resolve(sink)
            await control("DELETE", url + "/control/calls")
            calls.clear()
            started, used = time.monotonic(), time.process_time()
            for number in range(rounds):
                await _round(sink, number * PEOPLE, courses)
            wall, used = time.monotonic() - started, time.process_time() - used
        finally:
            await sink.close()
        busy = (await control("GET", url + "/control/calls"))["busy_seconds"]
    return _rows(rounds, len(calls), wall, busy, used)


def _rows(rounds: int, calls: int, wall: float, busy: float, used: float) -> list[Row]:
    return [
        Row("sink: share of the wall time in which Moodle was at work", busy / wall, "", ">= 0.9"),
        Row("sink: Moodle calls per 1,000 new people and enrolments", calls / rounds, "calls", "<= 20"),
        Row("sink: new people created and enrolled", rounds * PEOPLE / wall, "/s"),
        Row("sink: own CPU time per 1,000 new people and enrolments", used / rounds, "s"),
    ]


def main() -> list[Row]:
    """Measure; see `_rows` for the figures."""
    return asyncio.run(_measure(int(os.environ.get("BENCH_ROUNDS", "3"))))


if __name__ == "__main__":
    for row in main():
        print(f"{row.name:60} {row.value:10.3f} {row.unit:6} {row.target}")
