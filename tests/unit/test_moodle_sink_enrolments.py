from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle_sink.enrolments import ENROL
from connectors.moodle_sink.members import Members, read_members
from connectors.moodle_sink.settings import SinkSettings
from infra.calls import Call
from infra.simulators.moodle import (
    MoodleState,
    Seed,
    SeedCourse,
    SeedEnrolment,
    SeedUser,
    Settings,
    seed,
    serve,
)
from infra.simulators.moodle.enrolments import unenrol_users
from infra.simulators.moodle.state import Enrolment
from infra.simulators.moodle.users import delete_users
from schemas.events import EnrolmentStatus, Role
from schemas.ids import MoodleCourseId
from schemas.moodle import Action, MoodleResult, Outcome
from schemas.reasons import Reason
from tests.unit.moodle_commands import MOMENT, bench, enrolment, moodle_settings

ACTIVE, SUSPENDED = EnrolmentStatus.ACTIVE, EnrolmentStatus.SUSPENDED
USERS = range(4, 1004)  # ids that the seeded accounts get
COURSES = range(2, 22)
SECONDS = int(MOMENT.timestamp())
DAY = 86_400


def site(*enrolments: SeedEnrolment, users: int = 6, courses: int = 3) -> Callable[[MoodleState], object]:
    def prepare(state: MoodleState) -> None:
        people = [SeedUser(f"u{n}@example.test", idnumber=f"GUID{n}") for n in range(users)]
        classes = [SeedCourse(f"C{n}", idnumber=str(n)) for n in range(courses)]
        made = seed(state, Seed(users=people, courses=classes))
        assert made["users"] == list(USERS[:users])
        assert made["courses"] == list(COURSES[:courses])
        seed(state, Seed(enrolments=list(enrolments)))

    return prepare


def row(state: MoodleState, user: int, course: int) -> Enrolment | None:
    return state.enrolments.get(user, course)


def brief(result: MoodleResult) -> tuple[Outcome, Action, Reason | None, EnrolmentStatus | None]:
    return result.outcome, result.action, result.reason, result.status


async def test_a_person_is_enrolled_suspended_and_enrolled_again() -> None:
    async with bench(prepare=site()) as b:
        [result] = await b.write(enrolment(4, 2))
        assert brief(result) == (Outcome.APPLIED, Action.ENROLLED, None, ACTIVE)
        assert (result.moodle_user_id, result.moodle_course_id) == (4, 2)
        assert (result.person_id, result.course_id) == ("GUID4", "2")
        assert b.state.roles_of(4, 2) == (5,)
        [result] = await b.write(enrolment(4, 2, SUSPENDED))
        assert brief(result) == (Outcome.APPLIED, Action.SUSPENDED, None, SUSPENDED)
        suspended = row(b.state, 4, 2)
        assert suspended is not None
        assert suspended.status == 1
        [result] = await b.write(enrolment(4, 2, state_is_known=True))
        assert brief(result) == (Outcome.APPLIED, Action.ENROLLED, None, ACTIVE)
        active = row(b.state, 4, 2)
        assert active is not None
        assert active.status == 0


async def test_suspending_whoever_is_not_enrolled_makes_no_enrolment() -> None:
    async with bench(prepare=site(SeedEnrolment(5, 2))) as b:
        results = await b.write(enrolment(4, 2, SUSPENDED), enrolment(5, 2, SUSPENDED))
        assert row(b.state, 4, 2) is None
    assert brief(results[0]) == (Outcome.UNCHANGED, Action.NONE, Reason.NOT_ENROLLED, None)
    assert brief(results[1]) == (Outcome.APPLIED, Action.SUSPENDED, None, SUSPENDED)


async def test_an_active_enrolment_is_left_alone_with_the_dates_set_by_hand() -> None:
    async with bench(prepare=site(SeedEnrolment(4, 2, timestart=7, timeend=2_000_000_000))) as b:
        before = row(b.state, 4, 2)
        [result] = await b.write(enrolment(4, 2))
        assert brief(result) == (Outcome.UNCHANGED, Action.NONE, None, ACTIVE)
        assert row(b.state, 4, 2) == before
        assert ENROL not in b.called()


async def test_wished_dates_are_kept_by_every_later_command() -> None:
    dates: dict[str, Any] = {"starts_at": MOMENT, "ends_at": MOMENT + timedelta(days=30)}
    async with bench(prepare=site(SeedEnrolment(4, 2))) as b:
        for status in (ACTIVE, SUSPENDED, ACTIVE):
            [result] = await b.write(enrolment(4, 2, status, **dates))
            assert result.outcome is Outcome.APPLIED
            found = row(b.state, 4, 2)
            assert found is not None
            assert (found.timestart, found.timeend) == (SECONDS, SECONDS + 30 * DAY)
            assert found.status == (status is SUSPENDED)


async def test_an_enrolment_that_begins_later_is_truly_suspended() -> None:
    async with bench(prepare=site(SeedEnrolment(4, 2, timestart=2_000_000_000))) as b:
        [result] = await b.write(enrolment(4, 2, SUSPENDED))
        found = row(b.state, 4, 2)
        assert found is not None
        assert found.status == 1
    assert brief(result) == (Outcome.APPLIED, Action.SUSPENDED, None, SUSPENDED)


async def test_unknown_states_of_many_courses_are_looked_up_in_few_calls() -> None:
    enrolled = [SeedEnrolment(4 + n, 2 + n % 20) for n in range(200)]
    async with bench(prepare=site(*enrolled, users=400, courses=20)) as b:
        wishes = [enrolment(4 + n, 2 + n % 20) for n in range(400)]
        results = await b.write(*wishes)
        assert b.called().count("tool_mobile_call_external_functions") == 4
    assert [result.outcome for result in results] == [Outcome.UNCHANGED] * 200 + [Outcome.APPLIED] * 200


