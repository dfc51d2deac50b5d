"""Enrolments that shall not be, and accounts that shall be suspended."""

from typing import Any

import pytest

from connectors.moodle.faults import UnknownOutcome
from connectors.moodle_sink.accounts import Create, step
from connectors.moodle_sink.enrolments import ENROL, UNENROL
from connectors.moodle_sink.users import CREATE, UPDATE
from infra.errors import RetryLater, Stop
from infra.simulators.moodle import (
    Fault,
    MoodleState,
    Seed,
    SeedCourse,
    SeedEnrolment,
    SeedUser,
    Settings,
    seed,
)
from infra.simulators.moodle.state import User
from schemas.events import EnrolmentStatus, Role
from schemas.moodle import Action, MoodleResult, Outcome
from schemas.reasons import Reason
from tests.unit.moodle_commands import bench, enrolment, person

ACTIVE, SUSPENDED, REMOVED = EnrolmentStatus.ACTIVE, EnrolmentStatus.SUSPENDED, EnrolmentStatus.REMOVED
SITE = Settings(max_input_vars=1000, profile_fields=("division", "matriculation"))


def furnished(state: MoodleState) -> None:
    """Accounts 4 to 303, courses 2 to 5; everybody but account 4 is enrolled in course 2, 6 suspended."""
    people = [SeedUser(f"u{n}@example.test", idnumber=f"GUID{n}") for n in range(300)]
    seed(state, Seed(users=people, courses=[SeedCourse(f"C{n}", idnumber=str(n)) for n in range(4)]))
    rows = [SeedEnrolment(user, 2, suspended=user == 6) for user in range(5, 304)]
    seed(state, Seed(enrolments=rows))


def brief(result: MoodleResult) -> tuple[Outcome, Action, Reason | None, EnrolmentStatus | None]:
    return result.outcome, result.action, result.reason, result.status


GONE = (Outcome.APPLIED, Action.UNENROLLED, None, None)
NOTHING = (Outcome.UNCHANGED, Action.NONE, None, None)


@pytest.mark.parametrize("known", [True, False])
async def test_an_enrolment_is_removed_whether_active_or_suspended(known: bool) -> None:
    async with bench(prepare=furnished) as b:
        results = await b.write(*(enrolment(user, 2, REMOVED, state_is_known=known) for user in (5, 6)))
        assert b.state.enrolments.get(5, 2) is None
        assert b.state.enrolments.get(6, 2) is None
        assert b.state.roles_of(5, 2) == ()
        assert b.state.enrolments.get(7, 2) is not None
        assert (results[0].moodle_user_id, results[0].moodle_course_id) == (5, 2)
    assert [brief(result) for result in results] == [GONE, GONE]


async def test_whoever_is_not_enrolled_is_not_removed() -> None:
    async with bench(prepare=furnished) as b:
        [result] = await b.write(enrolment(4, 2, REMOVED))
        assert UNENROL not in b.called()
    assert brief(result) == NOTHING


async def test_a_role_that_is_not_configured_is_no_hindrance() -> None:
    async with bench(prepare=furnished) as b:
        [result] = await b.write(enrolment(5, 2, REMOVED, role=Role.TEACHER, state_is_known=True))
        assert brief(result) == GONE


async def test_a_course_is_written_by_one_request_at_a_time_also_by_leavers() -> None:
    async with bench(prepare=furnished) as b:
        wishes = [enrolment(5 + n, 2, REMOVED, state_is_known=True) for n in range(200)]
        wishes += [enrolment(4 + n, 3, state_is_known=True) for n in range(100)]
        results = await b.write(*wishes)
        assert b.called() == [ENROL, UNENROL]
        assert b.state.enrolments.count("course", 2) == 99
    assert [brief(result) for result in results[:200]] == [GONE] * 200


@pytest.mark.parametrize("known", [True, False])
async def test_where_account_or_course_are_gone_there_is_nothing_left_to_remove(known: bool) -> None:
    async with bench(prepare=furnished) as b:
        wishes = [enrolment(5 + n, 2, REMOVED, state_is_known=known) for n in range(100)]
        wishes[10] = enrolment(999_999, 2, REMOVED, state_is_known=known)
        wishes[20] = enrolment(25, 99_999, REMOVED, state_is_known=known)
        results = await b.write(*wishes)
        assert b.called().count(UNENROL) <= 3
    assert [brief(results.pop(place)) for place in (20, 10)] == [NOTHING, NOTHING]
    assert {brief(result) for result in results} == {GONE}


async def test_a_removal_of_unknown_outcome_is_done_again() -> None:
    async with bench(prepare=furnished) as b:
        wishes = [enrolment(5 + n, 2, REMOVED, state_is_known=True) for n in range(20)]
        b.state.faults.add(Fault("reset_after_commit", functions=[UNENROL], count=1))
        with pytest.raises(UnknownOutcome):
            await b.write(*wishes)
        results = await b.write(*wishes)
    assert {brief(result) for result in results} == {GONE}


