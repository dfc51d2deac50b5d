"""A simulated Moodle with a data file survives its end, however it ends."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from infra.simulators.moodle import (
    MoodleState,
    NewCompletion,
    Seed,
    SeedCourse,
    SeedEnrolment,
    SeedUser,
    add_completions,
    seed,
)
from infra.simulators.moodle.functions import call
from infra.simulators.moodle.journal import Journal


def contents(state: MoodleState) -> dict[str, Any]:
    return {name: msgspec.to_builtins(list(table.rows.values())) for name, table in state.tables.items()}


def worked_on(path: Path) -> MoodleState:
    state = MoodleState()
    journal = Journal(path, state)
    seed(state, Seed(courses=[SeedCourse("A", idnumber="1", completion_opt_in=True)]))
    seed(state, Seed(users=[SeedUser(f"u{n}@example.test", idnumber=f"G{n}") for n in range(3)]))
    seed(state, Seed(enrolments=[SeedEnrolment(userid, 2) for userid in (4, 5, 6)]))
    add_completions(state, [NewCompletion(4, 2)])
    call(state, "core_user_delete_users", {"userids": [6]})
    call(state, "enrol_manual_unenrol_users", {"enrolments": [{"userid": 5, "courseid": 2}]})
    journal.close()
    return state


def reopened(path: Path) -> MoodleState:
    state = MoodleState()
    Journal(path, state).close()
    return state


def test_everything_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "site.jsonl"
    before = worked_on(path)
    after = reopened(path)
    assert contents(after) == contents(before)
    assert after.users.find("idnumber", "G0")[0].id == 4
    assert after.next_id("users") == before.next_id("users")


def test_opening_compacts_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "site.jsonl"
    before = worked_on(path)
    size = path.stat().st_size
    reopened(path)
    assert path.stat().st_size < size
    assert contents(reopened(path)) == contents(before)


def test_half_written_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "site.jsonl"
    before = worked_on(path)
    with path.open("ab") as file:
        file.write(b'{"rows":[["users",[4],null]],"sequ')
    assert contents(reopened(path)) == contents(before)


def test_what_was_rolled_back_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "site.jsonl"
    state = MoodleState()
    journal = Journal(path, state)
    size = path.stat().st_size
    user = {"username": "a", "firstname": "A", "lastname": "B", "email": "a@example.test", "auth": "oauth2"}
    with pytest.raises(Exception, match="invalidparameter"):
        call(state, "core_user_create_users", {"users": [user, user]})
    assert path.stat().st_size == size
    journal.close()


@asynccontextmanager
async def process(path: Path, end: signal.Signals) -> AsyncIterator[str]:
    """The simulator as `hub run` starts it; yields its address and ends it by the signal."""
    command = (sys.executable, "-m", "infra.simulators.moodle", "--port", "0", "--data-file", str(path))
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    try:
        line = (await asyncio.wait_for(child.stdout.readline(), 30)).decode()
        yield "http://" + line.partition("http://")[2].split()[0].split("\x1b")[0]
    finally:
        child.send_signal(end)
        await asyncio.wait_for(child.communicate(), 30)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_process_keeps_what_it_answered(tmp_path: Path, end: signal.Signals) -> None:
    path = tmp_path / "site.jsonl"
    wish = {"users": [{"email": "ann@example.test", "idnumber": "G1"}]}
    async with process(path, end) as url, ClientSession(url) as session:
        response = await session.post("/control/seed", json=wish)
        assert (await response.json())["users"] == [4]
    async with process(path, end) as url, ClientSession(url) as session:
        response = await session.get("/control/users", params={"idnumber": "G1"})
        assert [row["id"] for row in await response.json()] == [4]
