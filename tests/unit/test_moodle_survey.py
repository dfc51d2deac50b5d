"""Bulk reads of a simulated Moodle over real HTTP, and what is told of them."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from connectors.moodle.client import MULTIPLEX, MoodleClient
from connectors.moodle.settings import MoodleSettings
from connectors.moodle_source.known import Known
from connectors.moodle_source.observed_topic import Learn
from connectors.moodle_survey import answers
from connectors.moodle_survey.observe import Observed, Site, observe_enrolments, observe_grades, observe_users
from connectors.moodle_survey.reads import (
    FUNCTIONS,
    packed,
    read_accounts,
    read_courses,
    read_members,
)
from infra.calls import Call, nobody
from infra.errors import HubError
from infra.mapping import parse
from infra.memory import MemoryTable
from infra.simulators.moodle import MoodleState, Seed, SeedCourse, SeedEnrolment, SeedUser, seed, serve
from infra.simulators.moodle.functions import FUNCTIONS as SIMULATED
from infra.simulators.moodle.functions import call
from infra.simulators.moodle.grades import set_grade
from processors.completions import CompletionsStage
from processors.courses import CourseStage
from schemas.events import EnrolmentStatus
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, PersonId, Target, TenantId
from schemas.moodle import MoodleObserved
from schemas.topics import sites

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RECORDINGS = Path(__file__).parents[1] / "contract" / "recordings"
LEARNERS = 7
TENANT, TARGET = TenantId("t"), Target("main")
MATHS = MoodleCourseId(2)


def a_site() -> MoodleState:
    """Courses 2 and 3 of everybody, 4 of nobody; the last learner of course 2 is suspended there."""
    state = MoodleState(clock=lambda: NOW.timestamp())
    courses = [SeedCourse(f"C{n} & co", idnumber=str(n)) for n in (101, 102, 103)]
    users = [SeedUser(f"u{n}@example.test", idnumber=f"G{n}") for n in range(LEARNERS)]
    ids = seed(state, Seed(courses=courses, users=users))
    pairs = [(user, course) for course in ids["courses"][:2] for user in ids["users"]]
    rows = [SeedEnrolment(*pair, suspended=pair == (ids["users"][-1], MATHS)) for pair in pairs]
    seed(state, Seed(enrolments=rows))
    return state


@asynccontextmanager
async def client(
    state: MoodleState, on_call: Callable[[Call], None] = nobody, **changes: Any
) -> AsyncIterator[MoodleClient]:
    async with serve(state) as url:
        settings = MoodleSettings(url=url, token=SecretStr(state.settings.token), base_delay_ms=1, **changes)
        async with MoodleClient(settings, on_call) as moodle:
            yield moodle


def recorded(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))["response"]


def test_recorded_answers_are_read() -> None:
    (active, other) = answers.members(
        answers.read(recorded("132-enrolled-users-onlyactive"), list[answers.Member], "f"), is_active=True
    )
    assert (active.idnumber, active.roles, active.last_access) == ("GUID000021", frozenset({5}), None)
    assert other.roles == {4, 5}
    (account,) = answers.accounts(recorded("093-users-get-criteria")["users"], "f")
    assert (account.idnumber, account.last_name, account.suspended) == ("GUID000022", "Changed22", False)
    courses = answers.courses(recorded("032-courses-get-all"), "f")
    assert {one.idnumber for one in courses} >= {"", "30001"}


def test_times_are_read_and_never_is_none() -> None:
    rows = answers.read([{"id": 1, "lastcourseaccess": 1795237342}, {"id": 2}], list[answers.Member], "f")
    seen = answers.members(rows, is_active=True)
    assert [one.last_access for one in seen] == [datetime.fromtimestamp(1795237342, UTC), None]


def test_an_answer_of_another_form_is_refused_without_its_values() -> None:
    with pytest.raises(HubError, match="other form") as refused:
        answers.accounts([{"id": "secret"}], "f")
    assert "secret" not in str(refused.value)


async def test_members_are_read_with_status_and_roles_in_one_request() -> None:
    calls: list[Call] = []
    async with client(a_site(), calls.append) as moodle:
        found = await read_members(moodle, {MATHS: LEARNERS, MoodleCourseId(4): 0})
    assert len(calls) == 1
    assert found[MoodleCourseId(4)] == []
    assert [one.is_active for one in found[MATHS]] == [True] * (LEARNERS - 1) + [False]
    assert {one.idnumber for one in found[MATHS]} == {f"G{n}" for n in range(LEARNERS)}
    assert {one.roles for one in found[MATHS]} == {frozenset({5})}


async def test_a_large_course_is_read_page_by_page_also_while_people_leave_it() -> None:
    state = a_site()
    left = state.enrolments.find("course", MATHS)[0].userid

    def leave(_: Call) -> None:
        if state.enrolments.get(left, MATHS) is not None:
            entries = [{"userid": left, "courseid": int(MATHS)}]
            call(state, "enrol_manual_unenrol_users", {"enrolments": entries})

    async with client(state, leave) as moodle:
        (members,) = (await read_members(moodle, {MATHS: LEARNERS}, rows=3)).values()
    assert sorted(one.idnumber for one in members) == [f"G{n}" for n in range(1, LEARNERS)]


async def test_a_course_that_is_gone_is_left_out_and_the_others_are_read() -> None:
    async with client(a_site()) as moodle:
        found = await read_members(moodle, {MoodleCourseId(99): 50, MATHS: LEARNERS})
    assert set(found) == {MATHS}


@given(
    st.dictionaries(st.integers(2, 60).map(MoodleCourseId), st.integers(0, 30), max_size=30),
    st.integers(2, 40),
    st.integers(1, 8),
)
def test_courses_are_packed_each_once_and_no_more_than_fit(
    sizes: dict[MoodleCourseId, int], rows: int, most: int
) -> None:
    groups = list(packed(sizes, rows, most))
    assert sorted(course for group in groups for course in group) == sorted(sizes)
    for group in groups:
        assert 1 <= len(group) <= most
        assert len(group) == 1 or sum(max(1, sizes[course]) for course in group) <= rows


async def test_accounts_are_found_by_any_field_each_once_and_unknown_ones_are_passed_over() -> None:
    state = a_site()
    seed(state, Seed(users=[SeedUser("twin@example.test", idnumber="G1", suspended=1)]))
    async with client(state) as moodle:
        twins = await read_accounts(moodle, "idnumber", ["G1", "G1", "none", ""], rows=1)
        assert [(one.email, one.suspended) for one in sorted(twins, key=lambda one: one.id)] == [
            ("u1@example.test", False),
            ("twin@example.test", True),
        ]
        by_email = await read_accounts(moodle, "email", [f"u{n}@example.test" for n in range(LEARNERS)])
        assert len(by_email) == LEARNERS


async def test_a_value_that_moodle_refuses_harms_no_other() -> None:
    wanted = [f"u{n}@example.test" for n in range(LEARNERS)]
    async with client(a_site()) as moodle:
        found = await read_accounts(moodle, "username", [*wanted[:3], "No Such Name", *wanted[3:]])
    assert sorted(one.username for one in found) == wanted


async def test_courses_are_read_as_they_were_written() -> None:
    async with client(a_site()) as moodle:
        found = {one.idnumber: one for one in await read_courses(moodle)}
    assert found["101"].short_name == "C101 & co"
    assert found["101"].custom_fields["completion_opt_in"] == "0"


def test_every_function_only_reads() -> None:
    multiplex = FUNCTIONS[-1]
    assert {name for name in FUNCTIONS if SIMULATED[name].writes} == {multiplex}


@dataclass
class Told:
    """A `Telling` in memory."""

    records: dict[str, MoodleObserved] = field(default_factory=dict)
    batches: int = 0

    async def open(self, learn: Learn) -> None:
        for key, record in self.records.items():
            learn(key, record)

    async def append(self, records: Sequence[MoodleObserved]) -> None:
        self.records |= {record.key: record for record in records}
        self.batches += 1

    def status(self, person: str) -> EnrolmentStatus:
        enrolment = self.records[f"t|ENROLMENT|{person}|101"].enrolment
        assert enrolment is not None
        return enrolment.status


async def test_only_what_differs_of_enrolments_is_told_and_who_left_is_told_as_removed() -> None:
    state, told = a_site(), Told()
    seed(state, Seed(users=[SeedUser("nobody@example.test")]))
    nobody_of_ours = state.users.find("email", "nobody@example.test")[0].id
    seed(state, Seed(enrolments=[SeedEnrolment(nobody_of_ours, MATHS)]))
    courses = {MATHS: CourseId("101"), MoodleCourseId(4): CourseId("103"), MoodleCourseId(99): CourseId("9")}
    async with client(state) as moodle:
        site = Site(TENANT, TARGET, moodle, told, now=lambda: NOW)
        assert await observe_enrolments(site, courses) == Observed(LEARNERS, LEARNERS)
        assert await observe_enrolments(site, courses) == Observed(LEARNERS, 0)
        assert (told.status("G0"), told.status("G6")) == (EnrolmentStatus.ACTIVE, EnrolmentStatus.SUSPENDED)
        first = state.users.find("idnumber", "G0")[0].id
        entry = {"userid": first, "courseid": int(MATHS)}
        call(state, "enrol_manual_unenrol_users", {"enrolments": [entry]})
        assert await observe_enrolments(site, courses) == Observed(LEARNERS - 1, 1)
        assert told.status("G0") is EnrolmentStatus.REMOVED
        assert await observe_enrolments(site, courses) == Observed(LEARNERS - 1, 0)
        call(state, "enrol_manual_enrol_users", {"enrolments": [{**entry, "roleid": 5}]})
        assert await observe_enrolments(site, courses) == Observed(LEARNERS, 1)
        assert told.status("G0") is EnrolmentStatus.ACTIVE
    assert told.batches == 3


async def test_only_what_differs_of_accounts_is_told() -> None:
    state, told = a_site(), Told()
    people = [PersonId("G1"), PersonId("G2"), PersonId("none")]
    seed(state, Seed(users=[SeedUser("twin@example.test", idnumber="G1", suspended=1)]))
    async with client(state) as moodle:
        site = Site(TENANT, TARGET, moodle, told, now=lambda: NOW)
        assert await observe_users(site, people) == Observed(2, 2)
        user = told.records["t|USER|G1"].user
        assert user is not None
        assert (user.suspended, user.moodle_user_id) == (False, state.users.find("idnumber", "G1")[0].id)
        call(state, "core_user_update_users", {"users": [{"id": user.moodle_user_id, "suspended": 1}]})
        assert await observe_users(site, people) == Observed(2, 1)
        assert told.records["t|USER|G1"].user == replace(user, suspended=True)


async def test_only_what_differs_of_grades_is_told_and_those_taken_away_are() -> None:
    state, told = a_site(), Told()
    people = {MoodleUserId(row.id): PersonId(row.idnumber) for row in state.users if row.idnumber}
    (first,) = state.users.find("idnumber", "G1")
    people[MoodleUserId(9_999)] = PersonId("gone")
    calls: list[Call] = []
    async with client(state, calls.append) as moodle:
        site = Site(TENANT, TARGET, moodle, told, now=lambda: NOW)

        async def observed() -> Observed:
            return await observe_grades(site, people, {MATHS: CourseId("101")})

        assert await observed() == Observed(0, 0)
        set_grade(state, first.id, int(MATHS), Decimal("77.123456"))
        assert await observed() == Observed(1, 1)
        assert await observed() == Observed(1, 0)
        grade = told.records["t|GRADE|G1|101"].grade
        assert grade is not None
        assert (grade.shown, grade.score, grade.moodle_user_id) == ("77.12", Decimal("77.1235"), first.id)
        set_grade(state, first.id, int(MATHS), None)
        assert await observed() == Observed(1, 1)
        assert told.records["t|GRADE|G1|101"].grade == replace(grade, shown="-", score=None)
        assert await observe_grades(site, people, {}) == Observed(0, 0), "of another's course nothing is told"
    assert {call.function for call in calls} == {MULTIPLEX}


def test_recorded_grades_are_read_without_floats() -> None:
    found = answers.grades(recorded("173-overview-grades"), MoodleUserId(11), "f")
    assert {int(one.course_id): (one.shown, str(one.score)) for one in found} == {
        3: ("-", "None"),
        2: ("77.50", "77.5000"),
        4: ("-", "None"),
    }
    with pytest.raises(HubError, match="rawgrade is no number"):
        answers.grades({"grades": [{"courseid": 1, "rawgrade": "secret"}]}, MoodleUserId(1), "f")


async def test_stages_and_the_moodle_source_pass_these_observations_over() -> None:
    state, told = a_site(), Told()
    async with client(state) as moodle:
        site = Site(TENANT, TARGET, moodle, told, now=lambda: NOW)
        await observe_users(site, [PersonId("G1")])
        await observe_enrolments(site, {MATHS: CourseId("101")})
    known, table, topics = Known(), MemoryTable(), sites([TARGET])
    stages = (
        CourseStage(parse(""), topics).on_observed,
        CompletionsStage(parse(""), topics.shared).on_observed,
    )
    for key, record in told.records.items():
        known.learn_one(key, record)
        assert [list(handler(record, table)) for handler in stages] == [[], []]
    assert (len(known), table.entries, len(told.records)) == (0, {}, LEARNERS + 1)