async def test_a_service_that_may_not_unenrol_stops_the_sink() -> None:
    async with bench(prepare=furnished) as b:
        b.state.faults.add(Fault("access_denied", functions=[UNENROL]))
        with pytest.raises(Stop):
            await b.write(enrolment(5, 2, REMOVED, state_is_known=True))


def account_of(state: MoodleState, number: int) -> User:
    [row] = state.users.find("idnumber", f"GUID{number}")
    return row


def outcome(result: MoodleResult) -> tuple[Outcome, Action, Reason | None]:
    return result.outcome, result.action, result.reason


UPDATED = (Outcome.APPLIED, Action.UPDATED, None)
CREATED = (Outcome.APPLIED, Action.CREATED, None)
SAME = (Outcome.UNCHANGED, Action.NONE, None)


async def test_an_account_is_suspended_and_released_and_else_left_as_it_is() -> None:
    async with bench() as b:
        await b.write(person(1))
        seen = []
        for wished in (None, True, True, None, False, False):
            [result] = await b.write(person(1, suspended=wished))
            seen.append((outcome(result), account_of(b.state, 1).suspended))
    assert seen == [(SAME, 0), (UPDATED, 1), (SAME, 1), (SAME, 1), (UPDATED, 0), (SAME, 0)]


async def test_an_account_that_is_to_be_suspended_is_created_so() -> None:
    async with bench() as b:
        results = await b.write(person(1, suspended=True), person(2, suspended=False), person(3))
        assert [account_of(b.state, n).suspended for n in (1, 2, 3)] == [1, 0, 0]
        assert b.called().count(UPDATE) == 1
    assert [outcome(result) for result in results] == [CREATED] * 3
    assert results[0].moodle_user_id is not None


@pytest.mark.parametrize("fault", ["too_many_requests", "reset_after_commit"])
async def test_trouble_between_creating_and_suspending_is_overcome(fault: str) -> None:
    async with bench(max_retries=0) as b:
        b.state.faults.add(Fault(fault, functions=[UPDATE], count=1))
        wishes = [person(1, suspended=True), person(2)]
        with pytest.raises(RetryLater):
            await b.write(*wishes)
        results = await b.write(*wishes)
        assert account_of(b.state, 1).suspended == 1
        assert b.called().count(CREATE) == 1
    assert [outcome(result) for result in results] == [CREATED] * 2


FIELDS: dict[str, Any] = {"profile_fields": {"division": "Arts", "matriculation": "M&1"}}


async def test_profile_fields_are_written_on_creation_and_where_they_differ() -> None:
    async with bench(site=SITE) as b:
        [made] = await b.write(person(1, **FIELDS))
        assert account_of(b.state, 1).profile == {"division": "Arts", "matriculation": "M&1"}
        [same] = await b.write(person(1, **FIELDS))
        [none] = await b.write(person(1))
        [changed] = await b.write(person(1, profile_fields={"division": "Law"}))
        assert account_of(b.state, 1).profile == {"division": "Law", "matriculation": "M&1"}
        [emptied] = await b.write(person(1, profile_fields={"division": ""}))
        [still] = await b.write(person(1, profile_fields={"division": ""}))
        assert account_of(b.state, 1).profile["division"] == ""
    assert [outcome(one) for one in (made, same, none)] == [CREATED, SAME, SAME]
    assert [outcome(one) for one in (changed, emptied, still)] == [UPDATED, UPDATED, SAME]


async def test_profile_fields_count_as_variables() -> None:
    async with bench(
        site=Settings(max_input_vars=100, profile_fields=("division",)), max_input_vars=100
    ) as b:
        wishes = [person(n, profile_fields={"division": str(n)}) for n in range(40)]
        results = await b.write(*wishes)
        assert {call.code for call in b.calls} == {"ok"}
        assert max(call.entries for call in b.calls if call.function == CREATE) == 12
        assert [account_of(b.state, n).profile["division"] for n in range(40)] == [str(n) for n in range(40)]
    assert {outcome(result) for result in results} == {CREATED}


async def test_a_profile_field_of_an_impossible_name_harms_nobody_else() -> None:
    async with bench(site=SITE) as b:
        bad, good = await b.write(person(1, profile_fields={"no such name": "x"}), person(2))
        assert {call.code for call in b.calls} == {"ok"}
    assert outcome(bad) == (Outcome.REJECTED, Action.NONE, Reason.INVALID_FIELD)
    assert outcome(good) == CREATED


@pytest.mark.parametrize("auth", ["oidc", "saml2"])
async def test_an_account_of_another_identity_provider_gets_no_password(auth: str) -> None:
    async with bench(site=Settings(max_input_vars=1000, further_auth=(auth,))) as b:
        [result] = await b.write(person(1, auth=auth))
        assert account_of(b.state, 1).auth == auth
    assert outcome(result) == CREATED
    wish = person(1, auth=auth).user
    assert wish is not None
    new = step(wish, [])
    assert isinstance(new, Create)
    assert "createpassword" not in new.fields
