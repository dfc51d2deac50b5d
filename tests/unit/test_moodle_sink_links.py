"""Accounts and courses that people have chosen: used, given the id, and never shared."""

from typing import Any

import pytest

from infra.simulators.moodle import SeedCourse, SeedUser
from infra.simulators.moodle.state import MoodleState
from schemas.ids import MoodleCourseId, MoodleUserId
from schemas.moodle import Action, MoodleCommand, MoodleResult, Outcome
from schemas.reasons import Reason
from tests.unit.moodle_commands import bench, course, person
from tests.unit.test_moodle_sink_courses import with_courses
from tests.unit.test_moodle_sink_users import UPDATE, account_of, brief, with_users

UPDATED = (Outcome.APPLIED, Action.UPDATED, None)
MISMATCH = (Outcome.CONFLICT, Action.NONE, Reason.EMAIL_MISMATCH)
CREATED = (Outcome.APPLIED, Action.CREATED, None)


def taking_over(number: int, account_id: int, **changes: Any) -> MoodleCommand:
    return person(number, moodle_user_id=MoodleUserId(account_id), **changes)


def id_of(state: MoodleState, username: str) -> int:
    [row] = state.users.find("username", username)
    return row.id


async def settled(*owners: SeedUser, account: str, **changes: Any) -> tuple[MoodleResult, MoodleResult]:
    """Give the results before and after the account with the username ``account`` is linked to person 1."""
    async with bench(prepare=with_users(*owners)) as b:
        [before] = await b.write(person(1))
        chosen = id_of(b.state, account)
        [after] = await b.write(taking_over(1, chosen, **changes))
        [again] = await b.write(taking_over(1, chosen, **changes))
        assert again.outcome is (Outcome.CONFLICT if after.outcome is Outcome.CONFLICT else Outcome.UNCHANGED)
        if after.outcome is Outcome.APPLIED:
            assert after.moodle_user_id == chosen
            assert b.state.users.rows[(chosen,)].idnumber == "GUID1"
    return before, after


async def test_the_account_that_owns_the_address_is_taken_over() -> None:
    before, after = await settled(SeedUser("user1@example.test", username="old"), account="old")
    assert brief(before) == (Outcome.CONFLICT, Action.NONE, Reason.EMAIL_TAKEN)
    assert brief(after) == UPDATED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, MISMATCH), ({"keep_email": True}, UPDATED), ({"update_email": True}, UPDATED)],
)
async def test_of_the_account_that_owns_the_username_the_address_is_decided_as_well(
    changes: dict[str, bool], expected: tuple[Any, ...]
) -> None:
    owner = SeedUser("private@example.test", username="user1@example.test")
    before, after = await settled(owner, account="user1@example.test", **changes)
    assert brief(before) == (Outcome.CONFLICT, Action.NONE, Reason.USERNAME_TAKEN)
    assert brief(after) == expected


async def test_of_several_accounts_with_one_id_the_chosen_one_is_used() -> None:
    users = [
        SeedUser("a@example.test", username="a", idnumber="GUID1"),
        SeedUser("user1@example.test", username="b", idnumber="GUID1"),
    ]
    async with bench(prepare=with_users(*users)) as b:
        [before] = await b.write(person(1))
        [after] = await b.write(taking_over(1, id_of(b.state, "b")))
        [other] = await b.write(taking_over(1, 999_999))
        assert after.moodle_user_id == id_of(b.state, "b")
        assert b.state.users.rows[(id_of(b.state, "a"),)].firstname != "First1"
    assert brief(before) == brief(other) == (Outcome.CONFLICT, Action.NONE, Reason.IDNUMBER_AMBIGUOUS)
    assert brief(after) == UPDATED


async def test_an_address_that_is_kept_is_neither_a_conflict_nor_changed() -> None:
    async with bench() as b:
        await b.write(person(1))
        wish = {"email": "other@example.test", "keep_email": True}
        [same] = await b.write(person(1, **wish))
        [named] = await b.write(person(1, **wish, last_name="New"))
        row = account_of(b.state, "GUID1")
        assert b.called().count(UPDATE) == 1
    assert brief(same) == (Outcome.UNCHANGED, Action.NONE, None)
    assert brief(named) == UPDATED
    assert (row.email, row.lastname) == ("user1@example.test", "New")


