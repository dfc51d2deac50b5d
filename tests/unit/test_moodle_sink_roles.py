"""Roles that somebody has in a course and shall not have."""

from typing import Any

import pytest

from connectors.moodle.faults import UnknownOutcome
from connectors.moodle_sink.enrolments import ENROL
from connectors.moodle_sink.settings import FUNCTIONS, SinkSettings
from connectors.moodle_sink.surplus_roles import UNASSIGN
from infra.errors import RetryLater, Stop
from infra.simulators.moodle import Fault, MoodleState, Seed, SeedCourse, SeedEnrolment, SeedUser, seed
from infra.simulators.moodle.enrolments import assign_roles
from schemas.events import EnrolmentStatus, Role
from schemas.ids import SectionId
from schemas.moodle import Action, GroupWish, MoodleCommand, MoodleResult, Outcome
from schemas.reasons import Reason
from tests.unit.moodle_commands import bench, course, enrolment

ACTIVE, SUSPENDED, REMOVED = EnrolmentStatus.ACTIVE, EnrolmentStatus.SUSPENDED, EnrolmentStatus.REMOVED
MANAGER, TEACHER, ASSISTANT, STUDENT = 1, 3, 4, 5


def furnished(state: MoodleState) -> None:
    """Accounts 4 to 303, courses 2 to 5; all are teachers of course 2, until 2033."""
    people = [SeedUser(f"u{n}@example.test", idnumber=f"GUID{n}") for n in range(300)]
    seed(state, Seed(users=people, courses=[SeedCourse(f"C{n}", idnumber=str(n)) for n in range(4)]))
    rows = [SeedEnrolment(user, 2, roleid=TEACHER, timeend=2_000_000_000) for user in range(4, 304)]
    seed(state, Seed(enrolments=rows))


def give(state: MoodleState, user: int, *roles: int, course_id: int = 2) -> None:
    rows = [
        {"roleid": role, "userid": user, "contextlevel": "course", "instanceid": course_id} for role in roles
    ]
    with state.transaction():
        assign_roles(state, {"assignments": rows})


def brief(result: MoodleResult) -> tuple[Outcome, Action, Reason | None, EnrolmentStatus | None]:
    return result.outcome, result.action, result.reason, result.status


ENROLLED = (Outcome.APPLIED, Action.ENROLLED, None, ACTIVE)
UPDATED = (Outcome.APPLIED, Action.UPDATED, None, ACTIVE)
NOT_TAKEN = (Outcome.REJECTED, Action.NONE, Reason.ROLE_NOT_ASSIGNABLE, None)


@pytest.mark.parametrize(
    ("wished", "left"),
    [(Role.STUDENT, STUDENT), (Role.NON_EDITING_TEACHER, ASSISTANT)],
)
@pytest.mark.parametrize(
    ("status", "expected"),
    [(ACTIVE, ENROLLED), (SUSPENDED, (Outcome.APPLIED, Action.SUSPENDED, None, SUSPENDED))],
)
async def test_a_demoted_teacher_loses_the_role_of_a_teacher(
    wished: Role, left: int, status: EnrolmentStatus, expected: tuple[Any, ...]
) -> None:
    async with bench(prepare=furnished) as b:
        [result] = await b.write(enrolment(4, 2, status, role=wished))
        assert b.state.roles_of(4, 2) == (left,)
        assert b.state.roles_of(5, 2) == (TEACHER,)
        [same] = await b.write(enrolment(4, 2, role=wished)) if status is ACTIVE else [None]
        assert b.called().count(UNASSIGN) == 1
    assert brief(result) == expected
    assert same is None or brief(same) == (Outcome.UNCHANGED, Action.NONE, None, ACTIVE)


async def test_a_role_beside_the_wished_one_goes_and_the_dates_set_by_hand_stay() -> None:
    async with bench(prepare=furnished) as b:
        give(b.state, 4, STUDENT, ASSISTANT)
        before = b.state.enrolments.get(4, 2)
        [result] = await b.write(enrolment(4, 2))
        assert b.state.roles_of(4, 2) == (STUDENT,)
        assert b.state.enrolments.get(4, 2) == before
        assert ENROL not in b.called()
    assert brief(result) == UPDATED


async def test_roles_that_are_not_the_hubs_and_those_of_other_courses_stay() -> None:
    settings = SinkSettings(roles={Role.STUDENT: STUDENT, Role.TEACHER: TEACHER})
    async with bench(prepare=furnished, settings=settings) as b:
        give(b.state, 4, MANAGER, ASSISTANT)
        give(b.state, 4, TEACHER, course_id=3)
        [result] = await b.write(enrolment(4, 2))
        assert b.state.roles_of(4, 2) == (MANAGER, ASSISTANT, STUDENT)
        assert b.state.roles_of(4, 3) == (TEACHER,)
    assert brief(result) == ENROLLED