@pytest.mark.parametrize("number", [0, 1, 9, 10, 11, 19, 20, 27, 28, 29, 30])
async def test_a_large_course_is_read_page_by_page(number: int) -> None:
    enrolled = [SeedEnrolment(4 + n, 2, suspended=n % 3 == 0) for n in range(number)]
    state = MoodleState(Settings(max_input_vars=1000))
    site(*enrolled, users=30)(state)
    async with serve(state) as url, MoodleClient(moodle_settings(url, state)) as moodle:
        [members, empty, unknown] = await read_members(
            moodle, [MoodleCourseId(2), MoodleCourseId(3), MoodleCourseId(99_999)], page=10
        )
    assert members == Members(
        {row.userid for row in enrolled if not row.suspended},
        {row.userid for row in enrolled if row.suspended},
        {row.userid: {5} for row in enrolled},
    )
    assert empty == Members(set(), set(), {})
    assert isinstance(unknown, Refused)


async def test_somebody_who_leaves_between_two_pages_hides_nobody() -> None:
    state = MoodleState(Settings(max_input_vars=1000))
    site(*(SeedEnrolment(4 + n, 2) for n in range(30)), users=30)(state)

    def first_one_leaves(_: Call) -> None:
        if state.enrolments.count("course", 2) == 30:
            with state.transaction():
                unenrol_users(state, {"enrolments": [{"userid": 4, "courseid": 2}]})

    async with (
        serve(state) as url,
        MoodleClient(moodle_settings(url, state), first_one_leaves) as moodle,
    ):
        [members] = await read_members(moodle, [MoodleCourseId(2)], page=10)
    assert members == Members(set(range(5, 34)), set(), {user: {5} for user in range(5, 34)})


async def test_a_known_state_is_not_looked_up() -> None:
    async with bench(prepare=site()) as b:
        await b.write(enrolment(4, 2, state_is_known=True))
        assert b.called() == [ENROL]


async def test_roles_are_those_of_the_settings() -> None:
    async with bench(prepare=site(), settings=SinkSettings(roles={Role.TEACHER: 4})) as b:
        results = await b.write(enrolment(4, 2, role=Role.TEACHER), enrolment(5, 2, role=Role.STUDENT))
        assert b.state.roles_of(4, 2) == (4,)
    assert brief(results[0]) == (Outcome.APPLIED, Action.ENROLLED, None, ACTIVE)
    assert brief(results[1]) == (Outcome.REJECTED, Action.NONE, Reason.ROLE_NOT_ASSIGNABLE, None)


def delete_user(state: MoodleState, user: int) -> None:
    with state.transaction():
        delete_users(state, {"userids": [user]})


@pytest.mark.parametrize("known", [True, False])
async def test_unknown_accounts_and_courses_are_found_among_good_ones(known: bool) -> None:
    async with bench(prepare=site(users=100, courses=2)) as b:
        delete_user(b.state, 50)
        wishes = [enrolment(4 + n, 2 + n % 2, state_is_known=known) for n in range(100)]
        wishes[10] = enrolment(999_999, 2, state_is_known=known)
        wishes[20] = enrolment(24, 99_999, state_is_known=known)
        results = await b.write(*wishes)
        assert b.called().count(ENROL) <= 5
    bad = {10: Reason.USER_NOT_FOUND, 20: Reason.COURSE_NOT_FOUND, 46: Reason.USER_NOT_FOUND}
    for place, result in enumerate(results):
        if place in bad:
            assert brief(result) == (Outcome.REJECTED, Action.NONE, bad[place], None)
        else:
            assert brief(result) == (Outcome.APPLIED, Action.ENROLLED, None, ACTIVE)


async def test_a_role_that_may_not_be_assigned_is_found_without_trying_everybody() -> None:
    roles = {Role.STUDENT: 5, Role.TEACHER: 8}
    async with bench(prepare=site(users=100), settings=SinkSettings(roles=roles)) as b:
        wishes = [
            enrolment(4 + n, 2, role=Role.TEACHER if n % 2 else Role.STUDENT, state_is_known=True)
            for n in range(100)
        ]
        results = await b.write(*wishes)
        assert b.called().count(ENROL) <= 4
    for place, result in enumerate(results):
        if place % 2:
            assert brief(result) == (Outcome.REJECTED, Action.NONE, Reason.ROLE_NOT_ASSIGNABLE, None)
        else:
            assert brief(result) == (Outcome.APPLIED, Action.ENROLLED, None, ACTIVE)


async def test_one_that_moodle_refuses_for_its_own_reasons_is_found_by_halving() -> None:
    async with bench(prepare=site(users=60)) as b:
        wishes = [enrolment(4 + n, 2, state_is_known=True) for n in range(60)]
        wishes[33] = enrolment(37, 1, state_is_known=True)  # the site course takes no enrolments
        results = await b.write(*wishes)
        assert b.state.enrolments.count("course", 2) == 59
    assert brief(results[33]) == (Outcome.REJECTED, Action.NONE, Reason.REFUSED, None)


async def test_no_request_holds_more_than_the_site_takes() -> None:
    async with bench(prepare=site(users=500), site=Settings(max_input_vars=100), max_input_vars=100) as b:
        results = await b.write(*(enrolment(4 + n, 2, state_is_known=True) for n in range(500)))
        assert b.state.enrolments.count("course", 2) == 500
        assert {call.code for call in b.calls} == {"ok"}
        assert max(call.entries for call in b.calls) == 16
    assert {result.outcome for result in results} == {Outcome.APPLIED}