async def test_an_address_that_somebody_else_has_is_kept_out_where_that_is_decided() -> None:
    async with bench(prepare=with_users(SeedUser("taken@example.test", username="somebody"))) as b:
        await b.write(person(1))
        wish = {"email": "taken@example.test"}
        [before] = await b.write(person(1, **wish, update_email=True))
        [after] = await b.write(person(1, **wish, keep_email=True))
    assert brief(before) == (Outcome.CONFLICT, Action.NONE, Reason.EMAIL_TAKEN)
    assert brief(after) == (Outcome.UNCHANGED, Action.NONE, None)


async def test_an_account_that_carries_another_persons_id_is_not_taken_over() -> None:
    async with bench(prepare=with_users(SeedUser("user1@example.test", idnumber="GUID9"))) as b:
        other = account_of(b.state, "GUID9").id
        [result] = await b.write(taking_over(1, other, keep_email=True))
        assert account_of(b.state, "GUID9").id == other
    assert brief(result) == (Outcome.CONFLICT, Action.NONE, Reason.EMAIL_TAKEN)
    assert result.other_moodle_user_id == other


async def test_the_account_that_carries_the_persons_id_goes_before_a_linked_one() -> None:
    users = [SeedUser("user1@example.test", idnumber="GUID1"), SeedUser("b@example.test", username="b")]
    async with bench(prepare=with_users(*users)) as b:
        [result] = await b.write(taking_over(1, id_of(b.state, "b")))
        assert result.moodle_user_id == account_of(b.state, "GUID1").id
        assert b.state.users.rows[(id_of(b.state, "b"),)].idnumber == ""


async def test_of_two_people_who_are_to_take_over_one_account_the_first_gets_it() -> None:
    async with bench(prepare=with_users(SeedUser("user1@example.test", username="old"))) as b:
        old = id_of(b.state, "old")
        first, second = await b.write(taking_over(1, old), taking_over(2, old, keep_email=True))
        assert account_of(b.state, "GUID1").id == old
        assert account_of(b.state, "GUID2").id == second.moodle_user_id != old
    assert brief(first) == UPDATED
    assert brief(second) == CREATED


async def test_a_linked_account_that_has_gone_is_as_none() -> None:
    async with bench() as b:
        [result] = await b.write(taking_over(1, 999_999))
    assert brief(result) == CREATED


async def test_an_account_whose_id_number_was_emptied_gets_it_back() -> None:
    async with bench(prepare=with_users(SeedUser("user1@example.test", firstname="First1"))) as b:
        [row] = b.state.users.find("email", "user1@example.test")
        [result] = await b.write(taking_over(1, row.id))
        assert account_of(b.state, "GUID1").id == row.id
    assert brief(result) == UPDATED


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (
            [SeedCourse("A", idnumber="7", fullname="Chosen"), SeedCourse("B", idnumber="7")],
            Reason.COURSE_AMBIGUOUS,
        ),
        ([SeedCourse("ITEM-7", fullname="Chosen")], Reason.SHORTNAME_TAKEN),
    ],
)
async def test_the_course_that_was_chosen_is_used(rows: list[SeedCourse], reason: Reason) -> None:
    wish = {"create": True, "short_name": "ITEM-7", "full_name": "Item"}
    async with bench(prepare=with_courses(*rows)) as b:
        [chosen] = [row for row in b.state.courses if row.fullname == "Chosen"]
        [before] = await b.write(course(7, **wish))
        [after] = await b.write(course(7, **wish, moodle_course_id=MoodleCourseId(chosen.id)))
        assert b.state.courses.rows[(chosen.id,)].idnumber == "7"
    assert before.reason is reason
    assert after.outcome in (Outcome.APPLIED, Outcome.UNCHANGED)
    assert after.moodle_course_id == chosen.id