async def test_two_roles_of_the_hub_that_are_one_in_moodle_are_one() -> None:
    settings = SinkSettings(roles={Role.TEACHER: TEACHER, Role.NON_EDITING_TEACHER: TEACHER})
    async with bench(prepare=furnished, settings=settings) as b:
        [result] = await b.write(enrolment(4, 2, role=Role.NON_EDITING_TEACHER))
        assert b.state.roles_of(4, 2) == (TEACHER,)
    assert brief(result) == (Outcome.UNCHANGED, Action.NONE, None, ACTIVE)


async def test_many_roles_are_taken_by_few_calls() -> None:
    async with bench(prepare=furnished) as b:
        results = await b.write(*(enrolment(user, 2) for user in range(4, 304)))
        assert {b.state.roles_of(user, 2) for user in range(4, 304)} == {(STUDENT,)}
        assert b.called().count(UNASSIGN) == 2  # 249 of four variables each, and the rest
        assert {call.code for call in b.calls} == {"ok"}
    assert {brief(result) for result in results} == {ENROLLED}


async def test_a_newer_command_of_the_batch_does_not_hide_the_change_of_the_role() -> None:
    async with bench(prepare=furnished) as b:
        demoted, last = await b.write(enrolment(4, 2), enrolment(4, 2, SUSPENDED, state_is_known=True))
        assert b.state.roles_of(4, 2) == (STUDENT,)
    assert demoted.outcome is Outcome.SUPERSEDED
    assert brief(last) == (Outcome.APPLIED, Action.SUSPENDED, None, SUSPENDED)


async def test_a_removal_takes_the_roles_along() -> None:
    async with bench(prepare=furnished) as b:
        await b.write(enrolment(4, 2, REMOVED))
        assert b.state.roles_of(4, 2) == ()
        assert UNASSIGN not in b.called()


async def test_a_role_that_may_not_be_taken_is_told_and_harms_nobody_else() -> None:
    roles = {Role.STUDENT: STUDENT, Role.TEACHER: TEACHER, Role.NON_EDITING_TEACHER: 8}
    async with bench(prepare=furnished, settings=SinkSettings(roles=roles)) as b:
        for user in (10, 20, 30):
            give(b.state, user, 8)
        results = await b.write(*(enrolment(user, 2) for user in range(4, 104)))
        assert b.called().count(UNASSIGN) == 3
        assert b.state.roles_of(11, 2) == (STUDENT,)
    for user, result in zip(range(4, 104), results, strict=True):
        assert brief(result) == (NOT_TAKEN if user in (10, 20, 30) else ENROLLED)


@pytest.mark.parametrize("fault", ["too_many_requests", "reset_after_commit"])
async def test_trouble_between_enrolling_and_taking_the_role_is_overcome(fault: str) -> None:
    async with bench(prepare=furnished, max_retries=0) as b:
        b.state.faults.add(Fault(fault, functions=[UNASSIGN], count=1))
        wishes = [enrolment(4, 2), enrolment(5, 2)]
        with pytest.raises(UnknownOutcome if fault == "reset_after_commit" else RetryLater):
            await b.write(*wishes)
        results = await b.write(*wishes)
        assert [b.state.roles_of(user, 2) for user in (4, 5)] == [(STUDENT,), (STUDENT,)]
        assert b.called().count(ENROL) == 1
    assert [result.outcome for result in results] == [Outcome.APPLIED] * 2
    assert [result.status for result in results] == [ACTIVE] * 2


async def test_a_service_that_may_not_take_roles_stops_the_sink_only_where_one_is_to_go() -> None:
    assert UNASSIGN in FUNCTIONS
    async with bench(prepare=furnished) as b:
        b.state.faults.add(Fault("access_denied", functions=[UNASSIGN]))
        [result] = await b.write(enrolment(4, 2, role=Role.TEACHER))
        assert result.outcome is Outcome.UNCHANGED
        with pytest.raises(Stop, match=UNASSIGN):
            await b.write(enrolment(4, 2))


async def test_the_groups_are_seen_to_as_well() -> None:
    section = SectionId("s1")
    async with bench(prepare=furnished) as b:
        wishes: list[MoodleCommand] = [
            course(0, create=False, groups=(GroupWish(section_id=section, name="Part"),)),
            enrolment(4, 2, section_ids=(section,)),
        ]
        results = await b.write(*wishes)
        [group] = b.state.groups.rows.values()
        assert group.members == (4,)
        assert b.state.roles_of(4, 2) == (STUDENT,)
    assert brief(results[1]) == ENROLLED
